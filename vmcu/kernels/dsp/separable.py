"""The kernels of a depthwise convolution on DSP cores (`depthwise.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.depthwise import (
    LANES,
    Planes,
    best_planes,
    fill_planes,
    filter_planes,
    filter_taps,
    pack_planes,
    pack_taps,
)
from vmcu.kernels.dsp.rescale import Scaled, make_scaled
from vmcu.kernels.dsp.sliding import KERNEL, Slide, pack_slide, slide
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

MOST_PACKED_TAPS = 59  # from a multiplier to its starting value, as far as LDR reaches back
PER_GROUP, PER_TAP, PER_PIXEL, PER_ROW = 20, 8, 30, 20  # instructions of the C around the routines


def depthwise_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad: int,
    pad_value: int,
    uses_row: bool,
    compact: bool = False,
) -> tuple[Kernel, ...]:
    """Kernels of a depthwise convolution, those with most scratch first; none where these routines cannot.

    Args:
        weights: (channels, kernel_h, kernel_w), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        stride, pad: of columns; padding to the left.
        pad_value: content of the padding.
        compact: the one that takes least flash.
    """
    channels, kh, kw = weights.shape
    scaled = make_scaled(weights, bias, requant, compact and kh * kw <= MOST_PACKED_TAPS)
    if scaled is None or channels < LANES:
        return ()
    shifted = weights.astype(np.int64) << scaled.rescale.pre
    if shifted.max() >= 1 << 15 or shifted.min() < -1 << 15:
        return ()
    rescale = scaled.rescale
    in_cols, out_cols = int(str(where["tile_cols"])), int(str(where["out_cols"]))
    starts = [*range(0, channels - LANES + 1, LANES), *([channels - LANES] if channels % LANES else [])]
    taps = kh * kw
    per_group = LANES * (1 + rescale.words) + taps
    whole, part = channels // LANES, channels % LANES
    one_by_one = filter_taps(taps, rescale, whole)
    context = {
        **where,
        "channels": channels,
        "kernel_h": kh,
        "taps": taps,
        "words": whole * per_group,
        "all_words": (whole + 1) * per_group,
        "part": part,
        "last_channel": channels - LANES,
        "packed": rescale.packed,
        "addend": scaled.addend,
    }
    by_taps = Kernel(
        "taps_dsp",
        context,
        (
            ConstArray(
                "weights", partial(pack_taps, weights.reshape(channels, -1), scaled, starts), "weights"
            ),
        ),
        pad_value=pad_value,
        pad_pixel=bool(where["padded_cols"]),
        uses_row=uses_row,
        functions={"filter_taps": one_by_one.function},
        instructions=PER_ROW
        + out_cols * (one_by_one.instructions * len(starts) // whole + PER_PIXEL + PER_TAP * taps),
    )
    narrow = weights.dtype == np.int8  # taps are read from bytes
    if compact or uses_row or where["dilation"] != 1:
        return (by_taps,) if narrow else ()
    found = [by_taps] if narrow else []
    sliding = _sliding(weights, scaled, where, stride, pad_value)
    if sliding:
        found.append(sliding)
    if where["tiles"] == 1:
        g = best_planes(
            kernel_h=kh,
            kernel_w=kw,
            stride=stride,
            pad=pad,
            in_cols=in_cols,
            out_cols=out_cols,
            channels_in=channels,
            channels_out=channels,
            pad_value=pad_value,
            rescale=rescale,
        )
        if g is not None:
            found.append(_planes(weights, scaled, g))
    found.sort(key=lambda k: (k.instructions or 0, k.scratch_bytes))
    return tuple(k for i, k in enumerate(found) if all(k.scratch_bytes < f.scratch_bytes for f in found[:i]))


def _planes(weights: NDArray[np.integer[Any]], scaled: Scaled, g: Planes) -> Kernel:
    """The kernel that writes planes first."""
    channels, kh, _ = weights.shape
    groups = -(-channels // LANES)
    fill, filtered = fill_planes(g), filter_planes(g, LANES)
    words = 1 + kh * len(g.group.taps) + scaled.rescale.shifted_words
    return Kernel(
        "planes_dsp",
        {"channels": channels, "last_channel": channels - LANES, "kernel_h": kh, "words": words},
        (ConstArray("weights", partial(pack_planes, weights, scaled, g), "weights"),),
        pad_value=g.pad_value,
        scratch_bytes=g.scratch_bytes,
        functions={"fill": fill.function, "filter": filtered.function},
        instructions=PER_ROW + groups * (fill.instructions + filtered.instructions + PER_GROUP),
    )


def _sliding(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad_value: int,
) -> Kernel | None:
    """The kernel of 3x3 filters (`sliding.py`)."""
    channels, kh, kw = weights.shape
    start, tiles, tile_cols, out_cols = (
        int(str(where[k])) for k in ("start", "tiles", "tile_cols", "out_cols")
    )
    g = Slide(stride, start, tiles, tile_cols, out_cols, channels, pad_value, scaled.rescale)
    if (kh, kw) != (KERNEL, KERNEL) or not g.usable:
        return None
    routine = slide(g, channels)
    add = int(scaled.parameters[0, 1]) if scaled.rescale.numerics == "onnx" else 0
    return Kernel(
        "slide_dsp",
        {"words": channels * g.words, "add": add},
        (ConstArray("weights", partial(pack_slide, weights, scaled), "weights"),),
        pad_value=pad_value,
        functions={"slide": routine.function},
        instructions=PER_ROW + routine.instructions,
    )
