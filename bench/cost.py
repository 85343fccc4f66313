"""Fits the cost model of `vmcu/planning/cost.py` to exact instruction counts and says how far it is off.

    python -m bench.cost                      models on one core of each instruction set, with both compilers
    python -m bench.cost --core cortex-m4     this core alone
    python -m bench.cost --check              keep the coefficients, only print the errors
    python -m bench.cost --update             write what was fitted to targets/rates.toml (`make calibrate`)

Every model is compiled layer by layer, streamed, and streamed with sums by rows. Each plan runs twice: with
hooks for the instructions of each step, which are what is fitted, and without for the instructions of the
inference, which the estimate is compared with. "Left out" is the error of an estimate whose coefficients were
fitted without the model: what to expect of a network that is not in the table. Networks of more than `MOST_MACS` take long and
add little; `--model` asks for one. Below each table stands what the other compiler's coefficients would have given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.record import engine_for
from bench.table import ROOT, SHARED
from vmcu.api import Model, default_name
from vmcu.batch import random_batch
from vmcu.memory.plan import make_plan
from vmcu.pipeline import compile_plan, load
from vmcu.planning.cost import (
    INSTRUCTION_SET,
    OTHER,
    RATES,
    Rate,
    Work,
    rate_name,
    rates_text,
    step_work,
)
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler

KINDS = ("layers", "streamed", "streamed, sums by rows")
CORES = {
    "armv6-m": "cortex-m0plus",
    "armv7-m": "cortex-m3",
    "armv7e-m": "cortex-m4",
    "armv8.1-m": "cortex-m55",
}
COMPILERS = ("gcc", "zig")
MOST_MACS = 3_000_000
ROUND = 3  # significant digits of a coefficient
FEW, SOME = 6, 12  # distinct steps below which work alone counts, work and rows


@dataclass(frozen=True)
class Sample:
    """A model with one schedule on one core.

    Attributes:
        works: per step.
        profile: exact instructions per step, of the build with hooks.
        instructions: exact instructions of one inference, of the plain build.
    """

    model: str
    kind: str
    core: str
    compiler: str
    works: tuple[Work, ...]
    profile: tuple[int, ...]
    instructions: int
    stack_bytes: int


def measure(job: tuple[Path, str, str]) -> list[Sample]:
    """Compiles one plan, builds and runs it with each compiler."""
    path, kind, core = job
    graph = load(path)
    if kind == KINDS[2]:
        graph = by_rows(graph)
    schedule = layer_by_layer(graph) if kind == KINDS[0] else streamed(graph)[0]
    compiled = compile_plan(make_plan(schedule, search=False), default_name(path))
    target, given, found = load_target(core), random_batch(graph, 1), []
    for compiler in COMPILERS:
        model = Model(compiled, target, compiler)  # type: ignore[arg-type]
        engine = engine_for(target)
        plain = model.run_batch(given, engine=engine)  # type: ignore[arg-type]
        profile = model.run_batch(given, engine=engine, hooks="profile").profile  # type: ignore[arg-type]
        assert profile and plain.instructions
        found.append(
            Sample(
                path.parent.name,
                kind,
                core,
                compiler,
                step_work(schedule),
                profile,
                plain.instructions[0],
                model.firmware().stack_bytes,
            )
        )
    return found


def fit(samples: Sequence[Sample]) -> Rate:
    """Coefficients that make the relative errors of all steps least, in the sense of squares."""
    call = _call(samples)
    steps = [(w, p - call * w.calls) for s in samples for w, p in zip(s.works, s.profile, strict=True)]
    kernels = {}
    for template in sorted({w.template for w, _ in steps}):
        own = [(w, y) for w, y in steps if w.template == template]
        kernels[template] = _fit_one(own)
    kernels[OTHER] = _fit_one([(w, y) for w, y in steps if w.template not in MULTIPLYING])
    return Rate(call, kernels)


MULTIPLYING = ("conv", "depthwise", "dense", "dense_rows")


def _fit_one(steps: Sequence[tuple[Work, float]]) -> tuple[float, float, float]:
    """Weights a step's relative error by the root of its size: large layers decide, small ones still count."""
    counts = np.array([(w.work, w.outputs, w.rows) for w, _ in steps], np.float64)
    wanted = np.array([max(y, 1.0) for _, y in steps])
    weights = np.power(wanted, 0.5) / wanted
    distinct = len(np.unique(counts, axis=0))
    used = [0] if distinct < FEW else [0, 2] if distinct < SOME else [0, 1, 2]
    found = np.zeros(3)
    found[used] = _least_squares((counts * weights[:, None])[:, used], wanted * weights)
    a, b, c = (float(f"{v:.{ROUND}g}") for v in found)
    return a, b, c


