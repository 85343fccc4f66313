"""Schedule -> bytes that every step moves, and the multiply-accumulates it executes. Pure.

Bytes are those of segments: what a task is given, not what its kernel loads, which may be less (a window at the
border) or more (a weight that it loads once per pixel).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vmcu.schedule.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the tasks of one step do in one inference.

    Attributes:
        tasks: how many they are.
        macs: multiply-accumulates that they execute; a row that nobody needs has none.
        read_bytes: of activations, every task's own: a row that three tasks read counts three times.
        written_bytes: of activations.
        weights_bytes: of the step's weights as its kernel holds them (packed, perhaps wider than the model's), once.
        fetched_bytes: the same once per task, which is how often a kernel goes through them at least; of a step that
            accumulates, each task has its own part of them.
    """

    tasks: int
    macs: int
    read_bytes: int
    written_bytes: int
    weights_bytes: int
    fetched_bytes: int


def step_traffic(schedule: Schedule) -> tuple[Traffic, ...]:
    """Per step.

    A step that accumulates reads its row of sums again in every task but the first. Rows that the caller hands in are
    written, those that it takes are read.
    """
    graph = schedule.graph
    count, read, written = Counter[int](), Counter[int](), Counter[int]()
    for task in schedule.tasks:
        op = schedule.steps[task.step]
        out = graph.tensors[op.output]
        again = op.accumulates and count[task.step] > 0
        read[task.step] += sum(graph.tensors[name].segment_bytes for name, _ in task.reads)
        read[task.step] += out.segment_bytes if again else 0
        written[task.step] += 0 if op.is_output else out.segment_bytes
        count[task.step] += 1
    found = []
    for i, (op, kernel) in enumerate(zip(schedule.steps, schedule.kernels, strict=True)):
        ins, out = graph.ins(op), graph.tensors[op.output]
        macs = op.macs(ins, out) * count[i] // op.tasks(ins, out)
        weights = sum(c.values.nbytes for c in kernel.constants if c.role == "weights")
        times = 1 if op.accumulates else count[i]
        found.append(Traffic(count[i], macs, read[i], written[i], weights, weights * times))
    return tuple(found)
