"""The kernels of a depthwise convolution on DSP cores (`depthwise.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.depthwise import (
    LANES,
    best_planes,
    fill_planes,
    filter_planes,
    filter_taps,
    pack_planes,
    pack_taps,
)
from vmcu.kernels.dsp.rescale import make_scaled
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
    if int(np.abs(weights.astype(np.int64)).max()) << scaled.rescale.pre >= 1 << 15:
        return ()  # they are shifted ahead
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
    if where["tiles"] != 1 or uses_row or where["dilation"] != 1 or g is None or compact:
        return (by_taps,) if weights.dtype == np.int8 else ()
    fill, filtered = fill_planes(g), filter_planes(g, LANES)
    words = 1 + kh * len(g.group.taps) + rescale.words
    by_planes = Kernel(
        "planes_dsp",
        {"channels": channels, "last_channel": channels - LANES, "kernel_h": kh, "words": words},
        (ConstArray("weights", partial(pack_planes, weights, scaled, g), "weights"),),
        pad_value=pad_value,
        scratch_bytes=g.scratch_bytes,
        functions={"fill": fill.function, "filter": filtered.function},
        instructions=PER_ROW + len(starts) * (fill.instructions + filtered.instructions + PER_GROUP),
    )
    if weights.dtype != np.int8:
        return (by_planes,)  # wider than the bytes that taps are read from
    assert by_planes.instructions is not None and by_taps.instructions is not None
    return (by_planes, by_taps) if by_planes.instructions < by_taps.instructions else (by_taps,)
