"""Worst-case stack of every shared model on every core, with both compilers, for every wish.

    python -m bench.stack                                   everything; some minutes per model
    python -m bench.stack --model mlperf_vww --core cortex-m55 --optimise ram

A row per model, core and compiler: the most bytes over the wishes, and the step that takes them. Nothing runs: frames are the
compiler's, along the longest path of calls. Ends with 1 where a plan takes more than `LIMIT_BYTES`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import vmcu
from bench.models_table import WISHES
from bench.peers import MODELS
from bench.table import SHARED
from vmcu.api import Model
from vmcu.targets import load_target

LIMIT_BYTES = 512
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
COMPILERS = ("gcc", "zig")


@dataclass(frozen=True)
class Found:
    """The stack of one build, and which step takes most of it."""

    model: str
    core: str
    compiler: str
    optimise: str
    stack_bytes: int
    step: str


def measure(job: tuple[Path, tuple[str, ...], str, str]) -> list[Found]:
    """One plan, built for all cores that share it."""
    path, cores, numerics, optimise = job
    planned = vmcu.compile(path, cores[0], numerics=numerics, optimise=optimise, compiler="gcc").compiled  # type: ignore[arg-type]
    rows = []
    for core in cores:
        for compiler in COMPILERS:
            model = Model(planned, load_target(core), compiler)  # type: ignore[arg-type]
            firmware = model.firmware()
            deepest = max(range(len(planned.project.steps)), key=lambda i: firmware.step_stack_bytes[i])
            template = planned.plan.schedule.kernels[deepest].template
            step = f"step {deepest}, {template}: {firmware.step_stack_bytes[deepest]}"
            rows.append(Found(path.parent.name, core, compiler, optimise, firmware.stack_bytes, step))
    return rows


def table(found: list[Found]) -> Iterator[str]:
    """Markdown: per model, core and compiler the wish that takes most."""
    yield "| model | core | compiler | most stack | with | in |"
    yield "|---|---|---|---:|---|---|"
    most: dict[tuple[str, str, str], Found] = {}
    for one in found:
        key = (one.model, one.core, one.compiler)
        if key not in most or most[key].stack_bytes < one.stack_bytes:
            most[key] = one
    for one in most.values():
        yield (
            f"| {one.model} | {one.core} | {one.compiler} | {one.stack_bytes} | {one.optimise} | {one.step} |"
        )


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=MODELS, help="may be repeated; default: all")
    parser.add_argument("--core", action="append", choices=CORES, help="may be repeated; default: all")
    parser.add_argument("--optimise", action="append", choices=WISHES, help="may be repeated; default: all")
    parser.add_argument("--numerics", default="tflm", choices=["tflm", "onnx"])
    options = parser.parse_args()
    by_isa: dict[str, list[str]] = {}
    for core in options.core or CORES:
        by_isa.setdefault(load_target(core).isa, []).append(core)
    jobs = [
        (SHARED / name / "model_qdq_int8io.onnx", tuple(cores), options.numerics, optimise)
        for name in options.model or MODELS
        for cores in by_isa.values()
        for optimise in options.optimise or WISHES
    ]
    found: list[Found] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for rows in pool.map(measure, jobs):
            found += rows
            if sys.stderr.isatty():
                print(f"\r{len(found)} builds", end="", file=sys.stderr)
    print("\n".join(table(found)))
    over = sum(one.stack_bytes > LIMIT_BYTES for one in found)
    print(f"\n{len(found)} builds, {over} of them with more than {LIMIT_BYTES} bytes.")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
