"""Costs per layer, from whichever source: the artefact between a run and a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Literal

from vmcu.errors import internal
from vmcu.report import Measured

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LayerCosts:
    """What the steps of one inference cost.

    Attributes:
        source: where it ran. Cycles of an emulator are estimates, those of a board are measured.
        engine: who counted, with its version.
        instructions: per step, exact; None from a board.
        cycles: per step; the median of the repetitions on a board; None where nobody knows.
        leaves: per step, how often execution left the straight line; None where that is not known.
        whole_instructions, whole_cycles: of an inference without hooks.
        has_hooks: the steps were counted in a build with hooks, whose calls are part of them; False: in the same
            inference as the whole.
        repetitions: inferences that were counted; a count of an emulator is exact, so one is enough.
        warm_up: inferences before the first that was counted.
        spread: per step, the least and the most cycles; None where counts are exact.
        whole_spread: the same of the whole inference.
        hook_cycles: of one call of the hook, already subtracted once per task; None in an emulator, where the
            harness subtracts its instructions itself.
        stack: per step, the most its function and what that calls were seen to use; None where nobody looked.
        label: what a board's cycles are, in words.
        is_measured: of a board: a chip has certainly counted them, or the reader knows that it has.
    """

    source: Literal["emulator", "board"]
    engine: str
    instructions: tuple[int, ...] | None
    cycles: tuple[int, ...] | None
    leaves: tuple[int, ...] | None
    whole_instructions: int | None
    whole_cycles: int | None
    has_hooks: bool = True
    repetitions: int = 1
    warm_up: int = 0
    spread: tuple[Range, ...] | None = None
    whole_spread: Range | None = None
    hook_cycles: float | None = None
    stack: tuple[int, ...] | None = None
    label: str = "measured"
    is_measured: bool = True


def from_emulator(measured: Measured) -> LayerCosts:
    """The costs of an emulated inference: of the plain build, where its engine saw the steps.

    Raises:
        VmcuError: (BUG) the run counted nothing.
    """
    run = measured.run
    engine, cycles = f"{run.engine} {run.version}", run.cycles[0] if run.cycles else None
    if run.instructions is not None and run.step_instructions is not None:
        steps = (run.step_instructions, run.step_cycles, run.step_leaves)
        return LayerCosts(
            "emulator",
            engine,
            *steps,
            run.instructions[0],
            cycles,
            has_hooks=False,
            stack=run.step_stack_bytes,
        )
    if run.instructions is None or measured.profile is None:
        raise internal("a profile without counts", engine)
    return LayerCosts(
        "emulator",
        engine,
        measured.profile,
        measured.profile_cycles,
        measured.profile_leaves,
        run.instructions[0],
        cycles,
    )


def from_report(report: Mapping[str, Any]) -> LayerCosts | None:
    """The costs in a report, which are those of a build with hooks; None where nothing was counted."""
    counts = [layer["instructions"] for layer in report["layers"]]
    cycles = [layer["estimated_cycles"] for layer in report["layers"]]
    if None in counts:
        return None
    known = None if None in cycles else tuple(cycles)
    return LayerCosts(
        "emulator",
        report["engine"],
        tuple(counts),
        known,
        None,
        report["instructions"],
        report["estimated_cycles"],
    )


def from_board(
    engine: str,
    repetitions: Sequence[Sequence[int]],
    whole: Sequence[int],
    tasks: Sequence[int],
    *,
    hook_cycles: float,
    warm_up: int = 0,
    label: str = "measured",
    is_measured: bool = True,
) -> LayerCosts:
    """The costs that a board's cycle counter has measured.

    Args:
        engine: board, probe and firmware, in words.
        repetitions: per inference with hooks, the cycles of each step as they were counted.
        whole: per inference without hooks, its cycles.
        tasks: per step, how often its hook is called in an inference.
        hook_cycles: of one call of the hook, calibrated on the board; subtracted once per task.
        warm_up: inferences to leave out at the start of both lists: caches and prefetchers are cold in them.
        label, is_measured: see `LayerCosts`.

    Raises:
        VmcuError: (BUG) there is no repetition, or they are not of the same steps.
    """
    kept, kept_whole = list(repetitions)[warm_up:], list(whole)[warm_up:]
    if not kept or not kept_whole or any(len(one) != len(tasks) for one in kept):
        raise internal("cycles of a board that do not belong to the steps of the model", engine)
    net = [[max(0, round(c - n * hook_cycles)) for c, n in zip(one, tasks, strict=True)] for one in kept]
    by_step = list(zip(*net, strict=True))
    return LayerCosts(
        "board",
        engine,
        None,
        tuple(median_low(step) for step in by_step),
        None,
        None,
        median_low(kept_whole),
        repetitions=len(kept),
        warm_up=warm_up,
        spread=tuple((min(step), max(step)) for step in by_step),
        whole_spread=(min(kept_whole), max(kept_whole)),
        hook_cycles=hook_cycles,
        label=label,
        is_measured=is_measured,
    )


def deviation(parts: Sequence[int] | None, whole: int | None) -> float | None:
    """By which part of the whole the sum of the layers exceeds it; None where one is not known."""
    if parts is None or not whole:
        return None
    return sum(parts) / whole - 1
