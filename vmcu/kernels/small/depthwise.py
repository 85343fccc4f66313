"""Depthwise convolutions on small cores: strips of neighbouring pixels of one channel.

A routine computes a strip for all channels. Every activation and every weight of a channel is loaded once: columns are walked from
left to right, and a weight stays in a register from its first to its last column. Columns beyond the row's ends are constants, so a strip
at an edge differs in its text alone.

A channel's constants are one piece: bias, weights (to a multiple of four bytes), requantisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels.assembly import Reg
from vmcu.kernels.small.assembly import MOST_OFFSET, Thumb1, Thumb2, counted
from vmcu.kernels.small.common import (
    Routine,
    Scale,
    Scaled,
    as_words,
    make_scaled,
    rescale_thumb1,
    rescale_thumb2,
)
from vmcu.kernels.small.taps import taps_kernel
from vmcu.ops.base import ConstArray, Function, Kernel
from vmcu.ops.columns import Columns
from vmcu.quant.requantise import Requant

MOST_PIXELS = 6  # the rest of Thumb-2's registers hold requantisation
MOST_PIXELS_THUMB1, MOST_WEIGHTS_THUMB1 = 4, 3
MOST_ROWS_UNROLLED = 3
MOST_COLUMNS = 12  # of a window, all written out: Thumb-1 branches, and strings of C99, are short
PER_STRIP, PER_ROW = 20, 20  # instructions of the C around the routines


@dataclass(frozen=True, slots=True)
class Strip:
    """Neighbouring pixels of a row.

    Attributes:
        scale: requantisation.
        pixels: how many.
        kernel: (rows, columns) of the window.
        stride, dilation: of columns.
        channels: bytes between columns.
        left: columns of padding before the row, counted from the first that is read.
        inside: columns up to the row's end, counted so; `left` and `inside` are limited to the columns that are read.
        pad_value: content of the padding.
    """

    scale: Scale
    pixels: int
    kernel: tuple[int, int]
    stride: int
    dilation: int
    channels: int
    left: int
    inside: int
    pad_value: int

    @property
    def columns(self) -> dict[int, list[tuple[int, int]]]:
        """Which (position in the window, pixel) read each column, in ascending order."""
        found: dict[int, list[tuple[int, int]]] = {}
        for k in range(self.kernel[1]):
            for p in range(self.pixels):
                found.setdefault(k * self.dilation + p * self.stride, []).append((k, p))
        return dict(sorted(found.items()))

    def last(self, k: int) -> int:
        """The column where a weight is used last."""
        return k * self.dilation + (self.pixels - 1) * self.stride

    @property
    def live_weights(self) -> int:
        """The most weights in registers at one time."""
        return max(
            sum(k * self.dilation <= col <= self.last(k) for k in range(self.kernel[1]))
            for col in self.columns
        )

    @property
    def pad_bytes(self) -> int:
        """Behind a channel's weights."""
        return -self.kernel[0] * self.kernel[1] % 4

    @property
    def possible(self) -> bool:
        """Do its registers and offsets suffice?"""
        if self.kernel[1] > MOST_COLUMNS:
            return False
        if self.scale.thumb1:
            return self.pixels <= MOST_PIXELS_THUMB1 and self.live_weights <= MOST_WEIGHTS_THUMB1
        reach = max(max(self.columns), self.pixels) * self.channels
        return self.pixels <= MOST_PIXELS and self.live_weights <= 9 - self.pixels and reach <= MOST_OFFSET


