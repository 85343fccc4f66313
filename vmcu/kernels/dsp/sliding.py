"""3x3 depthwise convolutions on DSP cores, one channel at a time along the row, without working memory.

The three bytes of a column are loaded once. PKHBT joins the upper two, so that SMLAD takes them together; the third is
a multiplication of its own. A column serves all outputs that meet it at once: their sums, three or with a stride of 2 two of them, are in
registers and take turns. So a pixel costs 3 loads, a PKHBT and 6 multiplications (stride 2: 6, 2 and 6), and its requantisation.

Rows may be cut into tiles: then the pointers of the next tile are fetched where the row goes over to it, for every channel again. Where
all but a column on either side is in one tile, the pointers stay there, and a neighbour's pixel is found by its distance from them.

All 14 registers are taken: three rows, the output, sums, five words of weights, two of data. Starting value (with a stride of 2 it
has the register of the third sum, and the first multiplication adds to it), multiplier and addend of the channel wait on the
stack; the shift of `tflm` is the lowest byte of the last word of weights, where ASR looks for it.

"Compact", weights wait in flash as bytes, and are widened once per channel and row: 20 bytes a channel instead of 28 or 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.beside import near, nears
from vmcu.kernels.dsp.rescale import Rescale, Scaled, rescale_once, rescale_onnx, rescale_tflm, words

KERNEL = 3
FAR = 4095  # offsets of LDRSB and STRB
NEAR = 255  # by which they move a pointer
HALVES = ("bb", "bt", "bt")  # where the weights of the third row are, by column
WIDENED = 5  # outputs from which weights are shifted rather than sums


@dataclass(frozen=True, slots=True)
class Slide:
    """Geometry of one output row.

    Attributes:
        stride: of columns.
        start: the first column that the first output reads.
        tiles, tile_cols: of an input row; columns outside all of them are padding.
        out_cols: columns that are computed.
        channels: distance of two pixels in all rows, bytes.
        pad_value: content of the padding.
        rescale: of the sums.
        own: the tile that all columns are in but for one on either side, at most; -1: there is none.
    """

    stride: int
    start: int
    tiles: int
    tile_cols: int
    out_cols: int
    channels: int
    pad_value: int
    rescale: Rescale
    own: int = -1

    @property
    def beside(self) -> list[int]:
        """Columns that are read and are in a neighbour of `own`."""
        return [c for c in self.columns if self.own >= 0 and self.met(c) and c // self.tile_cols != self.own]

    @property
    def stays(self) -> bool:
        """Do the pointers stay in a tile?"""
        return self.tiles == 1 or self.own >= 0

    @property
    def sums(self) -> int:
        """Outputs that a column serves, at most."""
        return -(-KERNEL // self.stride)

    @property
    def period(self) -> int:
        """Columns after which the sums have taken all turns; twice, where there are two sums, since looping costs as much for
        them as for three."""
        once = self.sums * self.stride
        return 2 * once if self.sums == 2 and 2 * once * self.channels <= FAR else once

    @property
    def usable(self) -> bool:
        """Do offsets and registers reach?"""
        return self.stride in (1, 2) and self.start > -KERNEL and self.period * self.channels <= FAR

    @property
    def words(self) -> int:
        """Words of a channel."""
        if self.rescale.compact:
            return 2 + 3
        return (3 if self.rescale.has_shifts else 2) + 5

    @property
    def shifts_sums(self) -> bool:
        """Do sums get the left shift that the requantisation wants, because there are few of them? Else weights have it."""
        return self.rescale.compact and self.rescale.pre > 0 and self.out_cols < WIDENED

    def met(self, column: int) -> list[tuple[int, int]]:
        """Outputs that an input column meets, each with the column of the filter there; the oldest first."""
        found = [(*divmod(column - self.start - k, self.stride), k) for k in reversed(range(KERNEL))]
        return [(out, k) for out, rest, k in found if rest == 0 and 0 <= out < self.out_cols]

    @property
    def columns(self) -> range:
        """All that are met, those of the padding too."""
        return range(self.start, self.start + (self.out_cols - 1) * self.stride + KERNEL)

    def is_real(self, column: int) -> bool:
        """Is it no padding?"""
        return 0 <= column < self.tiles * self.tile_cols

    def is_inner(self, column: int) -> bool:
        """Is it no padding, and does it meet as many outputs as any?"""
        wanted = [k for k in range(KERNEL) if (column - self.start - k) % self.stride == 0]
        return self.is_real(column) and len(self.met(column)) == len(wanted)

    @property
    def loop(self) -> tuple[int, int]:
        """The first column of a loop, in one tile, and how often it runs: 0 where two turns or fewer are left."""
        inner = [c for c in self.columns if self.is_inner(c)]
        found = [(0, 0)]
        for tile in range(self.tiles):
            here = [c for c in inner if c // self.tile_cols == tile]
            starts = [c for c in here if (c - self.start) % self.stride == 0]
            if starts:
                found.append((starts[0], (here[-1] + 1 - starts[0]) // self.period))
        first, turns = max(found, key=lambda loop: loop[1])
        return first, turns if turns > 2 else 0


class _Walk:
    """A pointer that moves from pixel to pixel: with an access where it reaches, else now and then."""

    def __init__(self, p: Program, pointer: Reg, pixel: int) -> None:
        self._p, self._pointer, self._pixel = p, pointer, pixel
        self._ahead = self.moved = 0

    def next(self) -> tuple[int, int]:
        """Offset of an access to this pixel and the step it makes; goes on to the next pixel."""
        self.moved += self._pixel
        if self._ahead == 0 and self._pixel <= NEAR:
            return 0, self._pixel
        if self._ahead > FAR:
            self.catch_up()
        at, self._ahead = self._ahead, self._ahead + self._pixel
        return at, 0

    def skip(self, pixels: int = 1) -> None:
        """Goes on to the next pixel, or by several."""
        self.moved += pixels * self._pixel
        self._ahead += pixels * self._pixel

    def start(self, pixels: int) -> None:
        """The pointer has been set to a first pixel; goes on by some."""
        self._ahead = self.moved = 0
        self.skip(pixels)

    def catch_up(self) -> None:
        """The pointer moves to the pixel."""
        _move(self._p, self._pointer, self._ahead)
        self._ahead = 0

    def last(self) -> tuple[int, int]:
        """As `next`, but on the way back to the first pixel, if an access reaches so far."""
        if self._ahead == 0 and self.moved <= NEAR:
            step, self.moved = -self.moved, 0
            return 0, step
        return self.next()

    def rewind(self) -> None:
        """To the first pixel."""
        _move(self._p, self._pointer, self._ahead - self.moved)
        self._ahead = self.moved = 0

    def back(self) -> None:
        """To the next channel of the first pixel."""
        _move(self._p, self._pointer, 1 - self.moved + self._ahead)
        self._ahead = self.moved = 0


def _move(p: Program, pointer: Reg, by: int) -> None:
    while by:
        step = max(-FAR, min(FAR, by))
        p.advance(pointer, step)
        by -= step


@lru_cache(maxsize=256)
def slide(g: Slide, channels: int) -> Routine:
    """Computes all channels of an output row.

    The function is f(in, out, weights, weights_end, bias, multiplier, add, stop, channel): pointers to the tiles of three rows, and the
    first channel. Bias, multiplier and stop, and in `tflm` add, are variables of its own. A "compact" one of `tflm` takes 2 zero + 1
    behind them. Where there is a tile of its own, pointers to its first pixels follow, and VMCU_FROM of those to pixels beside it.
    """
    p = Program(
        "slide",
        [
            f"A 3x3 filter along a row, stride {g.stride}, {g.out_cols} outputs from {g.tiles} x {g.tile_cols} columns "
            f"of {g.channels}, channel by channel."
        ],
        [
            *(("in", "const int8_t *const *"), ("out", "int8_t *")),
            *(("weights", "const int32_t *"), ("weights_end", "const int32_t *")),
            *((name, "int32_t") for name in ("bias", "multiplier", "add")),
            *(("stop", "const int8_t *"), ("channel", "int32_t")),
            *([("addend", "int32_t")] if g.rescale.packed else []),
            *((f"own{i}", "const int8_t *") for i in range(KERNEL) if g.own >= 0),
            *((near(c, row), "const int8_t *") for c, row in nears(g.beside)),
        ],
    )
    rows = [p.source(f"x{i}", i) for i in range(KERNEL)]
    if g.own >= 0:
        for i, row in enumerate(rows):
            p.get(row, f"own{i}")
    out, acc, k = p.target("to", 3), p.numbers("acc", (4, 5, 6)), p.numbers("k", (7, 8, 9, 10, 11))
    w, w_stop = p.source("w", 12), p.source("w_stop", 13)
    if g.tiles == 1:
        table = p.rows("table", 12)
        p.get(table, "in")
        for i, row in enumerate(rows):
            p.row_at(row, table, i)
    p.get(out, "out")
    p.get(w, "weights")
    with p.until("channel", w, "weights_end", w_stop):
        variables = ("bias", "multiplier", "add")[: 2 if g.rescale.compact else g.words - 5]
        p.load_all(acc[: len(variables)], w)
        for name, value in zip(variables, acc, strict=False):
            if name != "bias" or g.sums == len(acc):
                p.put(name, value)
        if g.sums < len(acc):
            p.move(p.number("bias", acc[2].number), acc[0])
        if g.rescale.compact:
            p.load_all((k[1], k[3], k[4]), w)
            p.put("weights", w)
            _widen(p, g, acc[0], k, p.number("spare", 13))
        else:
            p.load_all(k, w)
            p.put("weights", w)
        turns = _row(p, g, rows, out, acc, k)
        if not g.stays:
            channel = p.number("channel", 13)
            p.get(channel, "channel")
            p.add_number(channel, 1)
            p.put("channel", channel)
        p.get(w, "weights")
    return Routine(p.function(), p.count({"channel": channels, "turn": channels * turns}))


def _widen(p: Program, g: Slide, spare: Reg, k: tuple[Reg, ...], third: Reg) -> None:
    """Five words of halfwords from three of bytes (`pack_slide_bytes`), and the channel's addend."""
    for i in (0, 2):
        p.widen(k[i], k[i + 1])
        p.widen(k[i + 1], k[i + 1], upper=True)
    p.widen(third, k[4], upper=True)  # the last weight, above 0
    p.widen(k[4], k[4])  # the shift, below 0
    pre = 0 if g.shifts_sums else g.rescale.pre
    p.add_left(k[4], k[4], third, pre)
    for _ in range(pre):
        for pair in k[:4]:
            p.add_halves(pair, pair, pair)
    if g.rescale.packed:
        p.get(spare, "addend")
        p.shift_left(spare, spare, k[4])
        p.put("add", spare)


