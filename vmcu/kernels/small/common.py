"""Which layers the kernels for small cores cover, and how they rescale accumulators.

**Cortex-M3** has the upper word of a product in one instruction (SMULL, SMLAL): floor(acc * M / 2^32), or with 2 * acc and a start of 2^31
gemmlowp's doubling high multiply; adding the sign before the last shift rounds halves away from zero.

**Cortex-M0+** has the lower word of a product only. A bound of |acc| is known (128 * sum |w| + |bias|); the multiplier is cut into
pieces so small that acc times a piece fits: m = m0 + 2^a * (m1 + 2^b * m2), and then
floor(acc * m / 2^(a + b)) = floor((floor((acc * m0) / 2^a) + acc * m1) / 2^b) + acc * m2, exactly, since floors of floors of sums with
integers are floors. The carry of the last shift rounds.

**Compact**, where flash is short: a channel's shift, less one, lies in the lowest bits of its starting value, the addend is
(2 * zero point + 1) shifted by it, and pieces of a multiplier are taken from the whole: 8 bytes a channel instead of 12 to 28.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa, Numerics
from vmcu.kernels.assembly import Reg
from vmcu.kernels.small.assembly import Thumb1, Thumb2
from vmcu.ops.base import Function
from vmcu.quant.requantise import Requant

SMALL: tuple[Isa, ...] = ("armv6-m", "armv7-m")
MULTIPLIER_BITS = 31
SHIFT_BITS = 5  # below a compact channel's starting value
MOST_SHIFT = 22  # `tflm`: beyond it zero point and product do not fit a word
THREE_PIECES, FOUR_PIECES = (10, 10), (8, 8, 8)  # bits of all pieces but the last


@dataclass(frozen=True, slots=True)
class Scale:
    """What the text of a layer's requantisation depends on.

    Attributes:
        thumb1: for Cortex-M0+.
        numerics: rule.
        right: `onnx`: shift of the product's upper word.
        low, high: of the output.
        pieces: bits of all pieces of the multipliers but the last (`thumb1`).
        compact: parameters in least flash.
    """

    thumb1: bool
    numerics: Numerics
    right: int
    low: int
    high: int
    pieces: tuple[int, ...] = ()
    compact: bool = False

    @property
    def packed_shift(self) -> int:
        """Bits below the starting value."""
        return SHIFT_BITS * (self.compact and self.numerics == "tflm")

    @property
    def words(self) -> int:
        """Parameters of a channel."""
        if self.compact:
            return 1
        extra = 2 if self.numerics == "tflm" else int(self.thumb1)
        return 1 + len(self.pieces) + extra

    @property
    def shared(self) -> int:
        """Parameters of several channels."""
        return int(self.numerics == "onnx" and not self.thumb1)


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Weights and requantisation of a layer, prepared.

    Attributes:
        scale: of the text.
        weights: as given.
        bias: what accumulators start from, int64.
        starts: the same as it is stored, maybe with shifts.
        parameters: (channels, scale.words), in the order in which they are read.
        shared: addend of all channels, where there is one.
        given: to a compact routine: twice the output's zero point (as the text counts it) plus one, or `onnx`'s addend.
    """

    scale: Scale
    weights: NDArray[np.int8]
    bias: NDArray[np.int64]
    starts: NDArray[np.int64]
    parameters: NDArray[np.int64]
    shared: NDArray[np.int64]
    given: int

    def requantisation(self, first: int, channels: int) -> NDArray[np.int64]:
        """Words of a block of channels behind its starting values; a compact routine finds those of a kind side by side."""
        some = self.parameters[first : first + channels]
        return np.concatenate([self.shared, (some.T if self.scale.compact else some).reshape(-1)])


