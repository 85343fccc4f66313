"""Streamed schedules: rows are computed when they are needed, so that few of them are alive.

A *stage* is a run of consecutive steps computed depth first: to make the next row of its last step, make
the input rows that are missing, and so on backwards. Between stages everything that is still needed lies
whole in memory. Dynamic programming finds the cuts between stages that minimise the peak of live bytes.

A row that the caller is to receive is handed out as soon as it is made: that takes no memory and may free some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from vmcu.schedule.flow import Flow

Order = list[int]  # tasks, as `Flow` numbers them
WEIGHTS = (0.1, 0.8, 0.02, 0.0)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A stage in order.

    Attributes:
        order: tasks of its steps that anything depends on, each once.
        peak: the most bytes alive during it.
        flight: bytes in flight: rows of tensors that live and die inside the stage, counted at the most that
            each tensor has at a time. The smaller, the easier the stage is to place without gaps.
    """

    order: Order
    peak: int
    flight: int


def stream_stage(flow: Flow, first: int, end: int, before: int, limit: float = inf) -> Streamed | None:
    """The steps first <= step < end, depth first.

    Where there are tiles, two ways are tried: the tasks of a step in order, or just what is missing (a
    window reaches into the next tile of several rows, but only into the one next to it).

    Args:
        before: bytes alive when it starts.
        limit: None is returned where more bytes are alive at any time.
    """
    found = _stream(flow, first, end, before, limit, True)
    if max(flow.tiles[first:end]) > 1:
        other = _stream(flow, first, end, before, found.peak if found else limit, False)
        if found is None or (other and (other.peak, other.flight) < (found.peak, found.flight)):
            return other
    return found


def _stream(flow: Flow, first: int, end: int, before: int, limit: float, in_order: bool) -> Streamed | None:
    """The last step's tasks in order; before each task what it still misses, behind it what can be handed out.

    Args:
        in_order: the tasks of every step ascend; else only where they have to.
    """
    reads, writes, sources, needed = flow.reads, flow.writes, flow.sources, flow.needed
    sizes, maker, last_step, step_of, scratch = (
        flow.sizes,
        flow.maker,
        flow.last_step,
        flow.step_of,
        flow.scratch,
    )
    previous = flow.previous if in_order else flow.previous_in_order
    starts, uses, at_once = flow.starts, flow.uses, flow.at_once
    # What lies before the stage is done, and so is "no task", the last number of all.
    done = bytearray(b"\1") * starts[first] + bytearray(starts[-1] - starts[first]) + b"\1"
    order: list[int] = []
    live = peak = before
    own, most = [0] * end, [0] * end  # per step: bytes of its rows alive, and the most there were
    left = [-1] * len(sizes)  # reads of a segment that are still to come, for those that die in this stage
    for task in _wanted(flow, first, end):
        stack = [task] if needed[task] else []  # networks are deeper than Python's stack
        while stack:
            task = stack[-1]
            if done[task]:
                stack.pop()
                continue
            if not done[previous[task]]:
                stack.append(previous[task])
                continue
            for source in sources[task]:
                if not done[source]:
                    stack.append(source)
                    break
            else:
                stack.pop()
                done[task] = 1
                order.append(task)
                step, written = step_of[task], writes[task]
                if left[written] < 0 and step_of[maker[written]] == step:
                    left[written] = uses[written]  # counts only if all its readers are in this stage
                    live += sizes[written]
                    own[step] += sizes[written]
                    if own[step] > most[step]:
                        most[step] = own[step]
                if live + scratch[step] > peak:
                    peak = live + scratch[step]
                    if peak > limit:
                        return None
                for segment in reads[task]:
                    if last_step[segment] >= end:
                        continue
                    if left[segment] < 0:
                        left[segment] = sum(n for reader, n in flow.readers[segment] if reader >= first)
                    left[segment] -= 1
                    if left[segment] == 0:
                        live -= sizes[segment]
                        own[step_of[maker[segment]]] -= sizes[segment]
                if last_step[written] < step:  # nobody reads it
                    live -= sizes[written]
                    own[step] -= sizes[written]
                if maker[written] == task and at_once[written]:
                    stack += [follower for follower in at_once[written] if step_of[follower] < end]
    inside = (
        n for n in range(first, end) if any(last_step[g] < end for g in writes[starts[n] : starts[n + 1]])
    )
    return Streamed(order, peak, sum(most[n] for n in inside))


