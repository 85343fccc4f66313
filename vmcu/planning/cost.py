"""Schedule -> estimated instructions: what the planner compares plans by, before anything is compiled.

**Model.** A task costs

    per work * work + per output * outputs + per row

where `work` is its multiply-accumulates, or the elements it reads where the field counts none (pooling,
sums, additions, copies), and `outputs` is the elements it writes. Each run of consecutive rows of one step
is one more call of its function: streaming makes many, layer by layer one a step. The numbers belong to a
kernel template and an instruction set.

**Method.** `python -m bench.cost` compiles networks with several schedules, reads exact instructions per step
from the profiling build in the emulator (gcc at -O3), and fits each template's three numbers by least squares of
relative errors, none below zero. `CALL` is the median difference of equal steps between schedules, per call.
Kernels without a measurement take `OTHER`, fitted over all that multiply nothing.

**What it cannot know.** How a compiler unrolls a loop: GCC takes 3.6 instructions per multiply-accumulate in
one convolution and 13.8 in another that differs in its sizes alone, and may decide anew when the same layer
stands in another schedule. So an estimate is off by some ten per cent in a network and more in a layer, and two
plans that differ by less than a few per cent may rank the other way round in the emulator. It is a count of
instructions, never of cycles or time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from vmcu.ops.base import Every, Patch, QOp, Window
from vmcu.schedule.schedule import Schedule

DEFAULT_CORE = "cortex-m4"
OTHER = "other"

Rates = tuple[float, float, float]  # instructions per work, per output, per row


@dataclass(frozen=True, slots=True)
class Rate:
    """What an instruction set takes.

    Attributes:
        call: instructions per call of a step's function.
        kernels: template -> per work, per output, per row.
    """

    call: float
    kernels: Mapping[str, Rates]


@dataclass(frozen=True, slots=True)
class Work:
    """What the tasks of one step do in a schedule.

    Attributes:
        template: of the kernel.
        work: multiply-accumulates, or elements read where there are none.
        outputs: elements written.
        rows: tasks.
        calls: runs of consecutive rows.
        row_instructions: of the kernel, where it knows; else the rates tell.
    """

    template: str
    work: float
    outputs: int
    rows: int
    calls: int
    row_instructions: int | None = None


def step_work(schedule: Schedule) -> tuple[Work, ...]:
    """Per step; tasks that are left out count nothing, repeated ones each time."""
    rows, calls = Counter(t.step for t in schedule.tasks), Counter[int]()
    last = (-1, -1)
    for task in schedule.tasks:
        calls[task.step] += (task.step, task.row) != (last[0], last[1] + 1)
        last = (task.step, task.row)
    return tuple(_work(schedule, i, rows[i], calls[i]) for i in range(len(schedule.steps)))


def _work(schedule: Schedule, step: int, rows: int, calls: int) -> Work:
    op, kernel = schedule.steps[step], schedule.kernels[step]
    ins, out = schedule.graph.ins(op), schedule.graph.tensors[op.output]
    macs = op.macs(ins, out)
    work = macs / op.tasks(ins, out) if macs else float(_elements_read(op, schedule))
    outputs = out.segment_cols * out.channels * rows
    return Work(kernel.template, work * rows, outputs, rows, calls, kernel.instructions)


def _elements_read(op: QOp, schedule: Schedule) -> int:
    """Elements of all segments that one task is given."""
    ins, out = schedule.graph.ins(op), schedule.graph.tensors[op.output]
    total = 0
    for tensor, access in zip(ins, op.access(ins, out), strict=True):
        if isinstance(access, Window):
            count = access.kernel
        elif isinstance(access, Every):
            count = tensor.segments
        elif isinstance(access, Patch):
            count = access.rows.kernel * access.count
        else:
            count = len(access.rows[0])
        total += count * tensor.segment_cols * tensor.channels
    return total


def estimate_steps(schedule: Schedule, core: str = DEFAULT_CORE) -> tuple[int, ...]:
    """Estimated instructions of each step."""
    rate = RATES[INSTRUCTION_SET.get(core, INSTRUCTION_SET[DEFAULT_CORE])]
    found = []
    for w in step_work(schedule):
        per_work, per_output, per_row = rate.kernels.get(w.template, rate.kernels[OTHER])
        count = per_work * w.work + per_output * w.outputs + per_row * w.rows
        if w.row_instructions is not None:
            count = w.row_instructions * w.rows
        found.append(round(count + rate.call * w.calls))
    return tuple(found)


def estimate(schedule: Schedule, core: str = DEFAULT_CORE) -> int:
    """Estimated instructions of one inference.

    Args:
        core: whose instruction set; one that was not measured counts as `DEFAULT_CORE`.
    """
    return sum(estimate_steps(schedule, core))


def executed_macs(schedule: Schedule) -> int:
    """Multiply-accumulates of the tasks in the schedule: fewer than the network's where rows are skipped."""
    graph, rows, total = schedule.graph, Counter(t.step for t in schedule.tasks), 0
    for i, op in enumerate(schedule.steps):
        ins, out = graph.ins(op), graph.tensors[op.output]
        total += op.macs(ins, out) * rows[i] // op.tasks(ins, out)
    return total