def _row(p: Program, g: Slide, rows: list[Reg], out: Reg, acc: tuple[Reg, ...], k: tuple[Reg, ...]) -> int:
    """One channel of all pixels; returns how often the loop runs."""
    walks, to = [_Walk(p, row, g.channels) for row in rows], _Walk(p, out, g.channels)
    first, turns = g.loop
    inside = range(first, first + turns * g.period)
    beside = g.beside
    at = -1  # the tile that the pointers are in

    def enter(c: int) -> None:
        nonlocal at
        if at != c // g.tile_cols:
            at = c // g.tile_cols
            if not g.stays:
                _enter(p, g, at, rows)
            for walk in walks:
                walk.start(c % g.tile_cols)

    def column(c: int) -> None:
        met = g.met(c)
        if c in beside:
            if at >= 0:  # behind the tile
                for walk in walks:
                    walk.rewind()
            _load_beside(p, c, rows)
        elif g.is_real(c):
            enter(c)
            if not met:
                for walk in walks:
                    walk.skip()
                return
            ends = c + 1 in beside and c not in inside
            _load(p, walks, rows, ends)
        elif met:
            _pad(p, g)
        for o, kx in met:  # right behind the loads, as one more of them
            if kx == 0 and g.sums == len(acc):
                p.get(acc[o % g.sums], "bias")
        for o, kx in met:
            bias = p.number("bias", acc[2].number) if kx == 0 and g.sums < len(acc) else None
            p.dot(acc[o % g.sums], p.number("a", 12), k[kx], bias)
            p.mla(acc[o % g.sums], p.number("b", 13), k[3 + kx // 2], HALVES[kx])  # type: ignore[arg-type]
        for o, kx in met:
            if kx == KERNEL - 1:
                _finish(p, g, acc[o % g.sums], k[4], out, to)

    for c in g.columns:
        if c not in inside:
            column(c)
        elif c == first:
            enter(c)
            for walk in (*walks, to):
                walk.catch_up()
            stop = p.source("x_end", 12)
            p.far_point(stop, rows[0], turns * g.period * g.channels, p.number("length", 13))
            p.put("stop", stop)
            before = [walk.moved for walk in (*walks, to)]
            with p.until("turn", rows[0], "stop", p.source("x_stop", 13)):
                for inner in inside[: g.period]:
                    column(inner)
                for walk in (*walks, to):
                    walk.catch_up()
            for walk, moved in zip((*walks, to), before, strict=True):
                walk.moved = moved + (walk.moved - moved) * turns
    for walk in (*walks, to) if g.stays else (to,):
        walk.back()
    return turns


def _enter(p: Program, g: Slide, tile: int, rows: list[Reg]) -> None:
    """The pointers to this channel of a tile of three rows."""
    table, channel = p.rows("table", 12), p.number("channel", 13)
    p.get(table, "in")
    p.get(channel, "channel")
    for i, row in enumerate(rows):
        p.row_at(row, table, i * g.tiles + tile)
        p.advance(row, channel)


def _load(p: Program, walks: list[_Walk], rows: list[Reg], ends: bool) -> None:
    """a = the bytes of the first two rows, b = that of the third. `ends`: then something beside the first pixels is read."""
    a, b = p.number("a", 12), p.number("b", 13)
    places = [walk.last() if ends else walk.next() for walk in walks]
    p.load_byte(a, rows[0], *places[0])
    p.load_byte(b, rows[1], *places[1])
    p.lows(a, a, b)
    p.load_byte(b, rows[2], *places[2])


def _load_beside(p: Program, column: int, rows: list[Reg]) -> None:
    """The same in a neighbour."""
    a, b = p.number("a", 12), p.number("b", 13)
    p.load_from((a, b), rows[:2], [near(column, 0), near(column, 1)], ["own0", "own1"], "byte")
    p.lows(a, a, b)
    p.load_from((b,), rows[2:], [near(column, 2)], ["own2"], "byte")


def _pad(p: Program, g: Slide) -> None:
    """The same of a column of padding."""
    a, b = p.number("a", 12), p.number("b", 13)
    p.move(b, g.pad_value)
    p.lows(a, b, b)


def _finish(p: Program, g: Slide, x: Reg, shift: Reg, out: Reg, to: _Walk) -> None:
    """A sum becomes its output. Data is done with."""
    multiplier, add = p.number("m", 12), p.number("plus", 13)
    if g.shifts_sums:
        p.shift_left(x, x, g.rescale.pre)
    if g.rescale.once:
        p.get(multiplier, "multiplier")
        rescale_once(p, g.rescale, x, multiplier)
    else:
        p.get_pair(multiplier, add, "multiplier", "add")
        if g.rescale.numerics == "tflm":
            rescale_tflm(p, g.rescale, x, multiplier, add, shift, add)
        else:
            rescale_onnx(p, g.rescale, x, multiplier, add)
    at, step = to.next()
    p.store_byte(x, out, offset=at, step=step)


def pack_slide(weights: NDArray[np.integer[Any]], scaled: Scaled) -> NDArray[np.int32]:
    """What `slide` reads, channel by channel: starting value, multiplier (`tflm`: addend), weights.

    Args:
        weights: (channels, 3, 3).
    """
    pre = scaled.rescale.pre
    w = weights.astype(np.int64) << pre
    shifts = scaled.parameters[:, 2] if scaled.rescale.has_shifts else np.zeros(len(w), np.int64)
    pairs = w[:, 0] & 0xFFFF | (w[:, 1] & 0xFFFF) << 16
    third = np.stack(
        [w[:, 2, 0] & 0xFFFF | (w[:, 2, 1] & 0xFFFF) << 16, shifts | (w[:, 2, 2] & 0xFFFF) << 16], axis=1
    )
    head = [scaled.shifted_starts, *scaled.parameters[:, : 2 if scaled.rescale.has_shifts else 1].T]
    return words(np.concatenate([np.stack(head, axis=1), pairs, third], axis=1))


def pack_slide_bytes(weights: NDArray[np.integer[Any]], scaled: Scaled, g: Slide) -> NDArray[np.int32]:
    """The same of a "compact" one: starting value, multiplier, bytes in the order of `_widen`.

    Args:
        weights: (channels, 3, 3), int8.
    """
    w = weights.reshape(len(weights), -1)
    shifts, none = scaled.shifts.reshape(-1), np.zeros(len(w), np.int64)
    order = [w[:, i] for i in (0, 1, 3, 4, 2, 6, 5, 7)]
    packed = np.stack([*order, shifts, none, none, w[:, 8]], axis=1).astype(np.int8).view("<i4")
    start = scaled.bias << (0 if g.shifts_sums else scaled.rescale.pre)
    return words(np.concatenate([np.stack([start, scaled.parameters[:, 0]], axis=1), packed], axis=1))
