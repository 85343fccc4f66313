"""Model x core x compiler beside the peers: what a change of kernels, planner or code generator does to whole networks.

    python -m bench.models_table                               every shared network, every core, GCC and clang
    python -m bench.models_table --model mlperf_kws --core cortex-m4 --compiler zig
    python -m bench.models_table --compare                     what differs from bench/results/models.json
    python -m bench.models_table --update                      keep the new figures there

Networks are those of ../shared/models with golden vectors, whose first inputs are run; outputs have to equal TFLite
Micro's in `tflm` numerics, the NumPy reference in `onnx`. Instructions are exact counts of one inference, the greatest
of all inputs; cycles are estimated (model, zero wait states) by the core's timing table, null where Unicorn does not
run the core. Peers and their method: bench/peers.py. "TFLM" is TensorFlow Lite Micro with CMSIS-NN, "record" the best
published MLPerf Tiny cycles of the core, measured on a board, flash wait states included, by whatever software.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vmcu
from bench import record
from bench.peers import MODELS, RECORD_MEGACYCLES
from bench.record import ratio, shown
from bench.table import SHARED
from vmcu.api import Model
from vmcu.quant.reference import Reference

RESULTS = record.FOLDER / "models.json"
WISHES = ("ram", "balanced", "speed", "size")
INPUTS = 2


@dataclass(frozen=True)
class Job:
    """A model on a core: planned once, built with each compiler."""

    path: Path
    core: str
    compilers: tuple[str, ...]
    numerics: str
    optimise: str

    @property
    def name(self) -> str:
        """Of the model's folder."""
        return self.path.parent.name


def measure(job: Job) -> list[tuple[str, dict[str, Any]]]:
    """(name of the row, its figures) per compiler."""
    first = vmcu.compile(
        job.path, job.core, numerics=job.numerics, optimise=job.optimise, compiler=job.compilers[0]
    )  # type: ignore[arg-type]
    graph = first.compiled.graph
    with np.load(job.path.parent / "golden.npz", allow_pickle=False) as golden:
        inputs, wanted = golden["inputs"][:INPUTS], golden["outputs_tflm"][:INPUTS]
    if job.numerics == "onnx":
        reference = Reference(graph)
        wanted = np.concatenate(
            [reference.run({graph.inputs[0].name: x})[graph.outputs[0].name] for x in inputs]
        )
    rows = []
    for compiler in job.compilers:
        model = Model(first.compiled, first.target, compiler)  # type: ignore[arg-type]
        found = np.asarray(model.run(inputs, engine=record.engine_for(first.target)))  # type: ignore[arg-type]
        report, firmware, project = model.last_run, model.firmware(), model.compiled.project
        assert report is not None and report.instructions is not None
        row = {
            "macs": graph.macs,
            "instructions": max(report.instructions),
            "estimated_cycles": max(report.cycles) if report.cycles else None,
            "code_bytes": firmware.code_bytes + firmware.library_bytes,
            "tables_bytes": project.tables_bytes,
            "weights_bytes": project.weights_bytes,
            "pool_bytes": project.pool_bytes,
            "stack_bytes": firmware.stack_bytes,
            "ram_bytes": firmware.ram_bytes,
            "exact": found.dtype == wanted.dtype and np.array_equal(found.reshape(wanted.shape), wanted),
            "compiler": firmware.compiler.version,
            "engine": report.version,
        }
        rows.append((f"{job.name} {job.core} {compiler} {job.numerics} {job.optimise}", row))
    return rows


def table(rows: record.Rows) -> str:
    """Markdown."""
    lines = [
        "| model | core | compiler | instructions | per MAC | TFLM's | its / ours | estimated cycles | record | ours / record "
        "| code + tables | TFLM's code | RAM | TFLM's RAM | stack | TFLM's stack | bit-exact |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for key, r in rows.items():
        name, core, compiler, *_ = key.split()
        peer = MODELS.get(name, {}).get(core)
        mega = RECORD_MEGACYCLES.get(name, {}).get(core)
        best = None if mega is None else mega * 1e6
        per_mac = r["instructions"] / r["macs"] if r["macs"] else None
        cells = [
            *(name, core, compiler, shown(r["instructions"]), shown(per_mac, 2)),
            *(
                shown(peer and peer.instructions),
                ratio(peer.instructions, r["instructions"]) if peer else "-",
            ),
            *(shown(r["estimated_cycles"]), shown(best), ratio(r["estimated_cycles"], best)),
            *(shown(r["code_bytes"] + r["tables_bytes"]), shown(peer and peer.flash_bytes)),
            *(shown(r["ram_bytes"]), shown(peer and peer.ram_bytes)),
            *(shown(r["stack_bytes"]), shown(peer and peer.stack_bytes)),
            "yes" if r["exact"] else "**NO**",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table; 1 where an answer is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help="folder name; may be repeated; default: all with a peer"
    )
    parser.add_argument(
        "--optimise", choices=WISHES, default="ram", help="what the planner prefers; default: ram"
    )
    record.add_options(parser, record.CORES, RESULTS)
    options = parser.parse_args()
    paths = {p.parent.name: p for p in sorted(SHARED.glob("*/model_qdq_int8io.onnx"))}
    names = options.model or [n for n in MODELS if n in paths]
    if not names or not set(names) <= set(paths):
        parser.error(f"no such model; ../shared/models has: {', '.join(paths) or 'none'}")
    compilers = tuple(record.compilers(options.compiler))
    jobs = [
        Job(paths[name], core, compilers, options.numerics, options.optimise)
        for name in names
        for core in options.core or record.CORES
    ]
    rows: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, found in enumerate(pool.map(measure, jobs), 1):
            rows.update(found)
            if sys.stderr.isatty():
                print(f"\r{done} of {len(jobs)}", end="", file=sys.stderr)
    print(
        f"{options.numerics} numerics, planned for {options.optimise}, -O3; bytes; estimated cycles: model, zero wait states.\n"
    )
    print(table(rows))
    record.finish(options, rows, RESULTS)
    return 0 if all(r["exact"] for r in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
