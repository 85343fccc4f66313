"""Rows of convolutions and dense layers on small cores: which routine computes which pixels.

Pixels whose windows are runs of bytes in their rows are read where they lie: on Cortex-M3 two at a time. Others (at padded edges, dilated, or in
rows cut into tiles) get a list of pointers, one per position in the window, or a copy of a small window, on the stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa
from vmcu.kernels.small.common import Scaled, make_scaled
from vmcu.kernels.small.product import (
    MASKED_BITS,
    MOST_CHANNELS,
    MOST_RUN,
    PAIR_CHANNELS,
    Shape,
    block_words,
    can_pack,
    pack_masked,
    pack_parameters,
    pack_weights,
    pack_words,
    product,
)
from vmcu.ops.base import ConstArray, Function, Kernel
from vmcu.quant.requantise import Requant

MOST_PACKED = 2048  # weights that may take two bytes each
MOST_TAPS = 64  # pointers on the stack
MOST_COPIED, MOST_COPIED_CHANNELS = 192, 7  # bytes on the stack; with more channels pointers are cheaper
PER_CALL, PER_TAP, PER_BYTE, PER_ROW = 24, 9, 5, 30  # instructions of the C around the routines


@dataclass(frozen=True, slots=True)
class _Blocks:
    """How output channels are cut: `full` blocks of `size`, and a `tail`."""

    size: int
    full: int
    tail: int


def _blocks(channels: int, size: int) -> _Blocks:
    return _Blocks(size, channels // size, channels % size)


def _both(shape: Shape, blocks: _Blocks, word: str) -> tuple[dict[str, Function], int]:
    """Routines of the full blocks and the tail by the template's words, and the instructions of their calls."""
    functions, work = {}, 0
    for name, channels, count in (("full", blocks.size, blocks.full), ("tail", blocks.tail, 1)):
        if channels and count:
            masked = shape.masked and name == "full"
            routine = product(replace(shape, channels=channels, masked=masked), count)
            functions[f"{word}_{name}"] = routine.function
            work += routine.instructions + PER_CALL
    return functions, work


