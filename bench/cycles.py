"""Predicted cycles of MLPerf Tiny's networks beside the published ones: how far the cycle model can be trusted.

    python -m bench.cycles                                   the four networks on M4, M33 and M7
    python -m bench.cycles --model mlperf_kws --core cortex-m4 --layers
    python -m bench.cycles --update                          all of docs/cycles.md anew

Ours is a prediction, never a measurement: exact instruction counts priced by the core's timing table, as a band from zero
wait states (caches and prefetchers hide the flash) to the flash's wait states at every branch that is taken and for every 16
bytes of weights that a task goes through (a prefetcher and no cache). Clock and wait states are those of the board in `targets/boards` that the published result was measured on.
Published are the best results of MLPerf Tiny's closed division: other kernels, measured on the board. So "ours / published" is
two things in one, the kernels and the model, and no error of the model.

To tell them apart, CMSIS-NN on the Cortex-M4: its exact instructions (bench/peers.py, TensorFlow Lite Micro) times the cycles
per instruction predicted for our code, with our band, beside the published open-source result with the same kernels (microTVM). A ratio below
1 says what the model leaves out: wait states for data, contention, the runtime around the kernels; and what differs
between the two runtimes and the two codes' mixtures of instructions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import vmcu
from bench.peers import MODELS, RECORD_MEGACYCLES
from bench.record import ratio
from bench.table import SHARED
from vmcu.profile.text import layer_table

NETWORKS = ("mlperf_kws", "mlperf_vww", "mlperf_resnet8", "mlperf_ad")
BOARDS: Mapping[str, str] = MappingProxyType(
    {"cortex-m4": "nucleo-l4r5zi", "cortex-m33": "nucleo-u575zi-q", "cortex-m7": "nucleo-h7a3zi-q"}
)
# Million cycles of microTVM with CMSIS-NN on the Cortex-M4 at 120 MHz, MLPerf Tiny, closed division: 99.8, 301, 390, 8.6 ms.
CMSIS_MEGACYCLES: Mapping[str, float] = MappingProxyType(
    {"mlperf_kws": 11.98, "mlperf_vww": 36.1, "mlperf_resnet8": 46.8, "mlperf_ad": 1.03}
)


PAGE = Path(__file__).parents[1] / "docs" / "cycles.md"
LAYERS_ON = ("cortex-m4", "cortex-m7")  # in that page
INTRODUCTION = """\
# Predicted cycles of MLPerf Tiny

Made by `python -m bench.cycles --update`: {how}. **Predictions, not measurements**: exact instruction counts
priced by each core's timing table (`vmcu/cycles/timing.py`; an assumption for M33 and M7), as a band from zero wait states to
the flash's wait states at every branch that is taken and for every 16 bytes of weights that a task goes through. Clock and
wait states are the board's.

Published are the best results of MLPerf Tiny's closed division on that board: other kernels, measured. "Ours / published"
therefore compares programs as well as the model with the chip; it is no error of the model.
"""
SAME_KERNELS = """\
## The same kernels

