"""Model x core: exact instructions, RAM, flash and whether the answers are right, as a Markdown table.

    python -m bench.table                    every model on every core
    python -m bench.table --core cortex-m4 --compiler zig --all-inputs

Networks of ../shared/models are compared with TFLite Micro's golden outputs in `tflm` numerics, those of
models/ with the integer reference in `onnx` numerics. Instructions are exact counts of one inference in the
emulator (the greatest of all inputs), never a time. RAM is pool + stack + variables, flash constants + code.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import vmcu
from vmcu.quant.reference import Reference
from vmcu.run.process import find_qemu, qemu_version
from vmcu.toolchain import find_compiler

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "models"
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
FEW = 3


@dataclass(frozen=True)
class Job:
    """One cell: a model on a core."""

    path: Path
    golden: Path
    core: str
    compiler: str
    count: int | None

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def is_ours(self) -> bool:
        return self.path.is_relative_to(ROOT)


@dataclass(frozen=True)
class Cell:
    """What one model does on one core."""

    instructions: int
    ram_bytes: int
    flash_bytes: int
    macs: int
    inputs: int
    exact: bool


def measure(job: Job) -> Cell:
    """Compiles, runs and compares."""
    numerics = "onnx" if job.is_ours else "tflm"
    model = vmcu.compile(job.path, job.core, numerics=numerics, compiler=job.compiler)  # type: ignore[arg-type]
    graph = model.compiled.graph
    with np.load(job.golden, allow_pickle=False) as golden:
        inputs = golden["inputs"][: job.count]
        wanted = None if job.is_ours else golden["outputs_tflm"][: job.count]
    if wanted is None:
        reference = Reference(graph)
        wanted = np.concatenate(
            [reference.run({graph.inputs[0].name: x})[graph.outputs[0].name] for x in inputs]
        )
    found = np.asarray(model.run(inputs))
    assert model.last_run is not None and model.last_run.instructions
    firmware = model.firmware()
    return Cell(
        max(model.last_run.instructions),
        firmware.ram_bytes,
        firmware.flash_bytes,
        graph.macs,
        len(inputs),
        found.dtype == wanted.dtype and np.array_equal(found.reshape(wanted.shape), wanted),
    )


def models() -> list[tuple[Path, Path]]:
    """Model file and golden vectors of each network there is."""
    ours = [(p, p.parent / "golden.npz") for p in sorted((ROOT / "models").glob("*/model.onnx"))]
    shared = sorted(SHARED.glob("*/model_qdq_int8io.onnx"))
    return ours + [(p, p.parent / "golden.npz") for p in shared]


def table(jobs: list[Job], cells: list[Cell]) -> str:
    """Markdown."""
    lines = [
        "| model | core | MACs | exact instructions | per MAC | RAM bytes | flash bytes | inputs | bit-exact |"
    ]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---|")
    for job, c in zip(jobs, cells, strict=True):
        per_mac = f"{c.instructions / c.macs:.2f}" if c.macs else "-"
        lines.append(
            f"| {job.name} | {job.core} | {c.macs:,} | {c.instructions:,} | {per_mac} | {c.ram_bytes:,} "
            f"| {c.flash_bytes:,} | {c.inputs} | {'yes' if c.exact else '**NO**'} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Prints the table; 1 where an answer is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--core", action="append", choices=CORES, help="may be repeated; default: all")
    parser.add_argument("--model", action="append", help="folder name; may be repeated; default: all")
    parser.add_argument("--compiler", choices=["auto", "gcc", "zig"], default="auto")
    parser.add_argument("--all-inputs", action="store_true", help=f"all golden inputs instead of {FEW}")
    options = parser.parse_args()
    jobs = [
        Job(path, golden, core, options.compiler, None if options.all_inputs else FEW)
        for path, golden in models()
        for core in options.core or CORES
        if not options.model or path.parent.name in options.model
    ]
    if not jobs:
        parser.error("no such model")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        cells = []
        for done, cell in enumerate(pool.map(measure, jobs), 1):
            cells.append(cell)
            if sys.stderr.isatty():
                print(f"\r{done} of {len(jobs)}", end="", file=sys.stderr)
    qemu = find_qemu()
    engine = qemu_version(qemu) if qemu else "Unicorn"
    print(f"Compiler {find_compiler(options.compiler).version} at -O3, engine {engine}.\n")
    print(table(jobs, cells))
    return 0 if all(c.exact for c in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
