"""Finds the loops in a list of step calls, so that a streamed stage reads like a loop nest.

The steady state of a streamed stage repeats the same calls with row numbers that advance by the same
amount each time; such runs become `for` loops, what precedes and follows them stays spelled out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vmcu.memory.tables import Range

LONGEST_BODY = 128
LOOP_LINES = 2  # what the loop itself takes


def fold(calls: Sequence[Range], callers: Collection[int] = ()) -> list[dict[str, object]]:
    """Items with `count` (0: not a loop) and `calls`, whose row numbers are C expressions of `k`.

    Args:
        callers: steps that take the caller of streamed inputs and outputs.
    """
    items: list[dict[str, object]] = []
    position = 0
    while position < len(calls):
        body, count = _best_loop(calls, position)
        if count:
            second = calls[position + body : position + 2 * body]
            lines = [
                {
                    "step": a.step,
                    "first": _line(a.first, b.first - a.first),
                    "end": _line(a.end, b.end - a.end),
                    "caller": ", caller" if a.step in callers else "",
                }
                for a, b in zip(calls[position : position + body], second, strict=True)
            ]
            items.append({"count": count, "calls": lines})
            position += body * count
        else:
            call = calls[position]
            caller = ", caller" if call.step in callers else ""
            line = {"step": call.step, "first": call.first, "end": call.end, "caller": caller}
            items.append({"count": 0, "calls": [line]})
            position += 1
    return items


def _line(start: int, stride: int) -> str:
    if stride == 0:
        return str(start)
    step = "k" if stride == 1 else f"k * {stride}"
    return f"{start} + {step}" if start else step


def _best_loop(calls: Sequence[Range], position: int) -> tuple[int, int]:
    """Body length and repetitions of the loop at `position` that saves most lines; (0, 0) if none does."""
    best, saved = (0, 0), LOOP_LINES
    for body in range(1, min(LONGEST_BODY, (len(calls) - position) // 2) + 1):
        if calls[position].step != calls[position + body].step:
            continue
        count = 1
        while _continues(calls, position, body, count):
            count += 1
        if body * (count - 1) > saved:
            best, saved = (body, count), body * (count - 1)
    return best


def _continues(calls: Sequence[Range], position: int, body: int, count: int) -> bool:
    """Is repetition number `count` the first one plus `count` times the same strides?"""
    start = position + body * count
    if start + body > len(calls):
        return False
    for i in range(body):
        a, b, c = calls[position + i], calls[position + body + i], calls[start + i]
        if not a.step == b.step == c.step:
            return False
        if c.first != a.first + count * (b.first - a.first) or c.end != a.end + count * (b.end - a.end):
            return False
    return True