CMSIS-NN on the Cortex-M4: exact instructions of TensorFlow Lite Micro with CMSIS-NN (`bench/peers.py`), times the cycles per
instruction predicted for our code, beside the published open-source result with the same kernels (microTVM, 120 MHz).
"""
LEFT_OUT = """\
It leaves out the runtime around the kernels, wait states for tables, contention on the bus, and that CMSIS-NN's mixture of
instructions is not ours.
"""


@dataclass(frozen=True)
class Job:
    """A network on a core."""

    name: str
    core: str
    compiler: str
    numerics: str
    optimise: str


def predict(job: Job) -> dict[str, Any]:
    """Its profile on the board of the published result."""
    path = SHARED / job.name / "model_qdq_int8io.onnx"
    model = vmcu.compile(
        path,
        BOARDS[job.core],
        numerics=job.numerics,  # type: ignore[arg-type]
        optimise=job.optimise,  # type: ignore[arg-type]
        compiler=job.compiler,  # type: ignore[arg-type]
    )
    return model.profile()


def table(jobs: Sequence[Job], profiles: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the band of each prediction beside the published figure."""
    lines = [
        "| model | core | board | MHz | wait states | exact instructions | predicted cycles | to, without cache | published | "
        "ours / published | sum of layers |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for job, p in zip(jobs, profiles, strict=True):
        published = RECORD_MEGACYCLES[job.name][job.core] * 1e6
        low, high = p["cycles"], p["cycles_uncached"]
        cells = [
            *(job.name, job.core, p["target"], f"{p['clock_hz'] / 1e6:g}", str(p["wait_states"])),
            *(f"{p['instructions']:,}", f"{low:,}", f"{high:,}", f"{published:,.0f}"),
            f"{ratio(low, published)} to {ratio(high, published)}",
            f"{p['sum_of_layers']['cycles_deviation']:+.2%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cmsis_table(jobs: Sequence[Job], profiles: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: CMSIS-NN's instructions priced as ours are, beside the published result with its kernels."""
    lines = [
        "| model | CMSIS-NN's exact instructions | our cycles / instruction | predicted | published | predicted / published |",
        "|---|---:|---|---|---:|---|",
    ]
    for job, p in zip(jobs, profiles, strict=True):
        if job.core != "cortex-m4":
            continue
        count, published = MODELS[job.name][job.core].instructions, CMSIS_MEGACYCLES[job.name] * 1e6
        rates = [p[key] / p["instructions"] for key in ("cycles", "cycles_uncached")]
        cells = [
            *(job.name, f"{count:,}", " to ".join(f"{r:.2f}" for r in rates)),
            " to ".join(f"{r * count:,.0f}" for r in rates),
            *(f"{published:,.0f}", " to ".join(f"{r * count / published:.2f}" for r in rates)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def band(profiles: Mapping[Job, Mapping[str, Any]]) -> str:
    """The error of the model as far as it can be told: the same kernels predicted and published."""
    ends: tuple[list[float], list[float]] = ([], [])
    for job, p in profiles.items():
        if job.core == "cortex-m4":
            for end, key in zip(ends, ("cycles", "cycles_uncached"), strict=True):
                predicted = p[key] / p["instructions"] * MODELS[job.name][job.core].instructions
                end.append(predicted / (CMSIS_MEGACYCLES[job.name] * 1e6))
    low, high = (f"{min(end):.2f} to {max(end):.2f}" for end in ends)
    return (
        f"Predicted / published with the same kernels: {low} at the lower end of the band, {high} at the upper end: "
        f"published results are {1 / max(ends[1]):.2f} to {1 / min(ends[0]):.2f} times what the model gives."
    )


def layers(job: Job, profile: Mapping[str, Any]) -> str:
    """Markdown: the network's layers."""
    header, rows, numbers = layer_table(profile)
    marks = ["---:" if i in numbers else "---" for i in range(len(header))]
    title = f"### {job.name} on {profile['target']} ({job.core}), estimated cycles at zero wait states"
    sums = profile["sum_of_layers"]
    told = f"Sum of layers: {sums['instructions']:,} instructions ({sums['instructions_deviation']:+.2%} of the whole), "
    told += f"{sums['cycles']:,} cycles ({sums['cycles_deviation']:+.2%}); {profile['engine']}."
    lines = [title, "", told, ""]
    for cells in (header, marks, *rows):
        lines.append(f"| {' | '.join('-' if c is None else str(c) for c in cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the tables; 1 where the layers do not add up to the whole."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=NETWORKS, help="may be repeated; default: all")
    parser.add_argument("--core", action="append", choices=list(BOARDS), help="may be repeated; default: all")
    parser.add_argument("--compiler", choices=["auto", "gcc", "zig"], default="auto")
    parser.add_argument("--numerics", choices=["onnx", "tflm"], default="tflm")
    parser.add_argument("--optimise", choices=["ram", "balanced", "speed"], default="speed")
    parser.add_argument("--layers", action="store_true", help="also the layers of each network on each core")
    parser.add_argument("--update", action="store_true", help="write docs/cycles.md, with all there is")
    options = parser.parse_args()
    if options.update and (options.model or options.core):
        parser.error("--update takes every model and core")
    if not SHARED.is_dir():
        parser.error("../shared/models is not on this machine")
    jobs = [
        Job(name, core, options.compiler, options.numerics, options.optimise)
        for name in options.model or NETWORKS
        for core in options.core or BOARDS
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        profiles = list(pool.map(predict, jobs))
    how = f"{options.numerics} numerics, planned for {options.optimise}, {profiles[0]['compiler']} at -O3"
    found = dict(zip(jobs, profiles, strict=True))
    text = f"{INTRODUCTION.format(how=how)}\n{table(jobs, profiles)}\n"
    if any(job.core == "cortex-m4" for job in jobs):
        text += f"\n{SAME_KERNELS}\n{cmsis_table(jobs, profiles)}\n\n{band(found)}\n{LEFT_OUT}"
    if options.layers or options.update:
        text += "\n## Layers\n"
        shown = [job for job in jobs if job.core in LAYERS_ON or not options.update]
        text += "".join(f"\n{layers(job, found[job])}\n" for job in shown)
    if options.update:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0 if all(p["sum_of_layers"]["within_tolerance"] for p in profiles) else 1


if __name__ == "__main__":
    sys.exit(main())
