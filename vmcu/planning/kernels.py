"""Which kernel each step of a schedule gets: a faster one may need working memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from vmcu.memory.plan import live_bytes
from vmcu.schedule.schedule import Schedule

ALIGN_BYTES = 3  # lost at most in front of working memory
STEPS = (0.0, 1.0, 1.03, 1.08, 1.2, inf)  # of the lower bound: how much more the kernels may need


def kernel_choices(schedule: Schedule, steps: Sequence[float] = STEPS) -> list[Schedule]:
    """The schedule with the fastest kernels that keep its live bytes within a limit, for several limits.

    Args:
        schedule: with the kernels that need least.
        steps: limits, as multiples of the schedule's lower bound.

    Returns:
        Least memory first, without repetition.
    """
    live = live_bytes(schedule)
    most = [0] * len(schedule.steps)
    for t, task in enumerate(schedule.tasks):
        most[task.step] = max(most[task.step], live[t] - schedule.kernels[task.step].scratch_bytes)
    bound = max(live, default=0)
    found: dict[tuple[int, ...], Schedule] = {}
    for step in steps:
        chosen = []
        for op, least, peak in zip(schedule.steps, schedule.kernels, most, strict=True):
            fits = [
                k for k in schedule.graph.kernels(op) if peak + k.scratch_bytes + ALIGN_BYTES <= bound * step
            ]
            chosen.append(fits[0] if fits else least)
        found.setdefault(tuple(map(id, chosen)), replace(schedule, kernels=tuple(chosen)))
    return list(found.values())
