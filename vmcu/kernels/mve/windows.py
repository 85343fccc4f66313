"""Convolutions without groups: the windows of some pixels side by side in scratch, then `product.py`; 1x1 reads the row itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.product import (
    LONGEST,
    VECTOR,
    Product,
    make_product,
    pack_parameters,
    pack_weights,
    pixels,
    shape_of,
)
from vmcu.kernels.mve.taps import tap_kernels
from vmcu.ops.base import ConstArray, Function, Kernel
from vmcu.quant.requantise import Requant

LARGE_SCRATCH_BYTES = 4096  # more does not save a per cent
CALL, PER_ROW, PER_TAP, PER_PIXEL = 14, 20, 14, 20  # instructions of the C around the routines


def window_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """Kernels of a convolution without groups, those with most scratch first; none where these routines cannot.

    Args:
        weights: (output channels, kernel_h, kernel_w, channels), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        stride: of columns.
        pad_value: content of the padding.
    """
    arguments = (weights, bias, requant, where, stride, pad_value, uses_row)
    leaner = cache(partial(_window_kernels, *arguments, rolled=True))
    return tuple(replace(k, make_leaner=leaner) for k in _window_kernels(*arguments, rolled=False))


def _window_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    stride: int,
    pad_value: int,
    uses_row: bool,
    rolled: bool,
) -> tuple[Kernel, ...]:
    m, kh, kw, channels = weights.shape
    padded, cols = bool(where["padded_cols"]), int(str(where["out_cols"]))
    if kh == kw == 1 and where["tiles"] == 1 and not padded:
        return pixel_kernels(
            weights.reshape(m, channels),
            bias,
            requant,
            count=cols,
            step=stride * channels,
            first=str(where["first"]),
            uses_row=uses_row,
            rolled=rolled,
        )
    size = kh * kw * channels
    window = -(-size // VECTOR) * VECTOR
    product = make_product(weights, bias, requant, window, rolled)
    if product is None or stride * channels > LONGEST or kw * channels > LONGEST:
        return ()
    narrow = int(str(where["in_cols"])) < kw  # no window lies in the row as a whole
    always = where["tiles"] != 1 or where["dilation"] != 1 or narrow  # copied tap by tap
    edges = cols if always else -(-(kw - 1) // stride) if padded else 0
    found = []
    whole = cols + cols % 2
    for group in dict.fromkeys(
        (min(max(LARGE_SCRATCH_BYTES // window // 2 * 2, 2), whole), min(8, whole), 2, 1)
    ):
        copy = windows(kh, kw * channels, stride * channels, window, 1)
        calls, functions = _products(product, cols) if group > 1 else _singles(product, cols)
        context = {
            **where,
            "out_channels": m,
            "channels": channels,
            "kernel_h": kh,
            "always": always,
            "stride": stride,
            "group": group,
            "window": window,
            "last_first": int(str(where["in_cols"])) - kw,
            **_arguments(product),
            "two": "pixels_2" in functions,
            "one": "pixels_1" in functions,
        }
        each = windows(kh, kw * channels, stride * channels, window, 2).instructions - copy.instructions
        groups = -(-cols // group)
        work = PER_ROW + calls + groups * (3 * CALL + copy.instructions) + (cols - edges) * each
        work += edges * (kh * kw * (PER_TAP + channels // 4) + PER_PIXEL)
        found.append(
            Kernel(
                "windows_mve",
                context,
                _constants(weights.reshape(m, -1), bias, requant, product),
                pad_value=pad_value,
                pad_pixel=padded,
                uses_row=uses_row,
                scratch_bytes=group * window,
                functions={**functions, **({} if always else {"windows": copy.function})},
                instructions=work,
            )
        )
    taps = tap_kernels(weights, bias, requant, where, pad_value=pad_value, uses_row=uses_row)
    best = min((k.instructions or 0 for k in taps), default=None)
    return (*(k for k in found if best is None or (k.instructions or 0) < best), *taps)


def pixel_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    *,
    count: int,
    step: int,
    first: str,
    uses_row: bool,
    rolled: bool,
) -> tuple[Kernel, ...]:
    """Pixels of a row times a matrix; none where these routines cannot.

    Args:
        weights: (output channels, channels), zero point subtracted.
        bias: input zero point folded in.
        count: pixels.
        step: bytes from a pixel to the next.
        first: C expression of the number of the first, where `col` is 0.
        rolled: in less flash.
    """
    m, depth = weights.shape
    product = make_product(weights, bias, requant, depth, rolled)
    if product is None:
        return ()
    instructions, functions = _products(product, count)
    context = {
        "out_channels": m,
        "channels": depth,
        "first": first,
        "step": step,
        "pairs": count // 2 * 2,
        **_arguments(product),
        "two": "pixels_2" in functions,
        "one": "pixels_1" in functions,
    }
    kernel = Kernel(
        "pixels_mve",
        context,
        _constants(weights, bias, requant, product),
        uses_row=uses_row,
        functions=functions,
        instructions=instructions + PER_ROW,
    )
    return (kernel,)


def _products(product: Product, count: int) -> tuple[int, dict[str, Function]]:
    """Instructions for a row of pixels, and what they call."""
    work, functions = 0, {}
    for together, n in ((2, count // 2 * 2), (1, count % 2)):
        if n:
            routine = pixels(product, together, n)
            functions[f"pixels_{together}"] = routine.function
            work += routine.instructions + CALL
    return work, functions


def _singles(product: Product, count: int) -> tuple[int, dict[str, Function]]:
    """The same, pixel by pixel."""
    routine = pixels(product, 1, 1)
    return count * (routine.instructions + CALL), {"pixels_1": routine.function}


def _arguments(product: Product) -> dict[str, object]:
    """What the templates hand to `pixels`."""
    left = product.depth % VECTOR
    return {
        "whole_bytes": product.whole_bytes,
        "zero_point": product.rescale.zero_point,
        "more": [product.loop.bytes, *([left] if left else [])] if shape_of(product).rolled else [],
    }


def _constants(
    rows: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant, product: Product
) -> tuple[ConstArray, ...]:
    return (
        ConstArray("weights", partial(pack_weights, rows.astype(np.int8), product), "weights"),
        ConstArray("parameters", partial(pack_parameters, bias, requant, product), "tables"),
    )


@lru_cache(maxsize=256)
def windows(rows: int, run: int, step: int, window: int, count: int) -> Routine:
    """Windows of neighbouring pixels, each as runs of its rows one behind the other.

    The function is f(in, offset, to, count, in_end).

    Args:
        rows: of a window.
        run: bytes of it in a row.
        step: bytes from a pixel to the next.
        window: bytes from a window to the next.
        count: pixels of a call, for `instructions`.
    """
    p = Helium(
        "mve_windows",
        [f"Windows of {rows} runs of {run} bytes, side by side."],
        [
            *(
                ("in", "const int8_t *const *"),
                ("offset", "int32_t"),
                ("to", "int8_t *"),
                ("count", "int32_t"),
            ),
            ("in_end", "const int8_t *const *"),
        ],
        saves=False,
    )
    row, x, start, to = p.rows("row", 0), p.source("x", 1), p.target("start", 2), p.target("dest", 3)
    offset, count_, word = p.number("shift", 4), p.number("pixels", 5), p.number("word", 6)
    p.get(row, "in")
    p.get(offset, "offset")
    p.get(start, "to")
    p.get(count_, "count")
    q = p.vec(0)
    if run < VECTOR and run != 4:
        p.only_first(run, 8, word)
    with p.until("row", row, "in_end", p.rows("row_stop", 7)):
        p.next_row(x, row)
        p.advance(x, offset)
        p.address(to, start)
        p.advance(start, run)
        with p.times("pixel", count_):
            if run == 4 and step < 256 and window < 256:
                p.load(word, x, step=step)
                p.store(word, to, step=window)
            elif run <= VECTOR:
                near = step < 128 and window < 128
                moves = (step, window) if near else (0, 0)

                def copy() -> None:
                    p.load_bytes(q, x, step=moves[0])
                    p.store_lanes(q, to, 8, step=moves[1])

                if run == 4:
                    p.load(word, x)
                    p.store(word, to)
                elif run < VECTOR:
                    with p.masked():
                        copy()
                else:
                    copy()
                if run == 4 or not near:
                    p.advance(x, step)
                    p.advance(to, window)
            else:
                for _ in range(run // VECTOR):
                    p.load_bytes(q, x, step=VECTOR)
                    p.store_lanes(q, to, 8, step=VECTOR)
                if run % VECTOR:
                    p.load_bytes(q, x, offset=run % VECTOR - VECTOR)
                    p.store_lanes(q, to, 8, offset=run % VECTOR - VECTOR)
                done = run // VECTOR * VECTOR
                for pointer, move in ((x, step - done), (to, window - done)):
                    if move > 0:
                        p.advance(pointer, move)
                    elif move < 0:
                        p.back(pointer, -move)
    return Routine(p.function(), p.count({"row": rows, "pixel": rows * count}))
