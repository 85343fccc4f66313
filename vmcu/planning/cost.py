"""Schedule -> estimated instructions: what the planner compares plans by, before anything is compiled.

**Model.** A task costs

    per work * work + per output * outputs + per row

where `work` is its multiply-accumulates, or the elements it reads where the field counts none (pooling,
sums, additions, copies), and `outputs` is the elements it writes. Each run of consecutive rows of one step
is one more call of its function: streaming makes many, layer by layer one a step. The numbers belong to a
kernel template, an instruction set and a compiler.

**Method.** `make calibrate` (`bench/cost.py`) compiles networks with several schedules, reads exact instructions per step
from the profiling builds in the emulator (both compilers at -O3), and fits each template's three numbers by least squares of
relative errors, none below zero. `CALL` is the median difference of equal steps between schedules, per call.
Kernels without a measurement take `OTHER`, fitted over all that multiply nothing.

**What it cannot know.** How a compiler unrolls a loop: GCC takes 3.6 instructions per multiply-accumulate in
one convolution and 13.8 in another that differs in its sizes alone, and may decide anew when the same layer
stands in another schedule. So an estimate is off by some ten per cent in a network and more in a layer, and two
plans that differ by less than a few per cent may rank the other way round in the emulator. It is a count of
instructions, never of cycles or time.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmcu.ops.base import Every, Patch, QOp
from vmcu.resources import folder
from vmcu.schedule.schedule import Schedule

DEFAULT_CORE = "cortex-m4"
DEFAULT_COMPILER = "gcc"  # also where the user has chosen none: a plan does not depend on what is installed
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
        if isinstance(access, Every):
            count = tensor.segments
        elif isinstance(access, Patch):
            count = access.rows.pointers * access.count
        else:
            count = access.pointers
        total += count * tensor.segment_cols * tensor.channels
    return total


def call_instructions(core: str, compiler: str = DEFAULT_COMPILER) -> float:
    """Of one call of a step's function."""
    return _rate(core, compiler).call


def _rate(core: str, compiler: str) -> Rate:
    isa = INSTRUCTION_SET.get(core, INSTRUCTION_SET[DEFAULT_CORE])
    return RATES[rate_name(isa, compiler)]


def rate_name(isa: str, compiler: str) -> str:
    """Of a rate in `RATES`."""
    return f"{isa} {compiler}"


def estimate_steps(
    schedule: Schedule, core: str = DEFAULT_CORE, compiler: str = DEFAULT_COMPILER
) -> tuple[int, ...]:
    """Estimated instructions of each step."""
    rate = _rate(core, compiler)
    found = []
    for w in step_work(schedule):
        per_work, per_output, per_row = rate.kernels.get(w.template, rate.kernels[OTHER])
        count = per_work * w.work + per_output * w.outputs + per_row * w.rows
        if w.row_instructions is not None:
            count = w.row_instructions * w.rows
        found.append(round(count + rate.call * w.calls))
    return tuple(found)


def estimate(schedule: Schedule, core: str = DEFAULT_CORE, compiler: str = DEFAULT_COMPILER) -> int:
    """Estimated instructions of one inference.

    Args:
        core: whose instruction set; one that was not measured counts as `DEFAULT_CORE`.
        compiler: "gcc" or "zig".
    """
    return sum(estimate_steps(schedule, core, compiler))


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
    "cortex-m4": "armv7e-m",
    "cortex-m7": "armv7e-m",
    "cortex-m33": "armv7e-m",
    "cortex-m55": "armv8.1-m",
    "cortex-m85": "armv8.1-m",
}


def read_rates(path: Path) -> dict[str, Rate]:
    """Instruction set and compiler -> the rates, from a file that `python -m bench.cost --update` has written."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    del tables["source"]
    return {
        name: Rate(table["call"], {k: (a, b, c) for k, (a, b, c) in table["kernels"].items()})
        for name, table in tables.items()
    }


def rates_text(rates: Mapping[str, Rate], source: str) -> str:
    """Content of such a file.

    Args:
        source: where the rates come from.
    """
    lines = [
        "# What plain C kernels cost, fitted to exact instruction counts: written by `make calibrate` (bench/cost.py).",
        "# Per instruction set and compiler: instructions per call of a step's function; per kernel [per work, per output, per row].",
        f'source = "{source}"',
    ]
    for name, rate in rates.items():
        lines += ["", f'["{name}"]', f"call = {rate.call:g}", f'["{name}".kernels]']
        lines += [f"{k} = [{', '.join(f'{v:g}' for v in values)}]" for k, values in rate.kernels.items()]
    return "\n".join(lines) + "\n"


RATES: Mapping[str, Rate] = read_rates(folder("targets") / "rates.toml")
