"""Does it fit? RAM and flash of a compiled model against a target's memory and the user's limits."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.codegen.names import c_comment
from vmcu.errors import Exit, Problem, VmcuError
from vmcu.memory.plan import peak_holders
from vmcu.pipeline import Compiled
from vmcu.planner import best_plan
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.targets import Target, list_targets
from vmcu.toolchain import Firmware


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
        option = f"--{what.lower()}"
        if target is not None and allowed == have:
            where, fix = f"target '{target.name}'", _what_fits(ram, flash)
        else:
            where, fix = (
                f"{option} {allowed:,}",
                f"allow at least {option} {need}, or use a smaller model or input",
            )
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
    """What fills the pool when it is fullest, and what streaming the input would save."""
    schedule = compiled.plan.schedule
    task, held = peak_holders(schedule)
    step = (
        "before the first step"
        if task < 0
        else f"in step {schedule.tasks[min(task, len(schedule.tasks) - 1)].step}"
    )
    largest = ", ".join(f"{c_comment(name)} {size:,}" for name, size in held[:4])
    text = f"most is alive {step} ({largest})"
    if any(p.streamed for p in schedule.graph.inputs):
        return text
    streamed = best_plan(stream_inputs(compiled.graph, [ALL_INPUTS])).pool_bytes
    return f"{text}; --stream-input would make the pool {streamed:,}"


def _what_fits(ram: int, flash: int) -> str:
    names = [t.name for t in list_targets() if t.ram_bytes >= ram and t.flash_bytes >= flash]
    fits = f"targets with enough memory: {', '.join(names)}" if names else "no known target has enough memory"
    return f"{fits}; or use a smaller model or input"
