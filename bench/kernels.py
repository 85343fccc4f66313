"""Single kernels: one-layer networks on the shapes CMSIS-NN was measured with, beside its figures.

    python -m bench.kernels                                    every shape on the Cortex-M4, M7 and M55, GCC and clang
    python -m bench.kernels --kernel dw3x3_20x20_96 --core cortex-m4 --compiler zig
    python -m bench.kernels --compare                          what differs from bench/results/kernels.json
    python -m bench.kernels --update                           keep the new figures there

Instructions are exact counts of a whole inference of the network, entry to return, on seeded noise, planned for
speed; its output has to equal the NumPy reference. MACs are nominal: taps on padding count. Code is that of the
whole network. The figures of CMSIS-NN are those of one call of its kernel, of GCC 12.2 (bench/peers.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

import vmcu
from bench import record
from bench.models import QdqNet
from bench.peers import KERNELS
from bench.record import ratio, shown
from vmcu.api import Model
from vmcu.batch import random_batch
from vmcu.quant.reference import Reference

RESULTS = record.FOLDER / "kernels.json"
CORES = ("cortex-m4", "cortex-m7", "cortex-m55")


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer: input rows and columns, channels in and out, kernel and stride; padding keeps the size at stride 1."""

    kind: Literal["conv", "depthwise", "dense"]
    rows: int
    cols: int
    cin: int
    cout: int
    kernel: int = 1
    stride: int = 1

    def model(self) -> onnx.ModelProto:
        """A network of this layer alone, with seeded weights."""
        net = QdqNet(1)
        x = net.input(self.cin, self.rows, self.cols)
        if self.kind == "conv":
            return net.model(net.conv(x, self.cout, self.kernel, self.stride))
        if self.kind == "depthwise":
            return net.model(net.depthwise(x, self.kernel, self.stride))
        return net.model(net.dense(x, self.cout))


SHAPES = {
    "pw_20x20_48_48": Shape("conv", 20, 20, 48, 48),
    "pw_20x20_16_96": Shape("conv", 20, 20, 16, 96),
    "pw_20x20_96_16": Shape("conv", 20, 20, 96, 16),
    "pw_10x10_96_96": Shape("conv", 10, 10, 96, 96),
    "pw_10x10_24_144": Shape("conv", 10, 10, 24, 144),
    "pw_5x5_160_160": Shape("conv", 5, 5, 160, 160),
    "pw_25x5_64_64": Shape("conv", 25, 5, 64, 64),
    "c3x3_32x32_16_16": Shape("conv", 32, 32, 16, 16, 3),
    "c3x3s2_80x80_3_16": Shape("conv", 80, 80, 3, 16, 3, 2),
    "c3x3_16x16_32_32": Shape("conv", 16, 16, 32, 32, 3),
    "c3x3_8x8_64_64": Shape("conv", 8, 8, 64, 64, 3),
    "dw3x3_20x20_96": Shape("depthwise", 20, 20, 96, 96, 3),
    "dw3x3s2_20x20_96": Shape("depthwise", 20, 20, 96, 96, 3, 2),
    "dw3x3_10x10_144": Shape("depthwise", 10, 10, 144, 144, 3),
    "dw5x5_10x10_96": Shape("depthwise", 10, 10, 96, 96, 5),
    "dw7x7_10x10_96": Shape("depthwise", 10, 10, 96, 96, 7),
    "fc_1024_256": Shape("dense", 1, 1, 1024, 256),
    "fc_640_128": Shape("dense", 1, 1, 640, 128),
    "fc_64_12": Shape("dense", 1, 1, 64, 12),
}


@dataclass(frozen=True)
class Job:
    """A shape on a core: planned once, built with each compiler."""

    name: str
    core: str
    compilers: tuple[str, ...]
    numerics: str


def measure(job: Job) -> list[tuple[str, dict[str, Any]]]:
    """(name of the row, its figures) per compiler."""
    with tempfile.TemporaryDirectory(prefix="vmcu-bench-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(SHAPES[job.name].model().SerializeToString())
        first = vmcu.compile(path, job.core, name="net", numerics=job.numerics, optimise="speed")  # type: ignore[arg-type]
    graph = first.compiled.graph
    batch = random_batch(graph, 1)
    wanted = Reference(graph).run_tensors(batch.tensors[0])
    rows = []
    for compiler in job.compilers:
        model = Model(first.compiled, first.target, compiler)  # type: ignore[arg-type]
        report = model.run_batch(batch, engine=record.engine_for(first.target))  # type: ignore[arg-type]
        firmware = model.firmware()
        assert report.instructions is not None
        row = {
            "macs": graph.macs,
            "instructions": report.instructions[0],
            "estimated_cycles": report.cycles[0] if report.cycles else None,
            "code_bytes": firmware.code_bytes + firmware.library_bytes,
            "scratch_bytes": model.compiled.plan.scratch_bytes,
            "stack_bytes": firmware.stack_bytes,
            "exact": [wanted[p.tensor].tobytes() for p in graph.outputs] == list(report.outputs[0]),
            "compiler": firmware.compiler.version,
            "engine": report.version,
        }
        rows.append((f"{job.name} {job.core} {compiler} {job.numerics}", row))
    return rows


def table(rows: record.Rows) -> str:
    """Markdown."""
    lines = [
        "| kernel | core | compiler | MACs | instructions | MACs per instruction | CMSIS-NN | its instructions / ours | "
        "estimated cycles | code bytes | scratch | its scratch | stack | bit-exact |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for key, r in rows.items():
        name, core, compiler, _ = key.split()
        peer = KERNELS[name].get(core)
        theirs = r["macs"] / peer.instructions if peer else None
        faster = ratio(peer.instructions, r["instructions"]) if peer else "-"
        lines.append(
            f"| {name} | {core} | {compiler} | {r['macs']:,} | {r['instructions']:,} "
            f"| {r['macs'] / r['instructions']:.3f} | {shown(theirs, 3)} | {faster} | {shown(r['estimated_cycles'])} "
            f"| {r['code_bytes']:,} | {r['scratch_bytes']:,} | {shown(peer.scratch_bytes if peer else None)} "
            f"| {r['stack_bytes']:,} | {'yes' if r['exact'] else '**NO**'} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Prints the table; 1 where an output is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", action="append", choices=SHAPES, help="may be repeated; default: all")
    record.add_options(parser, CORES, RESULTS)
    options = parser.parse_args()
    compilers = tuple(record.compilers(options.compiler))
    jobs = [
        Job(name, core, compilers, options.numerics)
        for name in options.kernel or SHAPES
        for core in options.core or CORES
    ]
    rows: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, found in enumerate(pool.map(measure, jobs), 1):
            rows.update(found)
            if sys.stderr.isatty():
                print(f"\r{done} of {len(jobs)}", end="", file=sys.stderr)
    print(f"{options.numerics} numerics, -O3; estimated cycles: model, zero wait states.\n")
    print(table(rows))
    record.finish(options, rows, RESULTS)
    return 0 if all(r["exact"] for r in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