def _wanted(flow: Flow, first: int, end: int) -> Iterator[int]:
    """Tasks of a stage in the order in which they are to be done: those of the last step, which pull the others, first.

    If it hands rows to the caller, others that do so advance with it, each in proportion to its rows; and so do all that
    nobody in the stage reads, where they are to go abreast.
    """
    starts = flow.starts
    if flow.hands_out[end - 1] or flow.abreast:
        steps = range(first, end) if flow.abreast else range(end - 1, first - 1, -1)
        ends = [s for s in steps if _is_end(flow, s, end)]
        if len(ends) > 1:
            counts = [starts[s + 1] - starts[s] for s in ends]
            rows = sorted((t / count, n, t) for n, count in enumerate(counts) for t in range(count))
            yield from (starts[ends[n]] + t for _, n, t in rows)
    yield from _in_bands(flow, first, end)
    for step in range(first, end - 1):
        yield from range(starts[step], starts[step + 1])


def _in_bands(flow: Flow, first: int, end: int) -> Iterable[int]:
    """Tasks of the last step; rows for which others are computed together advance together, tile by tile."""
    tasks = range(flow.starts[end - 1], flow.starts[end])
    tiles = flow.tiles[end - 1]
    bands = [
        flow.bands[s] for s in range(first, end) if flow.bands[s] and _rows(flow, s) == len(tasks) // tiles
    ]
    if not bands or flow.steps[end - 1].in_order:
        return tasks

    def turn(task: int) -> tuple[int, int, int]:
        row, tile = divmod(task - tasks.start, tiles)
        return (row // bands[-1], tile, row)

    return sorted(tasks, key=turn)


def _rows(flow: Flow, step: int) -> int:
    return (flow.starts[step + 1] - flow.starts[step]) // flow.tiles[step]


def _is_end(flow: Flow, step: int, end: int) -> bool:
    if not flow.abreast:
        return flow.hands_out[step]
    if flow.steps[step].at_once and not flow.hands_out[step]:
        return False
    written = flow.writes[flow.starts[step] : flow.starts[step + 1]]
    return all(reader >= end for segment in written for reader, _ in flow.readers[segment])


def live_at_boundary(flow: Flow, boundary: int) -> int:
    """Bytes alive between step `boundary` - 1 and step `boundary`, everything before it being done."""
    return sum(
        size
        for size, maker, last in zip(flow.sizes, flow.maker, flow.last_step, strict=True)
        if flow.step_of[maker] < boundary <= last and flow.needed[maker]
    )


Stages = tuple[tuple[int, int], ...]


def good_stages(
    flow: Flow, stores_from: int, limit: float = inf, weights: Sequence[float] = WEIGHTS
) -> list[Stages]:
    """Cuts the steps into stages, one way per weight: the least (peak + weight * bytes in flight) of all.

    With weight 0 the lower bound of the pool is least; with more, stages are shorter and the pool often
    ends up smaller, because rows of fewer sizes share it.

    Args:
        stores_from: first step that stores a state; stores run last, in stages of their own.
        limit: bytes that must not be exceeded at any time.

    Returns:
        Stages as (first step, end), without repetition; none where the limit is too low.
    """
    count = len(flow.steps)
    boundary = [live_at_boundary(flow, b) for b in range(count + 1)]
    costs: dict[tuple[int, int], tuple[int, int] | None] = {}

    def cost(first: int, end: int) -> tuple[int, int] | None:
        if (first, end) not in costs:
            found = stream_stage(flow, first, end, boundary[first], limit)
            costs[first, end] = (found.peak, found.flight) if found else None
        return costs[first, end]

    if limit == inf:  # every step a stage is a way out
        limit = max((c[0] for s in range(count) if (c := cost(s, s + 1))), default=0)
    found = [_cut(weight, count, boundary, limit, stores_from, cost) for weight in weights]
    return [stages for stages in dict.fromkeys(found) if stages is not None]


def _cut(
    weight: float,
    count: int,
    boundary: Sequence[int],
    limit: float,
    stores_from: int,
    cost: Callable[[int, int], tuple[int, int] | None],
) -> Stages | None:
    """Dynamic programming over boundaries: least largest cost, then fewest stages."""
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)] + [(inf, 0, -1)] * count
    for end in range(1, count + 1):
        if boundary[end] > limit:
            continue
        for first in range(end - 1, -1, -1):
            if first < stores_from < end:
                break
            before, stages, _ = best[first]
            if before == inf or boundary[first] > limit or before > best[end][0]:
                continue
            needs = cost(first, end)
            if needs and needs[0] <= limit:
                peak, flight = needs
                best[end] = min(best[end], (max(before, peak + weight * flight), stages + 1, first))
    if best[count][0] == inf:
        return None
    stages_found: list[tuple[int, int]] = []
    end = count
    while end:
        stages_found.append((best[end][2], end))
        end = best[end][2]
    return tuple(reversed(stages_found))
