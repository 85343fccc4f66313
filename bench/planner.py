"""What the memory planner achieves: pool against its lower bound, time, and what streaming costs in instructions.

    python -m bench.planner                     every model, resident and streamed
    python -m bench.planner --model mlperf_kws  one

Pools hold activations, scratch and states; plans are those of `--optimize ram`. "layer by layer" is the pool of whole layers one
after the other; the lower bound counts what is alive, and holes that nothing alive can fill. Instructions are exact, of one
inference on a Cortex-M4. The overhead compares the plan's schedule with layer by layer, both with the kernels that need least
working memory (the fastest such, whatever flash they take), so that the order alone differs; all firmwares must print the
same bits. "pool within 3 %" and "its order" are those of the smallest plan whose order takes at most 3 % more instructions than layer
by layer: tiles of columns take more where they are narrow. Seconds are CPU time of planning alone, on this machine.
"""

from __future__ import annotations

import argparse
import resource
import sys
from dataclasses import dataclass, replace
from math import exp, log
from time import process_time

from bench.table import models
from vmcu.api import Model
from vmcu.batch import random_batch
from vmcu.pipeline import compile_plan, compile_schedule, load
from vmcu.planning.choose import choose, list_candidates
from vmcu.planning.cost import executed_macs
from vmcu.run.process import find_qemu, qemu_version
from vmcu.schedule.schedule import Schedule, layer_by_layer
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler

CORE = "cortex-m4"
MOST_OVERHEAD = 0.03


@dataclass(frozen=True)
class Row:
    """What was found."""

    name: str
    streamed: bool
    pool: int
    bound: int
    layers: int
    tiles: int
    tasks: int
    macs: int
    executed: int
    seconds: float
    instructions: int
    overhead: float
    near_pool: int
    near_overhead: float
    exact: bool


def measure(path: str, name: str, streamed: bool) -> Row:
    """Plans and runs one model both ways."""
    graph = load(path)
    if streamed:
        graph = stream_inputs(graph, [ALL_INPUTS])
    start = process_time()
    candidates = list_candidates(graph, CORE)
    plan = choose(candidates).plan
    seconds = process_time() - start
    chip = load_target(CORE)
    whole = layer_by_layer(replace(graph, isa=chip.isa))
    ours = Model(compile_plan(plan, "net"), chip, "auto")
    same, theirs = (
        Model(compile_schedule(_least_scratch(schedule), "net"), chip, "auto")
        for schedule in (plan.schedule, whole)
    )
    batch = random_batch(graph, 1)
    reports = [model.run_batch(batch) for model in (ours, same, theirs)]
    counts = [report.instructions[0] for report in reports if report.instructions]
    near_pool, near_overhead = plan.pool_bytes, counts[1] / counts[2] - 1
    orders = {
        id(c.schedule.tasks): c for c in reversed(candidates)
    }.values()  # each with the kernels of least scratch
    for candidate in sorted(orders, key=lambda c: c.bound_bytes):
        if near_overhead <= MOST_OVERHEAD:
            break
        near_pool = candidate.pool_bytes
        model = Model(compile_schedule(_least_scratch(candidate.schedule), "net"), chip, "auto")
        reports.append(model.run_batch(batch))
        assert reports[-1].instructions
        near_overhead = reports[-1].instructions[0] / counts[2] - 1
    return Row(
        name,
        streamed,
        plan.pool_bytes,
        plan.lower_bound_bytes,
        theirs.compiled.plan.pool_bytes,
        max(t.tiles for t in plan.schedule.graph.tensors.values()),
        len(plan.schedule.tasks),
        graph.macs,
        executed_macs(plan.schedule),
        seconds,
        counts[0],
        counts[1] / counts[2] - 1,
        near_pool,
        near_overhead,
        all(report.outputs == reports[0].outputs for report in reports),
    )


def _least_scratch(schedule: Schedule) -> Schedule:
    """The same order with the kernels that the graph's operators have without any thought of flash."""
    return replace(
        schedule, kernels=tuple(schedule.graph.kernels(op)[-1] for op in schedule.steps), small_c=False
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| model | input | layer by layer | pool | lower bound | pool / bound | tiles | tasks | MACs executed / model "
        "| instructions | order against layer by layer | pool within 3 % | its order | same bits | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.name} | {'streamed' if r.streamed else 'resident'} | {r.layers:,} | {r.pool:,} | {r.bound:,} "
            f"| {r.pool / r.bound:.4f} | {r.tiles} | {r.tasks:,} | {r.executed:,} / {r.macs:,} | {r.instructions:,} "
            f"| {r.overhead:+.1%} | {r.near_pool:,} | {r.near_overhead:+.1%} "
            f"| {'yes' if r.exact else '**NO**'} | {r.seconds:.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Prints the table; 1 where bits differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="folder name; may be repeated; default: all")
    options = parser.parse_args()
    rows = []
    for path, _ in models():
        name = path.parent.name
        if options.model and name not in options.model:
            continue
        for streamed in (False, True):
            rows.append(measure(str(path), name, streamed))
            print(f"{name} {'streamed' if streamed else 'resident'}", file=sys.stderr)
    if not rows:
        parser.error("no such model")
    qemu = find_qemu()
    engine = qemu_version(qemu) if qemu else "Unicorn"
    print(f"Exact instructions: {find_compiler('auto').version} at -O3, {engine}, {CORE}.\n")
    print(table(rows))
    mean = exp(sum(log(r.pool / r.bound) for r in rows) / len(rows))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nGeometric mean of pool / bound {mean:.4f}; memory of the tool {memory:.0f} MiB.")
    return 0 if all(r.exact for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
