"""Measured kernels instead of estimated ones: `--tune`.

The cost model (`cost.py`) knows a program's instructions, but not those of the C around it, nor what a compiler makes of
a plain kernel. Here every kernel of every operator runs once, whole rows layer by layer, and the planner takes the exact counts.
What the plan cuts into tiles is priced by its share of the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ir.tuning import Key, Tuning
from vmcu.planning.cost import DEFAULT_COMPILER, call_instructions, step_work
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, layer_by_layer


def variants(graph: QuantizedGraph) -> list[Schedule]:
    """Schedules that together run every kernel of every operator, layer by layer."""
    found = []
    for one in (graph,) if (rows := by_rows(graph)).ops == graph.ops else (graph, rows):
        schedule = layer_by_layer(one)
        listed = [one.kernels(op) for op in schedule.steps]
        for n in range(max(map(len, listed), default=0)):
            chosen = tuple(kernels[min(n, len(kernels) - 1)] for kernels in listed)
            found.append(replace(schedule, kernels=chosen))
    return found


def learn(
    measured: Iterable[tuple[Schedule, Sequence[int]]], core: str, compiler: str = DEFAULT_COMPILER
) -> Tuning:
    """What a planner can look up.

    Args:
        measured: schedules, and exact instructions of each of their steps.
        core, compiler: that counted them.
    """
    rates: dict[Key, float] = {}
    for schedule, profile in measured:
        for op, kernel, work, count in zip(
            schedule.steps, schedule.kernels, step_work(schedule), profile, strict=True
        ):
            alone = count - work.calls * call_instructions(core, compiler)
            if work.outputs:
                key = (op.output, kernel.template, kernel.scratch_bytes)
                rates[key] = max(alone, 0) / work.outputs
    return Tuning(rates)
