"""Products of int8 vectors with a matrix of weights on DSP cores: the inner part of convolutions and dense layers.

**Weights.** Output channels come in blocks of four, the depth in steps of two, in the order in which SXTB16 unpacks
activations: bytes (0, 2), then (1, 3) of every four. A step of a block has the words

* "half": two channels in a halfword, h = 256 * w1 + w0. SMLAD with h sums S = 256 * D1 + D0, and with SXTB16(h) it sums
  T = D0; then D1 = (S - T) >> 8, exact while |D1| < 2^23. One word is unpacked by one instruction instead of two.
* "folded": the same weights, for sums beyond that. D1 is taken out at the end of every run of the depth, of which it is
  exact, and collected in memory. Only `single` does it.
* "bytes": the same bytes, unpacked by two; no bound.
* "wide": weights beyond int8, a word per channel.

Starting values stand in front of a block's weights, what requantises it behind them, so that one pointer passes all of it.

**Activations.** `pair` computes two pixels at once, so that every unpacked weight serves twice. It reads their
activations as halfwords from scratch, two words (one of each pixel) with one LDRD, or, "direct", as bytes from the row, unpacking them
again for every block. `single` computes one pixel, from bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
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

Form = Literal["half", "folded", "bytes", "wide"]
BLOCK = 4  # output channels
WORD = 4  # activations
HIGHS = ("high", "high3")  # variables of "folded": the sums of channels 1 and 3
MOST_UNROLLED = 8  # steps, or words
SHARED, SHORT = 4, 1  # the same, where text is dear, and where it is dearest
MOST_FOLDS = 8  # parts of a run
MOST_HIGH = 1 << 23  # the sum of the upper of two channels that share a halfword stays below
DIRECT_STRIDE_LIMIT = 4092  # bytes between two pixels that LDR can reach


@dataclass(frozen=True, slots=True)
class Product:
    """What the text of a product with weights (channels, depth) depends on.

    Attributes:
        form: of the weights.
        rescale: of the accumulators.
        channels, depth: padded to multiples of BLOCK and WORD.
        unrolled: steps or words in the body of a loop, see `unrolled`.
    """

    form: Form
    rescale: Rescale
    channels: int
    depth: int
    unrolled: int = 0

    @property
    def blocks(self) -> int:
        """Groups of channels."""
        return self.channels // BLOCK

    @property
    def words_per_block(self) -> int:
        """32-bit words of starting values, weights and requantisation."""
        weights = self.depth // 2 * (4 if self.form == "wide" else 2)
        if self.rescale.numerics == "onnx":
            return weights + 2 * BLOCK + 1
        return weights + BLOCK * (1 + self.rescale.words) - (2 if self.has_offset_in_sum else 0)

    @property
    def has_offset_in_sum(self) -> bool:
        """Is the offset of the second of two channels in its sum, which is 256 times its own?"""
        return self.form == "half" and self.rescale.once

    @property
    def is_shared(self) -> bool:
        """Do two channels share a halfword?"""
        return self.form in ("half", "folded")


def make_product(
    weights: NDArray[np.integer[Any]], scaled: Scaled, depth: int, unrolled: int = 0, folds: bool = False
) -> Product:
    """How these kernels compute it.

    Args:
        weights: (channels, any), zero point subtracted.
        scaled: their sums.
        depth: of a channel's weights as they will be laid out.
        unrolled: see there.
        folds: "folded" may be chosen: `fold` has said that its runs are short enough.
    """
    m = weights.shape[0]
    form: Form = "wide"
    if weights.dtype != np.int16:
        if _overflows(weights.reshape(m, -1)):
            form = "bytes"
        elif _fits(scaled):
            form = "half"
        else:
            form = "folded" if folds else "bytes"
    return Product(form, scaled.rescale, -(-m // BLOCK) * BLOCK, -(-depth // WORD) * WORD, unrolled)


def _fits(scaled: Scaled) -> bool:
    """Are the sums of the channels that come second exact in "half"?"""
    return int(scaled.bounds[1::2].max(initial=0)) < MOST_HIGH


def fold(weights: NDArray[np.integer[Any]], scaled: Scaled) -> int:
    """In how many parts each run has to be read: 1 where the whole fits, 0 where no number of whole words does.

    Args:
        weights: (channels, runs, bytes of a run), zero point subtracted.
    """
    if _fits(scaled):
        return 1
    run = weights.shape[2]
    sizes = 128 * np.abs(weights[1::2].astype(np.int64)).reshape(-1)
    for parts in range(1, MOST_FOLDS + 1):
        whole = parts == 1 or run % (parts * WORD) == 0
        if whole and sizes.reshape(-1, run // parts).sum(axis=1).max() < MOST_HIGH:
            return parts
    return 0


def _overflows(weights: NDArray[np.integer[Any]]) -> bool:
    """256 * w1 + w0 is no halfword: w1 is -128 and w0 negative."""
    odd = weights[1::2]
    return bool(np.any((odd == -128) & (weights[0::2][: len(odd)] < 0)))


def blocks_of(product: Product, channels: int) -> dict[str, object]:
    """What templates print of the blocks: whole ones are written where they belong, a part of one through a few bytes of
    stack."""
    whole, part = divmod(channels, BLOCK)
    return {
        "blocks": whole > 0,
        "words": whole * product.words_per_block,
        "part": part,
        "done": whole * BLOCK,
        "all_words": product.blocks * product.words_per_block,
    }


def pack_runs(
    weights: NDArray[np.integer[Any]], order: Sequence[int], scaled: Scaled, product: Product
) -> NDArray[np.int32]:
    """What the kernels read, in the order in which they do: starting values, weights and requantisation of each block.

    Args:
        weights: (channels, runs, bytes of a run).
        order: of a run, see `run_order`.
    """
    where = np.array(order)
    rows = np.where(where < 0, 0, weights.astype(np.int64)[:, :, np.maximum(where, 0)])
    starts, after = _parameters(scaled, product)
    return words(np.concatenate([starts, _weights(rows.reshape(len(weights), -1), product), after], axis=1))


def _weights(rows: NDArray[np.integer[Any]], product: Product) -> NDArray[np.int64]:
    """Words per block.

    Args:
        rows: (channels, depth), each laid out as the activations are.
    """
    w = np.zeros((product.channels, product.depth), np.int64)
    w[: rows.shape[0], : rows.shape[1]] = rows
    # (block, step, channel in block, half)
    pairs = w.reshape(-1, BLOCK, product.depth // WORD, WORD)[..., [0, 2, 1, 3]]
    halves = pairs.reshape(-1, BLOCK, product.depth // 2, 2).transpose(0, 2, 1, 3)
    if product.form != "wide":
        even, odd = halves[:, :, 0::2], halves[:, :, 1::2]
        halves = 256 * odd + even if product.is_shared else (odd & 0xFF) << 8 | even & 0xFF
    found: NDArray[np.int64] = (halves[..., 0] & 0xFFFF) | (halves[..., 1] & 0xFFFF) << 16
    return found.reshape(product.blocks, -1)


def _parameters(scaled: Scaled, product: Product) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starting values and requantisation, words per block."""
    channels = len(scaled.bias)
    padded = np.zeros(product.channels, np.int64)
    padded[:channels] = scaled.starts
    starts = padded.reshape(-1, BLOCK).copy()
    if product.form == "half" and not product.rescale.packed:  # else two instructions do it
        starts[:, 1::2] = starts[:, 1::2] * 256 + starts[:, 0::2]
    if product.has_offset_in_sum:
        offsets = np.zeros(product.channels, np.int64)
        offsets[:channels] = scaled.parameters[:, 1]
        starts[:, 1::2] += offsets.reshape(-1, BLOCK)[:, 1::2]
    after = np.ones((product.channels, product.rescale.words), np.int64)
    after[:channels] = scaled.parameters
    after = after.reshape(product.blocks, -1)
    if product.rescale.numerics == "onnx":  # the addend is read once a block, with the first two multipliers
        after = after[:, [0, 2, 1, 4, 6]]
        after[:, 2] = scaled.parameters[0, 1]
    if product.has_offset_in_sum:
        after = after[:, [0, 1, 2, 4, 5, 6]]
    return starts, after


