"""Depthwise convolutions on DSP cores from planes: four channels of all the rows that an output row reads, as halfwords in scratch.

SMLAD adds two products, so two taps of one channel have to stand in one word. Rows are NHWC, where neighbours in memory are
channels; in a plane a word is two neighbouring columns of a channel, and serves all taps and all output pixels that meet it: an even
pixel of a 3-tap filter is SMLAD(p0, (k0, k1)) + SMLABT(p1, (k1, k2)), the odd one beside it SMLATB(p0, (k0, k1)) + SMLAD(p1, (k1, k2)).

Weights come in the order of use, as halfwords, with the bias and the requantisation of each channel. Those of "compact" planes are
bytes, a pair of taps once, and widened where they are used; an odd pixel multiplies tap by tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.rescale import (
    SHIFT_BITS,
    Rescale,
    Scaled,
    load_tflm,
    rescale_once,
    rescale_onnx,
    rescale_tflm,
    words,
)
from vmcu.kernels.dsp.weights import BLOCK

LANES = BLOCK  # channels at a time
FAR = 4095  # offsets of LDR, STR, STRB
FAR_PAIR = 1020  # of LDRD
HALVES: tuple[Literal["bb", "bt", "tb", "tt"], ...] = ("bb", "bt", "tb", "tt")
REGISTERS_FOR_ROWS = 12  # all but the pointers to pixels and weights
MOST_PIXELS = 6  # at once
MOST_BACK = 63  # words that LDR reaches back
POSITION, STOP = 12, 13  # registers, where they are free


@dataclass(frozen=True, slots=True)
class Use:
    """One multiplication: word `data` of a row with word `weight` of its weights, both halves ("dot") or one of each."""

    pixel: int
    data: int
    weight: int
    halves: Literal["dot", "bb", "bt", "tb", "tt"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a group of neighbouring output pixels of a row meets the words of a plane.

    Attributes:
        pixels: in the group.
        uses: of one row.
        words: data words it reads.
        taps: per weight word its (low, high) tap; None: 0.
    """

    pixels: int
    uses: tuple[Use, ...]
    words: int
    taps: tuple[tuple[int | None, int | None], ...]

    @property
    def registers(self) -> int:
        """For accumulators, data and weights."""
        return self.pixels + self.words + len(self.taps)


def pattern(
    kernel: int,
    stride: int,
    pixels: int,
    given: tuple[tuple[int | None, int | None], ...] = (),
    once: bool = False,
) -> Pattern:
    """The multiplications of `pixels` outputs with a filter of `kernel` taps; the first output starts at a word.

    Args:
        given: weight words there are at least.
        once: a tap is in one of them.
    """
    both: list[tuple[int, int, int]] = []  # pixel, word, first tap
    halves: list[tuple[int, int, int, int]] = []  # pixel, word, half, tap
    for pixel in range(pixels):
        tap = 0
        while tap < kernel:
            word, half = divmod(pixel * stride + tap, 2)
            if half == 0 and tap + 1 < kernel and not (once and tap % 2):
                both.append((pixel, word, tap))
                tap += 2
            else:
                halves.append((pixel, word, half, tap))
                tap += 1
    taps = list(given) or [(t, t + 1) for t in sorted({t for _, _, t in both})]
    for *_, tap in halves:
        if not any(tap in pair for pair in taps):
            taps.append((tap, None))
    uses = [Use(pixel, word, taps.index((tap, tap + 1)), "dot") for pixel, word, tap in both]
    for pixel, word, half, tap in halves:
        weight = next(i for i, pair in enumerate(taps) if tap in pair)
        upper = taps[weight][1] == tap
        uses.append(Use(pixel, word, weight, HALVES[2 * half + upper]))
    uses.sort(key=lambda u: (u.weight, u.data, u.pixel))
    return Pattern(pixels, tuple(uses), max(u.data for u in uses) + 1, tuple(taps))


