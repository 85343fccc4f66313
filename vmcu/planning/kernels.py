"""Which kernel each step of a schedule gets: a faster one may need working memory."""

from __future__ import annotations

from dataclasses import replace

from vmcu.memory.plan import live_bytes
from vmcu.schedule.schedule import Schedule


def with_kernels(schedule: Schedule, limit: float) -> Schedule:
    """The schedule with the fastest kernels whose working memory keeps its live bytes within a limit.

    Args:
        schedule: with the kernels that need least.
        limit: bytes.
    """
    live = live_bytes(schedule)
    most = [0] * len(schedule.steps)
    for t, task in enumerate(schedule.tasks):
        most[task.step] = max(most[task.step], live[t] - schedule.kernels[task.step].scratch_bytes)
    graph = schedule.graph
    chosen = []
    for op, least, peak in zip(schedule.steps, schedule.kernels, most, strict=True):
        offered = graph.kernels(op)
        # Scratch is aligned: up to three bytes may be lost in front of it.
        fits = [k for k in offered if peak + k.scratch_bytes + 3 <= limit]
        chosen.append(fits[0] if fits else least)
    return replace(schedule, kernels=tuple(chosen))