def unrolled(count: int, given: int = 0) -> int:
    """How much text a loop of `count` trips has: a divisor.

    Args:
        given: 0: the largest that is not too much; else what it has in common with this, so that counts share text.
    """
    return gcd(count, given) if given else max(d for d in range(1, MOST_UNROLLED + 1) if count % d == 0)


# ---- text ------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def pair(product: Product, stride: int = 0) -> Routine:
    """Two pixels.

    The function is f(x, weights, out, out2, x_end, weights_end): x is scratch with the words of both
    pixels in turn, or, where `stride` is the distance of the two pixels in bytes, their row. "Compact" products of `tflm` take
    2 zero + 1 behind them.
    """
    p = Program(
        "matmul_2",
        ["Two pixels times a matrix of weights, four channels at a time."],
        [
            *(("x", "const int8_t *"), ("weights", "const int32_t *"), ("out", "int8_t *")),
            *(("out2", "int8_t *"), ("x_end", "const int8_t *")),
            ("weights_end", "const int32_t *"),
            *([("addend", "int32_t")] if product.rescale.packed else []),
        ],
    )
    acc = p.numbers("acc", (4, 5, 6, 7))
    acc2 = p.numbers("second", (8, 9, 10, 11))
    x, w = p.source("x", 0), p.source("w", 1)
    a, b, h, g = p.number("a", 2), p.number("b", 3), p.number("h", 12), p.number("g", 13)
    p.get(w, "weights")
    steps = product.depth // 2
    u = 2 * unrolled(steps // 2, product.unrolled // 2) if stride else unrolled(steps, product.unrolled)
    at_once = u == steps and not stride and not product.unrolled
    with p.until("block", w, "weights_end", p.source("end", 2)):
        _start(p, product, w, acc)
        p.get(x, "x")
        if at_once:
            for step in range(steps):
                p.load_pair(a, b, x, offset=8 * step)
                _multiply(p, product.form, w, (a, b), (acc, acc2), h, g, starts=step == 0)
        else:
            for to, value in zip(acc2, acc, strict=True):
                p.move(to, value)
            with p.until("step", x, "x_end", p.source("x_stop", 12)), p.repeat(u // 2 if stride else u):
                for upper in (False, True) if stride else (False,):
                    if stride:
                        p.load(b, x, offset=stride)
                        p.load(a, x, step=WORD if upper else 0)
                        p.widen(a, a, upper)
                        p.widen(b, b, upper)
                    else:
                        p.load_pair(a, b, x, step=8)
                    _multiply(p, product.form, w, (a, b), (acc, acc2), h, g)
        _finish_pair(p, product, acc, acc2)
    trips = {"block": product.blocks, "step": product.blocks * steps // u}
    return Routine(p.function(), p.count(trips))


def _multiply(
    p: Program,
    form: Form,
    w: Reg,
    xs: Sequence[Reg],
    accs: Sequence[Sequence[Reg]],
    h: Reg,
    g: Reg,
    starts: bool = False,
) -> None:
    """One step: two activations of every pixel times those of four channels.

    Args:
        starts: only the first pixel has its starting values; the others begin with the same.
    """
    assert form != "folded"

    def dots(channel: int, word: Reg) -> None:
        for x, acc in reversed(
            tuple(zip(xs, accs, strict=True))
        ):  # the first last: it still is what all start from
            p.dot(acc[channel], x, word, accs[0][channel] if starts else None)

    for even in (0, 2):
        if form == "half":
            if even == 0:
                p.load_pair(h, g, w, step=8)
            word = g if even else h
            dots(even + 1, word)
            p.widen(word, word)
            dots(even, word)
        elif form == "bytes":
            p.load(h, w, step=4)
            p.widen(g, h, upper=True)
            p.widen(h, h)
            dots(even + 1, g)
            dots(even, h)
        else:
            p.load_pair(h, g, w, step=8)
            dots(even, h)
            dots(even + 1, g)


def _start(p: Program, product: Product, w: Reg, acc: Sequence[Reg]) -> None:
    """Starting values of a block, to which w points."""
    if product.rescale.packed:  # they are asked for their shifts later
        p.put("weights", w)
    p.load_all(acc, w)
    if product.rescale.packed:
        _unpack(p, product, acc)


def _finish_pair(p: Program, product: Product, acc: Sequence[Reg], acc2: Sequence[Reg]) -> None:
    """Requantises and stores four channels of two pixels. The registers of x, a, b, h and g are free."""
    first, second = p.target("to", 13), p.target("to2", acc[0].number)
    p.get(first, "out")

    def second_target() -> None:
        p.get(second, "out2")

    _finish(p, product, (acc, acc2), (first, second), second_target)
    p.put("out", first)
    p.put("out2", second)


def _finish(
    p: Program,
    product: Product,
    accs: Sequence[Sequence[Reg]],
    targets: Sequence[Reg],
    ready: Callable[[], None],
) -> None:
    """Requantises four channels of each pixel. The pointer to weights moves behind the block.

    Args:
        ready: called once the first accumulator of the first pixel is stored and its register free.
    """
    source = p.source("w", 1)
    if product.form == "half":
        for acc in accs:
            for even in (0, 2):
                p.sub(acc[even + 1], acc[even + 1], acc[even])
    if product.rescale.numerics == "onnx":
        m, n, add = p.number("m", 2), p.number("n", 3), p.number("add", 12)
        for even in (0, 2):
            p.load_all((m, n, add) if even == 0 else (m, n), source)
            for acc, to in zip(accs, targets, strict=True):
                for channel, multiplier in ((even, m), (even + 1, n)):
                    x = acc[channel]
                    _prepare(p, product, x, channel)
                    rescale_onnx(p, product.rescale, x, multiplier, add)
                    p.store_byte(x, to, step=1)
                if even == 0 and acc is accs[0]:
                    ready()
        return
    if product.rescale.once:
        m, offset, n = p.number("m", 2), p.number("offset", 3), p.number("n", 12)
        for channel in range(BLOCK):
            with_offset = not (product.has_offset_in_sum and channel % 2)
            if with_offset:  # it brings what a channel without needs, too
                p.load_all((m, offset, n) if product.has_offset_in_sum else (m, offset), source)
            for acc, to in zip(accs, targets, strict=True):
                x = acc[channel]
                if with_offset:
                    p.add_left(x, offset, x, product.rescale.pre)
                rescale_once(p, product.rescale, x, m if with_offset else n)
                p.store_byte(x, to, step=1)
                if channel == 0 and acc is accs[0]:
                    ready()
        return
    m, add, shift, sign = p.number("m", 2), p.number("c", 3), p.number("shift", 12), p.number("sign", 0)
    block = p.source("block", 12)
    for channel in range(BLOCK):
        if product.rescale.packed:
            p.get(block, "weights")
        load_tflm(p, product.rescale, source, (block, 4 * channel), m, add, shift)
        for acc, to in zip(accs, targets, strict=True):
            x = acc[channel]
            _prepare(p, product, x, channel)
            rescale_tflm(p, product.rescale, x, m, add, shift, sign)
            p.store_byte(x, to, step=1)
            if channel == 0 and acc is accs[0]:
                ready()


def _prepare(p: Program, product: Product, x: Reg, channel: int) -> None:
    """x = its sum, shifted left as the requantisation wants it."""
    pre = product.rescale.pre
    if product.form == "half" and channel % 2:
        p.shift_right(x, x, 8 - pre)
    elif pre:
        p.shift_left(x, x, pre)


@lru_cache(maxsize=256)
def single(product: Product, words_per_row: int, part: int = 0, rows: int = 1) -> Routine:
    """One pixel.

    The function is f(in, weights, out, in_end, row_bytes, weights_end): the activations are those of
    the rows in..in_end, row_bytes each, a multiple of WORD * words_per_row or of a divisor of it up to MOST_UNROLLED, and `part`.
    "Compact" products of `tflm` take 2 zero + 1 behind them, "folded" ones two variables of their own.

    Args:
        part: bytes of a row beyond its last whole word; the word they are in overlaps the one before it (the weights of
            what is read twice are zero). They are not in row_bytes.
        rows: in a call whose instructions are asked for.
    """
    p = Program(
        "matmul_1",
        ["One pixel, or rows of a whole tensor, times a matrix of weights, four channels at a time."],
        [
            *(("in", "const int8_t *const *"), ("weights", "const int32_t *"), ("out", "int8_t *")),
            *(("in_end", "const int8_t *const *"), ("row_bytes", "int32_t")),
            ("weights_end", "const int32_t *"),
            *([("addend", "int32_t")] if product.rescale.packed else []),
            *((name, "int32_t") for name in HIGHS if product.form == "folded"),
        ],
    )
    acc = p.numbers("acc", (4, 5, 6, 7))
    quad = p.numbers("h", (8, 9, 10, 11))
    x, w, x_end, row = p.source("x", 0), p.source("w", 1), p.source("x_end", 12), p.rows("row", 13)
    a, b = p.number("a", 2), p.number("b", 3)
    p.get(w, "weights")
    u = unrolled(words_per_row, product.unrolled)
    with p.until("block", w, "weights_end", p.source("end", 2)):
        _start(p, product, w, acc)
        if product.form == "folded":
            for even, name in zip((0, 2), HIGHS, strict=True):
                p.put(name, acc[even + 1])
                p.move(acc[even + 1], acc[even])
        p.get(row, "in")
        with p.until("row", row, "in_end", p.rows("row_stop", 3)):
            p.next_row(x, row)
            p.get(p.number("length", 2), "row_bytes")
            p.point(x_end, x, p.number("length", 2))
            with p.until("word", x, x_end), p.repeat(u):
                p.load(a, x, step=WORD)
                p.widen(b, a, upper=True)
                p.widen(a, a)
                _multiply_one(p, product.form, w, (a, b), acc, quad)
            if part:
                p.load(a, x, offset=part - WORD)
                p.widen(b, a, upper=True)
                p.widen(a, a)
                _multiply_one(p, product.form, w, (a, b), acc, quad)
            if product.form == "folded":
                _fold(p, acc, a)
        if product.form == "folded":
            for even, name in zip((0, 2), HIGHS, strict=True):
                p.get(acc[even + 1], name)
        _finish_single(p, product, acc)
    blocks = product.blocks
    words_read = product.depth // WORD - (rows if part else 0)
    trips = {"block": blocks, "row": blocks * rows, "word": blocks * words_read // u}
    return Routine(p.function(), p.count(trips))


def _unpack(p: Program, product: Product, acc: Sequence[Reg]) -> None:
    """Starting values without their shifts. Below 256 * D1 a shift does no harm: it is cut off with D0 (see above)."""
    for even in (0, 2):
        p.shift_right(acc[even], acc[even], SHIFT_BITS)
        if product.form == "half":
            p.add(acc[even + 1], acc[even + 1], acc[even])
        else:
            p.shift_right(acc[even + 1], acc[even + 1], SHIFT_BITS)


def _fold(p: Program, acc: Sequence[Reg], spare: Reg) -> None:
    """S - T, 256 times D1 of a run, goes to the sum of these; S starts anew from T."""
    for even, name in zip((0, 2), HIGHS, strict=True):
        high, low = acc[even + 1], acc[even]
        p.sub(high, high, low)
        p.get(spare, name)
        p.add(spare, spare, high, asr=8)
        p.put(name, spare)
        p.move(high, low)


def _multiply_one(
    p: Program, form: Form, w: Reg, xs: Sequence[Reg], acc: Sequence[Reg], quad: Sequence[Reg]
) -> None:
    """Four activations times those of four channels."""
    if form in ("half", "folded"):
        p.load_all(quad, w)
        for x, pairs in zip(xs, (quad[:2], quad[2:]), strict=True):
            for even, word in zip((0, 2), pairs, strict=True):
                p.dot(acc[even + 1], x, word)
                p.widen(word, word)
                p.dot(acc[even], x, word)
    elif form == "bytes":
        for x in xs:
            p.load_all(quad[:2], w)
            for even, word in zip((0, 2), quad[:2], strict=True):
                p.widen(quad[2], word, upper=True)
                p.widen(word, word)
                p.dot(acc[even + 1], x, quad[2])
                p.dot(acc[even], x, word)
    else:
        for x in xs:
            p.load_all(quad, w)
            for to, word in zip(acc, quad, strict=True):
                p.dot(to, x, word)


def _finish_single(p: Program, product: Product, acc: Sequence[Reg]) -> None:
    to = p.target("to", 13)
    p.get(to, "out")
    _finish(p, product, (acc,), (to,), lambda: None)
    p.put("out", to)


@lru_cache(maxsize=64)
def gather(part: int, step: int) -> Program:
    """Runs of bytes of one pixel as halfwords, every second word, as `pair` reads them.

    The function is f(runs, to, runs_end, whole): runs points to the address of each run, whole is their bytes but for a part
    of a word at the end, a multiple of WORD * step.

    Args:
        part: bytes of a run beyond its last whole word; the word they are in overlaps the one before it (the weights of
            what is read twice are zero).
        step: words at a time.

    Returns:
        The program; its loops are "run" and "word".
    """
    p = Program(
        "gather",
        [f"Runs of {WORD * step}n + {part} bytes of a pixel as halfwords, every second word."],
        [
            *(("runs", "const int8_t *const *"), ("to", "int8_t *"), ("runs_end", "const int8_t *const *")),
            ("whole", "int32_t"),
        ],
    )
    row, to = p.rows("row", 0), p.target("dest", 1)
    x, end, stop, length = (
        p.source("x", 2),
        p.source("x_end", 3),
        p.rows("row_stop", 4),
        p.number("length", 5),
    )
    a, b = p.number("a", 6), p.number("b", 7)
    p.get(row, "runs")
    p.get(to, "to")
    p.get(stop, "runs_end")
    p.get(length, "whole")

    def both() -> None:
        p.widen(b, a)
        p.widen(a, a, upper=True)
        p.store(b, to, step=8)
        p.store(a, to, step=8)

    with p.until("run", row, stop):
        p.next_row(x, row)
        p.point(end, x, length)
        with p.until("word", x, end), p.repeat(step):
            p.load(a, x, step=WORD)
            both()
        if part:
            p.load(a, x, offset=part - WORD)
            both()
    return p


@lru_cache(maxsize=64)
def gather_windows(part: int, step: int) -> Program:
    """Runs of bytes of two pixels as halfwords in turn, as `pair` reads them.

    The function is f(rows, to, rows_end, whole, first, distance): a run of the first pixel is at `first` in its row, that of the other
    `distance` behind it; `whole` and the rest are those of `gather`.

    Returns:
        The program; its loops are "run" and "word".
    """
    p = Program(
        "gather_windows",
        [f"Runs of {WORD * step}n + {part} bytes of two pixels as halfwords in turn."],
        [
            *(("rows", "const int8_t *const *"), ("to", "int8_t *"), ("rows_end", "const int8_t *const *")),
            *((name, "int32_t") for name in ("whole", "first", "distance")),
        ],
    )
    row, to, x, y = p.rows("row", 0), p.target("dest", 1), p.source("x", 2), p.source("y", 3)
    end, stop = p.source("x_end", 4), p.rows("row_stop", 5)
    numbers = length, first, distance = p.number("length", 6), p.number("start", 7), p.number("next", 8)
    a, b, c, d = p.numbers("v", (9, 10, 11, 12))
    p.get(row, "rows")
    p.get(to, "to")
    p.get(stop, "rows_end")
    for number, name in zip(numbers, ("whole", "first", "distance"), strict=True):
        p.get(number, name)

    def both() -> None:
        p.widen(c, a)
        p.widen(d, b)
        p.store_pair(c, d, to, step=8)
        p.widen(a, a, upper=True)
        p.widen(b, b, upper=True)
        p.store_pair(a, b, to, step=8)

    with p.until("run", row, stop):
        p.next_row(x, row)
        p.advance(x, first)
        p.point(y, x, distance)
        p.point(end, x, length)
        with p.until("word", x, end), p.repeat(step):
            p.load(b, y, step=WORD)
            p.load(a, x, step=WORD)
            both()
        if part:
            p.load(b, y, offset=part - WORD)
            p.load(a, x, offset=part - WORD)
            both()
    return p


@lru_cache(maxsize=64)
def gather_pair(depth: int, given: int = 0) -> Routine:
    """Two pixels as halfwords, word by word in turn, as `pair` reads them.

    The function is f(x, to, x_end, x2).

    Args:
        depth: bytes of a pixel, a multiple of WORD.
        given: see `unrolled`.
    """
    p = Program(
        "gather_2",
        ["Two pixels as halfwords in turn."],
        [
            *(("x", "const int8_t *"), ("to", "int8_t *"), ("x_end", "const int8_t *")),
            ("x2", "const int8_t *"),
        ],
    )
    x, to, end, y = p.source("from", 0), p.target("dest", 1), p.source("end", 2), p.source("from2", 3)
    a, b, c, d = p.numbers("v", (4, 5, 6, 7))
    p.get(x, "x")
    p.get(to, "to")
    p.get(end, "x_end")
    p.get(y, "x2")
    u = unrolled(depth // WORD, given)
    with p.until("word", x, end), p.repeat(u):
        p.load(b, y, step=WORD)
        p.load(a, x, step=WORD)
        p.widen(c, a)
        p.widen(d, b)
        p.store_pair(c, d, to, step=8)
        p.widen(a, a, upper=True)
        p.widen(b, b, upper=True)
        p.store_pair(a, b, to, step=8)
    return Routine(p.function(), p.count({"word": depth // WORD // u}))


def run_order(run: int) -> list[int]:
    """Where in a run each gathered activation comes from; -1: it is read a second time, and its weight is zero."""
    order = list(range(run // WORD * WORD))
    if run % WORD:
        fresh = run % WORD
        order += [-1] * (WORD - fresh) + list(range(run - fresh, run))
    return order
