"""Depthwise convolutions on DSP cores, one or two neighbouring outputs and four channels at a time, without working memory.

For rows in narrow tiles: every pixel of the window has a pointer of its own, and so lies in whatever tile it lies in. Where the
sliding kernel (`sliding.py`) would fetch pointers for each channel again, here it is one load per pixel and four channels. The halves that
SXTB16 leaves of a word serve both outputs, and so do two words of weights: along a row of the window, each output in turn meets the
weights that are in registers already.

All 14 registers are taken: eight sums, two words of data, two of weights, the pointer to weights, the first channel. Pointers to pixels are
parameters, so they lie on the stack; with two outputs that leaves room for small windows only.

"Bytes": weights are widened where they are used, 9 instructions in a hundred more for half the flash; the layout is then that of `filter_taps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
MOST_POINTERS = 15  # to pixels: a 3x3 window of two outputs with a stride of 2
FAR = 4095  # offsets of STRB
NEAR = 255  # the same backwards, and of what ADD takes in any case


@dataclass(frozen=True, slots=True)
class Narrow:
    """Geometry of neighbouring outputs.

    Attributes:
        kernel_h, kernel_w: of the window.
        stride: of columns.
        outputs: one or two.
        channels: distance of two outputs, bytes.
        widened: weights are halfwords, shifted ahead; else bytes.
        rescale: of the sums.
    """

    kernel_h: int
    kernel_w: int
    stride: int
    outputs: int
    channels: int
    widened: bool
    rescale: Rescale

    @property
    def columns(self) -> int:
        """Of pixels, in a row of the window of all outputs."""
        return (self.outputs - 1) * self.stride + self.kernel_w

    @property
    def pointers(self) -> int:
        """To pixels."""
        return self.kernel_h * self.columns

    @property
    def taps(self) -> int:
        """Of a window."""
        return self.kernel_h * self.kernel_w

    @property
    def usable(self) -> bool:
        """Do offsets and the stack reach?"""
        words = LANES + (2 if self.widened else 1) * self.taps
        return self.pointers <= MOST_POINTERS and self.channels <= FAR - LANES and 4 * words <= NEAR

    @property
    def words(self) -> int:
        """Of four channels: biases, weights, requantisation; `onnx` has one addend for them."""
        rescale = self.rescale
        each = 1 if rescale.numerics == "onnx" else rescale.shifted_words if self.widened else rescale.words
        return LANES * (1 + each) + (rescale.numerics == "onnx") + (2 if self.widened else 1) * self.taps

    def met(self, column: int, last: int) -> list[tuple[int, int]]:
        """Outputs that a column meets, each with the column of the window there: that of `last`, whose weights are at hand, first."""
        found = [(o, column - o * self.stride) for o in range(self.outputs)]
        return sorted(((o, k) for o, k in found if 0 <= k < self.kernel_w), key=lambda use: use[1] != last)


@lru_cache(maxsize=64)
def filter_narrow(g: Narrow, groups: int) -> Routine:
    """Computes `groups` times four channels of one or two outputs.

    The function is f(p0, p1, ..., weights, out, channel, weights_end): pointers to the pixels of the window row by row, to the first
    output, and the first channel. A "compact" requantisation of `tflm` takes 2 zero + 1 behind them.
    """
    pixels = [f"p{i}" for i in range(g.pointers)]
    p = Program(
        "filter_narrow",
        [
            f"Four channels at a time of {g.outputs} outputs, {g.kernel_h}x{g.kernel_w} taps, stride {g.stride}, "
            f"{g.channels} bytes apart."
        ],
        [
            *((name, "const int8_t *") for name in pixels),
            *(("weights", "const int32_t *"), ("out", "int8_t *"), ("channel", "int32_t")),
            ("weights_end", "const int32_t *"),
            *([("addend", "int32_t")] if g.rescale.packed else []),
        ],
    )
    acc = [p.numbers(f"acc{o}_", range(2 + LANES * o, 2 + LANES * (o + 1))) for o in range(g.outputs)]
    w, index = p.source("w", 12), p.number("index", 13)
    p.get(w, "weights")
    p.get(index, "channel")
    with p.until("group", w, "weights_end", p.source("w_stop", 0)):
        for sums in acc:
            p.load_pair(sums[0], sums[1], w)
            p.load_pair(sums[2], sums[3], w, offset=8)
            for value in sums if g.rescale.packed else ():
                p.shift_right(value, value, SHIFT_BITS)
        for ky in range(g.kernel_h):
            _row(p, g, ky, acc, w, index)
        _finish(p, g, acc, w, index)
    return Routine(p.function(), p.count({"group": groups}))


def _row(p: Program, g: Narrow, ky: int, acc: Sequence[tuple[Reg, ...]], w: Reg, index: Reg) -> None:
    """The products of a row of the window."""
    x, a, b = p.source("x", 10), p.number("a", 10), p.number("b", 11)
    k, n = p.number("k", 0), p.number("n", 1)
    last = -1
    for column in range(g.columns):
        met = g.met(column, last)
        if not met:
            continue
        p.get(x, f"p{ky * g.columns + column}")
        p.load_at(a, x, index)
        p.widen(b, a, upper=True)
        p.widen(a, a)
        for o, kx in met:
            tap = ky * g.kernel_w + kx
            if kx != last and g.widened:
                p.load_pair(k, n, w, offset=4 * LANES + 8 * tap)
            elif kx != last:
                p.load(k, w, offset=4 * LANES + 4 * tap)
                p.widen(n, k, upper=True)
                p.widen(k, k)
            last = kx
            p.mla(acc[o][0], a, k, "bb")
            p.mla(acc[o][1], b, n, "bb")
            p.mla(acc[o][2], a, k, "tt")
            p.mla(acc[o][3], b, n, "tt")


def _finish(p: Program, g: Narrow, acc: Sequence[tuple[Reg, ...]], w: Reg, index: Reg) -> None:
    """Sums become outputs; on to the next four channels."""
    rescale = g.rescale
    weights = 4 * (LANES + (2 if g.widened else 1) * g.taps)
    p.advance(w, weights)
    m, add, shift, sign = (
        p.number(name, r) for name, r in (("m", 0), ("add", 1), ("shift", 10), ("sign", 11))
    )
    if rescale.has_shifts:  # no register is left for the first channel
        first, to = p.target("first", 0), p.target("to", 13)
        p.get(first, "out")
        p.put("channel", index)
        p.point(to, first, index)
    else:
        to = p.target("to", 10)
        p.get(to, "out")
        p.advance(to, index)
    if rescale.numerics == "onnx":
        p.load(add, w, step=4)
    for i in range(LANES):
        if rescale.once and not g.widened:
            p.load_all((m, add), w)
        elif rescale.has_shifts:
            load_tflm(p, rescale, w, (w, -weights), m, add, shift)
        else:
            p.load(m, w, step=4)
        for o, sums in enumerate(acc):
            value = sums[i]
            if rescale.once:
                if not g.widened:
                    p.add_left(value, add, value, rescale.pre)
                rescale_once(p, rescale, value, m)
            else:
                if rescale.pre and not g.widened:
                    p.shift_left(value, value, rescale.pre)
                if rescale.has_shifts:
                    rescale_tflm(p, rescale, value, m, add, shift, sign)
                else:
                    rescale_onnx(p, rescale, value, m, add)
            p.store_byte(value, to, offset=i + o * g.channels)
    if rescale.has_shifts:
        p.get(index, "channel")
    p.add_number(index, LANES)
    if rescale.has_shifts:
        p.put("channel", index)


def pack_narrow(
    weights: NDArray[np.integer[Any]], scaled: Scaled, starts: Sequence[int]
) -> NDArray[np.int32]:
    """What a "widened" `filter_narrow` reads, four channels at a time: biases, per tap two words, requantisation.

    Args:
        weights: (channels, taps), int8.
        starts: first channel of every group.
    """
    found = []
    shifted = weights.astype(np.int64) << scaled.rescale.pre
    for start in starts:
        lanes = slice(start, start + LANES)
        taps = shifted[lanes] & 0xFFFF
        pairs = np.stack([taps[0] | taps[2] << 16, taps[1] | taps[3] << 16], axis=1)
        rest = scaled.requantisation(lanes, scaled.shifted_parameters)
        found.append(np.concatenate([scaled.shifted_starts[lanes], pairs.reshape(-1), rest]))
    return words(np.concatenate(found))
