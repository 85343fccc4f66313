"""A row of a tensor times its weights, added to sums of 32 bits, on DSP cores: a dense layer that reads its input row by row.

The weights are those of `weights.py`, a row's behind that of the row before it, without starting values and requantisation. Where two
channels share a halfword ("half"), both sums of a pair start from the first channel's: then S - T is 256 * D1, as in `matmul.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Program, Routine
from vmcu.kernels.dsp.gather import run_order
from vmcu.kernels.dsp.matmul import multiply_one
from vmcu.kernels.dsp.rescale import words
from vmcu.kernels.dsp.weights import BLOCK, MOST_HIGH, SHORT, WORD, Form, lay_out, overflows, unrolled
from vmcu.ops.base import ConstArray, Kernel

AROUND, PER_PART = 14, 25  # instructions of the C around the routine, and around that of the last channels


def accumulating_kernels(
    weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], compact: bool = False
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer that takes one row a task; none where the routine cannot.

    Args:
        weights: (units, rows, bytes of a row), zero point subtracted.
        bias: what the sums start from.
        compact: in least flash.
    """
    if weights.shape[2] < WORD:
        return ()
    short = _kernel(weights, bias, SHORT)
    if compact:
        return (short,)
    return (replace(_kernel(weights, bias, 0), make_leaner=lambda: (short,)),)


def _form(weights: NDArray[np.integer[Any]]) -> Form:
    if weights.dtype == np.int16:
        return "wide"
    # Sums of one row only: what is in memory is no part of them.
    sizes = 128 * np.abs(weights[1::2].astype(np.int64)).sum(axis=2)
    short = int(sizes.max(initial=0)) < MOST_HIGH
    return "half" if short and not overflows(weights.reshape(len(weights), -1)) else "bytes"


def _kernel(weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], text: int) -> Kernel:
    units, rows, depth = weights.shape
    form = _form(weights)
    whole, part = divmod(units, BLOCK)
    per_block = -(-depth // WORD) * WORD // 2 * (4 if form == "wide" else 2)
    first, last = (accumulate(form, depth // WORD, depth % WORD, n, text) for n in (whole, 1))
    context = {
        "units_bytes": 4 * units,
        "blocks": whole > 0,
        "words": whole * per_block,
        "part": part,
        "part_bytes": 4 * part,
        "done_bytes": 4 * whole * BLOCK,
        "all_words": -(-units // BLOCK) * per_block,
        "row_bytes": depth // WORD * WORD,
    }
    constants = (
        ConstArray("weights", partial(_pack, weights, form), "weights"),
        ConstArray("bias", bias, "weights"),
    )
    work = (first.instructions if whole else 0) + (last.instructions + PER_PART if part else 0)
    return Kernel(
        "accumulate_dsp",
        context,
        constants,
        uses_row=True,
        functions={"accumulate": first.function},
        instructions=work + AROUND + 5 * units // rows,
    )


def _pack(weights: NDArray[np.integer[Any]], form: Form) -> NDArray[np.int32]:
    """(row, block, step): the words of a step are what `multiply_one` reads."""
    where = np.array(run_order(weights.shape[2]))
    rows = np.where(where < 0, 0, weights.astype(np.int64)[:, :, np.maximum(where, 0)])
    return words(np.concatenate([lay_out(rows[:, r], form) for r in range(rows.shape[1])]))


@lru_cache(maxsize=64)
def accumulate(form: Form, words_per_row: int, part: int, blocks: int, text: int) -> Routine:
    """The function is f(x, weights, out, x_end, weights_end): x_end is behind the last whole word of the row.

    Args:
        part: bytes of the row beyond that; the word they are in overlaps the one before it.
        blocks: in a call whose instructions are asked for.
        text: words in the body of the loop, see `unrolled`.
    """
    p = Program(
        "accumulate_1",
        ["A row times a matrix of weights, added to sums in memory, four channels at a time."],
        [
            *(("x", "const int8_t *"), ("weights", "const int32_t *"), ("out", "int8_t *")),
            *(("x_end", "const int8_t *"), ("weights_end", "const int32_t *")),
        ],
    )
    acc, quad = p.numbers("acc", (4, 5, 6, 7)), p.numbers("h", (8, 9, 10, 11))
    x, w, x_end, to = p.source("x", 0), p.source("w", 1), p.source("x_stop", 12), p.target("to", 13)
    a, b = p.number("a", 2), p.number("b", 3)
    p.get(w, "weights")
    p.get(to, "out")
    p.get(x_end, "x_end")
    u = unrolled(words_per_row, text)
    with p.until("block", w, "weights_end", p.source("end", 2)):
        p.get(x, "x")
        if form == "half":
            for even in (0, 2):
                p.load(acc[even], to, offset=4 * even)
                p.move(acc[even + 1], acc[even])
        else:
            for i, reg in enumerate(acc):
                p.load(reg, to, offset=4 * i)
        with p.until("word", x, x_end), p.repeat(u):
            p.load(a, x, step=WORD)
            p.widen(b, a, upper=True)
            p.widen(a, a)
            multiply_one(p, form, w, (a, b), acc, quad)
        if part:
            p.load(a, x, offset=part - WORD)
            p.widen(b, a, upper=True)
            p.widen(a, a)
            multiply_one(p, form, w, (a, b), acc, quad)
        if form == "half":
            for even in (0, 2):
                p.sub(acc[even + 1], acc[even + 1], acc[even])
                p.load(a, to, offset=4 * even + 4)
                p.add(acc[even + 1], a, acc[even + 1], asr=8)
        for reg in acc:
            p.store(reg, to, step=4)
    return Routine(p.function(), p.count({"block": blocks, "word": blocks * words_per_row // u}))
