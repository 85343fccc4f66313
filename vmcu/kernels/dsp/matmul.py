"""Products of int8 vectors with a matrix of weights (`weights.py`) on DSP cores: the inner part of convolutions and dense layers.

`pair` computes two pixels at once, so that every unpacked weight serves twice. It reads their
activations as halfwords from scratch (`gather.py`), two words (one of each pixel) with one LDRD, or, "direct", as bytes from the row,
unpacking them again for every block. `single` computes one pixel, from bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.rescale import SHIFT_BITS, load_tflm, rescale_once, rescale_onnx, rescale_tflm
from vmcu.kernels.dsp.weights import BLOCK, WORD, Form, Product, unrolled

HIGHS = ("high", "high3")  # variables of "folded": the sums of channels 1 and 3
DIRECT_STRIDE_LIMIT = 4092  # bytes between two pixels that LDR can reach


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
                multiply_one(p, product.form, w, (a, b), acc, quad)
            if part:
                p.load(a, x, offset=part - WORD)
                p.widen(b, a, upper=True)
                p.widen(a, a)
                multiply_one(p, product.form, w, (a, b), acc, quad)
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


def multiply_one(
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
