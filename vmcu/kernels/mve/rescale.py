"""Requantisation in vectors of four words, exactly as SPEC.md, section 2, says.

* `onnx`: VMULH is floor(acc * M / 2^32). VQRSHRN adds half and shifts, which is the rest of the rule but for the output's zero
  point; that is added to halfwords afterwards (a multiple of the divisor may be taken out of a floor).
* `tflm`: VQRDMULH is HM: both round to the nearest, ties up, and saturate in the same single case. VRSHL rounds ties up where RDP
  rounds them away from zero: the sum with the sign, x + (x >> 31), makes it so for exponents from 1. Where every negative
  result is cut off by the lower clamp (a Relu whose zero point is its lowest value), that makes no difference
  and is left out.

The exponent of `tflm` is read from the lowest byte of a word: where biases fit in 24 bits, both share one.

Saturating to halfwords before the zero point is added changes nothing: what it cuts is beyond int8 either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Reg
from vmcu.kernels.mve.helium import Helium, Vec
from vmcu.quant.requantise import Requant

BLOCK = 4  # outputs
EXPONENT_BITS = 8  # of a word that bias and exponent share


@dataclass(frozen=True, slots=True)
class Rescale:
    """What the text of a requantisation depends on.

    Attributes:
        numerics: rule.
        right: `onnx`: shift of the upper word.
        away: `tflm`: negative ties matter.
        joined: `tflm`: bias and exponent share a word.
        zero_point, low, high: of the output.
    """

    numerics: str
    right: int
    away: bool
    zero_point: int
    low: int
    high: int
    joined: bool = False

    @property
    def exponents(self) -> bool:
        """Do parameters end with them?"""
        return self.numerics == "tflm" and not self.joined


def make_rescale(requant: Requant, bias: NDArray[np.int32]) -> Rescale | None:
    """The requantisation, or None where these instructions do not cover it."""
    zero, low, high = requant.zero_point, requant.low, requant.high
    if requant.numerics == "onnx":
        if requant.pre_shift or requant.clamp_acc:
            return None
        return Rescale("onnx", requant.shifts[0] - 32, False, zero, low, high)
    away = low < zero
    if any(not -31 <= s <= (-1 if away else 0) for s in requant.shifts):
        return None
    most = int(np.abs(bias.astype(np.int64)).max())
    return Rescale("tflm", 0, away, zero, low, high, most < 1 << (31 - EXPONENT_BITS))


def parameters(bias: NDArray[np.int32], requant: Requant, rule: Rescale, channels: int) -> NDArray[np.int32]:
    """(channels, 2 or 3): bias (joined: and exponent), multiplier, exponent; zeros beyond the channels there are."""
    rows = [bias, np.broadcast_to(requant.multipliers, bias.shape)]
    shifts = np.broadcast_to(requant.shifts, bias.shape)
    if rule.joined:
        rows[0] = bias * (1 << EXPONENT_BITS) + (shifts & 0xFF)
    elif rule.exponents:
        rows.append(shifts)
    found = np.zeros((channels, len(rows)), np.int32)
    found[: len(bias)] = np.stack(rows, axis=1)
    return found


def by_fours(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Parameters as `rescale_words` reads them: four of each; exponents are bytes.

    Args:
        rows: (groups of four, BLOCK, vectors).
    """
    parts = [rows[:, :, :2].transpose(0, 2, 1).reshape(len(rows), -1)]
    if rows.shape[2] > 2:
        parts.append(np.ascontiguousarray(rows[:, :, 2].astype(np.int8)).view("<i4"))
    return np.concatenate(parts, axis=1).astype(np.int32).reshape(-1)


def rescale_words(
    p: Helium, rule: Rescale, accs: Sequence[Vec], results: Sequence[Vec], source: Reg, top: bool
) -> None:
    """Accumulators become halfwords, without zero point; parameters are read from `source`, which moves on.

    Args:
        source: a low register.
        accs: vectors of words (neither q2 nor q3, which are used).
        results: their bottom or top halves are written.
    """
    q2, q3 = p.vec(2), p.vec(3)
    p.load_words(q2, source, step=16)
    if rule.joined:  # q2 stays: its words end with the exponents
        p.shift_right_vec(q3, q2, EXPONENT_BITS)
    bias = multiplier = q3 if rule.joined else q2  # one after the other
    for acc in accs:
        p.add_vec(acc, acc, bias)
    p.load_words(multiplier, source, step=16)
    if rule.numerics == "onnx":
        for acc, result in zip(accs, results, strict=True):
            p.high_product(acc, acc, multiplier)
            if rule.right <= 16:
                p.narrow(result, acc, top, rule.right)
            else:
                p.shift_right_rounded(acc, acc, rule.right)
                p.narrow(result, acc, top)
        return
    for acc in accs:
        p.doubling_high_product(acc, acc, multiplier)
    if rule.away:
        for acc in accs:
            p.sign_vec(q3, acc)
            p.add_vec(acc, acc, q3)
    if rule.exponents:
        p.widen_bytes(q2, source, 32, step=BLOCK)
    for acc, result in zip(accs, results, strict=True):
        p.shift_rounded(acc, acc, q2)
        p.narrow(result, acc, top)


