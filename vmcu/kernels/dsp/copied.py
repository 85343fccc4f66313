"""Convolutions pixel by pixel on DSP cores, whose windows are copied first, so that a window is one run (`matmul.py`).

Read where it lies, a window of few channels is a run per row, and each run that is no whole number of words ends in a word that
overlaps the one before: 3x3 of three channels are nine words of products for 27 activations. Copied row behind row they are seven, and
there is no loop over rows. Where the window lies in several tiles, it has to be copied anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.gather import run_order
from vmcu.kernels.dsp.joined import Piece, Shape, in_tiles
from vmcu.kernels.dsp.matmul import single
from vmcu.kernels.dsp.rescale import Scaled
from vmcu.kernels.dsp.weights import WORD, blocks_of, make_product, pack_runs
from vmcu.ops.base import ConstArray, Kernel

MOST_STACKED = 64  # bytes of a window that is copied to the stack
MOST_EDGES = 3  # windows of a tile that lie in several: each is a text of its own
MANY_LINES = 3  # that compilers copy without a loop
LINES_AT_ONCE = 5  # of more, at most
PER_ROW, PER_PIXEL = 40, 16  # instructions of the C around the routine
PER_TILE = 5  # of the step for a pointer
PER_POINTER, PER_LINE, PER_TAP = 2, 5, 6  # the same of copying


def copied_kernels(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    shape: Shape,
    pad_value: int,
    uses_row: bool,
    unrolled: int,
) -> tuple[Kernel, ...]:
    """The kernel, or none: where windows are whole words already, too large for the stack, or in too many tiles.

    Args:
        weights: (output channels, kernel_h, kernel_w, channels), zero point subtracted.
        where: the columns a pixel reads (`Columns.context`).
        unrolled: see `weights.unrolled`.
    """
    m, kh, run = weights.shape[0], shape.kernel_h, shape.run
    size = kh * run
    tiles, stacked = int(str(where["tiles"])), size <= MOST_STACKED
    if kh == 1 or where["dilation"] != 1 or shape.channels % WORD == 0 or size < WORD:
        return ()
    if (tiles == 1 and not stacked and not shape.padded) or (tiles > 1 and (shape.padded or uses_row)):
        return ()
    edges, own, own_start = in_tiles(shape, where) if tiles > 1 else ({}, 0, 0)
    if len(edges) > MOST_EDGES:
        return ()
    order = run_order(size)
    product = make_product(weights, scaled, len(order), unrolled)
    one = single(product, size // WORD, size % WORD)
    at_once = max(n for n in range(1, LINES_AT_ONCE + 1) if kh % n == 0) if kh > MANY_LINES else 1
    line = _copying(run) + PER_POINTER + (PER_LINE // at_once if kh > MANY_LINES else 0)
    inner = shape.out_cols - len(edges)
    work = inner * kh * line
    for pieces in edges.values():
        work += kh * (line - _copying(run) - PER_POINTER)
        work += kh * sum(_copying(piece[3]) + PER_POINTER for piece in pieces)
    if tiles == 1 and shape.padded:
        parts = int(str(where["tiles_out"])) if uses_row else 1  # of a row whose ends alone are edges
        apart = min(shape.edges / parts, shape.out_cols)
        work += round(apart * kh * (shape.kernel_w * (PER_TAP + 2 * shape.channels) - line))
    context = {
        **where,
        **blocks_of(product, m),
        "out_channels": m,
        "channels": shape.channels,
        "kernel_h": kh,
        "run": run,
        "size": size,
        "whole": size // WORD * WORD,
        "stacked": stacked,
        "lines": list(range(at_once)),
        "edges": [{"col": col, "pieces": [_named(p) for p in pieces]} for col, pieces in edges.items()],
        "inner": inner > 0,
        "own": own,
        "own_start": own_start,
        "stride": shape.stride,
        "some_inside": shape.in_cols >= shape.kernel_w,
        "farthest": shape.in_cols - shape.kernel_w,
        "leaves": shape.padded,
        "packed": scaled.rescale.packed,
        "addend": scaled.addend,
    }
    runs = weights.reshape(m, 1, size)
    return (
        Kernel(
            "copied_dsp",
            context,
            (ConstArray("weights", partial(pack_runs, runs, order, scaled, product), "weights"),),
            pad_value=pad_value,
            pad_pixel=shape.padded,
            uses_row=uses_row,
            scratch_bytes=0 if stacked else -(-size // WORD) * WORD,
            functions={"single": one.function},
            instructions=PER_ROW
            + PER_TILE * kh * (tiles - 1)
            + work
            + shape.out_cols * (one.instructions + PER_PIXEL * (2 if m % 4 else 1)),
        ),
    )


def _named(piece: Piece) -> dict[str, int]:
    return dict(zip(("tile", "from", "to", "bytes"), piece, strict=True))


def _copying(size: int) -> int:
    """Instructions of a memcpy of few bytes: words, then what is left."""
    return 2 * (size // WORD) + (0, 2, 2, 4)[size % WORD]
