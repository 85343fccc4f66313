"""The kernels of a depthwise convolution on DSP cores (`planes.py`, `taps.py`, `sliding.py`, `pairs.py`, `narrow.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.beside import arguments
from vmcu.kernels.dsp.narrow import Narrow, filter_narrow, pack_narrow
from vmcu.kernels.dsp.pairs import LANES as PAIR_LANES
from vmcu.kernels.dsp.pairs import Pairs, filter_pairs, pack_pairs
from vmcu.kernels.dsp.planes import LANES, best_planes, fill_planes, filter_planes, pack_planes
from vmcu.kernels.dsp.rescale import Scaled, make_scaled
from vmcu.kernels.dsp.sliding import KERNEL, Slide, pack_slide, pack_slide_bytes, slide
from vmcu.kernels.dsp.taps import filter_taps, pack_taps, tap_words
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

MOST_PACKED_TAPS = 59  # from a multiplier to its starting value, as far as LDR reaches back
PER_GROUP, PER_TAP, PER_PIXEL, PER_ROW = 20, 8, 30, 20  # instructions of the C around the routines
PER_POINTER, PER_CALL = 3, 10  # the same of `narrow.py`
PER_BESIDE = 4  # the same of `pairs.py`, per pixel of a neighbour
PER_TILE = 5  # instructions of the step for a pointer that it looks up
MOST_BESIDE = 2  # columns of neighbours
MOST_PAIRED = 6  # outputs of a tile: each two are a text of their own
MOST_NARROW = 4  # columns: each pair is a text of its own


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
    fast = make_scaled(weights, bias, requant)
    if fast is None or channels < LANES:
        return ()
    shifted = weights.astype(np.int64) << fast.rescale.pre
    if shifted.max() >= 1 << 15 or shifted.min() < -1 << 15:
        return ()
    narrow = weights.dtype == np.int8  # taps are read from bytes
    arguments = (where, pad_value, uses_row)

    def offered(scaled: Scaled) -> list[Kernel]:
        if uses_row or where["dilation"] != 1:
            return []
        found = [*_sliding(weights, scaled, where, stride, pad, pad_value)]
        if narrow:
            found += _narrow(weights, scaled, where, stride, pad_value, not scaled.rescale.compact)
        found += _pairs(weights, scaled, where, stride, pad, pad_value)
        if where["tiles"] == 1:
            found += _planes(weights, scaled, where, stride, pad, pad_value)
        return sorted(found, key=_cost)

    @cache
    def leaner() -> tuple[Kernel, ...]:
        packed = make_scaled(weights, bias, requant, compact=True) or fast
        lean = offered(packed) if packed.rescale.compact and narrow else []
        if narrow and not uses_row:
            lean += _narrow(weights, fast, where, stride, pad_value, False)
        near = packed if kh * kw <= MOST_PACKED_TAPS else fast
        return (*lean, _taps(weights, near, *arguments, short=True)) if narrow else ()

    if compact:
        return leaner()[-1:]
    found = sorted([*([_taps(weights, fast, *arguments)] if narrow else []), *offered(fast)], key=_cost)
    best = [k for i, k in enumerate(found) if all(k.scratch_bytes < f.scratch_bytes for f in found[:i])]
    return tuple(replace(k, make_leaner=leaner) for k in best)


def _cost(kernel: Kernel) -> tuple[int, int]:
    return kernel.instructions or 0, kernel.scratch_bytes


def _taps(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    pad_value: int,
    uses_row: bool,
    short: bool = False,
) -> Kernel:
    """The kernel that goes tap by tap."""
    channels, kh, kw = weights.shape
    rescale, out_cols, taps = scaled.rescale, int(str(where["out_cols"])), kh * kw
    starts = [*range(0, channels - LANES + 1, LANES), *([channels - LANES] if channels % LANES else [])]
    per_group = tap_words(taps, rescale)
    whole, part = channels // LANES, channels % LANES
    one_by_one = filter_taps(taps, rescale, whole, short)
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
    return Kernel(
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
        + PER_TILE * kh * (int(str(where["tiles"])) - 1)
        + out_cols * (one_by_one.instructions * len(starts) // whole + PER_PIXEL + PER_TAP * taps),
    )


def _planes(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad: int,
    pad_value: int,
) -> tuple[Kernel, ...]:
    """The kernel that writes planes first."""
    channels, kh, kw = weights.shape
    g = best_planes(
        kernel_h=kh,
        kernel_w=kw,
        stride=stride,
        pad=pad,
        in_cols=int(str(where["tile_cols"])),
        out_cols=int(str(where["out_cols"])),
        channels_in=channels,
        channels_out=channels,
        pad_value=pad_value,
        rescale=scaled.rescale,
    )
    if g is None:
        return ()
    groups = -(-channels // LANES)
    fill, filtered = fill_planes(g), filter_planes(g, LANES)
    kernel = Kernel(
        "planes_dsp",
        {
            "channels": channels,
            "last_channel": channels - LANES,
            "kernel_h": kh,
            "words": g.channel_words,
            "packed": scaled.rescale.has_given_addend,
            "addend": scaled.addend,
        },
        (ConstArray("weights", partial(pack_planes, weights, scaled, g), "weights"),),
        pad_value=pad_value,
        scratch_bytes=g.scratch_bytes,
        functions={"fill": fill.function, "filter": filtered.function},
        instructions=PER_ROW + groups * (fill.instructions + filtered.instructions + PER_GROUP),
    )
    return (kernel,)


def _sliding(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad: int,
    pad_value: int,
) -> tuple[Kernel, ...]:
    """The kernel of 3x3 filters (`sliding.py`)."""
    channels, kh, kw = weights.shape
    start, tiles, tile_cols, out_cols = (
        int(str(where[k])) for k in ("start", "tiles", "tile_cols", "out_cols")
    )
    g = Slide(stride, start, tiles, tile_cols, out_cols, channels, pad_value, scaled.rescale)
    if (kh, kw) != (KERNEL, KERNEL) or not g.usable:
        return ()
    staying = replace(g, own=(start + pad) // tile_cols) if tiles > 1 else g
    g = staying if len(staying.beside) <= MOST_BESIDE and not where["padded_cols"] else g
    first, beside = arguments(g.beside, 0, g.own, tiles, tile_cols, channels) if g.own >= 0 else ([], [])
    routine = slide(g, channels)
    add = int(scaled.parameters[0, 1]) if scaled.rescale.numerics == "onnx" else 0
    pack = (
        partial(pack_slide_bytes, weights, scaled, g)
        if scaled.rescale.compact
        else partial(pack_slide, weights, scaled)
    )
    kernel = Kernel(
        "slide_dsp",
        {
            "words": channels * g.words,
            "add": add,
            "packed": scaled.rescale.packed,
            "addend": scaled.addend,
            "own": first,
            "nears": beside,
        },
        (ConstArray("weights", pack, "weights"),),
        pad_value=pad_value,
        functions={"slide": routine.function},
        instructions=PER_ROW + PER_TILE * kh * (tiles - 1) + PER_BESIDE * len(beside) + routine.instructions,
    )
    return (kernel,)


def _narrow(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad_value: int,
    widened: bool,
) -> tuple[Kernel, ...]:
    """The kernel of narrow tiles (`narrow.py`).

    Args:
        widened: weights are kept as halfwords.
    """
    channels, kh, kw = weights.shape
    start, tiles, tile_cols, out_cols = (
        int(str(where[k])) for k in ("start", "tiles", "tile_cols", "out_cols")
    )
    if tiles == 1 or out_cols > MOST_NARROW or where["padded_cols"] or where["dilation"] != 1:
        return ()
    groups, part = channels // LANES, channels % LANES
    starts = [*range(0, channels - LANES + 1, LANES), *([channels - LANES] if part else [])]
    calls, functions, work = [], {}, PER_ROW + PER_TILE * kh * (tiles - 1)
    for first in range(0, out_cols, 2):
        outputs = min(2, out_cols - first)
        g = Narrow(kh, kw, stride, outputs, channels, widened, scaled.rescale)
        if not g.usable:
            return ()
        routine, word = filter_narrow(g, groups), f"filter_{outputs}"
        functions[word] = routine.function
        columns = range(start + first * stride, start + first * stride + g.columns)
        pixels = [
            f"in[{ky * tiles + column // tile_cols}] + {column % tile_cols * channels}"
            for ky in range(kh)
            for column in columns
        ]
        calls.append({"word": word, "pixels": pixels, "out": first * channels})
        once = routine.instructions + PER_POINTER * g.pointers + PER_CALL
        work += once + (filter_narrow(g, 1).instructions + PER_POINTER * g.pointers + PER_CALL if part else 0)
    context = {
        "calls": calls,
        "widened": widened,
        "words": groups * g.words,
        "all_words": (groups + 1) * g.words,
        "part": part,
        "last_channel": channels - LANES,
        "packed": scaled.rescale.packed,
        "addend": scaled.addend,
    }
    pack = pack_narrow if widened else pack_taps
    return (
        Kernel(
            "narrow_dsp",
            context,
            (ConstArray("weights", partial(pack, weights.reshape(channels, -1), scaled, starts), "weights"),),
            pad_value=pad_value,
            functions=functions,
            instructions=work,
        ),
    )


def _pairs(
    weights: NDArray[np.integer[Any]],
    scaled: Scaled,
    where: Mapping[str, object],
    stride: int,
    pad: int,
    pad_value: int,
) -> list[Kernel]:
    """The kernels of narrow tiles and 3x3 filters (`pairs.py`), by the channels they take at a time."""
    channels, kh, kw = weights.shape
    start, tiles, tile_cols, out_cols = (
        int(str(where[k])) for k in ("start", "tiles", "tile_cols", "out_cols")
    )
    found: list[Kernel] = []
    own, rest = divmod(start + pad, tile_cols)
    if (kh, kw) != (KERNEL, KERNEL) or tiles == 1 or out_cols > MOST_PAIRED or where["padded_cols"] or rest:
        return found
    for lanes in PAIR_LANES:
        g = Pairs(stride, pad, tile_cols, out_cols, channels, lanes, scaled.rescale)
        if len(g.beside) > MOST_BESIDE or channels < lanes or not g.usable:
            continue
        groups, part = divmod(channels, lanes)
        starts = [*range(0, channels - lanes + 1, lanes), *([channels - lanes] if part else [])]
        routine = filter_pairs(g, groups)
        first, beside = arguments(g.beside, start, own, tiles, tile_cols, channels)
        once = PER_CALL + PER_BESIDE * len(beside)
        context = {
            "lanes": lanes,
            "own": first,
            "nears": beside,
            "words": groups * g.words,
            "all_words": (groups + 1) * g.words,
            "part": part,
            "last_channel": channels - lanes,
            "add": int(scaled.parameters[0, 1]) if scaled.rescale.numerics == "onnx" else 0,
        }
        found.append(
            Kernel(
                "pairs_dsp",
                context,
                (ConstArray("weights", partial(pack_pairs, weights, scaled, starts, lanes), "weights"),),
                pad_value=pad_value,
                functions={"filter": routine.function},
                instructions=PER_ROW
                + PER_TILE * kh * (tiles - 1)
                + once
                + routine.instructions
                + (once + filter_pairs(g, 1).instructions if part else 0),
            )
        )
    return found
