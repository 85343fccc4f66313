"""QuantizedGraph -> Schedule: streamed, with rows cut into tiles of columns where that lowers the peak."""

from __future__ import annotations

from collections.abc import Collection

from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import live_bytes, lower_bound
from vmcu.schedule.schedule import Schedule, staged, streamed
from vmcu.schedule.tiles import copy_streamed, tile_columns, tile_counts

HOPEFUL = 1.05  # lower bound / least so far up to which a schedule is of interest
WEIGHTS = (0.1, 0.0)  # of bytes in flight: fewer than for rows, since there are many tasks to lay out


def tiled(graph: QuantizedGraph, bound: int) -> list[Schedule]:
    """Schedules with a lower bound below `bound`, the least first; one per number of tiles at most, and one more.

    Every number of tiles that divides some row is tried. Only the stages that need them keep their tiles. The one
    more copies streamed inputs into tiles: their rows come whole, but can then be given up tile by tile.
    """
    found: dict[int, Schedule] = {}
    limit = bound - 1
    for tiles in reversed(tile_counts(graph)):
        best = _best(graph, tiles, limit)
        if best and lower_bound(best) < bound:
            found[tiles] = best
            limit = min(limit, int(lower_bound(best) * HOPEFUL))
    ordered = sorted(found.items(), key=lambda item: lower_bound(item[1]))
    schedules = [_untile(graph, schedule, tiles, lower_bound(schedule)) for tiles, schedule in ordered]
    if ordered:
        tiles, copied = ordered[0][0], copy_streamed(graph)
        best = _best(copied, tiles, limit) if copied.ops != graph.ops else None
        if best and lower_bound(best) < bound:
            schedules.append(_untile(copied, best, tiles, lower_bound(best)))
    return sorted(schedules, key=lower_bound)


def in_fewer_stages(graph: QuantizedGraph, schedule: Schedule, bound: int) -> list[Schedule]:
    """One of `tiled` with its tiles in fewer stages: less that tiles cost, for a lower bound nearer to `bound`."""
    if schedule.graph.ops != graph.ops or not schedule.is_complete:
        return []
    tiles = max(t.tiles for t in schedule.graph.tensors.values())
    peaks = _peaks(staged(tile_columns(graph, graph.tensors, 1), schedule.stages))
    levels = sorted({peak for peak in peaks if lower_bound(schedule) < peak < bound})
    return [_untile(graph, schedule, tiles, level) for level in levels]


def _best(graph: QuantizedGraph, tiles: int, limit: int) -> Schedule | None:
    """The least lower bound with as many tensors as possible in tiles."""
    cut = tile_columns(graph, graph.tensors, tiles)
    if cut.tensors == graph.tensors:
        return None
    return min(streamed(cut, limit, WEIGHTS), key=lower_bound, default=None)


def _untile(graph: QuantizedGraph, schedule: Schedule, tiles: int, bound: int) -> Schedule:
    """The same stages with tiles only where whole rows would need more than `bound`, at least the peak of `schedule`."""
    if not schedule.is_complete:
        return schedule
    needy: set[int] = set()
    while True:
        names = _touched(schedule, [schedule.stages[n] for n in needy])
        trial = staged(tile_columns(graph, names, tiles), schedule.stages)
        over = {n for n, peak in enumerate(_peaks(trial)) if peak > bound}
        if not over - needy:
            return trial if not over else schedule
        needy |= over


def _peaks(schedule: Schedule) -> list[int]:
    """Most bytes alive in each stage."""
    stage_of = [n for n, (first, end) in enumerate(schedule.stages) for _ in range(first, end)]
    found = [0] * len(schedule.stages)
    for task, live in zip(schedule.tasks, live_bytes(schedule), strict=True):
        found[stage_of[task.step]] = max(found[stage_of[task.step]], live)
    return found


def _touched(schedule: Schedule, stages: Collection[tuple[int, int]]) -> set[str]:
    """Tensors that steps of these stages read or write."""
    ops = [schedule.steps[s] for first, end in stages for s in range(first, end)]
    return {name for op in ops for name in (*op.inputs, op.output)}
