"""Dense layers over a whole tensor on DSP cores: one vector times a matrix (`matmul.py`)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.gather import run_order
from vmcu.kernels.dsp.matmul import single
from vmcu.kernels.dsp.rescale import Scaled, make_scaled
from vmcu.kernels.dsp.weights import BLOCK, SHARED, SHORT, WORD, blocks_of, fold, make_product, pack_runs
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

AROUND, PER_PART = 30, 4  # instructions of the C around the routine


def vector_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    *,
    rows: int,
    compact: bool = False,
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer; none where the routines cannot.

    Args:
        weights: (units, depth), zero point subtracted, depth in the input's memory order.
        bias: input zero point folded in.
        rows: of the input, all of one size.
        compact: in least flash.
    """
    fast, packed = make_scaled(weights, bias, requant), make_scaled(weights, bias, requant, compact=True)
    if fast is None or packed is None or weights.shape[1] // rows < WORD:
        return ()
    if compact:
        return (_kernel(weights, packed, rows, SHORT),)

    @cache
    def leaner() -> tuple[Kernel, ...]:
        return tuple(_kernel(weights, packed, rows, u) for u in (0, SHARED, SHORT))

    return (replace(_kernel(weights, fast, rows, 0), make_leaner=leaner),)


def _kernel(weights: NDArray[np.integer[Any]], scaled: Scaled, rows: int, unrolled: int) -> Kernel:
    units, depth = weights.shape
    parts = fold(weights.reshape(units, rows, -1), scaled)
    product = make_product(weights, scaled, depth, unrolled, folds=parts > 0)
    if product.form != "folded":
        parts = 1
    runs = rows * parts
    run = depth // runs
    order = run_order(run)
    product = replace(product, depth=runs * len(order))
    one = single(product, run // WORD, run % WORD, runs)
    context = {
        **blocks_of(product, units),
        "cut": parts > 1,
        "from": "runs" if parts > 1 else "in",
        "rows": rows,
        "parts": parts,
        "runs": runs,
        "row_bytes": run // WORD * WORD,
        "more": [
            *([scaled.addend] if scaled.rescale.packed else []),
            *([0, 0] if product.form == "folded" else []),
        ],
    }
    return Kernel(
        "vector_dsp",
        context,
        (
            ConstArray(
                "weights",
                partial(pack_runs, weights.reshape(units, runs, run), order, scaled, product),
                "weights",
            ),
        ),
        functions={"single": one.function},
        instructions=one.instructions
        + AROUND * (1 + (units % BLOCK > 0))
        + (PER_PART * runs if parts > 1 else 0),
    )
