"""Convolutions without scratch: one pixel, its taps where they lie, four channels at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.product import (
    CHANNELS,
    VECTOR,
    Shape,
    Text,
    make_product,
    pack_parameters,
    pack_vectors,
    shape_of,
)
from vmcu.kernels.mve.rescale import Limits
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

PER_TAP, PER_PIXEL = 8, 30  # instructions of the C around the routine


def tap_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """The kernel of a convolution without groups, or none.

    Args:
        weights: (output channels, kernel_h, kernel_w, channels), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        pad_value: content of the padding.
    """
    m, kh, kw, channels = weights.shape
    product = make_product(weights, bias, requant, channels)
    if product is None:
        return ()
    routine = taps(shape_of(product), m // CHANNELS, kh * kw)
    cols, padded = int(str(where["out_cols"])), bool(where["padded_cols"])
    kernel = Kernel(
        "taps_mve",
        {
            **where,
            "out_channels": m,
            "kernel_h": kh,
            "taps": kh * kw,
            "whole": product.whole_bytes * kh * kw,
            "zero_point": product.rescale.zero_point,
        },
        (
            ConstArray("weights", partial(_pack, weights), "weights"),
            ConstArray("parameters", partial(pack_parameters, bias, requant, product), "tables"),
        ),
        pad_value=pad_value,
        pad_pixel=padded,
        uses_row=uses_row,
        functions={"product": routine.function},
        instructions=cols * (routine.instructions + PER_TAP * kh * kw + PER_PIXEL) + PER_PIXEL,
    )
    return (kernel,)


def _pack(weights: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    m, kh, kw, channels = weights.shape
    by_tap = weights.reshape(m, kh * kw, channels).astype(np.int8)
    return pack_vectors([by_tap[:, t] for t in range(kh * kw)], channels)


@lru_cache(maxsize=256)
def taps(shape: Shape, blocks: int, count: int) -> Routine:
    """One pixel.

    The function is f(taps, weights, parameters, out, taps_end, weights_end, zero_point): `weights_end` ends the whole blocks
    of channels.

    Args:
        blocks: whole ones, and
        count: taps, for `instructions`.
    """
    p, text = _taps(shape)
    trips = {"block": blocks}
    trips.update({name: count * (blocks if many else 1) for name, many in text.loops.items()})
    return Routine(p.function(), p.count(trips))


@lru_cache(maxsize=128)
def _taps(shape: Shape) -> tuple[Helium, _Taps]:
    p = Helium(
        "mve_taps",
        ["A pixel, its taps in different places, times a matrix of weights."],
        [
            *(
                ("taps", "const int8_t *const *"),
                ("weights", "const int8_t *"),
                ("parameters", "const int32_t *"),
            ),
            *(("out", "int8_t *"), ("taps_end", "const int8_t *const *"), ("weights_end", "const int8_t *")),
            ("zero_point", "int32_t"),
        ],
    )
    text = _Taps(p, shape, 1)
    spare = p.number("spare", 0)
    text.limits = Limits(p, shape.rescale, "zero_point", spare)
    p.get(text.w, "weights")
    p.get(text.source, "parameters")
    p.get(text.to[0], "out")
    if shape.depth % VECTOR:
        p.only_first(shape.depth % VECTOR, 8, spare)
    if shape.whole > 1:
        with p.until("block", text.w, "weights_end", p.source("w_stop", 0)):
            text.block(0, many=True)
    elif shape.whole:
        text.block(0)
    if shape.part:
        text.block(shape.part)
    return p, text


class _Taps(Text):
    """The sums go over taps."""

    def _multiply(self, many: bool, channels: int) -> None:
        p, depth = self._p, self._shape.depth
        tap, end = p.rows("tap", 11), p.rows("tap_end", 7)
        p.get(tap, "taps")
        p.get(end, "taps_end")
        for acc in self.accs[0][:channels]:
            p.move(acc, 0)
        name = f"vector{len(self.loops)}"
        self.loops[name] = many
        with p.until(name, tap, end):
            p.next_row(self.x[0], tap)
            for _ in range(depth // VECTOR):
                self._vector(channels, None)
            if depth % VECTOR:
                self._vector(channels, 0, size=depth % VECTOR)
