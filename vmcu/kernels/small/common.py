"""Which layers the kernels for small cores cover, and how they rescale accumulators.

**Cortex-M3** has the upper word of a product in one instruction (SMULL, SMLAL): floor(acc * M / 2^32), or with 2 * acc and a start of 2^31
gemmlowp's doubling high multiply; adding the sign before the last shift rounds halves away from zero.

**Cortex-M0+** has the lower word of a product only. A bound of |acc| is known (128 * sum |w| + |bias|); the multiplier is cut into
pieces so small that acc times a piece fits: m = m0 + 2^a * (m1 + 2^b * m2), and then
floor(acc * m / 2^(a + b)) = floor((floor((acc * m0) / 2^a) + acc * m1) / 2^b) + acc * m2, exactly, since floors of floors of sums with
integers are floors. The carry of the last shift rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Reg
from vmcu.kernels.matmul import Rescale, make_rescale
from vmcu.kernels.small.assembly import Thumb1, Thumb2
from vmcu.ir.quantized import Isa
from vmcu.quant.requantise import Requant

SMALL: tuple[Isa, ...] = ("armv6-m", "armv7-m")
MULTIPLIER_BITS = 31
THREE_PIECES, FOUR_PIECES = (10, 10), (8, 8, 8)  # bits of all pieces but the last


@dataclass(frozen=True, slots=True)
class Scale:
    """Requantisation of a layer.

    Attributes:
        thumb1: for Cortex-M0+.
        rescale: the rule.
        pieces: bits of all pieces of the multipliers but the last (`thumb1`).
    """

    thumb1: bool
    rescale: Rescale
    pieces: tuple[int, ...] = ()

    @property
    def words(self) -> int:
        """Parameters per channel."""
        extra = 2 if self.rescale.numerics == "tflm" else int(self.thumb1)
        return 1 + len(self.pieces) + extra


def make_scale(isa: Isa, weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant) -> Scale | None:
    """How the kernels rescale, or None where they cannot.

    Args:
        weights: (channels, any), zero point subtracted.
        bias: input zero point folded in.
    """
    rescale = make_rescale(requant)
    if isa not in SMALL or rescale is None or weights.dtype != np.int8:
        return None
    flat = np.abs(weights.reshape(len(bias), -1).astype(np.int64))
    bound = int((flat.sum(axis=1) * 128 + np.abs(bias.astype(np.int64))).max())
    if isa == "armv7-m":
        return Scale(False, rescale) if bound < 1 << 30 else None
    if min(requant.multipliers) < 0:
        return None
    for pieces in (THREE_PIECES, FOUR_PIECES):
        # acc times the greatest piece, and what is carried to it, fit in a word.
        if bound < 1 << (MULTIPLIER_BITS - max(*pieces, MULTIPLIER_BITS - sum(pieces))):
            return Scale(True, rescale, pieces)
    return None


def scale_parameters(scale: Scale, requant: Requant, channels: int) -> NDArray[np.int64]:
    """(channels, scale.words), in the order in which the code below reads them."""
    m = np.broadcast_to(np.array(requant.multipliers, np.int64), (channels,))
    columns, rest = [], m
    for bits in scale.pieces:
        columns.append(rest & ((1 << bits) - 1))
        rest = rest >> bits
    columns.append(rest)
    zero = requant.zero_point - (requant.low if scale.thumb1 else 0)
    if scale.rescale.numerics == "tflm":
        shift = np.broadcast_to(-np.array(requant.shifts, np.int64), (channels,))
        columns += [(zero << shift) + (1 << (shift - 1)), shift]
    elif scale.thumb1:
        columns.append(np.full(channels, onnx_addend(scale, requant)))
    return np.stack(columns, axis=1)


def onnx_addend(scale: Scale, requant: Requant) -> int:
    """Output zero point and rounding before the last shift; Cortex-M0+ counts from the output's lower limit."""
    zero = requant.zero_point - (requant.low if scale.thumb1 else 0)
    return (zero << scale.rescale.right) + (1 << (scale.rescale.right - 1))


def rescale_thumb2(p: Thumb2, scale: Scale, x: Reg, m: Reg, add: Reg, shift: Reg, t: Reg, low: Reg) -> None:
    """x = the output's byte; t and low are lost. `onnx` uses neither shift nor t."""
    if scale.rescale.numerics == "onnx":
        p.upper(x, m, low)
        p.add(x, x, add)
        p.saturate(x, x, scale.rescale.right)
    else:
        p.add(t, add, x, asr=31)
        p.double(x, x)
        p.add_upper_rounded(t, x, m, low)
        p.shift_right(t, t, shift)
        p.saturate(x, t)
    if scale.rescale.low > -128:
        p.at_least(x, scale.rescale.low)
    if scale.rescale.high < 127:
        p.at_most(x, scale.rescale.high)


def rescale_thumb1(p: Thumb1, scale: Scale, acc: Reg, parts: tuple[Reg, Reg, Reg], source: Reg) -> None:
    """parts[0] = the output's byte; acc and parts are lost, source moves behind the channel's parameters."""
    x, y, z = parts
    p.load_all(parts, source)
    p.multiply(x, acc)
    p.right(x, scale.pieces[0])
    p.multiply(y, acc)
    p.plus(x, y)
    p.right(x, scale.pieces[1])
    p.multiply(z, acc)
    p.plus(x, z)
    for bits in scale.pieces[2:]:
        p.right(x, bits)
        p.load_all((y,), source)
        p.multiply(y, acc)
        p.plus(x, y)
    done = sum(scale.pieces)
    if scale.rescale.numerics == "tflm":
        p.right(acc, 31)
        p.round_right(x, 31 - done, acc)
        p.load_all((y, z), source)
        p.plus(x, y)
        p.right(x, z)
    else:
        p.right(x, 32 - done)
        p.load_all((y,), source)
        p.plus(x, y)
        p.right(x, scale.rescale.right)
    p.limit(x, scale.rescale.high - scale.rescale.low, y)
    p.plus_constant(x, scale.rescale.low)


def as_words(values: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Integers modulo 2^32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
