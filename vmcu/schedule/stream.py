"""Streamed schedules: rows are computed when they are needed, so that few of them are alive.

A *stage* is a run of consecutive steps computed depth first: to make the next row of its last step, make
the input rows that are missing, and so on backwards. Between stages everything that is still needed lies
whole in memory. Dynamic programming finds the cuts between stages that minimise the peak of live bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from vmcu.schedule.flow import Flow

Order = list[tuple[int, int]]  # (step, task)
WEIGHTS = (0.1, 0.8, 0.02, 0.0)


def stage_order(flow: Flow, first: int, end: int, before: int) -> tuple[Order, tuple[int, int]]:
    """Tasks of the steps first <= step < end that anything depends on, each once, depth first.

    Where there are tiles, two ways are tried: the tasks of a step in order, or just what is missing (a
    window reaches into the next tile of several rows, but only into the one next to it).

    Args:
        before: bytes alive when it starts.

    Returns:
        The order that needs less, and its cost; see `stage_cost`.
    """
    order = _demand(flow, first, end, True)
    cost = stage_cost(flow, first, end, order, before)
    if any(flow.tiled[first:end]):
        other = _demand(flow, first, end, False)
        if (found := stage_cost(flow, first, end, other, before)) < cost:
            return other, found
    return order, cost


def _demand(flow: Flow, first: int, end: int, in_order: bool) -> Order:
    """The last step's tasks in order; before each task what it still misses.

    Args:
        in_order: the tasks of every step ascend; else only where they have to.
    """
    done = [bytearray(len(tasks)) for tasks in flow.writes[:end]]
    previous = [
        _previous(needed) if in_order or flow.in_order[s] else ()
        for s, needed in enumerate(flow.needed[:end])
    ]
    order: Order = []
    for step in (end - 1, *range(first, end - 1)):
        for task, needed in enumerate(flow.needed[step]):
            stack = [(step, task)] if needed else []  # networks are deeper than Python's stack
            while stack:
                s, t = stack[-1]
                if not done[s][t]:
                    if previous[s] and previous[s][t] >= 0 and not done[s][previous[s][t]]:
                        stack.append((s, previous[s][t]))
                        continue
                    for source in flow.sources[s][t]:
                        if source[0] >= first and not done[source[0]][source[1]]:
                            stack.append(source)
                            break
                    else:
                        done[s][t] = 1
                        order.append((s, t))
                if stack[-1] == (s, t):
                    stack.pop()
    return order


def _previous(needed: Sequence[bool]) -> tuple[int, ...]:
    """Per task the last one before it that is needed, or -1."""
    return tuple(accumulate((t if n else -1 for t, n in enumerate(needed[:-1])), max, initial=-1))


def stage_cost(flow: Flow, first: int, end: int, order: Order, before: int) -> tuple[int, int]:
    """What a stage needs: the most bytes alive during it, and its bytes in flight.

    In flight are the rows of tensors that live and die inside the stage, counted at the most that each
    tensor has at a time: the smaller this is, the easier the stage is to place without gaps.

    Args:
        before: bytes alive when it starts.
    """
    sizes, maker, last_step = flow.sizes, flow.maker, flow.last_step
    last_read: dict[int, int] = {}
    for n, (s, t) in enumerate(order):
        for segment in flow.reads[s][t]:
            last_read[segment] = n
    live = peak = before
    born: set[int] = set()
    own = [0] * (end - first)  # per step: bytes of its rows alive, and the most there were
    most = [0] * (end - first)
    for n, (s, t) in enumerate(order):
        written = flow.writes[s][t]
        if written not in born and maker[written][0] == s:
            born.add(written)
            live += sizes[written]
            own[s - first] += sizes[written]
            if own[s - first] > most[s - first]:
                most[s - first] = own[s - first]
            if live > peak:
                peak = live
        for segment in flow.reads[s][t]:
            if last_read[segment] == n and last_step[segment] < end:
                live -= sizes[segment]
                if maker[segment][0] >= first:
                    own[maker[segment][0] - first] -= sizes[segment]
        if last_step[written] < s:  # nobody reads it
            live -= sizes[written]
            if maker[written][0] >= first:
                own[maker[written][0] - first] -= sizes[written]
    inside = (n for n in range(end - first) if any(last_step[g] < end for g in flow.writes[first + n]))
    return peak, sum(most[n] for n in inside)


def live_at_boundary(flow: Flow, boundary: int) -> int:
    """Bytes alive between step `boundary` - 1 and step `boundary`, everything before it being done."""
    return sum(
        size
        for size, (maker, task), last in zip(flow.sizes, flow.maker, flow.last_step, strict=True)
        if maker < boundary <= last and (maker < 0 or flow.needed[maker][task])
    )


Stages = tuple[tuple[int, int], ...]


def good_stages(flow: Flow, stores_from: int, weights: Sequence[float] = WEIGHTS) -> list[Stages]:
    """Cuts the steps into stages, one way per weight: the least (peak + weight * bytes in flight) of all.

    With weight 0 the lower bound of the pool is least; with more, stages are shorter and the pool often
    ends up smaller, because rows of fewer sizes share it.

    Args:
        stores_from: first step that stores a state; stores run last, in stages of their own.

    Returns:
        Stages as (first step, end), without repetition.
    """
    count = len(flow.steps)
    boundary = [live_at_boundary(flow, b) for b in range(count + 1)]
    costs: dict[tuple[int, int], tuple[int, int]] = {}

    def cost(first: int, end: int) -> tuple[int, int]:
        if (first, end) not in costs:
            costs[first, end] = stage_order(flow, first, end, boundary[first])[1]
        return costs[first, end]

    limit = max((cost(s, s + 1)[0] for s in range(count)), default=0)  # every step a stage: a way out
    found = [_cut(weight, count, boundary, limit, stores_from, cost) for weight in weights]
    return list(dict.fromkeys(found))


def _cut(
    weight: float,
    count: int,
    boundary: Sequence[int],
    limit: int,
    stores_from: int,
    cost: Callable[[int, int], tuple[int, int]],
) -> Stages:
    """Dynamic programming over boundaries: least largest cost, then fewest stages."""
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)] + [(float("inf"), 0, -1)] * count
    for end in range(1, count + 1):
        if boundary[end] > limit:
            continue
        for first in range(end - 1, -1, -1):
            if first < stores_from < end:
                break
            before, stages, _ = best[first]
            if boundary[first] > limit or before > best[end][0]:
                continue
            peak, flight = cost(first, end)
            if peak <= limit:
                best[end] = min(best[end], (max(before, peak + weight * flight), stages + 1, first))
    stages_found: list[tuple[int, int]] = []
    end = count
    while end:
        stages_found.append((best[end][2], end))
        end = best[end][2]
    return tuple(reversed(stages_found))
