"""Depthwise convolutions with channels in lanes: no scratch, and the way for rows of few pixels.

Sixteen channels are four vectors of sums. Two taps at a time are multiplied to halfwords, bytes of even and odd numbers apart, and added,
which no halfword is too short for unless both weights are -128; then the halves of each word are widened and added to the sums. So the
sums of channels 0, 4, 8, 12 lie in one vector, then those of 2, 6, .., of 1, 5, .. and of 3, 7, ..; narrowed the same way they are in order
again.

The caller lists where the taps of a pixel lie, padding included. Neither how many there are nor how many channels is part of the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
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
    finish_bytes,
    make_rescale,
    parameters,
    rescale_words,
)
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

CHANNELS = 16  # of a block
ORDER = [first + 4 * i for first in (0, 2, 1, 3) for i in range(BLOCK)]  # of its sums
MANY_TAPS = 16  # whose pointers are listed in a loop over rows
PER_TAP, PER_PIXEL = 8, 25  # instructions of the C around the routine


@dataclass(frozen=True, slots=True)
class Shape:
    """What the text depends on.

    Attributes:
        odd: number of taps.
        pairs: are there two or more?
        joined: may two products share a halfword?
        whole: are there blocks of sixteen channels?
        part: is there a last block that is not whole?
        rescale: of the sums, its zero point left open.
    """

    odd: bool
    pairs: bool
    joined: bool
    whole: bool
    part: bool
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
    """The kernels of a depthwise convolution of multiplier 1, the leaner last, or none.

    Args:
        weights: (channels, kernel_h, kernel_w, 1), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        pad_value: content of the padding.
    """
    m, kh, kw, _ = weights.shape
    rescale = make_rescale(requant, bias)
    if rescale is None or weights.dtype != np.int8 or rescale.right > 31:
        return ()
    whole, part = divmod(m, CHANNELS)
    taps = kh * kw
    lowest = weights.reshape(m, taps)[:, taps % 2 :] == -128
    joined = not (lowest[:, 0::2] & lowest[:, 1::2]).any()
    shape = Shape(taps % 2 > 0, taps > 1, joined, whole > 0, part > 0, replace(rescale, zero_point=0))
    routine = lanes(shape, whole, taps // 2)
    cols, padded = int(str(where["out_cols"])), bool(where["padded_cols"])
    context = {
        **where,
        "channels": m,
        "kernel_h": kh,
        "taps": taps,
        "many": taps > MANY_TAPS,
        "whole": whole * CHANNELS * taps,
        "zero_point": rescale.zero_point,
        "more": [*([taps // 2] if taps > 1 else []), *([part] if part else [])],
    }
    kernel = Kernel(
        "lanes_mve",
        context,
        (
            ConstArray("weights", partial(_pack_weights, weights), "weights"),
            ConstArray("parameters", partial(_pack_parameters, bias, requant, rescale), "tables"),
        ),
        pad_value=pad_value,
        pad_pixel=padded,
        uses_row=uses_row,
        functions={"lanes": routine.function},
        instructions=cols * (routine.instructions + PER_TAP * taps + PER_PIXEL) + PER_PIXEL,
    )
    return (kernel,)


def _pack_weights(weights: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """Blocks of channels, in them tap by tap; of a block that is not whole sixteen bytes are read, too."""
    m, kh, kw, _ = weights.shape
    taps = weights.reshape(m, kh * kw).T
    parts = [taps[:, c : c + CHANNELS].reshape(-1) for c in range(0, m, CHANNELS)]
    return np.concatenate([*parts, np.zeros(-m % CHANNELS, np.int8)]).astype(np.int8)


def _pack_parameters(bias: NDArray[np.int32], requant: Requant, rescale: Rescale) -> NDArray[np.int32]:
    rows = parameters(bias, requant, rescale, -(-len(bias) // CHANNELS) * CHANNELS)
    return by_fours(rows.reshape(-1, CHANNELS, rows.shape[1])[:, ORDER].reshape(-1, BLOCK, rows.shape[1]))


@lru_cache(maxsize=256)
def lanes(shape: Shape, blocks: int, pairs: int) -> Routine:
    """All channels of a pixel.

    The function is f(taps, weights, parameters, out, weights_end, zero_point[, pairs][, part]): `weights_end` ends the whole blocks,
    `pairs` are those of taps, `part` the channels of the block behind them.

    Args:
        blocks: whole ones, and
        pairs: for `instructions`.
    """
    program = _lanes(shape)
    return Routine(
        program.function(),
        program.count({"block": blocks, "pair_of_whole": blocks * pairs, "pair_of_part": pairs}),
    )


@lru_cache(maxsize=128)
def _lanes(shape: Shape) -> Helium:
    p = Helium(
        "mve_lanes",
        ["A pixel, sixteen channels at a time in lanes."],
        [
            *(
                ("taps", "const int8_t *const *"),
                ("weights", "const int8_t *"),
                ("parameters", "const int32_t *"),
            ),
            *(("out", "int8_t *"), ("weights_end", "const int8_t *"), ("zero_point", "int32_t")),
            *([("pairs", "int32_t")] if shape.pairs else []),
            *([("part", "int32_t")] if shape.part else []),
        ],
    )
    taps, x, w = p.rows("tap", 0), p.source("x", 1), p.source("w", 2)
    offset, to, spare, source = (
        p.number("offset", 4),
        p.target("dest", 5),
        p.number("spare", 6),
        p.source("rest", 7),
    )
    part = p.number("left", 8)
    p.get(w, "weights")
    p.get(source, "parameters")
    p.get(to, "out")
    p.move(offset, 0)
    data, weight, products = p.vec(0), p.vec(1), (p.vec(2), p.vec(3))
    sums = [p.vec(n) for n in (4, 5, 6, 7)]

    def some(last: bool) -> AbstractContextManager[None]:
        return p.masked() if last else nullcontext()

    def load(last: bool, again: bool = False) -> None:
        """The activations and weights of the next tap; again: its weights will be loaded once more."""
        p.next_row(x, taps)
        p.advance(x, offset)
        with some(last):
            p.load_bytes(data, x)
        load_weights(last, again)

    def load_weights(last: bool, again: bool = False) -> None:
        p.load_bytes(weight, w, step=0 if last or again else CHANNELS)
        if last and not again:
            p.advance(w, part)

    def multiply() -> None:
        for top in (False, True):
            p.long_product(products[top], data, weight, top)

    def add(fresh: bool = False) -> None:
        for i, total in enumerate(sums):
            long = total if fresh else data
            p.lengthen(long, products[i // 2], i % 2 > 0)
            if not fresh:
                p.add_vec(total, total, data)

    def pair(last: bool) -> None:
        load(last)
        multiply()
        if shape.joined:
            load(last, again=True)
            p.long_product(weight, data, weight, False)
            p.add_vec(products[0], products[0], weight, 16)
            load_weights(last)
            p.long_product(weight, data, weight, True)
            p.add_vec(products[1], products[1], weight, 16)
        else:
            add()
            load(last)
            multiply()
        add()

    def block(last: bool) -> None:
        p.get(taps, "taps")
        if shape.odd:
            load(last)
            multiply()
            add(fresh=True)
        else:
            for total in sums:
                p.clear(total)
        if shape.pairs:
            p.get(spare, "pairs")
            with p.times("pair_of_part" if last else "pair_of_whole", spare):
                pair(last)
        for i, result in enumerate((data, weight)):
            for top in (False, True):
                rescale_words(p, shape.rescale, [sums[2 * i + top]], [result], source, top)
        finish_bytes(p, shape.rescale, "zero_point", (data, weight), sums[0], spare)
        with some(last):
            p.store_lanes(data, to, 8, step=0 if last else CHANNELS)

    if shape.whole:
        with p.until("block", w, "weights_end", p.source("w_stop", 9)):
            block(last=False)
            p.add_number(offset, CHANNELS)
    if shape.part:
        p.get(part, "part")
        p.only_left(part, 8)
        block(last=True)
    return p