def pack(scaled: Scaled) -> NDArray[np.int32]:
    """All constants."""
    m = len(scaled.bias)
    flat = scaled.weights.reshape(m, -1)
    taps = np.zeros((m, -(-flat.shape[1] // 4) * 4), np.int8)
    taps[:, : flat.shape[1]] = flat
    shared = np.broadcast_to(scaled.shared, (m, len(scaled.shared)))
    words = taps.view("<i4").astype(np.int64)
    return as_words(np.concatenate([scaled.bias[:, None], words, scaled.parameters, shared], axis=1)).reshape(
        -1
    )


@lru_cache(maxsize=256)
def strip(s: Strip) -> Routine:
    """The routine f(rows, weights, out, from, [rows_end,] weights_end): from is the offset of the first column in the rows;
    rows_end is left out where few rows are written out."""
    names = [
        *(
            ("rows", "const int8_t *const *"),
            ("weights", "const int32_t *"),
            ("out", "int8_t *"),
            ("from", "int32_t"),
        ),
        *((("rows_end", "const int8_t *const *"),) if s.kernel[0] > MOST_ROWS_UNROLLED else ()),
        ("weights_end", "const int32_t *"),
    ]
    kind = Thumb1 if s.scale.thumb1 else Thumb2
    p = kind(
        f"strip_{s.pixels}",
        [f"{s.pixels} neighbouring pixels of every channel, each filtered by its own weights."],
        names,
    )
    (_thumb1 if s.scale.thumb1 else _thumb2)(p, s)  # type: ignore[arg-type]
    return Routine(p.function(), counted(p, {"channel": s.channels, "row": s.channels * s.kernel[0]}))


def _thumb2(p: Thumb2, s: Strip) -> None:
    acc = p.numbers("acc", range(4, 4 + s.pixels))
    x, row, tab, c, w = (
        p.number("x", 0),
        p.source("row", 1),
        p.rows("tab", 2),
        p.number("c", 3),
        p.source("w", 12),
    )
    weights = [p.number(f"w{n}", n) for n in [*range(4 + s.pixels, 12), 13]]

    def columns() -> None:
        p.next_row(row, tab)
        p.advance(row, c)
        held: dict[int, Reg] = {}
        for col, uses in s.columns.items():
            if s.left <= col < s.inside:
                p.byte(x, row, offset=(col - s.left) * s.channels)
            else:
                p.move(x, s.pad_value)
            for k, pixel in uses:
                if k not in held:
                    held[k] = next(r for r in weights if r not in held.values())
                    p.byte(held[k], w, step=1)
                p.multiply_add(acc[pixel], x, held[k])
            held = {k: r for k, r in held.items() if s.last(k) > col}

    p.get(w, "weights")
    p.get(c, "from")
    with p.until("channel", w, "weights_end", p.source("stop", 0)):
        p.load(acc[0], w, step=4)
        for other in acc[1:]:
            p.move(other, acc[0])
        p.get(tab, "rows")
        if s.kernel[0] <= MOST_ROWS_UNROLLED:
            with p.repeat(s.kernel[0]):
                columns()
        else:
            with p.until("row", tab, "rows_end", p.rows("rows_stop", 0)):
                columns()
        if s.pad_bytes:
            p.advance(w, s.pad_bytes)
        m, add, shift = p.number("m", 1), p.number("add", 2), p.number("shift", 13)
        t, low = p.number("t", 10), p.number("low", 11)
        p.load_all((m, add, shift) if s.scale.numerics == "tflm" else (m, add), w)
        for a in acc:
            rescale_thumb2(p, s.scale, a, m, add, shift, t, low)
        to = p.target("to", 0)
        p.get(to, "out")
        for i, a in enumerate(acc):
            p.store_byte(a, to, offset=i * s.channels)
        p.advance(to, 1)
        p.put("out", to)
        p.advance(c, 1)


def _thumb1(p: Thumb1, s: Strip) -> None:
    acc = p.numbers("acc", range(8, 8 + s.pixels))
    row, zero, w, x, t = (
        p.source("row", 0),
        p.number("zero", 1),
        p.source("w", 2),
        p.number("x", 3),
        p.number("t", 4),
    )
    weights = p.numbers("w", (5, 6, 7))
    c, tab = p.number("c", 12), p.rows("tab", 13)

    def columns() -> None:
        at = p.rows("at", 4)
        p.copy(at, tab)
        p.row(row, at)
        p.copy(tab, at)
        p.forward_by(row, c)
        held: dict[int, Reg] = {}
        reached = s.left
        for col, uses in s.columns.items():
            if s.left <= col < s.inside:
                p.forward(row, (col - reached) * s.channels)
                reached = col
                p.byte(x, row, zero)
            else:
                p.constant(x, s.pad_value)
            for k, pixel in uses:
                if k not in held:
                    held[k] = next(r for r in weights if r not in held.values())
                    p.byte(held[k], w, zero)
                    p.forward(w, 1)
                if s.last(k) > col:
                    p.copy(t, held[k])
                    p.multiply(t, x)
                    p.plus(acc[pixel], t)
                else:
                    p.multiply(held[k], x)
                    p.plus(acc[pixel], held[k])
            held = {k: r for k, r in held.items() if s.last(k) > col}

    p.get(w, "weights")
    p.get(t, "from")
    p.copy(c, t)
    p.constant(zero, 0)
    with p.until_far("channel", w, "weights_end", p.source("stop", 4)):
        p.load_all((t,), w)
        for a in acc:
            p.copy(a, t)
        rows = p.rows("at", 4)
        p.get(rows, "rows")
        p.copy(tab, rows)
        if s.kernel[0] <= MOST_ROWS_UNROLLED:
            with p.repeat(s.kernel[0]):
                columns()
        else:
            with p.until_far("row", tab, "rows_end", p.rows("rows_stop", 4)):
                columns()
        if s.pad_bytes:
            p.forward(w, s.pad_bytes)
        to = p.target("to", 0)
        p.get(to, "out")
        parts, a = (p.number("m0", 3), p.number("m1", 4), p.number("m2", 5)), p.number("a", 6)
        for i, value in enumerate(acc):
            p.copy(a, value)
            rescale_thumb1(p, s.scale, a, parts, w)
            p.store_byte(parts[0], to)
            if i < s.pixels - 1:
                p.forward(w, -4 * s.scale.words)
                p.forward(to, s.channels)
        p.get(to, "out")
        p.forward(to, 1)
        p.put("out", to)
        p.copy(t, c)
        p.plus_constant(t, 1)
        p.copy(c, t)


def depthwise_kernels(
    isa: Isa,
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    columns: Columns,
    x: Tensor,
    out: Tensor,
    pad_value: int,
) -> tuple[Kernel, ...]:
    """The kernel of a depthwise convolution, weights (channels, rows, columns); none where these routines cannot."""
    scaled = make_scaled(isa, weights, bias, requant)
    if scaled is None:
        return ()
    where, uses_row = columns.context(x, out), columns.uses_row(x, out)

    @cache
    def leaner() -> tuple[Kernel, ...]:
        lean = make_scaled(isa, weights, bias, requant, compact=True) or scaled
        found = taps_kernel(lean, where, pad_value, uses_row)
        return (found,) if found else ()

    whole = x.tiles == out.tiles == 1
    strips = _strips(scaled, columns, x, out, pad_value) if whole else None
    found = [k for k in (strips, taps_kernel(scaled, where, pad_value, uses_row)) if k]
    fastest = min(found, key=lambda k: k.instructions or 0, default=None)
    return (replace(fastest, make_leaner=leaner),) if fastest else ()


def _strips(scaled: Scaled, columns: Columns, x: Tensor, out: Tensor, pad_value: int) -> Kernel | None:
    """The kernel that goes strip by strip, on rows that are whole."""
    scale = scaled.scale
    m, kh, kw = scaled.weights.shape

    def cut(start: int, pixels: int) -> Strip:
        first = start * columns.stride - columns.pad
        reach = (kw - 1) * columns.dilation + (pixels - 1) * columns.stride + 1
        left, inside = min(max(0, -first), reach), max(0, min(x.cols - first, reach))
        return Strip(scale, pixels, (kh, kw), columns.stride, columns.dilation, m, left, inside, pad_value)

    most = max((n for n in range(1, MOST_PIXELS + 1) if cut(0, n).possible), default=0)
    if not most:
        return None
    count = -(-out.cols // most)
    sizes = [out.cols // count + (i < out.cols % count) for i in range(count)]
    calls: list[dict[str, object]] = []
    functions: dict[str, Function] = {}
    work, col = PER_ROW, 0
    for size in sizes:
        one = cut(col, size)
        routine = strip(one)
        word = next((w for w, f in functions.items() if f == routine.function), f"strip{len(functions)}")
        functions[word] = routine.function
        work += routine.instructions + PER_STRIP
        if calls and calls[-1]["word"] == word:
            calls[-1]["count"] = int(str(calls[-1]["count"])) + 1
        else:
            start = max(0, col * columns.stride - columns.pad) * m if one.left < one.inside else 0
            calls.append(
                {
                    "word": word,
                    "count": 1,
                    "out": col * m,
                    "from": start,
                    "out_step": size * m,
                    "step": size * columns.stride * m,
                }
            )
        col += size
    words = 1 + -(-kh * kw // 4) + scale.words + scale.shared
    return Kernel(
        "depthwise_small",
        {
            "strips": calls,
            "rows_end": f"in + {kh}, " if kh > MOST_ROWS_UNROLLED else "",
            "words": words * m,
            "loops": any(c["count"] != 1 for c in calls),
        },
        (ConstArray("weights", partial(pack, scaled), "weights"),),
        pad_value=pad_value,
        functions=functions,
        instructions=work,
    )
