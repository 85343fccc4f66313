"""Convolutions and dense layers per pixel as products of gathered pixels with a matrix (`matmul.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.matmul import (
    DIRECT_STRIDE_LIMIT,
    WORD,
    Product,
    gather,
    make_product,
    pack_parameters,
    pack_weights,
    pair,
    run_order,
    single,
)
from vmcu.kernels.rescale import make_scaled
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

PER_RUN, PER_PAIR, PER_ROW, PER_EDGE_BYTE = 8, 24, 60, 3  # instructions of the C around the routines


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
    run, plain = kw * channels, where["tiles"] == 1 and where["dilation"] == 1
    order = run_order(run) if run >= WORD else [*range(run), *[-1] * (WORD - run)]
    scaled = make_scaled(weights, bias, requant)
    if scaled is None:
        return ()
    product = make_product(weights, scaled, kh * len(order))
    padded, cols = bool(where["padded_cols"]), int(str(where["out_cols"]))
    always = run < WORD or not plain  # a copy of every pixel's window
    edges = cols if always else -(-(kw - 1) // stride) if padded else 0
    copied = always or padded
    length = max(run, WORD)  # of a copied run
    gathered = gather(kh, length)
    two = pair(product)
    results = 4 * product.depth + (2 * kh * length if copied else 0)
    context = {
        **where,
        "out_channels": m,
        "padded_channels": product.channels,
        "part": product.channels != m,
        "channels": channels,
        "kernel_h": kh,
        "run": length,
        "runs": 2 * kh,
        "always": always,
        "copied": copied,
        "last_first": int(str(where["in_cols"])) - kw,
        "words": product.blocks * product.words_per_block,
        "depth_bytes": 4 * product.depth,
        "windows": 4 * product.depth,
        "window_bytes": kh * length,
        "results": results,
        "odd": cols % 2 == 1,
        "pairs": cols - cols % 2,
        "last": cols - 1,
        "distance": stride * channels,
    }
    scratch = results + (2 * product.channels if context["part"] else 0)
    constants = (
        ConstArray("weights", partial(_packed, weights, order, product), "weights"),
        ConstArray("parameters", partial(pack_parameters, scaled, product), "tables"),
    )
    pairs = -(-cols // 2)
    work = pairs * (gathered.instructions + two.instructions + PER_RUN * kh + PER_PAIR) + PER_ROW
    work += edges * kh * (run * PER_EDGE_BYTE + 20) + (2 * m * cols if context["part"] else 0)
    gathering = Kernel(
        "window_dsp",
        context,
        constants,
        pad_value=pad_value,
        pad_pixel=padded,
        uses_row=uses_row,
        scratch_bytes=-(-scratch // 4) * 4,
        functions={"gather": gathered.function, "matmul_2": two.function},
        instructions=work,
    )
    simple = plain and not padded and kh == kw == 1 and channels % WORD == 0 and m == product.channels
    if not simple:
        return (gathering,)
    one = single(product)
    distance = stride * channels
    odd = cols % 2 * (one.instructions + PER_PAIR)
    both = {"single": one.function} if cols % 2 else {}
    ahead = Kernel(
        "pixel_dsp",
        {**context, "direct": False},
        constants,
        uses_row=uses_row,
        scratch_bytes=4 * product.depth,
        functions={"gather": gathered.function, "matmul_2": two.function, **both},
        instructions=cols // 2 * (gathered.instructions + two.instructions + PER_PAIR) + odd + PER_ROW,
    )
    if distance > DIRECT_STRIDE_LIMIT:
        return (ahead,)
    straight = pair(product, distance)
    direct = Kernel(
        "pixel_dsp",
        {**context, "direct": True},
        constants,
        uses_row=uses_row,
        functions={"matmul_2": straight.function, **both},
        instructions=cols // 2 * (straight.instructions + PER_PAIR) + odd + PER_ROW,
    )
    if direct.instructions <= ahead.instructions:
        return (direct,)
    return (ahead, direct)


def _packed(weights: NDArray[np.integer[Any]], order: list[int], product: Product) -> NDArray[np.int32]:
    m, kh = weights.shape[:2]
    runs = weights.reshape(m, kh, -1).astype(np.int64)
    rows = np.where(np.array(order) < 0, 0, runs[:, :, np.maximum(order, 0)])
    return pack_weights(rows.reshape(m, -1), product)