INSTRUCTION_SET: Mapping[str, str] = {
    "cortex-m0plus": "armv6-m",
    "cortex-m3": "armv7-m",
    "cortex-m4": "armv7-m",
    "cortex-m7": "armv7-m",
    "cortex-m33": "armv7-m",
    "cortex-m55": "armv8.1-m",
    "cortex-m85": "armv8.1-m",
}

RATES: Mapping[str, Rate] = {
    "armv6-m": Rate(
        39,
        {
            "average_pool": (5.23, 0, 0),
            "binary": (59.3, 0, 0),
            "conv": (8.6, 31.2, 137),
            "dense": (8.66, 18.3, 0),
            "dense_rows": (10.1, 0, 0),
            "depthwise": (12.9, 1.68, 2010),
            "finish": (54.5, 0, 0),
            "lookup": (5.88, 0, 0),
            "max_pool": (5.25, 0, 0),
            "rearrange": (0, 0, 112),
            "reduce": (7.75, 0, 0),
            "softmax": (204, 0, 0),
            "sum_rows": (8.21, 0, 18.8),
            OTHER: (13.3, 0, 0),
        },
    ),
    "armv7-m": Rate(
        24,
        {
            "average_pool": (2.99, 0, 0),
            "binary": (9.12, 0, 0),
            "conv": (5.52, 0, 0),
            "dense": (5.21, 0, 0),
            "dense_rows": (5.41, 0, 0),
            "depthwise": (6.21, 0, 0),
            "finish": (13.2, 0, 0),
            "lookup": (4.61, 0, 0),
            "max_pool": (4.36, 0, 0),
            "rearrange": (0, 0.191, 83.3),
            "reduce": (3.03, 0, 0),
            "softmax": (71.7, 0, 0),
            "sum_rows": (6.18, 0, 7.16),
            OTHER: (5.74, 0.246, 0),
        },
    ),
    "armv8.1-m": Rate(
        23,
        {
            "average_pool": (2.91, 0, 0),
            "binary": (8.91, 0, 0),
            "conv": (4.74, 0, 104),
            "dense": (4.2, 0.169, 1.59),
            "dense_rows": (4.48, 0, 0),
            "depthwise": (5.96, 0, 0),
            "finish": (12.2, 0, 4.04),
            "lookup": (4.05, 0, 0),
            "max_pool": (3.86, 0, 0),
            "rearrange": (0, 0, 67.9),
            "reduce": (2.91, 0, 0),
            "softmax": (73.2, 0, 0),
            "sum_rows": (5.16, 0, 12.7),
            OTHER: (5.19, 0, 0),
        },
    ),
}
"""Measured with arm-none-eabi-gcc 12.2 at -O3 on Cortex-M0+, M4 and M55, 13 networks."""
