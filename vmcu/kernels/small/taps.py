"""Depthwise convolutions on small cores, pixel by pixel: blocks of channels, the taps where they lie.

The caller lists the taps of a pixel, padding included, so tiles and dilations need nothing here, and one text serves all windows. Where
windows, rows and outputs are one column wide (1-D convolutions) the rows are that list. Eight channels share what a tap costs beside its products. If their number is no multiple of eight, the last block begins earlier and
computes some channels again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.small.assembly import Thumb1, Thumb2, counted
from vmcu.kernels.small.common import Routine, Scale, Scaled, as_words
from vmcu.kernels.small.product import (
    Shape,
    block_words,
    finish_thumb1,
    finish_thumb2,
    start_thumb1,
    unpack_starts,
)
from vmcu.ops.base import ConstArray, Kernel

BLOCK = 8  # channels
MOST_TAPS = 64  # pointers on the stack
PER_TAP, PER_CALL, PER_ROW = 9, 24, 20  # instructions of the C around the routine


def taps_kernel(scaled: Scaled, where: Mapping[str, object], pad_value: int, uses_row: bool) -> Kernel | None:
    """A depthwise convolution, weights (channels, rows, columns); None where there are too many taps for the stack.

    Args:
        where: the columns a pixel reads (`Columns.context`).
        pad_value: content of the padding.
    """
    m, kh, kw = scaled.weights.shape
    count, scale = kh * kw, scaled.scale
    cols = int(str(where["out_cols"]))
    listed = not (kw == where["in_cols"] == cols == 1)
    if listed and count > MOST_TAPS:
        return None
    block = min(BLOCK, m)
    full = m // block
    starts = [*range(0, full * block, block), *([m - block] if m % block else [])]
    routine = taps(scale, block, full, count)
    calls = [{"from": 0, "weights": 0, "words": 0, "end": full * block * count}]
    work = routine.instructions + PER_CALL
    if m % block:
        end = full * block * count
        words = full * block_words(scale, block, packed=False)
        calls.append({"from": m - block, "weights": end, "words": words, "end": end + block * count})
        work += taps(scale, block, 1, count).instructions + PER_CALL
    return Kernel(
        "taps_small",
        {
            **where,
            "pixel": str(where["pixel"]).replace("[kx]", ""),  # of one column at a time
            "channels": m,
            "kernel_h": kh,
            "taps": count,
            "listed": listed,
            "calls": calls,
            "more": [scaled.given] if scale.compact else [],
        },
        (
            ConstArray("weights", partial(_pack_weights, scaled, starts, block), "weights"),
            ConstArray("parameters", partial(_pack_parameters, scaled, starts, block), "tables"),
        ),
        pad_value=pad_value,
        pad_pixel=bool(where["padded_cols"]),
        uses_row=uses_row,
        functions={"filter": routine.function},
        instructions=PER_ROW + cols * (work + PER_TAP * count * listed),
    )


def _pack_weights(scaled: Scaled, starts: list[int], block: int) -> NDArray[np.int8]:
    """By block, tap, channel of the block."""
    by_tap = scaled.weights.reshape(len(scaled.bias), -1).T
    return np.concatenate([by_tap[:, at : at + block].reshape(-1) for at in starts])


def _pack_parameters(scaled: Scaled, starts: list[int], block: int) -> NDArray[np.int32]:
    """Per block its starting values and requantisation."""
    parts = [
        words for at in starts for words in (scaled.starts[at : at + block], scaled.requantisation(at, block))
    ]
    return as_words(np.concatenate(parts))


@lru_cache(maxsize=256)
def taps(scale: Scale, channels: int, blocks: int, count: int) -> Routine:
    """The routine f(taps, weights, parameters, out, from, taps_end, weights_end[, given]): from is the first channel.

    Args:
        channels: of a block.
        blocks: of a call, and
        count: taps, for `instructions`.
    """
    names = [
        *(
            ("taps", "const int8_t *const *"),
            ("weights", "const int8_t *"),
            ("parameters", "const int32_t *"),
        ),
        *(("out", "int8_t *"), ("from", "int32_t")),
        *(("taps_end", "const int8_t *const *"), ("weights_end", "const int8_t *")),
        *([("given", "int32_t")] if scale.compact else []),
    ]
    purpose = [f"One pixel, {channels} channels at a time, each filtered by its own weights."]
    p = (Thumb1 if scale.thumb1 else Thumb2)(f"taps_{channels}", purpose, names)
    (_thumb1 if scale.thumb1 else _thumb2)(p, scale, channels)  # type: ignore[arg-type]
    return Routine(p.function(), counted(p, {"block": blocks, "tap": blocks * count}))


def _thumb2(p: Thumb2, scale: Scale, channels: int) -> None:
    acc = p.numbers("acc", range(4, 4 + channels))
    row, w, x, v = p.source("row", 0), p.source("w", 1), p.number("x", 2), p.number("v", 3)
    tap, c = p.rows("tap", 12), p.number("skip", 13)
    p.get(w, "weights")
    with p.until("block", w, "weights_end", p.source("stop", 2)):
        start = p.source("start", 12)
        p.get(start, "parameters")
        p.load_all(acc, start)
        p.put("parameters", start)
        unpack_starts(p, scale, acc)
        p.get(tap, "taps")
        p.get(c, "from")
        with p.until("tap", tap, "taps_end", p.rows("taps_stop", 2)):
            p.next_row(row, tap)
            p.advance(row, c)
            for i, a in enumerate(acc):
                p.byte(x, row, offset=i)
                p.byte(v, w, step=1)
                p.multiply_add(a, x, v)
        p.add_number(c, channels)
        p.put("from", c)
        finish_thumb2(p, Shape(scale, 1, channels, 1, 1), (acc,))


def _thumb1(p: Thumb1, scale: Scale, channels: int) -> None:
    acc = p.numbers("acc", range(5, 5 + channels))
    row, j, w, x, t = (
        *(p.source("row", 0), p.number("j", 1), p.source("w", 2)),
        *(p.number("x", 3), p.number("t", 4)),
    )
    tap, at, c = p.rows("tap", 13), p.rows("at", 4), p.number("c", 4)
    p.get(w, "weights")
    with p.until_far("block", w, "weights_end", p.source("stop", 0)):
        start_thumb1(p, scale, acc, (j, x, t))
        p.get(at, "taps")
        p.copy(tap, at)
        with p.until_far("tap", tap, "taps_end", p.rows("taps_stop", 4)):
            p.copy(at, tap)
            p.row(row, at)
            p.copy(tap, at)
            p.get(c, "from")
            p.forward_by(row, c)
            p.constant(j, 0)
            for i, a in enumerate(acc):
                if i:
                    p.plus_constant(j, 1)
                p.byte(x, row, j)
                p.byte(t, w, j)
                p.multiply(t, x)
                p.plus(a, t)
            p.forward(w, channels)
        p.get(c, "from")
        p.plus_constant(c, channels)
        p.put("from", c)
        p.put("weights", w)
        finish_thumb1(p, scale, acc, None)
        p.get(w, "weights")
