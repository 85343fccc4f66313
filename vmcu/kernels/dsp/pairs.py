"""3x3 depthwise convolutions on DSP cores for rows in narrow tiles, two taps at a time, without working memory.

The pixels of a tile of its own are reached from one pointer a row; of a neighbour a single column is read, and where that lies is known
by its distance from the pointer of the row, which is the same for all channels and waits on the stack. So nothing is fetched again for
every channel (`sliding.py`), and there is no pointer per pixel (`narrow.py`).

Two pixels, one above the other, are joined as bytes (PKHBT, PKHTB) before they are widened, so that a word of two taps of one channel
costs no more than a word of one tap of two channels, and SMLAD takes both. Of the third row neighbouring columns are joined in the
same way. Two outputs and two channels are computed at a time, or one output and four channels: all 14 registers are taken.

The order of columns is the one that loads the fewest weights; weights of a column of the filter serve both outputs one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.beside import near, nears
from vmcu.kernels.dsp.rescale import Rescale, Scaled, rescale_once, rescale_onnx, rescale_tflm, words

KERNEL = 3
FAR = 4092  # offsets of loads and stores
FARTHEST_PAIR = 1020  # of LDRD
LANES = (2, 4)  # channels at a time, with two outputs and with one


@dataclass(frozen=True, slots=True)
class Pairs:
    """Geometry of a tile of outputs.

    Attributes:
        stride: of columns.
        pad: columns from the first that is read to the first of the tile of the pointers.
        tile_cols: columns of that tile.
        out_cols: columns that are computed.
        channels: distance of two pixels, bytes.
        lanes: channels at a time.
        rescale: of the sums.
    """

    stride: int
    pad: int
    tile_cols: int
    out_cols: int
    channels: int
    lanes: int
    rescale: Rescale

    @property
    def passes(self) -> list[range]:
        """Outputs that are computed together; those that the first column of the tile meets come last."""
        step = 2 if self.lanes == LANES[0] else 1
        found = [range(o, min(o + step, self.out_cols)) for o in range(0, self.out_cols, step)]
        return sorted(found, key=lambda outputs: self.pad in self.columns(outputs))

    def columns(self, outputs: range) -> range:
        """That they read, from the first that is read at all."""
        return range(outputs[0] * self.stride, outputs[-1] * self.stride + KERNEL)

    def met(self, outputs: range, column: int) -> list[tuple[int, int]]:
        """Outputs that a column meets, numbered within those that are computed together, each with the column of the filter there."""
        found = [(n, column - o * self.stride) for n, o in enumerate(outputs)]
        return [(n, kx) for n, kx in found if 0 <= kx < KERNEL]

    @property
    def beside(self) -> list[int]:
        """Columns that are read and lie in neighbours."""
        every = self.columns(range(self.out_cols))
        return [c for c in every if not 0 <= c - self.pad < self.tile_cols]

    @property
    def usable(self) -> bool:
        """Do offsets reach?"""
        far = (self.tile_cols - 1) * self.channels
        return (
            self.stride in (1, 2)
            and 4 * self.words <= FARTHEST_PAIR
            and max(far, (self.out_cols - 1) * self.channels + self.lanes) <= FAR
            and not self.rescale.compact
        )

    @property
    def words(self) -> int:
        """Of so many channels: biases, weights, requantisation."""
        each = 1 if self.rescale.numerics == "onnx" else self.rescale.shifted_words
        return self.parameters + self.lanes * each

    @property
    def parameters(self) -> int:
        """Words in front of the requantisation."""
        third = 2 * self.lanes if self.lanes == LANES[0] else self.lanes + self.lanes // 2
        return self.lanes * (1 + KERNEL) + third

    def order(self, outputs: range) -> list[tuple[int, list[tuple[int, int]]]]:
        """Columns with what they meet, in the order that loads the fewest weights: one that meets every output is first."""

        def listed(columns: Sequence[int]) -> tuple[int, list[tuple[int, list[tuple[int, int]]]]]:
            loads, last, found = 0, -1, []
            for i, c in enumerate(columns):
                # What starts from the other's starting value is first; then what meets the weights that are there.
                met = sorted(self.met(outputs, c), key=lambda use: (i == 0 and use[0] == 0, use[1] != last))
                for _, kx in met:
                    loads, last = loads + (kx != last), kx
                found.append((c, met))
            return loads, found

        every = [c for c in self.columns(outputs) if self.met(outputs, c)]
        first = [c for c in permutations(every) if len(self.met(outputs, c[0])) == len(outputs)]
        wished = [c for c in first if self.pad not in c or c[-1] == self.pad]
        allowed = [listed(columns) for columns in wished or first]
        return min(allowed, key=lambda found: found[0])[1]


class _Tile:
    """Registers, and where pixels are."""

    def __init__(self, p: Program, g: Pairs) -> None:
        self.p, self.g = p, g
        self.half = g.lanes == LANES[0]
        self.rows = [p.source(f"x{i}", i) for i in range(KERNEL)]
        self.out, self.w = p.target("to", 3), p.source("w", 8)
        self.acc = p.numbers("acc", (4, 5, 6, 7))
        self.data = p.numbers("d", (9, 10) if self.half else (9, 10, 11))
        first = 11 if self.half else 12
        self.k = (p.number("k0", first), p.number("k1", first + 1))
        self.spare = p.number("plus", 13)  # with two outputs; with one it is the second of the weights
        self.moved: set[int] = set()  # rows whose pointers are at the next channels

    def sum_of(self, output: int, lane: int) -> Reg:
        return self.acc[2 * output + lane] if self.half else self.acc[lane]

    def load(self, to: Sequence[Reg], rows: Sequence[int], column: int, moves: bool) -> None:
        """Pixels of some rows in a column; a pointer that has no more to do goes on to the next channels.

        Args:
            moves: it is the last column.
        """
        p, g = self.p, self.g
        at = column - g.pad
        if not 0 <= at < g.tile_cols:
            names, origins = [near(column, row) for row in rows], [f"own{row}" for row in rows]
            p.load_from(to, [self.rows[row] for row in rows], names, origins, "half" if self.half else "word")
            return
        load = p.load_half if self.half else p.load
        for reg, row in zip(to, rows, strict=True):
            ends = moves and at == 0
            load(reg, self.rows[row], offset=at * g.channels, step=g.lanes if ends else 0)
            if ends:
                self.moved.add(row)

    def join(self) -> Iterator[tuple[int, Reg, Reg]]:
        """Two words of data become words of a channel each, two of them at a time: the first one's number and them."""
        p, (a, b) = self.p, self.data[:2]
        if self.half:
            p.lows(a, a, b)
            p.widen(b, a, upper=True)
            p.widen(a, a)
            yield 0, a, b
            return
        c = self.data[2]
        p.lows(c, a, b)
        p.highs(b, a, b)
        p.widen(a, c)
        p.widen(c, c, upper=True)
        yield 0, a, c
        p.widen(a, b)
        p.widen(c, b, upper=True)
        yield 2, a, c

    def behind(self, word: int) -> int:
        """Where a word of the block is: its pointer has moved on with the first load."""
        return 4 * (word - self.g.words)

    def weights(self, word: int) -> tuple[Reg, Reg]:
        """The pair of weights at a word of the block."""
        self.p.load_pair(*self.k, self.w, offset=self.behind(word))
        return self.k

    def start(self, first: bool) -> None:
        """Sums of the first output begin with the biases; `first`: of the first outputs, when the pointer moves on."""
        for lane in range(0, self.g.lanes, 2):
            a, b = self.sum_of(0, lane), self.sum_of(0, lane + 1)
            if first and lane == 0:
                self.p.load_pair(a, b, self.w, step=4 * self.g.words)
            else:
                self.p.load_pair(a, b, self.w, offset=self.behind(lane))

    def upper_rows(self, outputs: range, ends: bool) -> None:
        """The products of the first two rows of the window."""
        p, lanes, last = self.p, self.g.lanes, -1
        order = self.g.order(outputs)
        for i, (column, met) in enumerate(order):
            self.load(self.data[:2], (0, 1), column, ends and i == len(order) - 1)
            for lane, a, b in self.join():
                for n, kx in met:
                    if kx != last or not self.half:
                        self.weights(lanes * (1 + kx) + lane)
                    last = kx
                    for x, k, to in ((a, self.k[0], lane), (b, self.k[1], lane + 1)):
                        p.dot(self.sum_of(n, to), x, k, self.sum_of(0, to) if i == 0 and n else None)

    def third_row(self, outputs: range, ends: bool) -> None:
        """Those of the third: two columns at a time, the first two last."""
        p, g, first = self.p, self.g, outputs[0] * self.g.stride
        pair, rest = g.lanes * (1 + KERNEL), g.lanes * (2 + KERNEL)
        a, b = self.data[:2]
        if self.half and len(outputs) == 2:
            begin = first + g.stride + 1
            k = self.weights(rest)
            self.load((a,), (2,), begin, False)
            self.load((b,), (2,), begin + 1, False)
            for _, x, y in self.join():
                for lane, value in enumerate((x, y)):
                    p.dot(self.sum_of(1, lane), value, k[lane])
                    if g.stride == 1:
                        p.mla(self.sum_of(0, lane), value, k[lane], "bt")
        if not (self.half and len(outputs) == 2 and g.stride == 1):  # the third column of the first output
            self.load((a,), (2,), first + 2, False)
            p.widen(b, a, upper=True)
            p.widen(a, a)
            if self.half:
                k = self.k if len(outputs) == 2 else self.weights(rest)
                for lane, value in enumerate((a, b)):
                    p.mla(self.sum_of(0, lane), value, k[lane], "bt")
                if len(outputs) == 2:
                    k = self.weights(pair)
                    for lane, value in enumerate((a, b)):
                        p.mla(self.sum_of(1, lane), value, k[lane], "bb")
            else:
                k = self.weights(rest)
                p.mla(self.acc[0], a, k[0], "bb")
                p.mla(self.acc[1], b, k[1], "bb")
                p.mla(self.acc[2], a, k[0], "tt")
                p.mla(self.acc[3], b, k[1], "tt")
        columns = [(a, first), (b, first + 1)]
        for i, (reg, column) in enumerate(columns[::-1] if first == g.pad else columns):
            self.load((reg,), (2,), column, ends and i == 1)
        if self.half and not (len(outputs) == 2 and g.stride == 2):
            self.weights(pair)
        for lane, x, y in self.join():
            k = self.k if self.half else self.weights(pair + lane)
            for i, value in enumerate((x, y)):
                p.dot(self.sum_of(0, lane + i), value, k[i])
                if self.half and len(outputs) == 2 and g.stride == 1:
                    p.mla(self.sum_of(1, lane + i), value, k[i], "tb")

    def finish(self, outputs: range, ends: bool) -> None:
        """Sums become outputs; the first of the first one is the last that is stored."""
        p, g, rescale = self.p, self.g, self.g.rescale
        rest = self.spare if self.half else self.data[-1]
        if not rescale.has_shifts:
            multipliers = [*self.data[:2], *(() if self.half else self.k)]
            for i in range(0, g.lanes, 2):
                p.load_pair(multipliers[i], multipliers[i + 1], self.w, offset=self.behind(g.parameters + i))
            if rescale.numerics == "onnx" and not self.half:
                p.get(rest, "add")
        for lane in reversed(range(g.lanes)):
            m, add, shift, sign = self.data[0], self.data[1], self.k[0], self.k[1]
            if rescale.has_shifts:
                at = self.behind(g.parameters + 3 * lane)
                p.load_pair(m, add, self.w, offset=at)
                p.load(shift, self.w, offset=at + 8)
            for n, output in reversed(list(enumerate(outputs))):
                value = self.sum_of(n, lane)
                if rescale.has_shifts:
                    rescale_tflm(p, rescale, value, m, add, shift, sign)
                elif rescale.once:
                    rescale_once(p, rescale, value, multipliers[lane])
                else:
                    rescale_onnx(p, rescale, value, multipliers[lane], rest)
                at = output * g.channels + lane
                p.store_byte(value, self.out, offset=at, step=g.lanes if ends and at == 0 else 0)


