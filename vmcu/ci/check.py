"""Config -> what holds and what does not, model by model: the body of `vmcu ci check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vmcu.api
from vmcu.batch import random_batch
from vmcu.ci.baseline import figures_of
from vmcu.ci.config import Config, Job
from vmcu.errors import Exit, VmcuError
from vmcu.profile.compare import Change, as_percent, compare, in_words
from vmcu.profile.junit import Case
from vmcu.verify import verify_model
from vmcu.verify.original import compare_original

NO_BASELINE = "has no baseline: run `vmcu ci check --update-baseline` and commit the file"


@dataclass(frozen=True, slots=True)
class Line:
    """One check as a row of the table.

    Attributes:
        check: what was looked at.
        before, after: figures; None where it has none.
        change: in words.
        failure: why it failed; "" where it holds.
    """

    check: str
    before: int | None
    after: int | None
    change: str
    failure: str = ""

    def text(self) -> str:
        """In one sentence."""
        if self.before is None or self.after is None:
            return self.change
        return f"{self.before:,} before, {self.after:,} now: {self.change}"


@dataclass(frozen=True, slots=True)
class Result:
    """What was found out about one model.

    Attributes:
        job: which.
        lines: the checks, in order.
        figures: for the baseline; None where it did not come so far.
        code: OK, or of the first failure.
        layers: those whose figures have changed.
        notes: why figures may differ without a change of the model.
    """

    job: Job
    lines: tuple[Line, ...]
    figures: dict[str, Any] | None
    code: Exit
    layers: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def cases(self) -> list[Case]:
        """The same for JUnit."""
        return [Case(self.job.key, line.check, line.text(), line.failure) for line in self.lines]


def check_job(job: Job, config: Config, baseline: Mapping[str, Mapping[str, Any]] | None) -> Result:
    """Compiles, verifies, profiles and compares one model.

    What goes wrong with it is a failed check, not an exception: the others are still to be checked.

    Args:
        baseline: figures by model and target; None: not compared, since it is renewed.
    """
    lines: list[Line] = []
    try:
        made = vmcu.api.compile(
            job.model,
            job.target,
            target_path=config.target_path,
            pool_region=job.pool_region,
            weights_region=job.weights_region,
            numerics=job.numerics,
            optimise=job.optimise,
            stream_inputs=job.stream_inputs,
            stream_outputs=job.stream_outputs,
            compiler=config.compiler,
            ram_bytes=job.ram_bytes,
            flash_bytes=job.flash_bytes,
        )
        made.firmware()  # with its real stack and code it has to fit, too
        lines.append(Line("compiles and fits", None, None, "ok"))
        lines.append(_verify(made, config))
        figures = figures_of(made.profile(engine=config.engine))
    except VmcuError as error:
        text = "; ".join(f"{p.where}: {p.what} (fix: {p.fix})" for p in error.problems)
        name = "compiles and fits" if not lines else "runs"
        return Result(job, (*lines, Line(name, None, None, "failed", text)), None, error.code)
    lines += _limits(job, figures)
    layers, notes = tuple[Change, ...](), tuple[str, ...]()
    if baseline is not None:
        found, layers, notes = _compare(job, figures, baseline, config.fail_above)
        lines += found
    code = Exit.OK if not any(line.failure for line in lines) else Exit.MISMATCH
    return Result(job, tuple(lines), figures, code, layers, notes)


def _verify(made: vmcu.api.Model, config: Config) -> Line:
    """Every layer in the emulator against the reference; with channels left out, against the whole network."""
    graph = made.compiled.graph
    batch = random_batch(graph, config.inputs)
    result = verify_model(made, batch, config.engine)
    mismatches = list(result.mismatches)
    if graph.origin is not None:
        mismatches += compare_original(made.compiled.network, batch)[0]
    return Line("bit-exact", None, None, result.text, "; ".join(m.text() for m in mismatches))


def _limits(job: Job, figures: Mapping[str, Any]) -> list[Line]:
    found = []
    for name, key, limit in (
        ("instructions within limit", "instructions", job.max_instructions),
        ("cycles within limit", "estimated_cycles", job.max_cycles),
    ):
        value = figures[key]
        if limit is None:
            continue
        failure = ""
        if value is None:
            failure = "not known: there is no timing model of this core; use max_instructions"
        elif value > limit:
            failure = f"{value:,} are more than the {limit:,} allowed"
        found.append(Line(name, limit, value, "limit, now", failure))
    return found


def _compare(
    job: Job, figures: Mapping[str, Any], baseline: Mapping[str, Mapping[str, Any]], limit: float
) -> tuple[list[Line], tuple[Change, ...], tuple[str, ...]]:
    known = baseline.get(job.key)
    if known is None:
        return [Line("baseline", None, None, "missing", NO_BASELINE)], (), ()
    found = compare(known, figures)
    return [_line(change, limit) for change in found.totals], found.layers, found.notes


def _line(change: Change, limit: float) -> Line:
    words = in_words(change)
    failure = f"grew: {words}, more than {as_percent(limit)}" if change.exceeds(limit) else ""
    return Line(f"{change.name} ({change.unit})", change.before, change.after, words, failure)
