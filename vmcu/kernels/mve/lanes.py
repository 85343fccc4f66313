"""Depthwise convolutions with channels in lanes: no scratch, and the way for rows of few pixels.

Sixteen channels are four vectors of sums. Of every tap, four bytes of activations and of weights are widened to words, multiplied
and added. The caller lists where the taps of a pixel lie, padding included.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.rescale import (
    BLOCK,
    Rescale,
    by_fours,
    clamp_words,
    make_rescale,
    parameters,
    rescale_vector,
)
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

CHANNELS = 16  # of a block
MOST_UNROLLED = 8  # taps
MANY_TAPS = 16  # whose pointers are listed in a loop over rows
PER_TAP, PER_PIXEL = 8, 25  # instructions of the C around the routine


@dataclass(frozen=True, slots=True)
class Shape:
    """What the text depends on.

    Attributes:
        taps: of a window.
        whole: blocks of sixteen channels: none, one, or 2 for more.
        part: channels of a last block that is not whole.
        rescale: of the sums, its zero point left open.
    """

    taps: int
    whole: int
    part: int
    rescale: Rescale


def lane_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """The kernel of a depthwise convolution of multiplier 1, or none.

    Args:
        weights: (channels, kernel_h, kernel_w, 1), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        pad_value: content of the padding.
    """
    m, kh, kw, _ = weights.shape
    rescale = make_rescale(requant)
    if rescale is None or weights.dtype != np.int8 or rescale.right > 31:
        return ()
    whole, part = divmod(m, CHANNELS)
    routine = lanes(Shape(kh * kw, min(whole, 2), part, replace(rescale, zero_point=0)), whole)
    cols, padded = int(str(where["out_cols"])), bool(where["padded_cols"])
    context = {
        **where,
        "channels": m,
        "kernel_h": kh,
        "taps": kh * kw,
        "many": kh * kw > MANY_TAPS,
        "whole": whole * CHANNELS * kh * kw,
        "zero_point": rescale.zero_point,
    }
    kernel = Kernel(
        "lanes_mve",
        context,
        (
            ConstArray("weights", partial(_pack_weights, weights), "weights"),
            ConstArray("parameters", partial(_pack_parameters, bias, requant, m), "tables"),
        ),
        pad_value=pad_value,
        pad_pixel=padded,
        uses_row=uses_row,
        functions={"lanes": routine.function},
        instructions=cols * (routine.instructions + PER_TAP * kh * kw + PER_PIXEL) + PER_PIXEL,
    )
    return (kernel,)


def _pack_weights(weights: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """Blocks of channels, in them tap by tap; the last one padded to whole vectors."""
    m, kh, kw, _ = weights.shape
    taps = weights.reshape(m, kh * kw).T
    whole = m // CHANNELS * CHANNELS
    parts = [taps[:, c : c + CHANNELS] for c in range(0, whole, CHANNELS)]
    if m > whole:
        parts.append(np.pad(taps[:, whole:], ((0, 0), (0, -m % BLOCK))))
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.int8)


def _pack_parameters(bias: NDArray[np.int32], requant: Requant, channels: int) -> NDArray[np.int32]:
    rows = parameters(bias, requant, -(-channels // BLOCK) * BLOCK)
    return by_fours(rows.reshape(-1, BLOCK, rows.shape[1]))


@lru_cache(maxsize=256)
def lanes(shape: Shape, blocks: int) -> Routine:
    """All channels of a pixel.

    The function is f(taps, weights, parameters, out, weights_end, zero_point): `weights_end` ends the whole blocks.

    Args:
        blocks: whole ones, for `instructions`.
    """
    program, trips = _lanes(shape), _trips(shape.taps)
    return Routine(
        program.function(),
        program.count({"block": blocks, "tap_of_whole": blocks * trips, "tap_of_part": trips}),
    )


def _trips(taps: int) -> int:
    """How often the loop over all taps but the first runs; 1: there is none."""
    rest = taps - 1
    return rest // max((u for u in range(1, MOST_UNROLLED + 1) if rest % u == 0), default=1) if rest else 1


@lru_cache(maxsize=128)
def _lanes(shape: Shape) -> Helium:
    p = Helium(
        "mve_lanes",
        [f"A pixel of {shape.taps} taps, channels in lanes."],
        [
            *(
                ("taps", "const int8_t *const *"),
                ("weights", "const int8_t *"),
                ("parameters", "const int32_t *"),
            ),
            *(("out", "int8_t *"), ("weights_end", "const int8_t *"), ("zero_point", "int32_t")),
        ],
    )
    taps, x, w = p.rows("tap", 0), p.source("x", 1), p.source("w", 2)
    offset, to, spare, source = (
        p.number("offset", 4),
        p.target("dest", 5),
        p.number("spare", 6),
        p.source("rest", 7),
    )
    zero = p.number("zero", 8)
    p.get(w, "weights")
    p.get(source, "parameters")
    p.get(to, "out")
    p.get(zero, "zero_point")
    p.move(offset, 0)
    q0, q1 = p.vec(0), p.vec(1)

    def block(channels: int) -> None:
        vectors, rest = -(-channels // BLOCK), channels % BLOCK
        accs = [p.vec(4 + i) for i in range(vectors)]

        def tap(fresh: bool) -> None:
            p.next_row(x, taps)
            p.advance(x, offset)
            for i, acc in enumerate(accs):
                with p.masked() if rest and i == vectors - 1 else nullcontext():
                    p.widen_bytes(q0, x, 32, offset=BLOCK * i)
                p.widen_bytes(q1, w, 32, step=BLOCK)
                if fresh:
                    p.mul_vec(acc, q0, q1)
                else:
                    p.mul_vec(q0, q0, q1)
                    p.add_vec(acc, acc, q0)

        if rest:
            p.only_first(rest, 32, spare)
        p.get(taps, "taps")
        tap(True)
        trips = _trips(shape.taps)
        if trips > 1:
            p.move(spare, trips)
        if shape.taps > 1:
            name = "tap_of_whole" if channels == CHANNELS else "tap_of_part"
            with p.times(name, spare) if trips > 1 else nullcontext(), p.repeat((shape.taps - 1) // trips):
                tap(False)
        for i, acc in enumerate(accs):
            rescale_vector(p, shape.rescale, acc, source)
            p.add_vec(acc, acc, zero)
            clamp_words(p, acc, p.vec(2), spare, shape.rescale.low, shape.rescale.high)
            if rest and i == vectors - 1:
                with p.masked():
                    p.store_lanes(acc, to, 32)
            else:
                p.store_lanes(acc, to, 32, step=BLOCK)

    if shape.whole > 1:
        with p.until("block", w, "weights_end", p.source("w_stop", 9)):
            block(CHANNELS)
            p.add_number(offset, CHANNELS)
    elif shape.whole:
        block(CHANNELS)
        p.add_number(offset, CHANNELS)
    if shape.part:
        block(shape.part)
    return p