@lru_cache(maxsize=64)
def filter_pairs(g: Pairs, groups: int) -> Routine:
    """Computes `groups` times `lanes` channels of a tile.

    The function is f(own0, own1, own2, weights, out, weights_end, add, near...): pointers to the first pixel of the tile in three rows, and
    VMCU_FROM of those to pixels of its neighbours.
    """
    p = Program(
        "filter_pairs",
        [
            f"A 3x3 filter over {g.tile_cols} columns of {g.channels} and {len(g.beside)} beside them, stride {g.stride}, "
            f"{g.out_cols} outputs, {g.lanes} channels at a time."
        ],
        [
            *((f"own{row}", "const int8_t *") for row in range(KERNEL)),
            *(("weights", "const int32_t *"), ("out", "int8_t *")),
            *(("weights_end", "const int32_t *"), ("add", "int32_t")),
            *((near(c, row), "const int8_t *") for c, row in nears(g.beside)),
        ],
    )
    tile = _Tile(p, g)
    for i, row in enumerate(tile.rows):
        p.get(row, f"own{i}")
    p.get(tile.w, "weights")
    p.get(tile.out, "out")
    stop: Reg | None = None
    if tile.half and g.rescale.numerics == "onnx":
        p.get(tile.spare, "add")
    elif tile.half:
        stop = p.source("w_end", 13)
        p.get(stop, "weights_end")
    with p.until("group", tile.w, stop or "weights_end", p.source("w_stop", 9)):
        passes = g.passes
        for outputs in passes:
            ends = outputs is passes[-1]
            tile.start(outputs is passes[0])
            tile.upper_rows(outputs, ends)
            tile.third_row(outputs, ends)
            tile.finish(outputs, ends)
        for i, row in enumerate(tile.rows):
            if i not in tile.moved:
                p.advance(row, g.lanes)
        if passes[-1][0] > 0:
            p.advance(tile.out, g.lanes)
    return Routine(p.function(), p.count({"group": groups}))


def pack_pairs(
    weights: NDArray[np.integer[Any]], scaled: Scaled, starts: Sequence[int], lanes: int
) -> NDArray[np.int32]:
    """What `filter_pairs` reads, some channels at a time: biases, two words of weights per column, the third row, requantisation.

    Args:
        weights: (channels, 3, 3).
        starts: first channel of every group.
    """
    w = weights.astype(np.int64) << scaled.rescale.pre

    def both(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
        return low & 0xFFFF | (high & 0xFFFF) << 16

    found = []
    for start in starts:
        block = w[start : start + lanes]
        third = both(block[:, 2, 1], block[:, 2, 2])
        if lanes == LANES[1]:
            third = both(block[:2, 2, 2], block[2:, 2, 2])
        found += [
            scaled.shifted_starts[start : start + lanes],
            *(both(block[:, 0, kx], block[:, 1, kx]) for kx in range(KERNEL)),
            both(block[:, 2, 0], block[:, 2, 1]),
            third,
        ]
        each = 1 if scaled.rescale.numerics == "onnx" else scaled.rescale.shifted_words
        found.append(scaled.parameters[start : start + lanes, :each].reshape(-1))
    return words(np.concatenate(found))