def _least_squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best solution without negative entries: of the few subsets of columns the one that fits best."""
    best, least = np.zeros(a.shape[1]), float("inf")
    for mask in range(1, 1 << a.shape[1]):
        columns = [i for i in range(a.shape[1]) if mask >> i & 1]
        x, *_ = np.linalg.lstsq(a[:, columns], b, rcond=None)
        error = float(np.square(a[:, columns] @ x - b).sum())
        if (x >= 0).all() and error < least * (1 - 1e-9):
            best, least = np.zeros(a.shape[1]), error
            best[columns] = x
    return best


def _call(samples: Sequence[Sample]) -> float:
    """Median over steps of what a call more costs, layer by layer against streamed, of the same model."""
    by_kind = {(s.model, s.core, s.kind): s for s in samples}
    found = []
    for (model, core, kind), streams in by_kind.items():
        layers = by_kind.get((model, core, KINDS[0]))
        if kind != KINDS[1] or layers is None:
            continue
        for a, b, x, y in zip(layers.works, streams.works, layers.profile, streams.profile, strict=True):
            if a.rows == b.rows and b.calls >= a.calls + 3:
                found.append((y - x) / (b.calls - a.calls))
    return float(round(median(found))) if found else 0.0


def predict(rate: Rate, sample: Sample) -> float:
    """Estimated instructions of a sample."""
    total = 0.0
    for w in sample.works:
        a, b, c = rate.kernels.get(w.template, rate.kernels[OTHER])
        total += a * w.work + b * w.outputs + c * w.rows + rate.call * w.calls
    return total


def errors(samples: Sequence[Sample], rate: Rate, other: Rate, refit: bool) -> str:
    """Markdown: estimate against count, per model and schedule; below, how far the other compiler's rate is off."""
    lines = [
        "| model | core | compiler | schedule | exact instructions | estimated | error | left out |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    off = []
    for s in samples:
        estimated = predict(rate, s)
        error = estimated / s.instructions - 1
        off.append(abs(error))
        left = "-"
        if refit:
            others = fit([o for o in samples if o.model != s.model])
            left = f"{predict(others, s) / s.instructions - 1:+.1%}"
        lines.append(
            f"| {s.model} | {s.core} | {s.compiler} | {s.kind} | {s.instructions:,} | {estimated:,.0f} | {error:+.1%} | {left} |"
        )
    by_other = [abs(predict(other, s) / s.instructions - 1) for s in samples]
    lines.append(
        f"\nMedian error {median(off):.1%}, greatest {max(off):.1%}; by the other compiler's rates {median(by_other):.1%} "
        f"and {max(by_other):.1%}. Greatest stack {max(s.stack_bytes for s in samples)} bytes."
    )
    return "\n".join(lines)


def main() -> int:
    """Prints coefficients and errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--core", action="append", choices=sorted(CORES.values()), help="may be repeated")
    parser.add_argument("--model", action="append", help="folder name; may be repeated; default: all")
    parser.add_argument("--check", action="store_true", help="errors of the coefficients there are")
    parser.add_argument("--update", action="store_true", help="write what was fitted to targets/rates.toml")
    options = parser.parse_args()
    paths = [
        p
        for p in (
            *sorted((ROOT / "models").glob("*/model.onnx")),
            *sorted(SHARED.glob("*/model_qdq_int8io.onnx")),
        )
        if (p.parent.name in options.model if options.model else load(p).macs <= MOST_MACS)
    ]
    jobs = [(p, kind, core) for core in options.core or CORES.values() for p in paths for kind in KINDS]
    if not jobs:
        parser.error("no such model")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        samples = []
        for both in pool.map(measure, jobs):
            samples += both
            if sys.stderr.isatty():
                print(f"\r{len(samples)} of {len(jobs) * len(COMPILERS)}", end="", file=sys.stderr)
    by_set: dict[str, list[Sample]] = {}
    for sample in samples:
        by_set.setdefault(rate_name(INSTRUCTION_SET[sample.core], sample.compiler), []).append(sample)
    rates: Mapping[str, Rate] = RATES if options.check else {n: fit(own) for n, own in by_set.items()}
    versions = " and ".join(find_compiler(c).version for c in COMPILERS)  # type: ignore[arg-type]
    cores = ", ".join(dict.fromkeys(s.core for s in samples))
    measured = f"{versions} at -O3 on {cores}, {len({s.model for s in samples})} networks"
    text = rates_text({**RATES, **rates}, measured)
    if options.update:
        (ROOT / "targets" / "rates.toml").write_text(text, encoding="utf-8")
    elif not options.check:
        print(text)
    for name, own in by_set.items():
        isa, _, compiler = name.partition(" ")
        other = rates[rate_name(isa, next(c for c in COMPILERS if c != compiler))]
        print(
            errors(own, rates[name], other, not options.check and len({s.model for s in own}) > 1), end="\n\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
