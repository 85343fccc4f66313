"""Depthwise convolutions of one column on small cores (1-D ones are such): blocks of channels of one pixel.

Where a window is one pixel wide, strips of pixels share nothing. Here neighbouring channels share what a row costs: its pointer and the
loop. A block's constants are one piece: biases, weights by row and channel (to a multiple of four bytes), requantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.small.assembly import Thumb1, Thumb2, counted
from vmcu.kernels.small.common import Routine, Scale, Scaled, as_words, rescale_thumb1, rescale_thumb2
from vmcu.ops.base import ConstArray, Function, Kernel

BLOCK = 8  # channels
PER_CALL, PER_ROW = 20, 20  # instructions of the C around the routines


@dataclass(frozen=True, slots=True)
class Tall:
    """A routine's sizes: requantisation, channels of a block, rows of the window."""

    scale: Scale
    channels: int
    rows: int

    @property
    def pad_bytes(self) -> int:
        """Behind a block's weights."""
        return -self.channels * self.rows % 4

    @property
    def words(self) -> int:
        """Constants of a block."""
        taps = (self.channels * self.rows + self.pad_bytes) // 4
        return self.channels * (1 + self.scale.words) + taps + self.scale.shared


def pack(scaled: Scaled, block: int) -> NDArray[np.int32]:
    """All constants."""
    m = len(scaled.bias)
    weights = scaled.weights.reshape(m, -1)
    parts: list[NDArray[np.int64]] = []
    for i in range(0, m, block):
        flat = weights[i : i + block].T.reshape(-1)
        taps = np.concatenate([flat, np.zeros(-len(flat) % 4, np.int8)])
        parts += [scaled.bias[i : i + block], taps.view("<i4").astype(np.int64)]
        parts += [scaled.shared, scaled.parameters[i : i + block].reshape(-1)]
    return as_words(np.concatenate(parts))


@lru_cache(maxsize=256)
def tall(s: Tall, blocks: int) -> Routine:
    """The routine f(rows, weights, out, from, rows_end, weights_end), and the instructions of a call for so many blocks.

    from is the first channel.
    """
    names = [
        *(
            ("rows", "const int8_t *const *"),
            ("weights", "const int32_t *"),
            ("out", "int8_t *"),
            ("from", "int32_t"),
        ),
        *(("rows_end", "const int8_t *const *"), ("weights_end", "const int32_t *")),
    ]
    purpose = [f"One pixel, {s.channels} channels at a time, each filtered by its own weights."]
    p = (Thumb1 if s.scale.thumb1 else Thumb2)(f"tall_{s.channels}", purpose, names)
    (_thumb1 if s.scale.thumb1 else _thumb2)(p, s)  # type: ignore[arg-type]
    return Routine(p.function(), counted(p, {"block": blocks, "row": blocks * s.rows}))


def _thumb2(p: Thumb2, s: Tall) -> None:
    acc = p.numbers("acc", range(4, 4 + s.channels))
    row, tab, x, c = p.source("row", 0), p.rows("tab", 1), p.number("x", 2), p.number("c", 3)
    w, v = p.source("w", 12), p.number("v", 13)
    p.get(w, "weights")
    with p.until("block", w, "weights_end", p.source("stop", 0)):
        p.load_all(acc, w)
        p.get(tab, "rows")
        p.get(c, "from")
        with p.until("row", tab, "rows_end", p.rows("rows_stop", 2)):
            p.next_row(row, tab)
            p.advance(row, c)
            for i, a in enumerate(acc):
                p.byte(x, row, offset=i)
                p.byte(v, w, step=1)
                p.multiply_add(a, x, v)
        p.advance(c, s.channels)
        p.put("from", c)
        if s.pad_bytes:
            p.advance(w, s.pad_bytes)
        m, add, shift = p.number("m", 0), p.number("add", 1), p.number("shift", 2)
        t, low = p.number("t", 3), p.number("low", 13)
        if s.scale.shared:
            p.load(add, w, step=4)
        for a in acc:
            if s.scale.shared:
                p.load(m, w, step=4)
            else:
                p.load_all((m, add, shift), w)
            rescale_thumb2(p, s.scale, a, m, add, shift, t, low)
        to = p.target("to", 0)
        p.get(to, "out")
        for a in acc:
            p.store_byte(a, to, step=1)
        p.put("out", to)


def _thumb1(p: Thumb1, s: Tall) -> None:
    acc = p.numbers("acc", range(5, 5 + s.channels))
    row, j, w, x, t = (
        p.source("row", 0),
        p.number("j", 1),
        p.source("w", 2),
        p.number("x", 3),
        p.number("t", 4),
    )
    tab, at, c = p.rows("tab", 13), p.rows("at", 4), p.number("c", 4)
    p.get(w, "weights")
    with p.until_far("block", w, "weights_end", p.source("stop", 0)):
        p.load_sums(acc, w, (j, x, t))
        p.get(at, "rows")
        p.copy(tab, at)
        with p.until_far("row", tab, "rows_end", p.rows("rows_stop", 4)):
            p.copy(at, tab)
            p.row(row, at)
            p.copy(tab, at)
            p.get(c, "from")
            p.forward_by(row, c)
            p.constant(j, 0)
            for i, a in enumerate(acc):
                if i:
                    p.plus_constant(j, 1)
                p.byte(x, row, j)
                p.byte(t, w, j)
                p.multiply(t, x)
                p.plus(a, t)
            p.forward(w, s.channels)
        p.get(c, "from")
        p.plus_constant(c, s.channels)
        p.put("from", c)
        if s.pad_bytes:
            p.forward(w, s.pad_bytes)
        parts, to = (p.number("m0", 1), p.number("m1", 3), p.number("m2", 4)), p.target("to", 0)
        p.get(to, "out")
        for i, value in enumerate(acc):
            a = value
            if value.number > 7:
                a = p.number("a", 5)
                p.copy(a, value)
            rescale_thumb1(p, s.scale, a, parts, w)
            p.store_byte(parts[0], to, offset=i)
        p.forward(to, s.channels)
        p.put("out", to)


def tall_kernel(scaled: Scaled, rows: int, pad_value: int) -> Kernel:
    """A depthwise convolution whose window, input and output are one pixel wide."""
    m = len(scaled.bias)
    one = Tall(scaled.scale, BLOCK, rows)
    full, tail = divmod(m, BLOCK)
    calls: list[dict[str, object]] = []
    functions: dict[str, Function] = {}
    work, words = PER_ROW, 0
    for channels, blocks in ((BLOCK, full), (tail, 1)):
        if not channels or not blocks:
            continue
        each = replace(one, channels=channels)
        routine = tall(each, blocks)
        word = f"tall{len(functions)}"
        functions[word] = routine.function
        start = full * BLOCK if channels == tail else 0
        calls.append({"word": word, "from": start, "first": words, "end": words + blocks * each.words})
        words += blocks * each.words
        work += routine.instructions + PER_CALL
    return Kernel(
        "tall_small",
        {"calls": calls, "rows": rows},
        (ConstArray("weights", partial(pack, scaled, BLOCK), "weights"),),
        pad_value=pad_value,
        functions=functions,
        instructions=work,
    )
