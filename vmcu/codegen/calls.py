"""Finds the loops in a list of step calls, so that a streamed stage reads like a loop nest.

The steady state of a streamed stage repeats the same calls with row numbers that advance by the same
amount each time; such runs become `for` loops, what precedes and follows them stays spelled out. Where rows are cut into tiles, what
repeats with the row repeats within it with the tile: loops in loops.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vmcu.memory.tables import Range

LONGEST_BODY = 128
LOOP_LINES = 2  # what the loop itself takes
FEWEST_INNER = 3  # repetitions that make a loop in a loop
VARIABLES = ("k", "j")  # of a loop, and of one in it

Items = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class _Call:
    """Rows first to end of a step, and by how much both advance with each variable."""

    step: int
    first: int
    end: int
    strides: tuple[tuple[int, int], ...] = ()


def fold(calls: Sequence[Range], callers: Collection[int] = ()) -> Items:
    """The calls in order: items with `count` (0: no loop; then `step`, `first`, `end`, `caller`) and `body`, items again.

    Row numbers are C expressions of the variables of the loops around.

    Args:
        callers: steps that take the caller of streamed inputs and outputs.
    """
    return _fold([_Call(c.step, c.first, c.end) for c in calls], callers)


def count_calls(items: Items) -> int:
    """Of those that are spelled out."""
    bodies = [item["body"] for item in items if item["count"]]
    return len(items) - len(bodies) + sum(map(count_calls, bodies))  # type: ignore[arg-type]


def _fold(calls: Sequence[_Call], callers: Collection[int]) -> Items:
    items: Items = []
    position, nested = 0, not calls or len(calls[0].strides) < len(VARIABLES)
    while position < len(calls):
        body, count = _best_loop(calls, position) if nested else (0, 0)
        if count:
            second = calls[position + body : position + 2 * body]
            inner = [
                _Call(a.step, a.first, a.end, (*a.strides, (b.first - a.first, b.end - a.end)))
                for a, b in zip(calls[position : position + body], second, strict=True)
            ]
            items.append({"count": count, "body": _fold(inner, callers)})
            position += body * count
        else:
            call = calls[position]
            items.append(
                {
                    "count": 0,
                    "step": call.step,
                    "first": _line(call.first, [s[0] for s in call.strides]),
                    "end": _line(call.end, [s[1] for s in call.strides]),
                    "caller": ", caller" if call.step in callers else "",
                }
            )
            position += 1
    return items


def _line(start: int, strides: Sequence[int]) -> str:
    terms = [
        name if stride == 1 else f"{name} * {stride}"
        for name, stride in zip(VARIABLES, strides, strict=False)
        if stride
    ]
    return " + ".join([*([str(start)] if start or not terms else []), *terms])


def _best_loop(calls: Sequence[_Call], position: int) -> tuple[int, int]:
    """Body length and repetitions of the loop at `position` that saves most lines; (0, 0) if none does."""
    best, saved = (0, 0), LOOP_LINES
    for body in range(1, min(LONGEST_BODY, (len(calls) - position) // 2) + 1):
        if calls[position].step != calls[position + body].step:
            continue
        count = 1
        while _continues(calls, position, body, count):
            count += 1
        if calls[position].strides and count < FEWEST_INNER:
            continue
        if body * (count - 1) > saved:
            best, saved = (body, count), body * (count - 1)
    return best


def _continues(calls: Sequence[_Call], position: int, body: int, count: int) -> bool:
    """Is repetition number `count` the first one plus `count` times the same strides?"""
    start = position + body * count
    if start + body > len(calls):
        return False
    for i in range(body):
        a, b, c = calls[position + i], calls[position + body + i], calls[start + i]
        if not (a.step == b.step == c.step and a.strides == b.strides == c.strides):
            return False
        if c.first != a.first + count * (b.first - a.first) or c.end != a.end + count * (b.end - a.end):
            return False
    return True