def convolution_kernels(
    isa: Isa,
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad_value: int | None,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """The kernel without groups, or none where these routines cannot.

    Args:
        weights: (output channels, kernel_h, kernel_w, channels), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        stride: of columns.
        pad_value: content of the padding.
    """
    scaled = make_scaled(isa, weights, bias, requant)
    if scaled is None:
        return ()

    @cache
    def leaner() -> tuple[Kernel, ...]:
        lean = make_scaled(isa, weights, bias, requant, compact=True) or scaled
        one = partial(_kernel, lean, where, stride, pad_value, uses_row)
        thumb2 = isa == "armv7-m"
        rolled = [one(rolled=4), one(rolled=4, alone=True) if thumb2 else one(rolled=1)]
        found = [one(), *rolled]
        return tuple(k for k in found if k)

    forms = ((False, False), (True, False), (False, True))
    found = [_kernel(scaled, where, stride, pad_value, uses_row, *form) for form in forms]
    fastest = min((k for k in found if k), key=lambda k: k.instructions or 0, default=None)
    return (replace(fastest, make_leaner=leaner),) if fastest else ()


def _kernel(
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad_value: int | None,
    uses_row: bool,
    packed: bool = False,
    masked: bool = False,
    rolled: int = 0,
    alone: bool = False,
) -> Kernel | None:
    """One of the forms (`product.py`); alone: no two pixels at a time."""
    weights = scaled.weights
    if packed and not (weights.size <= MOST_PACKED and can_pack(scaled)):
        return None
    m, kh, kw, channels = weights.shape
    if masked and (int(str(where["out_cols"])) > 1 or m < MOST_CHANNELS or not can_pack(scaled, MASKED_BITS)):
        return None
    straight = (
        where["tiles"] == 1 and (where["dilation"] == 1 or kw == 1) and int(str(where["in_cols"])) >= kw
    )
    padded, cols = bool(where["padded_cols"]), int(str(where["out_cols"]))
    tapped = padded or not straight
    copied = channels <= MOST_COPIED_CHANNELS and kh * kw * channels <= MOST_COPIED
    if tapped and not copied and kh * kw > MOST_TAPS:
        return None
    scale = scaled.scale
    if masked and (tapped or kw * channels > MOST_RUN):
        return None
    one = Shape(scale, 1, 1, kh, kw * channels, packed=packed, masked=masked, rolled=rolled)
    two = replace(one, pixels=2, distance=stride * channels, out_distance=m)
    pairs = (
        not packed and not alone and straight and cols > 1 and replace(two, channels=PAIR_CHANNELS).possible
    )
    blocks = _blocks(m, PAIR_CHANNELS if pairs else MOST_CHANNELS)
    taps = replace(one, rows=1 if copied else kh * kw, run=kh * kw * channels if copied else channels)
    if not replace(taps if not straight else one, channels=blocks.size).possible:
        return None
    functions: dict[str, Function] = {}
    work = PER_ROW
    last_first = int(str(where["in_cols"])) - (kw - 1) - 1
    inner = cols if not padded else max(0, cols - -(-(kw - 1) // stride)) if straight else 0
    singles = straight and (not pairs or padded or cols % 2 == 1)
    if pairs:
        found, each = _both(two, blocks, "pair")
        functions |= found
        work += inner // 2 * each
    if singles:
        found, each = _both(one, blocks, "one")
        functions |= found
        work += (inner % 2 if pairs else inner) * each
    if tapped:
        found, each = _both(taps, blocks, "taps")
        functions |= found
        work += (cols - inner if straight else cols) * (
            each + kh * kw * (PER_TAP + channels * PER_BYTE * copied)
        )
    depth = kh * kw * channels
    full = blocks.full * blocks.size
    context = {
        **where,
        "pixel": str(where["pixel"]).replace("[kx]", ""),  # of one column at a time
        "thumb1": scale.thumb1,
        "masked": masked,
        "last": {
            name: _last_arguments(scaled, one) for name, one in (("pair", two), ("one", one), ("taps", taps))
        },
        "out_channels": m,
        "full_channels": full,
        "full_weights": depth * (full // 2 if packed else full),
        "full_words": blocks.full * block_words(scale, blocks.size, packed),
        "all_weights": depth * (-(-m // 2) if packed else m),
        "channels": channels,
        "kernel_h": kh,
        "run": kw * channels,
        "taps": kh * kw,
        "stride": stride,
        "columns": cols > 1 or tapped,
        "offset": f"first * {channels}" if cols > 1 or tapped else "0",
        "straight": straight,
        "edges": straight and padded,
        "pairs": pairs,
        "singles": singles,
        "taps_used": tapped,
        "copied": copied,
        "taps_run": taps.run,
        "last_first": last_first,
        "last_pair": cols - 2,
    }
    constants = (
        ConstArray(
            "weights",
            partial(pack_words if packed else pack_masked if masked else pack_weights, scaled, blocks.size),
            "weights",
        ),
        ConstArray("parameters", partial(pack_parameters, scaled, blocks.size, packed, masked), "tables"),
    )
    return Kernel(
        "product_small",
        context,
        constants,
        pad_value=pad_value,
        pad_pixel=padded,
        uses_row=uses_row,
        functions=functions,
        instructions=work,
    )


def _last_arguments(scaled: Scaled, shape: Shape) -> str:
    """Those behind the end of the weights."""
    values: list[int] = []
    if shape.rolled and not scaled.scale.thumb1:
        values += [shape.run, *((shape.distance, shape.out_distance, 0) if shape.pixels == 2 else ())]
    if scaled.scale.compact:
        values.append(scaled.given)
    return "".join(f", {v}" for v in values)


def dense_kernels(
    isa: Isa,
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    *,
    pixels: int,
    rows: int,
    run: int,
) -> tuple[Kernel, ...]:
    """A dense layer of every pixel of a row, or (one pixel) of `rows` rows of `run` bytes; none where these routines cannot."""
    where = {
        "first": "col",
        "out_cols": pixels,
        "in_cols": pixels,
        "kernel_w": 1,
        "dilation": 1,
        "padded_cols": False,
        "tiles": 1,
        "tile_cols": pixels,
        "pixel": "",
    }
    shaped = weights.reshape(len(bias), rows, 1, run)
    return convolution_kernels(isa, shaped, bias, requant, where, stride=1, pad_value=None, uses_row=False)
