"""Requantisation (SPEC.md, section 2) in the instructions of DSP cores.

* `onnx`: SMMLA computes floor(acc * M / 2^32) + add, SSAT shifts and limits.
  A channel has a multiplier; the addend is the same for all.
* `tflm`: SMMLAR of twice the accumulator rounds as gemmlowp's doubling high multiply. Half away from zero at the second
  rounding is half up after one has been taken from a negative sum, so the sign (x >> 31) is added with the rest. The sign of
  the accumulator serves: where the product is 0 and the accumulator negative, neither result reaches a half. A channel has a
  multiplier, an addend (2 zero + 1) << (shift - 1), and the shift.
* `tflm` where one rounding does (`once.py`, "once"): SMMUL and SSAT, of 256 times the accumulator and an offset of the channel. Sums of
  shifted products start with both; of others they are made by one ADD with a shift.
* `tflm`, "compact": a channel has a multiplier alone: the shift, less one, is
  the lowest byte of the starting value's word, where shifts by a register look for it, and the addend is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Numerics
from vmcu.kernels.assembly import Program, Reg
from vmcu.kernels.dsp.once import ACC_BITS, make_once
from vmcu.quant.requantise import Requant

START_BITS = 22  # a constant channel's sum
MOST_RIGHT = 12  # then its multiplier fits a word
MOST_SHIFT = 22  # `tflm`: beyond it zero point and product do not fit a word
SHIFT_BITS = 8  # of a compact starting value


@dataclass(frozen=True, slots=True)
class Rescale:
    """What the text of a requantisation depends on.

    Attributes:
        numerics: rule.
        pre: left shift of the accumulator (`tflm`: 1, its doubling).
        right: `onnx`: shift of the product's upper word.
        low, high: of the output.
        compact: less constants, more instructions.
        once: `tflm` with one rounding; `right` is its shift, too.
    """

    numerics: Numerics
    pre: int
    right: int
    low: int
    high: int
    compact: bool = False
    once: bool = False

    @property
    def packed(self) -> bool:
        """Do a starting value and its shift share a word, and does the caller give 2 zero + 1?"""
        return self.compact and self.numerics == "tflm"

    @property
    def has_given_addend(self) -> bool:
        """Does the caller give an addend, or what makes one, where that saves constants?"""
        return self.compact

    @property
    def words(self) -> int:
        """Parameters of a channel: multiplier, addend (or offset), and in `tflm` its shift; or the multiplier alone."""
        return 1 if self.packed else 3 if self.has_shifts else 2

    @property
    def shifted_words(self) -> int:
        """The same of a depthwise channel: sums start with the offset, and the addend is given where it is one for all."""
        return 1 if self.once or self.compact else self.words

    @property
    def has_shifts(self) -> bool:
        """Has every channel a shift of its own?"""
        return self.numerics == "tflm" and not self.once


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Sums of products and their requantisation, prepared for these instructions.

    Attributes:
        rescale: of the sums.
        bias: what they start from, int64.
        bounds: per output channel, what no |sum| nor any part of it exceeds.
        parameters: (channels, words of `rescale`).
        shifts: that `bias` is packed with, or 0.
        addend: of all channels, or 2 zero + 1, where the routine makes a channel's own from it.
    """

    rescale: Rescale
    bias: NDArray[np.int64]
    bounds: NDArray[np.int64]
    parameters: NDArray[np.int64]
    shifts: NDArray[np.int64]
    addend: int

    @property
    def starts(self) -> NDArray[np.int64]:
        """Words of the starting values, shifts included."""
        return self.bias << SHIFT_BITS | self.shifts if self.rescale.packed else self.bias

    @property
    def shifted_starts(self) -> NDArray[np.int64]:
        """What sums start from whose products are shifted by `pre` ahead."""
        return (self.bias << self.rescale.pre) + (self.parameters[:, 1] if self.rescale.once else 0)

    @property
    def shifted_parameters(self) -> NDArray[np.int64]:
        """(channels, `shifted_words`) that they need."""
        return self.parameters[:, : self.rescale.shifted_words]

    def requantisation(self, lanes: slice, parameters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Words of channels side by side: their own `parameters`; in `onnx` one addend for all of them, and the multipliers."""
        if self.rescale.numerics == "onnx":
            return np.concatenate([self.parameters[:1, 1], self.parameters[lanes, 0]])
        return parameters[lanes].reshape(-1)


def make_scaled(
    weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant, compact: bool = False
) -> Scaled | None:
    """The requantisation of sum(weights * activations) + bias; None where the instructions do not cover it.

    Args:
        weights: output channels first.
        compact: less constants, where they allow it.
    """
    sizes = 128 * np.abs(weights.reshape(len(bias), -1).astype(np.int64)).sum(axis=1)
    m = np.broadcast_to(np.array(requant.multipliers, np.int64), bias.shape).copy()
    start = bias.astype(np.int64)
    # A filter of zeros gives a constant, often from a bias that no real filter would have.
    value = requant.apply(bias).astype(np.int64)
    constant = sizes == 0
    if requant.numerics == "onnx":
        right = requant.shifts[0] - 32
        if requant.clamp_acc or requant.pre_shift > 7:
            return None
        if constant.any() and right <= MOST_RIGHT and requant.pre_shift == 0:
            m[constant] = (value[constant] - requant.zero_point) << (right + 32 - START_BITS)
            start[constant] = 1 << START_BITS
        add = (requant.zero_point << right) + (1 << (right - 1))
        rescale = Rescale("onnx", requant.pre_shift, right, requant.low, requant.high, compact)
        parameters = np.stack([m, np.full(len(m), add)], axis=1)
        return Scaled(rescale, start, sizes + np.abs(start), parameters, np.zeros_like(m), add)
    s = -np.broadcast_to(np.array(requant.shifts, np.int64), bias.shape)
    start[constant] = 0
    one = make_once(weights, bias, requant) if weights.dtype == np.int8 and not compact else None
    if one is not None:
        rescale = Rescale("tflm", ACC_BITS, one.right, requant.low, requant.high, once=True)
        parameters = np.stack([one.multipliers, one.offsets], axis=1)
        return Scaled(rescale, start, sizes + np.abs(start), parameters, np.zeros_like(m), 0)
    bounds = sizes + np.abs(start)
    # Too small to reach a half after the shift: the output is the zero point, whatever the sum.
    none = constant | (m == 0) | ((s > 0) & (bounds < np.left_shift(1, np.clip(s - 1, 0, 62))))
    m, s = np.where(none, 0, m), np.where(none, 1, s)
    if bounds.max() >= 1 << 30 or s.min() < 1 or s.max() > MOST_SHIFT or m.min() < 0:
        return None
    if compact and bounds.max() < 1 << (31 - SHIFT_BITS):
        # A constant is a sum of four times its distance from the zero point, times 1/4.
        start[constant] = 4 * (value[constant] - requant.zero_point)
        m[constant] = 1 << 30
        rescale = Rescale("tflm", 1, 0, requant.low, requant.high, True)
        return Scaled(rescale, start, bounds, m[:, None], s - 1, 2 * requant.zero_point + 1)
    zero = np.where(constant, value, requant.zero_point)
    rescale = Rescale("tflm", 1, 0, requant.low, requant.high)
    parameters = np.stack([m, (zero << s) + (1 << (s - 1)), s], axis=1)
    return Scaled(rescale, start, bounds, parameters, np.zeros_like(s), 0)


def words(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """As 32-bit words of C, one-dimensional."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32).reshape(-1)


def rescale_onnx(p: Program, rescale: Rescale, x: Reg, multiplier: Reg, add: Reg) -> None:
    """x, shifted left by `pre`, becomes its output."""
    p.high_mla(x, x, multiplier, add)
    p.saturate(x, x, rescale.right)
    limit(p, rescale.low, rescale.high, x)


def rescale_once(p: Program, rescale: Rescale, x: Reg, multiplier: Reg) -> None:
    """x, 256 times its sum and the offset, becomes its output."""
    p.high_mul(x, x, multiplier)
    p.saturate(x, x, rescale.right)
    limit(p, rescale.low, rescale.high, x)


def load_tflm(
    p: Program,
    rescale: Rescale,
    source: Reg,
    start: tuple[Reg, int],
    multiplier: Reg,
    add: Reg,
    shift: Reg,
) -> None:
    """Reads a channel's parameters at `source`, which moves behind them.

    Args:
        start: pointer and offset of the channel's starting value; of "compact" ones.
    """
    if rescale.packed:
        p.load(shift, start[0], offset=start[1])
        p.load(multiplier, source, step=4)
        p.get(add, "addend")
        p.shift_left(add, add, shift)
    else:
        p.load_all((multiplier, add, shift), source)


def rescale_tflm(
    p: Program, rescale: Rescale, x: Reg, multiplier: Reg, add: Reg, shift: Reg, sign: Reg
) -> None:
    """x, shifted left by `pre`, becomes its output; `sign` is overwritten."""
    p.add(sign, add, x, asr=31)
    p.high_mla(x, x, multiplier, sign, rounded=True)
    p.shift_right(x, x, shift)
    p.saturate(x, x, 1 if rescale.packed else 0)
    limit(p, rescale.low, rescale.high, x)


def limit(p: Program, low: int, high: int, x: Reg) -> None:
    """Limits x, a byte already, to the output's range."""
    if low > -128:
        p.at_least(x, low)
    if high < 127:
        p.at_most(x, high)
