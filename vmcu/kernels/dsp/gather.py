"""Activations of pixels as halfwords in scratch, in the order in which `matmul.py` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.weights import WORD, unrolled


@lru_cache(maxsize=64)
def gather(part: int, step: int) -> Program:
    """Runs of bytes of one pixel as halfwords, every second word, as `pair` reads them.

    The function is f(runs, to, runs_end, whole): runs points to the address of each run, whole is their bytes but for a part
    of a word at the end, a multiple of WORD * step.

    Args:
        part: bytes of a run beyond its last whole word; the word they are in overlaps the one before it (the weights of
            what is read twice are zero).
        step: words at a time.

    Returns:
        The program; its loops are "run" and "word".
    """
    p = Program(
        "gather",
        [f"Runs of {WORD * step}n + {part} bytes of a pixel as halfwords, every second word."],
        [
            *(("runs", "const int8_t *const *"), ("to", "int8_t *"), ("runs_end", "const int8_t *const *")),
            ("whole", "int32_t"),
        ],
    )
    row, to = p.rows("row", 0), p.target("dest", 1)
    x, end, stop, length = (
        p.source("x", 2),
        p.source("x_end", 3),
        p.rows("row_stop", 4),
        p.number("length", 5),
    )
    a, b = p.number("a", 6), p.number("b", 7)
    p.get(row, "runs")
    p.get(to, "to")
    p.get(stop, "runs_end")
    p.get(length, "whole")

    def both() -> None:
        p.widen(b, a)
        p.widen(a, a, upper=True)
        p.store(b, to, step=8)
        p.store(a, to, step=8)

    with p.until("run", row, stop):
        p.next_row(x, row)
        p.point(end, x, length)
        with p.until("word", x, end), p.repeat(step):
            p.load(a, x, step=WORD)
            both()
        if part:
            p.load(a, x, offset=part - WORD)
            both()
    return p


@lru_cache(maxsize=64)
def gather_windows(part: int, step: int) -> Program:
    """Runs of bytes of two pixels as halfwords in turn, as `pair` reads them.

    The function is f(rows, to, rows_end, whole, first, distance): a run of the first pixel is at `first` in its row, that of the other
    `distance` behind it; `whole` and the rest are those of `gather`.

    Returns:
        The program; its loops are "run" and "word".
    """
    p = Program(
        "gather_windows",
        [f"Runs of {WORD * step}n + {part} bytes of two pixels as halfwords in turn."],
        [
            *(("rows", "const int8_t *const *"), ("to", "int8_t *"), ("rows_end", "const int8_t *const *")),
            *((name, "int32_t") for name in ("whole", "first", "distance")),
        ],
    )
    row, to, x, y = p.rows("row", 0), p.target("dest", 1), p.source("x", 2), p.source("y", 3)
    end, stop = p.source("x_end", 4), p.rows("row_stop", 5)
    numbers = length, first, distance = p.number("length", 6), p.number("start", 7), p.number("next", 8)
    v = a, b, *_ = p.numbers("v", (9, 10, 11, 12))
    p.get(row, "rows")
    p.get(to, "to")
    p.get(stop, "rows_end")
    for number, name in zip(numbers, ("whole", "first", "distance"), strict=True):
        p.get(number, name)

    with p.until("run", row, stop):
        p.next_row(x, row)
        p.advance(x, first)
        p.point(y, x, distance)
        p.point(end, x, length)
        with p.until("word", x, end), p.repeat(step):
            p.load(b, y, step=WORD)
            p.load(a, x, step=WORD)
            _store_halfwords(p, v, to)
        if part:
            p.load(b, y, offset=part - WORD)
            p.load(a, x, offset=part - WORD)
            _store_halfwords(p, v, to)
    return p


@lru_cache(maxsize=64)
def gather_pair(depth: int, given: int = 0) -> Routine:
    """Two pixels as halfwords, word by word in turn, as `pair` reads them.

    The function is f(x, to, x_end, x2).

    Args:
        depth: bytes of a pixel, a multiple of WORD.
        given: see `unrolled`.
    """
    p = Program(
        "gather_2",
        ["Two pixels as halfwords in turn."],
        [
            *(("x", "const int8_t *"), ("to", "int8_t *"), ("x_end", "const int8_t *")),
            ("x2", "const int8_t *"),
        ],
    )
    x, to, end, y = p.source("from", 0), p.target("dest", 1), p.source("end", 2), p.source("from2", 3)
    v = a, b, *_ = p.numbers("v", (4, 5, 6, 7))
    p.get(x, "x")
    p.get(to, "to")
    p.get(end, "x_end")
    p.get(y, "x2")
    u = unrolled(depth // WORD, given)
    with p.until("word", x, end), p.repeat(u):
        p.load(b, y, step=WORD)
        p.load(a, x, step=WORD)
        _store_halfwords(p, v, to)
    return Routine(p.function(), p.count({"word": depth // WORD // u}))


def _store_halfwords(p: Program, v: Sequence[Reg], to: Reg) -> None:
    """Words of two pixels, in the first two of four registers, as halfwords in turn."""
    a, b, c, d = v
    p.widen(c, a)
    p.widen(d, b)
    p.store_pair(c, d, to, step=8)
    p.widen(a, a, upper=True)
    p.widen(b, b, upper=True)
    p.store_pair(a, b, to, step=8)


def run_order(run: int) -> list[int]:
    """Where in a run each gathered activation comes from; -1: it is read a second time, and its weight is zero."""
    order = list(range(run // WORD * WORD))
    if run % WORD:
        fresh = run % WORD
        order += [-1] * (WORD - fresh) + list(range(run - fresh, run))
    return order
