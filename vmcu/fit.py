"""Does it fit? RAM and flash of a compiled model against a target's memory and the user's limits."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.codegen.names import c_comment
from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.quantized import QuantizedGraph
from vmcu.pipeline import Compiled
from vmcu.planning.choose import best_plan, choose, list_candidates
from vmcu.planning.peak import find_peak
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.tiles import whole_rows
from vmcu.targets import Target, list_targets
from vmcu.toolchain import Firmware

RECOMPUTE = 1.5  # what a message suggests for --allow-recompute
SHOWN = 6  # tensors named in a message


@dataclass(frozen=True, slots=True)
class Limits:
    """The user's own limits (bytes), below the target's; None is no limit."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None

    def ram(self, target: Target | None) -> int | None:
        """RAM there is, in all; None where nothing limits it."""
        given = [self.ram_bytes, target.ram_bytes if target else None]
        return min((b for b in given if b is not None), default=None)


def check_fit(compiled: Compiled, target: Target | None, firmware: Firmware | None, limits: Limits) -> None:
    """Raises where RAM or flash is exceeded.

    Args:
        target: without one only the user's limits count.
        firmware: its build, for stack, statics and code; without it only what is certain counts.

    Raises:
        VmcuError: (DOES_NOT_FIT) by how much, and what would fit.
    """
    project = compiled.project
    ram, flash = project.pool_bytes, project.weights_bytes + project.tables_bytes
    ram_parts, flash_parts = f"pool {ram:,}", f"weights and tables {flash:,}"
    if firmware is not None:
        ram, flash = firmware.ram_bytes, firmware.flash_bytes
        ram_parts += f" + stack {firmware.stack_bytes:,} + statics {firmware.static_bytes:,}"
        flash_parts += f" + code {flash - project.weights_bytes - project.tables_bytes:,}"
    problems = []
    for what, need, parts, have, limit in (
        ("RAM", ram, ram_parts, target.ram_bytes if target else None, limits.ram_bytes),
        ("flash", flash, flash_parts, target.flash_bytes if target else None, limits.flash_bytes),
    ):
        allowed = min((b for b in (have, limit) if b is not None), default=need)
        if need <= allowed:
            continue
        ways = []
        if what == "RAM":
            ways += _streaming(compiled, allowed - (need - project.pool_bytes))
            ways += _recomputing(compiled, allowed - (need - project.pool_bytes))
        if allowed != have or target is None:
            where = f"--{what.lower()} {allowed:,}"
            ways.append(f"allow at least --{what.lower()} {need}")
        else:
            where = f"target '{target.name}'"
        ways += _next_board(ram, flash)
        fix = ", or ".join(ways)
        problems.append(
            Problem(
                f"needs {need:,} bytes of {what} ({parts}), {need - allowed:,} more than the {allowed:,} there are",
                where,
                f"{_what_holds(compiled)}; {fix}" if what == "RAM" else fix,
            )
        )
    if problems:
        raise VmcuError(Exit.DOES_NOT_FIT, problems)


def _what_holds(compiled: Compiled) -> str:
    """Which plan this is, and which rows fill its pool when it is fullest."""
    schedule, peak = compiled.plan.schedule, find_peak(compiled.plan)
    when = "before the first step" if peak.task < 0 else "after the last step"
    if peak.step is not None:
        op = schedule.steps[peak.step]
        when = f"in step {peak.step}, {op.kind} {c_comment(op.name)}"
    shown = [f"{c_comment(h.text())}: {h.size_bytes:,}" for h in peak.held[:SHOWN]]
    rest = sum(h.size_bytes for h in peak.held[SHOWN:])
    if rest:
        shown.append(f"{len(peak.held) - SHOWN} more: {rest:,}")
    plan = "the plan"
    if compiled.choice is not None:
        count = len(compiled.choice.candidates)
        plan = f"the smallest of {count} plans" if count > 1 else "the only plan"
    return f"{plan} holds {peak.live_bytes:,} bytes {when} ({'; '.join(shown)})"


def _streaming(compiled: Compiled, room: int) -> list[str]:
    """What --stream-input would do for the pool, if anything."""
    graph = _as_given(compiled)
    if any(p.streamed for p in graph.inputs):
        return []
    pool = best_plan(stream_inputs(graph, [ALL_INPUTS])).pool_bytes
    if pool >= compiled.plan.pool_bytes:
        return []
    enough = "which is enough" if pool <= room else "still too much"
    return [f"--stream-input makes the pool {pool:,}, {enough}"]


def _as_given(compiled: Compiled) -> QuantizedGraph:
    """The graph before the planner rewrote it."""
    if compiled.choice is not None:
        return compiled.choice.candidates[0].schedule.graph
    return whole_rows(compiled.graph)


def _recomputing(compiled: Compiled, room: int) -> list[str]:
    """What --allow-recompute would do for the pool, if anything."""
    graph = _as_given(compiled)
    if compiled.choice is None or compiled.choice.allow_recompute >= RECOMPUTE:
        return []
    pool = choose(list_candidates(graph, allow_recompute=RECOMPUTE)).pool_bytes
    if pool >= compiled.plan.pool_bytes:
        return []
    enough = "which is enough" if pool <= room else "still too much"
    return [f"--allow-recompute {RECOMPUTE} makes the pool {pool:,}, {enough}"]


def _next_board(ram: int, flash: int) -> list[str]:
    """The board with the least memory that suffices, and what helps without any."""
    boards = [t for t in list_targets() if t.clock_hz is not None]
    fits = [t for t in boards if t.ram_bytes >= ram and t.flash_bytes >= flash]
    if not fits:
        return ["use a smaller model or input: no known board has enough memory"]
    best = min(fits, key=lambda t: (t.ram_bytes, t.flash_bytes, t.name))
    have = f"{best.ram_bytes:,} bytes of RAM, {best.flash_bytes:,} of flash"
    return [f"take a larger board, {best.name} ({have})", "use a smaller model or input"]
