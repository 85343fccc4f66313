"""QuantizedGraph -> MemoryPlan: tries schedules, keeps the one that needs least memory."""

from __future__ import annotations

from typing import Literal

from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import MemoryPlan, lower_bound, make_plan
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.tiling import tiled

Optimise = Literal["ram", "speed"]
CLOSE_ENOUGH = 1.01  # pool / lower bound at which another schedule is not tried
MOST_TILED = 3  # schedules with tiles that are placed
WORTH_TRYING = 1.02  # lower bound / least lower bound at which a schedule is still placed


def make_best_plan(
    graph: QuantizedGraph, optimise: Optimise = "ram", ram_bytes: int | None = None
) -> MemoryPlan:
    """The plan for a wish.

    Args:
        optimise: "ram": the smallest pool. "speed": layer by layer, where rows of a step run in one go and
            nothing is accumulated through memory, as long as its pool stays within `ram_bytes`.
        ram_bytes: what there is.
    """
    if optimise == "speed":
        plan = make_plan(layer_by_layer(graph))
        if ram_bytes is None or plan.pool_bytes <= ram_bytes:
            return plan
    return best_plan(graph)


def best_plan(graph: QuantizedGraph) -> MemoryPlan:
    """The smallest pool of: layer by layer, streamed, streamed with accumulation by rows, with tiles of columns.

    Between equals the earlier one wins: they are listed from the cheapest to run to the dearest. A
    schedule whose lower bound is no better than a pool already found is not placed at all.
    """
    rows = by_rows(graph)
    schedules = [layer_by_layer(graph), *streamed(graph)]
    if rows.ops != graph.ops:
        schedules += streamed(rows)
    schedules.sort(key=lower_bound)
    tiles = tiled(rows, lower_bound(schedules[0]))[:MOST_TILED]
    hopeful = lower_bound(schedules[0]) * WORTH_TRYING
    schedules = [*tiles, *(s for s in schedules if lower_bound(s) <= hopeful)]
    best: MemoryPlan | None = None
    for schedule in schedules:
        if best is None or lower_bound(schedule) < best.pool_bytes / CLOSE_ENOUGH:
            plan = make_plan(schedule)
            if best is None or plan.pool_bytes < best.pool_bytes:
                best = plan
    assert best is not None
    return best
