"""Depthwise convolutions on DSP cores, pixel by pixel and tap by tap, four channels at a time.

SMLABB and SMLATT take the halves that SXTB16 leaves of four channels. No scratch, any geometry, and weights stay bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Program, Routine
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
MOST_TAPS = 9  # that are unrolled
MOST_COMPACT_TAPS = 3  # the same, where text is dear


@lru_cache(maxsize=64)
def filter_taps(taps: int, rescale: Rescale, groups: int, short: bool = False) -> Routine:
    """Computes `groups` times four neighbouring channels of one pixel.

    The function is f(taps, weights, out, channel, taps_end, weights_end): pointers to the input's pixels, and the first
    channel. A "compact" requantisation of `tflm` takes 2 zero + 1 behind them.

    Args:
        short: text is dear.
    """
    p = Program(
        "filter_taps",
        ["Four channels at a time of one pixel, tap by tap."],
        [
            *(("taps", "const int8_t *const *"), ("weights", "const int32_t *"), ("out", "int8_t *")),
            *(
                ("channel", "int32_t"),
                ("taps_end", "const int8_t *const *"),
                ("weights_end", "const int32_t *"),
            ),
            *([("addend", "int32_t")] if rescale.packed else []),
        ],
    )
    acc = p.numbers("acc", (4, 5, 6, 7))
    row, w, index, x = p.rows("row", 0), p.source("w", 1), p.number("index", 2), p.source("x", 3)
    a, b, n = p.number("a", 8), p.number("b", 9), p.number("n", 12)
    quad = p.numbers("k", (10, 11, 13))
    most = MOST_COMPACT_TAPS if short else MOST_TAPS
    u = max(d for d in range(1, most + 1) if taps % d == 0)
    p.get(w, "weights")
    p.get(index, "channel")
    with p.until("group", w, "weights_end", p.source("w_stop", 3)):
        p.load_all(acc, w)
        for value in acc if rescale.packed else ():
            p.shift_right(value, value, SHIFT_BITS)
        p.get(row, "taps")
        with p.until("tap", row, "taps_end", p.rows("row_stop", 12)):
            for first in range(0, u, len(quad)):
                weights = quad[: u - first]
                p.load_all(weights, w)
                for k in weights:
                    p.next_row(x, row)
                    p.load_at(a, x, index)
                    p.widen(b, a, upper=True)
                    p.widen(a, a)
                    p.widen(n, k, upper=True)
                    p.widen(k, k)
                    p.mla(acc[0], a, k, "bb")
                    p.mla(acc[1], b, n, "bb")
                    p.mla(acc[2], a, k, "tt")
                    p.mla(acc[3], b, n, "tt")
        p.add_number(index, LANES)
        to = p.target("to", 13)
        p.get(to, "out")
        m, add, shift, sign = (
            p.number(s, r) for s, r in zip(("m", "add", "shift", "sign"), (8, 9, 10, 11), strict=True)
        )
        if rescale.numerics == "onnx":
            p.load(add, w, step=4)
        for value in acc:
            if rescale.once:
                p.load_all((m, add), w)
                p.add_left(value, add, value, rescale.pre)
                rescale_once(p, rescale, value, m)
                p.store_byte(value, to, step=1)
                continue
            if rescale.pre:
                p.shift_left(value, value, rescale.pre)
            if rescale.numerics == "tflm":
                load_tflm(p, rescale, w, (w, -4 * (LANES + taps)), m, add, shift)
                rescale_tflm(p, rescale, value, m, add, shift, sign)
            else:
                p.load(m, w, step=4)
                rescale_onnx(p, rescale, value, m, add)
            p.store_byte(value, to, step=1)
        p.put("out", to)
    return Routine(p.function(), p.count({"group": groups, "tap": groups * taps // u}))


def tap_words(taps: int, rescale: Rescale) -> int:
    """Of four channels: `onnx` has one addend for them."""
    return (
        LANES * (2 if rescale.numerics == "onnx" else 1 + rescale.words) + (rescale.numerics == "onnx") + taps
    )


def pack_taps(weights: NDArray[np.integer[Any]], scaled: Scaled, starts: Sequence[int]) -> NDArray[np.int32]:
    """What `filter_taps` reads, four channels at a time: biases, per tap the four bytes, requantisation.

    Args:
        weights: (channels, taps), int8.
        starts: first channel of every group.
    """
    found = []
    for start in starts:
        lanes = slice(start, start + LANES)
        taps = np.ascontiguousarray(weights[lanes].astype(np.int8).T).view("<i4").reshape(-1)
        rest = scaled.requantisation(lanes, scaled.parameters)
        found.append(np.concatenate([scaled.starts[lanes], taps, rest]))
    return words(np.concatenate(found))
