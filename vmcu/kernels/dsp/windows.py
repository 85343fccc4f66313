"""Convolutions and dense layers per pixel on DSP cores: gathered pixels times a matrix (`matmul.py`).

What a pixel reads is a number of runs of neighbouring bytes: kernel_w * channels bytes of every input row. Where a window
reaches beyond the row, or over tiles, its taps are runs of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.copied import MOST_STACKED, copied_kernels
from vmcu.kernels.dsp.gather import gather, gather_windows, run_order
from vmcu.kernels.dsp.joined import Joined, Shape, in_tiles, join
from vmcu.kernels.dsp.matmul import pair, single
from vmcu.kernels.dsp.pixels import pixel_kernels, tiled_pixel_kernels
from vmcu.kernels.dsp.rescale import Scaled, make_scaled
from vmcu.kernels.dsp.weights import (
    SHARED,
    SHORT,
    WORD,
    Product,
    blocks_of,
    make_product,
    pack_runs,
    unrolled,
)
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

PER_RUN, PER_PIXEL, PER_ROW, PER_BYTE = 4, 16, 60, 3  # instructions of the C around the routines
PER_PIECE, PER_LINE = 3, 6  # the same where tiles are joined
PER_LISTED = 3  # the same per tap of a window whose taps are listed
PER_TILE = 5  # instructions of the step for a pointer that it looks up
MOST_GROUPS = 4  # of outputs for which tiles are joined: each is a text of its own
MOST_LISTED = 4  # windows of a tile that lie in several: the taps of each are a text of their own
MANY_LINES = 3  # that are joined in a loop which stays one


def window_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad_value: int,
    uses_row: bool,
    compact: bool = False,
) -> tuple[Kernel, ...]:
    """Kernels of a convolution without groups, those with most scratch first; none where these routines cannot.

    Args:
        weights: (output channels, kernel_h, kernel_w, channels), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        stride: of columns.
        pad_value: content of the padding.
        compact: the one that takes least flash.
    """
    fast = make_scaled(weights, bias, requant)
    if fast is None:
        return ()

    def offered(scaled: Scaled, unrolled: int) -> tuple[Kernel, ...]:
        return _kernels(weights, scaled, where, stride, pad_value, uses_row, unrolled)

    def least() -> tuple[Kernel, ...]:
        return offered(make_scaled(weights, bias, requant, compact=True) or fast, SHORT)

    @cache
    def leaner() -> tuple[Kernel, ...]:
        packed = make_scaled(weights, bias, requant, compact=True)
        lean = offered(fast, SHARED)
        if packed and packed.rescale.packed:
            lean += offered(packed, 0) + offered(packed, SHARED)
        return (*lean, *least())

    return least() if compact else tuple(replace(k, make_leaner=leaner) for k in offered(fast, 0))


def _kernels(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad_value: int,
    uses_row: bool,
    unrolled: int,
) -> tuple[Kernel, ...]:
    """With one way to keep the parameters."""
    m, kh, kw, channels = weights.shape
    shape = Shape(
        kh,
        kw,
        channels,
        stride,
        int(str(where["tile_cols"])),  # of what a row pointer points to
        int(str(where["out_cols"])),
        bool(where["padded_cols"]),
        where["tiles"] != 1 or where["dilation"] != 1,
    )
    listed = (
        int(str(where["tiles"])) > 1
        and where["dilation"] == 1
        and channels % WORD == 0
        and not (uses_row or shape.padded)
        and len(in_tiles(shape, where)[0]) <= MOST_LISTED
    )
    length = max(shape.run, WORD)
    order = [i if i < shape.run else -1 for i in run_order(length)]
    product = make_product(weights, scaled, kh * len(order), unrolled)
    runs = np.pad(weights.reshape(m, kh, -1), ((0, 0), (0, 0), (0, length - shape.run)))
    constants = (ConstArray("weights", partial(pack_runs, runs, order, scaled, product), "weights"),)
    context = {
        **where,
        "listed": listed,
        "out_channels": m,
        "channels": channels,
        **blocks_of(product, m),
        "pairs": shape.out_cols - shape.out_cols % 2,
        "odd": shape.out_cols % 2 == 1,
        "last": shape.out_cols - 1,
        "packed": scaled.rescale.packed,
        "addend": scaled.addend,
    }
    if unrolled == SHORT:
        return (_window_kernel(shape, product, context, constants, pad_value, uses_row, False),)
    plain = not shape.padded and not shape.scattered and kh == kw == 1
    if plain and channels % WORD == 0:
        return pixel_kernels(shape, product, context, constants, pad_value, uses_row)
    of_tiles = tiled_pixel_kernels(shape, product, context, constants, pad_value)
    if of_tiles and not uses_row:
        return of_tiles
    groups = [
        n for n in {1, 2, shape.out_cols} if n <= shape.out_cols and -(-shape.out_cols // n) <= MOST_GROUPS
    ]
    joined = [one for n in sorted(groups) if not uses_row and (one := join(shape, where, n))]
    found = [
        _window_kernel(shape, product, context, constants, pad_value, uses_row, two, lines)
        for two in (True, False)
        for lines in (*joined, None)
        if not (two and lines and lines.outputs == 1)
    ]
    copied = copied_kernels(weights, scaled, where, shape, pad_value, uses_row, unrolled)
    found += copied
    if joined or copied:
        found.sort(key=lambda k: (k.instructions or 0, k.scratch_bytes))
        found = [k for i, k in enumerate(found) if all(k.scratch_bytes < f.scratch_bytes for f in found[:i])]
    return tuple(found)


def _window_kernel(
    shape: Shape,
    product: Product,
    context: Mapping[str, object],
    constants: tuple[ConstArray, ...],
    pad_value: int,
    uses_row: bool,
    two: bool,
    joined: Joined | None = None,
) -> Kernel:
    """Any window.

    Scratch holds the halfwords of two pixels, then a window that has to be copied first, or tiles that are joined, unless that is small.

    Args:
        two: pixels at a time, gathered; else one, read where it lies.
        joined: the tiles are joined first, and windows read from them as from a row.
    """
    kh, kw, channels = shape.kernel_h, shape.kernel_w, shape.channels
    length = max(shape.run, WORD)
    part = length % WORD
    short = shape.run < WORD and not joined  # a word would reach beyond the last pixel
    if joined:
        line_cols = joined.columns + -(-joined.slack // channels)
        shape = replace(shape, in_cols=line_cols, padded=False, scattered=False)
    apart = shape.padded or shape.scattered or short
    # Taps are runs of their own only where they are whole words; otherwise the window is copied.
    by_taps = channels % WORD == 0
    copies = apart and not by_taps
    words = gcd(length, channels) // WORD if by_taps else length // WORD
    halfwords = 4 * product.depth if two else 0
    columns, odd = shape.out_cols, two and shape.out_cols % 2 == 1
    edges = columns if shape.scattered else min(shape.edges + short, columns)
    apart_runs = kh * kw if by_taps else kh
    # The last column from which a window lies in the row as a whole, and the pairs of windows that do; one more text.
    farthest = (shape.in_cols * channels - length) // channels
    pairs = 0
    if two and not product.unrolled and not shape.scattered and farthest >= shape.stride:
        pairs = (columns - odd) // 2 - -(-edges // 2)
    if two:
        step = unrolled(words, product.unrolled)
        program = gather(part, step)
        inner, edge = (
            program.count({"run": r, "word": kh * (length // WORD) // step}) for r in (kh, apart_runs)
        )
        last = single(product, words, part, kh)
        product_work = columns // 2 * pair(product).instructions + odd * last.instructions
        functions = {"matmul_2": pair(product).function}
        if apart or pairs <= 0:
            functions["gather"] = program.function()
        if odd:
            functions["single"] = last.function
    else:
        inner, edge = (single(product, words, part, r).instructions for r in (kh, apart_runs))
        product_work = 0
        functions = {"single": single(product, words, part).function}
    listed, own, own_start = in_tiles(shape, context) if context["listed"] else ({}, 0, 0)
    start = int(str(context["start"]))
    if context["listed"]:  # those within a tile are runs of whole rows
        edges = len(listed)
        edge += PER_LISTED * kh * kw
    else:
        edge += (PER_RUN + PER_BYTE * channels if copies else PER_RUN) * kh * kw
    parts = int(str(context["tiles_out"])) if uses_row else 1  # of a row whose ends alone are edges
    apart_pixels = min(edges, -(-(kw - 1) // shape.stride) / parts) if parts > 1 else edges
    work = (
        PER_ROW
        + PER_TILE * kh * (int(str(context["tiles"])) - 1)
        + product_work
        + columns * PER_PIXEL
        + round(apart_pixels * edge)
        + round(columns - apart_pixels - 2 * pairs) * (inner + PER_RUN * kh)
    )
    if pairs > 0:
        whole_step = unrolled(length // WORD)
        abreast = gather_windows(part, whole_step)
        functions["gather_2"] = abreast.function()
        work += pairs * abreast.count({"run": kh, "word": kh * (length // WORD) // whole_step})
    work += PER_PIXEL * columns if context["part"] else 0
    lines: dict[str, object] = {"rows": "in", "groups": []}
    if joined:
        pieces = sum(len(group) for group in joined.groups)
        work += kh * (PER_PIECE * pieces + PER_LINE * len(joined.groups))
        col = "col" if joined.outputs == columns else f"(col % {joined.outputs})"
        first = col if shape.stride == 1 else f"{col} * {shape.stride}"
        lines = {
            "rows": "lines",
            "first": "0" if joined.outputs == 1 else first,
            "groups": [
                {
                    "pixel": n * joined.outputs,
                    "pieces": [dict(zip(("tile", "from", "to", "bytes"), p, strict=True)) for p in group],
                }
                for n, group in enumerate(joined.groups)
            ],
            "pitch": joined.columns * channels,
            "slack": joined.slack,
            "joined_bytes": joined.bytes,
            "joined_on_stack": joined.bytes <= MOST_STACKED,
            "tall": kh > MANY_LINES,
        }
    more = {
        **lines,
        "taps": [
            {
                "col": col,
                "taps": [
                    (tile, at * channels)
                    for tile, at in (
                        divmod(start + col * shape.stride + kx, shape.in_cols) for kx in range(kw)
                    )
                ],
            }
            for col in listed
        ],
        "own": own,
        "own_start": own_start,
        "inner": edges < columns,
        "stride": shape.stride,
        "joined": joined is not None,
        "abreast": pairs > 0,
        "always": pairs > 0 and not apart and not odd,
        "gathers": two and (apart or pairs <= 0),
        "counts": pairs <= 0 or apart or odd or bool(context["part"]),
        "inside_2": " && ".join(
            [
                *([f"pixel < {columns - 1}"] if odd else []),
                *([f"first >= 0 && first <= {farthest - shape.stride}"] if apart else []),
            ]
        ),
        "distance": shape.stride * channels,
        "two": two,
        "odd": odd,
        "alone": odd or not two,
        "while_inside": f" && pixel + which < {columns}" if odd else "",
        "pixels": 2 if two else 1,
        "kernel_h": kh,
        "runs": apart_runs if apart else kh,
        "run": length,
        "whole": length // WORD * WORD,
        "inside": "0" if shape.scattered or farthest < 0 else f"first >= 0 && first <= {farthest}",
        "apart": apart,
        "copies": copies,
        "halfwords": halfwords,
        "apart_bytes": length // WORD * WORD if copies else channels,
    }
    window = joined.bytes if joined else kh * length if copies else 0
    stacked = window <= MOST_STACKED
    more |= {"stacked": copies and stacked, "window_bytes": window}
    scratch = halfwords + (0 if stacked else window)
    return Kernel(
        "window_dsp",
        {**context, **more},
        constants,
        pad_value=pad_value,
        pad_pixel=shape.padded,
        uses_row=uses_row,
        scratch_bytes=-(-scratch // 4) * 4,
        functions=functions,
        instructions=work,
    )
