"""Dense layers over a whole tensor on DSP cores: one vector times a matrix (`matmul.py`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.matmul import WORD, make_product, pack_parameters, pack_weights, single
from vmcu.kernels.rescale import make_scaled
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

AROUND = 30  # instructions of the C around the routine


def vector_kernels(
    weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant, *, rows: int
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer; none where the routines cannot.

    Args:
        weights: (units, depth), zero point subtracted, depth in the input's memory order.
        bias: input zero point folded in.
        rows: of the input, all of one size.
    """
    units, depth = weights.shape
    scaled = make_scaled(weights, bias, requant)
    copied = depth % WORD != 0
    if scaled is None or (rows > 1 and depth // rows % WORD):
        return ()
    product = make_product(weights, scaled, depth)
    part = product.channels != units
    one = single(product, product.depth // rows // WORD, rows)
    context = {
        "rows": rows,
        "row_bytes": product.depth // rows,
        "depth": depth,
        "words": product.blocks * product.words_per_block,
        "copied": copied,
        "part": part,
        "to": f"scratch + {product.depth if copied else 0}" if part else "out",
        "units": units,
    }
    constants = (
        ConstArray("weights", partial(pack_weights, weights, product), "weights"),
        ConstArray("parameters", partial(pack_parameters, scaled, product), "tables"),
    )
    return (
        Kernel(
            "vector_dsp",
            context,
            constants,
            scratch_bytes=(product.depth if copied else 0) + (product.channels if part else 0),
            functions={"single": one.function},
            instructions=one.instructions + AROUND + (depth if copied else 0) + (units if part else 0),
        ),
    )
