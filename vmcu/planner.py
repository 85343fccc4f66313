"""QuantizedGraph -> MemoryPlan: tries schedules, keeps the one that needs least memory."""

from __future__ import annotations

from typing import Literal

from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import MemoryPlan, lower_bound, make_plan
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.tiling import tiled

Optimise = Literal["ram", "speed"]
CLOSE_ENOUGH = 1.003  # pool / lower bound at which no better placement is searched for
MOST_SEARCHED = 2  # plans that are searched
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

    Between equals the earlier one wins: they are listed from the cheapest to run to the dearest. All are
    placed quickly, then a search improves the best of them.
    """
    rows = by_rows(graph)
    schedules = [layer_by_layer(graph), *streamed(graph)]
    if rows.ops != graph.ops:
        schedules += streamed(rows)
    schedules.sort(key=lower_bound)
    tiles = tiled(rows, lower_bound(schedules[0]))[:MOST_TILED]
    hopeful = lower_bound(schedules[0]) * WORTH_TRYING
    schedules = [*(s for s in schedules if lower_bound(s) <= hopeful), *tiles]
    plans = sorted((make_plan(s, search=False) for s in schedules), key=lambda plan: plan.pool_bytes)
    best = plans[0]
    for plan in plans[:MOST_SEARCHED]:
        may_win = plan.lower_bound_bytes < best.pool_bytes / CLOSE_ENOUGH
        if may_win and plan.pool_bytes < best.pool_bytes * WORTH_TRYING:
            best = min(best, make_plan(plan.schedule), key=lambda p: p.pool_bytes)
    return best
