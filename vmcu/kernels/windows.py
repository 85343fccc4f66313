"""Convolutions and dense layers per pixel on DSP cores: gathered pixels times a matrix (`matmul.py`).

What a pixel reads is a number of runs of neighbouring bytes: kernel_w * channels bytes of every input row. Where a window
reaches beyond the row, or over tiles, its taps are runs of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.matmul import (
    DIRECT_STRIDE_LIMIT,
    WORD,
    Product,
    gather,
    gather_pair,
    make_product,
    pack_parameters,
    pack_weights,
    pair,
    run_order,
    single,
    unrolled,
)
from vmcu.kernels.rescale import make_scaled
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

PER_RUN, PER_PIXEL, PER_ROW, PER_BYTE = 7, 24, 60, 3  # instructions of the C around the routines


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the pixels of a row read.

    Attributes:
        kernel_h, kernel_w, channels: of the window.
        stride: of columns.
        in_cols, out_cols: of the row.
        padded: windows may reach beyond the row.
        scattered: the taps of a row are never one run (tiles, dilation).
    """

    kernel_h: int
    kernel_w: int
    channels: int
    stride: int
    in_cols: int
    out_cols: int
    padded: bool
    scattered: bool

    @property
    def run(self) -> int:
        """Bytes of a window in one row."""
        return self.kernel_w * self.channels

    @property
    def edges(self) -> int:
        """Pixels whose window is not taken in runs of whole rows, about."""
        if self.scattered:
            return self.out_cols
        return min(-(-(self.kernel_w - 1) // self.stride), self.out_cols) if self.padded else 0


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
    m, kh, kw, channels = weights.shape
    scaled = make_scaled(weights, bias, requant)
    if scaled is None:
        return ()
    shape = Shape(
        kh,
        kw,
        channels,
        stride,
        int(str(where["in_cols"])),
        int(str(where["out_cols"])),
        bool(where["padded_cols"]),
        where["tiles"] != 1 or where["dilation"] != 1,
    )
    length = max(shape.run, WORD)
    order = [i if i < shape.run else -1 for i in run_order(length)]
    product = make_product(weights, scaled, kh * len(order))
    constants = (
        ConstArray("weights", partial(_packed, weights, order, product), "weights"),
        ConstArray("parameters", partial(pack_parameters, scaled, product), "tables"),
    )
    context = {
        **where,
        "out_channels": m,
        "channels": channels,
        "words": product.blocks * product.words_per_block,
        "pairs": shape.out_cols - shape.out_cols % 2,
        "odd": shape.out_cols % 2 == 1,
        "last": shape.out_cols - 1,
    }
    plain = not shape.padded and not shape.scattered and kh == kw == 1
    if plain and channels % WORD == 0 and m == product.channels:
        return _pixel_kernels(shape, product, context, constants, uses_row)
    both = (_window_kernel(shape, product, context, constants, pad_value, uses_row, two) for two in (True, False))
    return tuple(both)


def _window_kernel(
    shape: Shape,
    product: Product,
    context: Mapping[str, object],
    constants: tuple[ConstArray, ...],
    pad_value: int,
    uses_row: bool,
    two: bool,
) -> Kernel:
    """Any window.

    Scratch holds the halfwords of two pixels, then a window that has to be copied first, then what is no whole block of
    output channels.

    Args:
        two: pixels at a time, gathered; else one, read where it lies.
    """
    kh, kw, channels = shape.kernel_h, shape.kernel_w, shape.channels
    m = int(str(context["out_channels"]))
    length = max(shape.run, WORD)
    part = length % WORD
    # Taps are runs of their own only where they are whole words; otherwise the window is copied. One pixel is multiplied in whole
    # words, so a window of others is always copied.
    by_taps = channels % WORD == 0
    apart = shape.padded or shape.scattered or (not two and part > 0)
    copies = apart and not by_taps
    words = gcd(length, channels) // WORD if by_taps else length // WORD if two else product.depth // kh // WORD
    halfwords = 4 * product.depth if two else 0
    row_bytes = product.depth // kh if copies and not two else length
    partial_block = product.channels != m
    results = halfwords + (kh * row_bytes if copies else 0)
    scratch = results + ((1 + two) * product.channels if partial_block else 0)
    columns = -(-shape.out_cols // 2) * 2 if two else shape.out_cols
    edges = columns if shape.scattered or (apart and not shape.padded) else min(shape.edges, columns)
    if two:
        step = unrolled(words)
        program = gather(part, step)
        trips = kh * (length // WORD) // step
        inner, edge = (program.count({"run": r, "word": trips}) for r in (kh, kh * kw if by_taps else kh))
        product_work = columns // 2 * pair(product).instructions
        functions = {"gather": program.function(), "matmul_2": pair(product).function}
    else:
        inner, edge = (single(product, words, r).instructions for r in (kh, kh * kw if by_taps else kh))
        product_work = 0
        functions = {"single": single(product, words).function}
    edge += (PER_RUN + PER_BYTE * channels if copies else PER_RUN) * kh * kw
    work = PER_ROW + product_work + columns * PER_PIXEL + edges * edge + (columns - edges) * (inner + PER_RUN * kh)
    work += 2 * m * shape.out_cols if partial_block else 0
    more = {
        "two": two,
        "pixels": 2 if two else 1,
        "padded_channels": product.channels,
        "part": partial_block,
        "kernel_h": kh,
        "runs": kh * kw if by_taps and apart else kh,
        "run": row_bytes,
        "tail": row_bytes - WORD if copies and not two and part else 0,
        "last_bytes": length - WORD,
        "whole": length // WORD * WORD if two else row_bytes,
        "joined": not shape.scattered and (two or not part),
        "apart": apart,
        "copies": copies,
        "last_first": (shape.in_cols * channels - length) // channels,
        "halfwords": halfwords,
        "results": results,
    }
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


def _pixel_kernels(
    shape: Shape,
    product: Product,
    context: Mapping[str, object],
    constants: tuple[ConstArray, ...],
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """1x1 convolutions: pixels unpacked ahead into scratch, or while they are multiplied."""
    found = []
    distance = shape.stride * shape.channels
    one, odd = single(product, product.depth // WORD), shape.out_cols % 2
    rest = {"single": one.function} if odd else {}
    alone = odd * (one.instructions + PER_PIXEL)
    if distance <= DIRECT_STRIDE_LIMIT:
        gathered, two, straight = gather_pair(product.depth, distance), pair(product), pair(product, distance)
        pairs = shape.out_cols // 2
        ahead, during = ((gathered, two), 4 * product.depth), ((straight,), 0)
        for routines, scratch in (ahead, during) if pairs else (during,):
            functions = {"matmul_2": routines[-1].function, **rest}
            if scratch:
                functions["gather"] = gathered.function
            found.append(
                Kernel(
                    "pixel_dsp",
                    {**context, "direct": not scratch},
                    constants,
                    uses_row=uses_row,
                    scratch_bytes=scratch,
                    functions=functions,
                    instructions=pairs * (sum(r.instructions for r in routines) + PER_PIXEL) + alone + PER_ROW,
                )
            )
    found.sort(key=lambda k: (k.instructions or 0, k.scratch_bytes))
    return tuple(k for i, k in enumerate(found) if all(k.scratch_bytes < f.scratch_bytes for f in found[:i]))


def _packed(weights: NDArray[np.integer[Any]], order: list[int], product: Product) -> NDArray[np.int32]:
    m, kh = weights.shape[:2]
    runs = weights.reshape(m, kh, -1).astype(np.int64)
    rows = np.where(np.array(order) < 0, 0, runs[:, :, np.maximum(order, 0)])
    return pack_weights(rows.reshape(m, -1), product)
