"""Products of int8 vectors with a matrix of weights on small cores: the inner part of convolutions and dense layers.

**Weights** lie in the order in which they are read: by block of channels, position in the window, channel of the block. A
block's accumulators stay in registers.

**Cortex-M3**: two pixels at a constant distance times four channels, or one pixel times up to eight: a load per activation and
per weight, an MLA per product, 14 instructions per 8 products.

**Cortex-M3, packed**: where a layer's weights are few, two of them share a word, W = 2^23 * w1 + w0, and SMLAL adds both products to one sum of
64 bits, 2^23 * D1 + D0 + 2^22; D0 is its lower 23 bits since |D0| < 2^22 is known. This takes 7 instructions per 8 products, and twice the
flash for the weights.

**Cortex-M3, masked**: the same without more flash, where there is one pixel (dense layers): four channels' bytes are a word, 128 added to the
even ones; AND leaves its bytes 0 and 3, and rotated its bytes 2 and 1, which are two channels 24 bits apart. The sum of the activations, taken
once, is subtracted 128 times from the even channels. 11 instructions per 8 products instead of 17.

**Cortex-M0+**: one pixel times up to eight channels, five of whose accumulators lie in high registers. MULS overwrites a factor, so each
product takes a load of its weight, MULS and ADD, and a second pixel would save nothing. Weights are stored with 128 added: LDRB has an
offset, LDRSB has none. The sum of the activations is kept beside the others; 128 times it is subtracted at the end.

**Rolled**, where flash is short: few steps unrolled, the length of a run and the distances of two pixels are parameters; layers share
the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Reg
from vmcu.kernels.small.assembly import MOST_OFFSET, Thumb1, Thumb2, counted
from vmcu.kernels.small.common import (
    Routine,
    Scale,
    Scaled,
    as_words,
    rescale_compact,
    rescale_thumb1,
    rescale_thumb2,
)

MOST_CHANNELS = 8
PAIR_CHANNELS = 4
MOST_STEPS = 8  # unrolled
MOST_RUN = 65535  # bytes
PACKED_BITS, MASKED_BITS = 23, 24  # that the lower of two sums takes
LDRB_OFFSETS = 32  # that LDRB reaches in Thumb-1


@dataclass(frozen=True, slots=True)
class Shape:
    """A routine's sizes.

    Attributes:
        scale: requantisation.
        pixels: 1 or 2.
        channels: of a block.
        rows: pointers to runs of activations.
        run: bytes of each.
        distance: between the pixels, in bytes of input.
        out_distance: and of output.
        packed: two weights share a word.
        masked: four do, two of them at a time.
        rolled: one text for all runs, with so many steps unrolled; 0: not so.
    """

    scale: Scale
    pixels: int
    channels: int
    rows: int
    run: int
    distance: int = 0
    out_distance: int = 0
    packed: bool = False
    masked: bool = False
    rolled: int = 0

    @property
    def steps(self) -> int:
        """Of the run in a loop's body."""
        most = MOST_STEPS if self.pixels == 1 else MOST_STEPS // 2
        if self.rolled:
            whole = self.channels * self.pixels == MOST_CHANNELS
            most = self.rolled if whole and self.run % self.rolled == 0 else 1
        if self.scale.thumb1:
            most = min(most, LDRB_OFFSETS // self.channels)
        return max(d for d in range(1, most + 1) if self.run % d == 0)

    @property
    def possible(self) -> bool:
        """Do its offsets fit in the instructions?"""
        if self.scale.thumb1:
            return self.pixels == 1
        return max(self.distance, self.out_distance + self.channels) <= MOST_OFFSET and self.run <= MOST_RUN


def pack_weights(scaled: Scaled, block: int) -> NDArray[np.int8]:
    """Weights in the order in which the routines read them; the last block may be smaller."""
    rows = scaled.weights.reshape(len(scaled.bias), -1).astype(np.int64)
    given = (rows + (128 if scaled.scale.thumb1 else 0)) & 0xFF
    parts = [given[i : i + block].T.reshape(-1) for i in range(0, len(rows), block)]
    return np.concatenate(parts).astype(np.uint8).view(np.int8)


def pack_words(scaled: Scaled, block: int) -> NDArray[np.int32]:
    """The same, two channels in a word; an odd one is joined by nothing."""
    rows = scaled.weights.reshape(len(scaled.bias), -1).astype(np.int64)
    parts = [_joined(rows[i : i + block]).T.reshape(-1) for i in range(0, len(rows), block)]
    return as_words(np.concatenate(parts))


def pack_masked(scaled: Scaled, block: int) -> NDArray[np.int8]:
    """Of every four channels bytes 0, 3, 2, 1 of a word, 128 added to the even ones; a smaller last block as it is."""
    rows = scaled.weights.reshape(len(scaled.bias), -1).astype(np.int64)
    parts = []
    for i in range(0, len(rows), block):
        part = rows[i : i + block].copy()
        if len(part) == block:
            part[0::2] += 128
            part = part[[0, 3, 2, 1, 4, 7, 6, 5]]
        parts.append((part & 0xFF).T.reshape(-1))
    return np.concatenate(parts).astype(np.uint8).view(np.int8)


def _joined(values: NDArray[np.int64], bits: int = PACKED_BITS) -> NDArray[np.int64]:
    """2^bits * odd rows + even rows."""
    even, odd = values[0::2].copy(), values[1::2]
    even[: len(odd)] += odd << bits
    return even


def can_pack(scaled: Scaled, bits: int = PACKED_BITS) -> bool:
    """Are sums of even channels small enough?"""
    sizes = np.abs(scaled.weights.reshape(len(scaled.bias), -1).astype(np.int64)).sum(axis=1) * 128 + np.abs(
        scaled.bias
    )
    return not scaled.scale.thumb1 and int(sizes[0::2].max()) < 1 << (bits - 1)


def block_words(scale: Scale, channels: int, packed: bool) -> int:
    """Parameters of a block."""
    starts = channels + channels % 2 if packed else channels
    return starts + scale.shared + channels * scale.words


def pack_parameters(scaled: Scaled, block: int, packed: bool, masked: bool = False) -> NDArray[np.int32]:
    """Per block its starting values and requantisation."""
    parts: list[NDArray[np.int64]] = []
    for i in range(0, len(scaled.bias), block):
        starts = scaled.starts[i : i + block]
        if packed or (masked and len(starts) == block):
            bits = PACKED_BITS if packed else MASKED_BITS
            both = _joined(starts[:, None], bits)[:, 0] + (1 << (bits - 1))
            starts = np.stack([both & 0xFFFFFFFF, both >> 32], axis=1).reshape(-1)
        parts += [starts, scaled.requantisation(i, block)]
    return as_words(np.concatenate(parts))


@lru_cache(maxsize=256)
def product(shape: Shape, blocks: int) -> Routine:
    """The routine, and the instructions of a call for so many blocks.

    It is f(rows, weights, parameters, out, [row, rows_end,] offset, [index,] weights_end): the activations are at `offset` of each of
    rows..rows_end; row is a copy of rows, and both are left out where there is one row. In Thumb-1 `offset` is that of the run's end, and index is minus its length.
    Last come, where the text is rolled, `run`, its length, and of two pixels their distances and a place; and `given`, where the
    scale is compact (`tflm`).
    """
    kind_of = "const int32_t *" if shape.packed else "const int8_t *"
    names = [
        *(("rows", "const int8_t *const *"), ("weights", kind_of), ("parameters", "const int32_t *")),
        ("out", "int8_t *"),
        *(
            (("row", "const int8_t *const *"), ("rows_end", "const int8_t *const *"))
            if shape.rows > 1
            else ()
        ),
        ("offset", "int32_t"),
        *([("index", "int32_t")] if shape.scale.thumb1 else []),
        *((("total", "int32_t"), ("run_end", "const int8_t *")) if shape.masked else ()),
        ("weights_end", kind_of),
        *([("run", "int32_t")] if shape.rolled and not shape.scale.thumb1 else []),
        *(
            [("distance", "int32_t"), ("out_distance", "int32_t"), ("run_end", "const int8_t *")]
            if shape.rolled and shape.pixels == 2
            else []
        ),
        *([("given", "int32_t")] if shape.scale.compact else []),
    ]
    count = "Two pixels" if shape.pixels == 2 else "One pixel"
    purpose = [f"{count} times a matrix of weights, {shape.channels} channels at a time."]
    unrolled = _thumb1 if shape.scale.thumb1 else _masked if shape.masked else _thumb2
    kind = Thumb1 if shape.scale.thumb1 else Thumb2
    p = kind(f"product_{shape.pixels}x{shape.channels}", purpose, names)
    unrolled(p, shape)  # type: ignore[arg-type]
    u, rows = shape.steps, blocks * shape.rows
    trips = {"block": blocks, "row": rows, "step": rows * shape.run // u}
    trips |= {"first": shape.rows, "sum": shape.rows * shape.run // u}
    return Routine(p.function(), counted(p, trips))


def _thumb2(p: Thumb2, s: Shape) -> None:
    first = p.numbers("acc", range(4, 4 + s.channels + (s.channels % 2 if s.packed else 0)))
    second = p.numbers("second", range(8, 8 + s.channels)) if s.pixels == 2 else ()
    x, w, a, b, v = p.source("x", 0), p.source("w", 1), p.number("a", 2), p.number("b", 3), p.number("v", 12)
    end, start, far = p.source("x_end", 13), p.source("start", 12), p.number("far", 13)
    apart = s.rolled and s.pixels == 2  # the distance takes the register of the run's end

    def step() -> None:
        with p.repeat(s.steps):
            if apart:
                p.byte_at(b, x, far)
            elif s.pixels == 2:
                p.byte(b, x, offset=s.distance)
            p.byte(a, x, step=1)
            if s.packed:
                _multiply_packed(p, w, a, first, (v, b))
                return
            for c in range(s.channels):
                p.byte(v, w, step=1)
                p.multiply_add(first[c], a, v)
                if s.pixels == 2:
                    p.multiply_add(second[c], b, v)

    def run() -> None:
        p.get(p.number("off", 13), "offset")
        p.advance(x, p.number("off", 13))
        if s.steps == s.run and not s.rolled:
            step()
            return
        if s.rolled:
            p.get(far, "run")
            p.point(end, x, far)
        elif s.run > MOST_OFFSET:
            p.move(far, s.run)
            p.point(end, x, far)
        else:
            p.point(end, x, s.run)
        if apart:
            p.put("run_end", end)
            p.get(far, "distance")
        with p.until("step", x, "run_end" if apart else end, p.source("run_stop", 12)):
            step()

    p.get(w, "weights")
    with p.until("block", w, "weights_end", p.source("stop", 2)):
        p.get(start, "parameters")
        p.load_all(first, start)
        p.put("parameters", start)
        unpack_starts(p, s.scale, first)
        for to, value in zip(second, first, strict=False):
            p.move(to, value)
        row = p.rows("at", 12)
        p.get(row, "rows")
        if s.rows == 1:
            p.next_row(x, row)
            run()
        else:
            with p.until("row", row, "rows_end", p.rows("rows_stop", 13)):
                p.next_row(x, row)
                p.put("row", row)
                run()
                p.get(row, "row")
        finish_thumb2(p, s, (first, second))


def unpack_starts(p: Thumb2, scale: Scale, acc: Sequence[Reg]) -> None:
    """Starting values without the shifts below them."""
    for reg in acc if scale.packed_shift else ():
        p.shift_right(reg, reg, scale.packed_shift)


def _masked(p: Thumb2, s: Shape) -> None:
    """For eight channels."""
    acc = p.numbers("acc", range(4, 12))
    x, w, a, v, t, mask = (
        *(p.source("x", 0), p.source("w", 1), p.number("a", 2), p.number("v", 3)),
        *(p.number("part", 12), p.number("mask", 13)),
    )

    def rows(loop: str, inner: str, step: Callable[[], None]) -> None:
        row, end = p.rows("at", 12), p.source("x_end", 12)
        p.get(row, "rows")
        if s.rows > 1:
            p.put("row", row)
        with p.until(loop, row, "rows_end", p.rows("rows_stop", 13)) if s.rows > 1 else nullcontext():
            p.next_row(x, row)
            if s.rows > 1:
                p.put("row", row)
            p.get(p.number("off", 12), "offset")
            p.advance(x, p.number("off", 12))
            p.move(p.number("far", 12), s.run)
            p.point(end, x, p.number("far", 12))
            p.put("run_end", end)
            p.ends_mask(mask)
            with p.until(inner, x, "run_end", p.source("run_stop", 12)), p.repeat(s.steps):
                step()
            if s.rows > 1:
                p.get(row, "row")

    def add_up() -> None:
        p.byte(a, x, step=1)
        p.add(v, v, a)

    def step() -> None:
        p.byte(a, x, step=1)
        for i in (0, 4):
            p.load(v, w, step=4)
            p.ends(t, v, mask)
            p.ends(v, v, mask, 16)
            p.long_mla(acc[i], acc[i + 1], a, t)
            p.long_mla(acc[i + 2], acc[i + 3], a, v)

    p.move(v, 0)
    rows("first", "sum", add_up)
    p.put("total", v)
    p.get(w, "weights")
    start = p.source("start", 12)
    with p.until("block", w, "weights_end", p.source("stop", 2)):
        p.get(start, "parameters")
        p.load_all(acc, start)
        p.put("parameters", start)
        rows("row", "step", step)
        p.get(a, "total")
        p.move(v, -128)
        for i in range(0, 8, 2):
            p.long_mla(acc[i], acc[i + 1], a, v)
        finish_thumb2(p, s, (acc,))


def _multiply_packed(p: Thumb2, w: Reg, x: Reg, acc: Sequence[Reg], words: Sequence[Reg]) -> None:
    pairs = [acc[i : i + 2] for i in range(0, len(acc), 2)]
    for i in range(0, len(pairs), 2):
        if len(pairs) > i + 1:
            p.load_pair(words[0], words[1], w, step=8)
        else:
            p.load(words[0], w, step=4)
        for (low, high), word in zip(pairs[i : i + 2], words, strict=False):
            p.long_mla(low, high, x, word)


def finish_thumb2(p: Thumb2, s: Shape, accs: Sequence[Sequence[Reg]]) -> None:
    """The outputs of a block, from the accumulators of its pixels; `weights` is in r1, `parameters` is at the words behind the
    starting values."""
    tflm = s.scale.numerics == "tflm"
    source, t, low = p.source("rest", 0), p.number("t", 1), p.number("low", 13)
    m, add, shift = p.number("m", 2), p.number("c", 3), p.number("shift", 12)
    if tflm or (s.rolled and s.pixels == 2):
        p.put("weights", p.source("w", 1))  # its register is needed
    p.get(source, "parameters")
    if s.packed or s.masked:
        for i in range(0, len(accs[0]), 2):
            (p.unpack if s.packed else p.unpack24)(accs[0][i], accs[0][i + 1], low)
    if not tflm:
        p.load(add, source, step=4)
    for c in range(s.channels):
        if s.scale.packed_shift:
            p.load(m, source, step=4)
            p.load(shift, source, offset=-4 * (s.channels + 1))
            p.lowest(shift, s.scale.packed_shift)
            p.get(add, "given")
            p.shift_left(add, add, shift)
        elif tflm:
            p.load_all((m, add, shift), source)
        else:
            p.load(m, source, step=4)
        for acc in accs[: s.pixels]:
            rescale_thumb2(p, s.scale, acc[c], m, add, shift, t, low)
    p.put("parameters", source)
    to = p.target("to", 0)
    p.get(to, "out")
    other, distance = p.target("other", 1), p.number("beside", 2)
    if s.rolled and s.pixels == 2:
        p.get(distance, "out_distance")
        p.point(other, to, distance)
    for i, acc in enumerate(accs[: s.pixels]):
        for c in range(s.channels):
            if s.rolled and i:
                p.store_byte(acc[c], other, offset=c)
            else:
                p.store_byte(acc[c], to, offset=i * s.out_distance + c)
    p.advance(to, s.channels)
    p.put("out", to)
    if tflm or (s.rolled and s.pixels == 2):
        p.get(p.source("w", 1), "weights")


def _thumb1(p: Thumb1, s: Shape) -> None:
    acc = p.numbers("acc", range(5, 5 + s.channels))
    x, i, w, v, t = p.source("x", 0), p.number("i", 1), p.source("w", 2), p.number("v", 3), p.number("t", 4)
    total, u = p.number("total", 13), s.steps

    def run() -> None:
        p.get(p.number("off", 4), "offset")
        p.forward_by(x, p.number("off", 4))
        p.get(i, "index")
        with p.down_to_zero("step", i):
            for k in range(u):
                p.byte(v, x, i)
                p.plus(total, v)
                for c in range(s.channels):
                    p.unsigned_byte(t, w, k * s.channels + c)
                    p.multiply(t, v)
                    p.plus(acc[c], t)
                if k == u - 1:
                    p.forward(w, u * s.channels)
                p.plus_constant(i, 1)

    p.get(w, "weights")
    with p.until_far("block", w, "weights_end", p.source("stop", 0)):
        start_thumb1(p, s.scale, acc, (i, v, t))
        p.constant(t, 0)
        p.copy(total, t)
        row = p.rows("at", 4)
        p.get(row, "rows")
        if s.rows == 1:
            p.row(x, row)
            run()
        else:
            with p.until_far("row", row, "rows_end", p.rows("rows_stop", 3)):
                p.row(x, row)
                p.put("row", row)
                run()
                p.get(row, "row")
        p.put("weights", w)
        p.copy(t, total)
        p.negative_shifted(t, 7)
        p.copy(total, t)
        finish_thumb1(p, s.scale, acc, total)
        p.get(w, "weights")


def start_thumb1(p: Thumb1, scale: Scale, acc: Sequence[Reg], spare: Sequence[Reg]) -> None:
    """Starting values; `parameters` moves behind them, unless they will be read again."""
    start = p.source("start", 0)
    p.get(start, "parameters")
    p.load_sums(acc, start, spare, scale.packed_shift)
    if not scale.compact:
        p.put("parameters", start)


def finish_thumb1(p: Thumb1, scale: Scale, acc: Sequence[Reg], total: Reg | None) -> None:
    """The outputs of a block, from its accumulators and what is added to all of them; registers 0 to 4 are lost."""
    source, to, channels = p.source("rest", 0), p.target("to", 4), len(acc)
    p.get(source, "parameters")
    p.get(to, "out")
    parts = (p.number("m0", 1), p.number("m1", 2), p.number("m2", 3))
    for c in range(channels):
        a = acc[c]
        if a.number > 7:
            a = p.number("a", 5)
            p.copy(a, acc[c])
        if total:
            p.plus(a, total)
        if scale.compact:
            rescale_compact(p, scale, a, parts, source, channels)
            p.forward(source, 4)
        else:
            rescale_thumb1(p, scale, a, parts, source)
        p.store_byte(parts[0], to, offset=c)
    if scale.compact:
        p.forward(source, 4 * channels * scale.words)
    p.forward(to, channels)
    p.put("out", to)
    p.put("parameters", source)