class Limits:
    """Zero point and clamp of halfwords, with constants in q6 and q7.

    Args:
        zero_point: parameter.
        spare: a number that is free at the start.
    """

    def __init__(self, p: Helium, rule: Rescale, zero_point: str, spare: Reg) -> None:
        self._p, self._zero_point = p, zero_point
        self._low = self._high = self._zero = None
        free = [p.vec(6), p.vec(7)]
        if rule.low > -128:
            self._low = free.pop()
            p.move(spare, rule.low)
            p.spread(self._low, spare, 16)
        if rule.high < 127:
            self._high = free.pop()
            p.move(spare, rule.high)
            p.spread(self._high, spare, 16)
        if free:
            self._zero = free.pop()
            p.get(spare, zero_point)
            p.spread(self._zero, spare, 16)

    def finish(self, halves: Sequence[Vec], spare: Reg) -> None:
        """Results without zero point become the lowest bytes of halfwords.

        Args:
            spare: a free number.
        """
        p = self._p
        if not self._zero:
            p.get(spare, self._zero_point)
        for q in halves:
            p.add_vec(q, q, self._zero or spare, 16)
            if self._low:
                p.at_least_vec(q, q, self._low, 16)
            if self._high:
                p.at_most_vec(q, q, self._high, 16)
            if not (self._low and self._high):
                p.narrow_halves(q, q)


def finish_bytes(
    p: Helium, rule: Rescale, zero_point: str, halves: tuple[Vec, Vec], free: Vec, spare: Reg
) -> None:
    """halves[0] = the bytes of even numbers from its halfwords, without zero point, between them those of odd ones from halves[1].

    Args:
        zero_point: parameter.
        free, spare: lost.
    """
    p.get(spare, zero_point)
    for q in halves:
        p.add_vec(q, q, spare, 16)
    for value, limit, full in ((rule.low, p.at_least_vec, -128), (rule.high, p.at_most_vec, 127)):
        if value != full:
            p.move(spare, value)
            p.spread(free, spare, 16)
            for q in halves:
                limit(q, q, free, 16)
    p.narrow_halves(halves[0], halves[0])
    p.narrow_halves(halves[0], halves[1], top=True)


def rescale_one(p: Helium, rule: Rescale, acc: Vec, free: Vec, numbers: Sequence[Reg], spare: Reg) -> None:
    """Four accumulators of one channel become the lowest bytes of words.

    Args:
        acc: words, replaced.
        free: a vector that is lost.
        numbers: bias, multiplier and, `tflm`, exponent (joined: in the bias).
        spare: a number that is lost.
    """
    if rule.joined:
        p.shift_right(spare, numbers[0], EXPONENT_BITS)
    p.add_vec(acc, acc, spare if rule.joined else numbers[0])
    if rule.numerics == "onnx":
        p.spread(free, numbers[1], 32)
        p.high_product(acc, acc, free)
        p.shift_right_rounded(acc, acc, rule.right)
    else:
        p.doubling_high_product(acc, acc, numbers[1])
        if rule.away:
            p.sign_vec(free, acc)
            p.add_vec(acc, acc, free)
        p.shift_rounded_all(acc, numbers[0 if rule.joined else 2])
    if rule.zero_point:
        p.move(spare, rule.zero_point)
        p.add_vec(acc, acc, spare)
    clamp_words(p, acc, free, spare, rule.low, rule.high)


def clamp_words(p: Helium, acc: Vec, free: Vec, spare: Reg, low: int, high: int) -> None:
    """Words become bytes in low..high, the lowest of each word.

    Args:
        free, spare: lost.
    """
    for value, limit, full in ((low, p.at_least_vec, -128), (high, p.at_most_vec, 127)):
        if value != full:
            p.move(spare, value)
            p.spread(free, spare, 32)
            limit(acc, acc, free, 32)
    if low == -128 or high == 127:
        p.narrow(acc, acc, top=False)
        p.narrow_halves(acc, acc)