def make_scaled(
    isa: Isa,
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    compact: bool = False,
) -> Scaled | None:
    """The layer, or None where these kernels cannot.

    Args:
        weights: (channels, any), zero point subtracted.
        bias: input zero point folded in.
        compact: parameters in least flash; without effect in `onnx` on Cortex-M3, whose are short.
    """
    if isa not in SMALL or weights.dtype != np.int8 or requant.pre_shift or requant.clamp_acc:
        return None
    m = len(bias)
    thumb1, tflm = isa == "armv6-m", requant.numerics == "tflm"
    compact = compact and (thumb1 or tflm)
    multipliers = np.broadcast_to(np.array(requant.multipliers, np.int64), (m,)).copy()
    shifts = np.broadcast_to(-np.array(requant.shifts, np.int64), (m,)).copy()
    zeros = np.full(m, requant.zero_point, np.int64)
    starts = bias.astype(np.int64)
    sums = np.abs(weights.reshape(m, -1).astype(np.int64)).sum(axis=1)
    if tflm and not compact:
        # A channel without weights is a constant, whatever its scale.
        fixed = sums == 0
        zeros[fixed] = requant.apply(np.broadcast_to(starts, (1, m)))[0].astype(np.int64)[fixed]
        starts[fixed], multipliers[fixed], shifts[fixed] = 0, 0, 1
    if tflm and (shifts.min() < 1 or shifts.max() > MOST_SHIFT):
        return None
    bound = int((sums * 128 + np.abs(starts)).max())
    scale = _scale(thumb1, requant, bound, int(multipliers.min()))
    if scale is None:
        return None
    scale = replace(scale, compact=compact)
    columns, rest = [], multipliers
    for bits in () if compact else scale.pieces:
        columns.append(rest & ((1 << bits) - 1))
        rest = rest >> bits
    columns.append(rest)
    stored = starts
    if scale.packed_shift:
        if bound >= 1 << (31 - SHIFT_BITS):
            return None
        stored = (starts << SHIFT_BITS) + shifts - 1
    if thumb1:
        zeros = zeros - requant.low  # its limits start from 0
    by = shifts if tflm else np.full(m, scale.right)
    addends = (zeros << by) + (1 << (by - 1))
    if tflm and not compact:
        columns += [addends, shifts]
    elif thumb1 and not compact:
        columns.append(addends)
    shared = addends[:1] if scale.shared else np.zeros(0, np.int64)
    given = 2 * (requant.zero_point - (requant.low if thumb1 else 0)) + 1 if tflm else int(addends[0])
    parameters = np.stack(columns, axis=1)
    return Scaled(scale, weights.astype(np.int8), starts, stored, parameters, shared, given)


def _scale(thumb1: bool, requant: Requant, bound: int, least: int) -> Scale | None:
    right = requant.shifts[0] - 32 if requant.numerics == "onnx" else 0
    scale = Scale(thumb1, requant.numerics, right, requant.low, requant.high)
    if not thumb1:
        return scale if bound < 1 << 30 and (least >= 0 or requant.numerics == "onnx") else None
    for pieces in (THREE_PIECES, FOUR_PIECES):
        # acc times the greatest piece, and what is carried to it, fit in a word.
        if least >= 0 and bound < 1 << (MULTIPLIER_BITS - max(*pieces, MULTIPLIER_BITS - sum(pieces))):
            return replace(scale, pieces=pieces)
    return None


def rescale_thumb2(
    p: Thumb2, scale: Scale, x: Reg, m: Reg, add: Reg, shift: Reg | int, t: Reg, low: Reg
) -> None:
    """x = the output's byte; t and low are lost. `onnx` uses neither shift nor t; a compact scale's shift is less by one."""
    if scale.numerics == "onnx":
        p.upper(x, m, low)
        p.add(x, x, add)
        p.saturate(x, x, scale.right)
    else:
        p.add(t, add, x, asr=31)
        p.twice(x)
        p.add_upper_rounded(t, x, m, low)
        p.shift_right(t, t, shift)
        p.saturate(x, t, int(scale.compact))
    if scale.low > -128:
        p.at_least(x, scale.low)
    if scale.high < 127:
        p.at_most(x, scale.high)


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
    if scale.numerics == "tflm":
        p.right(acc, 31)
        p.round_right(x, 31 - done, acc)
        p.load_all((y, z), source)
        p.plus(x, y)
        p.right(x, z)
    else:
        p.right(x, 32 - done)
        p.load_all((y,), source)
        p.plus(x, y)
        p.right(x, scale.right)
    p.limit(x, scale.high - scale.low, y)
    p.plus_constant(x, scale.low)


def rescale_compact(
    p: Thumb1, scale: Scale, acc: Reg, parts: tuple[Reg, Reg, Reg], source: Reg, channels: int
) -> None:
    """The same from compact parameters: words of a block's channels, first their starting values; source is that channel's first,
    and does not move."""
    x, y, z = parts
    sizes, done = (*scale.pieces, MULTIPLIER_BITS - sum(scale.pieces)), 0
    for i, bits in enumerate(sizes):
        piece, last = y if i else x, i == len(sizes) - 1
        p.load(piece, source, offset=4 * channels)
        if not last:
            p.left(piece, 32 - done - bits)
        p.right_unsigned(piece, done if last else 32 - bits)
        p.multiply(piece, acc)
        if i:
            p.plus(x, y)
        if not last:
            p.right(x, bits)
            done += bits
    if scale.numerics == "tflm":
        p.right(acc, 31)
        p.round_right(x, 31 - done, acc)
        p.load(z, source)
        p.left(z, 32 - SHIFT_BITS)
        p.right_unsigned(z, 32 - SHIFT_BITS)
        p.get(y, "given")
        p.left(y, z)
        p.plus(x, y)
        p.right(x, z)
        p.right(x, 1)
    else:
        p.right(x, 32 - done)
        p.get(y, "given")
        p.plus(x, y)
        p.right(x, scale.right)
    p.limit(x, scale.high - scale.low, y)
    p.plus_constant(x, scale.low)


def as_words(values: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Integers modulo 2^32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


@dataclass(frozen=True, slots=True)
class Routine:
    """A function and what a call of it executes.

    Attributes:
        function: its text.
        instructions: of one call.
    """

    function: Function
    instructions: int
