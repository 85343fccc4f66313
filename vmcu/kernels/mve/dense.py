"""Dense layers: pixels times a matrix; a tensor of several rows is gathered into one first."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Tensor
from vmcu.kernels.mve.windows import pixel_kernels
from vmcu.ops.base import Kernel
from vmcu.quant.requantise import Requant

PER_ROW, PER_BYTE = 30, 1  # instructions of copying a row


def dense_kernels(
    weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant, x: Tensor, per_pixel: bool
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer, those with most scratch first; none where these routines cannot.

    Args:
        weights: (units, depth), zero point subtracted.
        bias: input zero point folded in.
        x: input.
        per_pixel: each pixel's channels are a vector; else the whole tensor is.
    """
    arguments = (weights, bias, requant, x, per_pixel)
    leaner = cache(partial(_dense_kernels, *arguments, rolled=True))
    return tuple(replace(k, make_leaner=leaner) for k in _dense_kernels(*arguments, rolled=False))


def _dense_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    x: Tensor,
    per_pixel: bool,
    rolled: bool,
) -> tuple[Kernel, ...]:
    count, depth = x.cols if per_pixel else 1, weights.shape[1]
    found = pixel_kernels(
        weights, bias, requant, count=count, step=depth, first="0", uses_row=False, rolled=rolled
    )
    if per_pixel or x.rows == 1:
        return found
    return tuple(
        replace(
            kernel,
            template="dense_mve",
            context={**kernel.context, "rows": x.rows, "row_bytes": x.row_bytes},
            scratch_bytes=-(-depth // 4) * 4,
            instructions=(kernel.instructions or 0) + x.rows * (PER_ROW + PER_BYTE * x.row_bytes),
        )
        for kernel in found
    )