@dataclass(frozen=True, slots=True)
class Planes:
    """Geometry of the planes of one output row.

    Attributes:
        kernel_h, kernel_w, stride: of the convolution; stride of columns.
        pad, in_cols, out_cols: columns.
        channels_in: distance of two pixels in an input row, bytes.
        channels_out: in an output row.
        pad_value: content of the padding.
        rescale: of the accumulators.
        pixels: computed at once.
    """

    kernel_h: int
    kernel_w: int
    stride: int
    pad: int
    in_cols: int
    out_cols: int
    channels_in: int
    channels_out: int
    pad_value: int
    rescale: Rescale
    pixels: int

    @property
    def group(self) -> Pattern:
        """The pixels that are computed at once."""
        return pattern(self.kernel_w, self.stride, self.pixels, once=self.rescale.compact)

    @property
    def keeps_position(self) -> bool:
        """Two registers are left for where the output goes and where a row of a plane ends."""
        return max(self.group.registers, self.group.pixels + 5) <= REGISTERS_FOR_ROWS - 2

    @property
    def groups(self) -> int:
        """Complete ones."""
        return self.out_cols // self.group.pixels

    @property
    def rest(self) -> Pattern | None:
        """The last pixels."""
        left = self.out_cols % self.group.pixels
        return (
            pattern(self.kernel_w, self.stride, left, self.group.taps, self.rescale.compact) if left else None
        )

    @property
    def words(self) -> int:
        """Words of weights of a row of the filter."""
        return -(-len(self.group.taps) // 2) if self.rescale.compact else len(self.group.taps)

    @property
    def channel_words(self) -> int:
        """Words of a channel."""
        return 1 + self.kernel_h * self.words + self.rescale.shifted_words

    @property
    def advance(self) -> int:
        """Bytes of a plane from group to group."""
        return 2 * self.group.pixels * self.stride

    @property
    def pitch(self) -> int:
        """Bytes of one row of a plane."""
        words = max((self.groups - 1) * self.advance // 4 + self.group.words if self.groups else 0, 0)
        if self.rest:
            words = max(words, self.groups * self.advance // 4 + self.rest.words)
        return 4 * words

    @property
    def plane(self) -> int:
        """Bytes of one channel."""
        return self.kernel_h * self.pitch

    @property
    def scratch_bytes(self) -> int:
        """All planes."""
        return LANES * self.plane

    def unrolled(self, words: int) -> int:
        """Words of a row that are written in one go: a divisor, as far as LDR reaches."""
        return max(d for d in (1, 2, 3) if words % d == 0 and 2 * d * self.channels_in <= FAR)

    @property
    def usable(self) -> bool:
        """Do all offsets reach, and is every column that is read there or padding?"""
        return (
            (LANES - 1) * self.plane <= FAR
            and self.pitch <= FAR_PAIR
            and (self.pixels - 1) * self.channels_out <= FAR
            and 2 * self.channels_in <= FAR
            and self.channels_in >= LANES
            and (self.advance % 4 == 0 or self.pixels == self.out_cols)
            and self.group.registers <= REGISTERS_FOR_ROWS
            and not (self.rescale.packed and self.channel_words > MOST_BACK)
        )


def best_planes(**geometry: Any) -> Planes | None:
    """The planes whose pixels at once make the fewest instructions; None where none are usable.

    Args:
        geometry: the attributes of `Planes` but for `pixels`.
    """
    most = range(1, min(MOST_PIXELS, geometry["out_cols"]) + 1)
    usable = [g for g in (Planes(**geometry, pixels=n) for n in most) if g.usable]
    return min(usable, key=lambda g: filter_planes(g, LANES).instructions, default=None)


@lru_cache(maxsize=256)
def fill_planes(g: Planes) -> Routine:
    """Writes four channels of all rows as planes.

    The function is f(rows, channel, to, rows_end).
    """
    p = Program(
        "planes",
        [f"Four channels of rows of {g.in_cols}x{g.channels_in} bytes as planes of halfwords."],
        [
            *(("rows", "const int8_t *const *"), ("channel", "int32_t")),
            *(("to", "int8_t *"), ("rows_end", "const int8_t *const *")),
        ],
    )
    row, to, x, channel = p.rows("row", 0), p.target("dest", 1), p.source("x", 2), p.number("offset", 3)
    a, b, c, d, e, pad = (p.number(n, 4 + i) for i, n in enumerate(("a", "b", "c", "d", "e", "pad")))
    end = p.source("x_end", 10)
    p.get(row, "rows")
    p.get(to, "to")
    p.get(channel, "channel")
    inside = [[0 <= 2 * w + h - g.pad < g.in_cols for h in (0, 1)] for w in range(g.pitch // 4)]
    if not all(all(halves) for halves in inside):
        p.move(pad, g.pad_value & 0xFFFF)
        p.lows(pad, pad, pad)

    def store(values: Sequence[Reg]) -> None:
        for lane in (1, 2, 3):
            p.store(values[lane], to, offset=lane * g.plane)
        p.store(values[0], to, step=4)

    def word(left: bool, right: bool, number: int = 0, last: bool = True) -> None:
        """Two columns; those outside are padding. It is the number-th of its loop's body."""
        start = 2 * number * g.channels_in
        if left:
            p.load(a, x, offset=start)
        if right:
            p.load(b, x, offset=start + (g.channels_in if left else 0))
        if last:
            p.advance(x, start + g.channels_in * (left + right))
        if left:
            p.widen(c, a)
            p.widen(a, a, upper=True)
        if right:
            p.widen(d, b)
            p.widen(b, b, upper=True)
        even, odd = (c, a) if left else (pad, pad)
        even2, odd2 = (d, b) if right else (pad, pad)
        p.lows(e, even, even2)
        p.highs(c, even, even2)
        p.lows(d, odd, odd2)
        p.highs(a, odd, odd2)
        store((e, d, c, a))

    trips = {"row": g.kernel_h}
    with p.until("row", row, "rows_end", p.rows("row_stop", 10)):
        p.next_row(x, row)
        p.advance(x, channel)
        at = 0
        while at < len(inside):
            halves, count = inside[at], 1
            while at + count < len(inside) and inside[at + count] == halves:
                count += 1
            if halves == [False, False]:
                with p.repeat(count):
                    store((pad, pad, pad, pad))
            elif count > 2:
                name, u = f"word{at}", g.unrolled(count)
                p.far_point(end, x, count * 2 * g.channels_in, a)
                with p.until(name, x, end):
                    for number in range(u):
                        word(True, True, number, number == u - 1)
                trips[name] = g.kernel_h * count // u
            else:
                with p.repeat(count):
                    word(*halves)
            at += count
    return Routine(p.function(), p.count(trips))


@lru_cache(maxsize=256)
def filter_planes(g: Planes, channels: int) -> Routine:
    """Computes `channels` neighbouring channels of an output row from planes.

    The function is f(planes, weights, out, weights_end, stop, position): the last two are variables of its own. A "compact"
    requantisation of `tflm` takes 2 zero + 1 behind them.
    """
    p = Program(
        "filter_planes",
        [
            f"A {g.kernel_h}x{g.kernel_w} filter over planes of halfwords, {g.out_cols} pixels "
            f"of {g.channels_out} channels."
        ],
        [
            *(("planes", "const int8_t *"), ("weights", "const int32_t *"), ("out", "int8_t *")),
            *(("weights_end", "const int32_t *"), ("stop", "const int8_t *"), ("position", "int8_t *")),
            *([("addend", "int32_t")] if g.rescale.has_given_addend else []),
        ],
    )
    x, w = p.source("x", 0), p.source("w", 1)
    p.get(x, "planes")
    with p.until("channel", w, "weights_end", p.source("w_stop", 2)):
        position = p.target("next", 2)
        p.get(position, "out")
        if g.keeps_position:
            p.point_same(p.target("to", POSITION), position)
        else:
            p.put("position", position)
        p.advance(position, 1)
        p.put("out", position)
        if g.groups > 1:
            stop = p.source("x_stop", STOP if g.keeps_position else 2)
            p.far_point(stop, x, g.groups * g.advance, p.number("length", 3))
            if not g.keeps_position:
                p.put("stop", stop)
            with p.until("group", x, stop if g.keeps_position else "stop", stop):
                _filter_group(p, g, g.group, advance=g.advance)
        elif g.groups:
            _filter_group(p, g, g.group, advance=g.advance)
        rest = g.rest
        if rest:
            _filter_group(p, g, rest, advance=0)
        p.put("weights", w)
        p.advance(x, g.plane - g.groups * g.advance)
    trips = {"channel": channels, "group": channels * g.groups}
    return Routine(p.function(), p.count(trips))


def _filter_group(p: Program, g: Planes, group: Pattern, advance: int) -> None:
    """A few pixels of one channel."""
    free, many = iter(range(2, 14)), f"_of_{group.pixels}_"
    acc = p.numbers(f"acc{many}", [next(free) for _ in range(group.pixels)])
    data = p.numbers(f"p{many}", [next(free) for _ in range(group.words)])
    taps = p.numbers(f"k{many}", [next(free) for _ in range(len(group.taps))])
    x, w = p.source("x", 0), p.source("w", 1)
    p.get(w, "weights")
    p.load(acc[0], w, step=4)
    if g.rescale.packed:
        p.shift_right(acc[0], acc[0], SHIFT_BITS)
    for other in acc[1:]:
        p.move(other, acc[0])
    with p.repeat(g.kernel_h):
        if g.rescale.compact:
            _widen(p, taps, w)
        else:
            p.load_all(taps, w)
        pairs = [data[i : i + 2] for i in range(len(data) % 2, len(data), 2)]
        if len(data) % 2:
            p.load(data[0], x, step=4 if pairs else 0)
        for i, (a, b) in enumerate(pairs):
            left = g.pitch - 4 * (len(data) - 2)
            p.load_pair(a, b, x, step=8 if i < len(pairs) - 1 else left)
        if not pairs:
            p.advance(x, g.pitch)
        for use in group.uses:
            if use.halves == "dot":
                p.dot(acc[use.pixel], data[use.data], taps[use.weight])
            else:
                p.mla(acc[use.pixel], data[use.data], taps[use.weight], use.halves)
    p.advance(x, advance - g.plane)
    # Data and weights are done with.
    first = 2 + group.pixels
    multiplier, add, shift = (p.number(n + many, first + i) for i, n in enumerate(("m", "add", "shift")))
    sign = p.number(f"sign{many}", first + 4)
    to = p.target("to", POSITION) if g.keeps_position else p.target(f"to{many}", first + 3)
    if g.rescale.once:
        p.load(multiplier, w, step=4)
    elif g.rescale.numerics == "tflm":
        load_tflm(p, g.rescale, w, (w, 4 - 4 * g.channel_words), multiplier, add, shift)
    elif g.rescale.has_given_addend:
        p.load(multiplier, w, step=4)
        p.get(add, "addend")
    else:
        p.load_all((multiplier, add), w)
    if not g.keeps_position:
        p.get(to, "position")
    for i, value in enumerate(acc):
        if g.rescale.compact and g.rescale.pre:
            p.shift_left(value, value, g.rescale.pre)
        if g.rescale.once:
            rescale_once(p, g.rescale, value, multiplier)
        elif g.rescale.numerics == "tflm":
            rescale_tflm(p, g.rescale, value, multiplier, add, shift, sign)
        else:
            rescale_onnx(p, g.rescale, value, multiplier, add)
        p.store_byte(value, to, offset=i * g.channels_out)
    if advance:
        p.far_point(to, to, group.pixels * g.channels_out, sign)
        if not g.keeps_position:
            p.put("position", to)


def _widen(p: Program, taps: Sequence[Reg], w: Reg) -> None:
    """Words of two taps from half as many words of bytes."""
    pairs = [taps[i : i + 2] for i in range(0, len(taps), 2)]
    p.load_all([pair[-1] for pair in pairs], w)
    for pair in pairs:
        p.widen(pair[0], pair[-1])
        if len(pair) == 2:
            p.widen(pair[1], pair[1], upper=True)


def pack_planes(weights: NDArray[np.integer[Any]], scaled: Scaled, g: Planes) -> NDArray[np.int32]:
    """What `filter_planes` reads, channel by channel: bias, weights, requantisation.

    Args:
        weights: (channels, kernel_h, kernel_w).
    """
    m, kh, _ = weights.shape
    compact = scaled.rescale.compact
    pre = 0 if compact else scaled.rescale.pre  # so the sums are what the requantisation wants
    weights = weights.astype(np.int64) << pre
    none = np.zeros((m, kh), np.int64)
    halves = [none if tap is None else weights[:, :, tap] for pair in g.group.taps for tap in pair]
    if compact:  # low, low, high, high of two pairs
        halves += [none] * (-len(halves) % 4)
        order = [halves[i + j] for i in range(0, len(halves), 4) for j in (0, 2, 1, 3)]
        taps = np.stack(order, axis=2).astype(np.int8).view("<i4").reshape(m, -1)
    else:
        columns = [
            low & 0xFFFF | (high & 0xFFFF) << 16 for low, high in zip(halves[::2], halves[1::2], strict=True)
        ]
        taps = np.stack(columns, axis=2).reshape(m, -1)
    start = scaled.starts if compact else scaled.shifted_starts
    return words(np.concatenate([start[:, None], taps, scaled.shifted_parameters], axis=1))


# ---- taps ------------------------------------------------------------------------------------------
