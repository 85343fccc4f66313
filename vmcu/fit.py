"""Does it fit? RAM and flash of a compiled model against a target's memory and the user's limits.

Pool, stack and variables are one sum, compared with what they can take together: the pool lies in one region of RAM (the
user's, or any), the other two beside it or in another one. Likewise code and constants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vmcu.codegen.names import c_comment
from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.quantized import QuantizedGraph
from vmcu.pipeline import Compiled, compile_graph
from vmcu.planning.choose import best_plan, choose, list_candidates
from vmcu.planning.cost import DEFAULT_CORE
from vmcu.planning.peak import find_peak
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.tiles import whole_rows
from vmcu.targets import (
    Target,
    flash_capacity,
    list_targets,
    place_flash,
    place_ram,
    ram_capacity,
)
from vmcu.toolchain import Firmware

RECOMPUTE = 1.5  # what a message suggests for --allow-recompute
SHOWN = 6  # tensors named in a message


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of a model: pool, stack and variables, code, constants."""

    pool: int
    rest: int
    code: int
    constants: int

    def ram_capacity(self, target: Target) -> int:
        """The most RAM that pool and rest can take together."""
        return ram_capacity(target, self.rest)

    def flash_capacity(self, target: Target) -> int:
        """The most flash that code and constants can take together."""
        return flash_capacity(target, self.code, self.constants)

    def fits(self, target: Target) -> bool:
        """Is there a place for everything?"""
        return bool(
            place_ram(target, self.pool, self.rest) and place_flash(target, self.code, self.constants)
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The user's own limits (bytes), below the target's; None is no limit."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None

    def ram(self, target: Target | None) -> int | None:
        """RAM for pool, stack and variables in one piece; None where nothing limits it."""
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
    need = Need(ram, 0, 0, flash)
    ram_parts, flash_parts = f"pool {ram:,}", f"weights and tables {flash:,}"
    if firmware is not None:
        ram, flash = firmware.ram_bytes, firmware.flash_bytes
        constants = firmware.rodata_bytes
        need = Need(project.pool_bytes, ram - project.pool_bytes, flash - constants, constants)
        ram_parts += f" + stack {firmware.stack_bytes:,} + statics {firmware.static_bytes:,}"
        flash_parts += f" + code {flash - project.weights_bytes - project.tables_bytes:,}"
    problems = []
    for what, total, parts, have, limit in (
        ("RAM", ram, ram_parts, need.ram_capacity(target) if target else None, limits.ram_bytes),
        ("flash", flash, flash_parts, need.flash_capacity(target) if target else None, limits.flash_bytes),
    ):
        allowed = min((b for b in (have, limit) if b is not None), default=total)
        if total <= allowed:
            continue
        ways = []
        if what == "RAM":
            ways += _streaming(compiled, allowed - (total - project.pool_bytes))
            ways += _recomputing(compiled, allowed - (total - project.pool_bytes))
        else:
            ways += _compact(compiled, target, allowed - (total - need.constants))
        if allowed != have or target is None:
            where = f"--{what.lower()} {allowed:,}"
            ways.append(f"allow at least --{what.lower()} {total}")
        else:
            where = f"target '{target.name}'"
            ways += _other_region(target, need) if what == "RAM" else []
            ways += _two_regions(target, need) if what == "RAM" and (firmware or target.pool_region) else []
            region = target.pool_region if what == "RAM" else target.weights_region
            where += f", {region}" if region else ""
        ways += _next_board(target, need)
        fix = ", or ".join(ways)
        nor = ""
        if what == "RAM" and firmware is None and target and target.pool_region is None and target.pairs():
            nor = " in one piece, and no two pieces take it either" if allowed == have else ""
        problems.append(
            Problem(
                f"needs {total:,} bytes of {what} ({parts}), {total - allowed:,} more than the {allowed:,} there are{nor}",
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


def _compact(compiled: Compiled, target: Target | None, room: int) -> list[str]:
    """What --optimize size would do for the constants, if anything; code gets smaller as well."""
    if compiled.choice is None or compiled.choice.optimise == "size":
        return []
    core = target.core if target else DEFAULT_CORE
    project = compile_graph(_as_given(compiled), optimise="size", core=core).project
    size = project.weights_bytes + project.tables_bytes
    if size >= compiled.project.weights_bytes + compiled.project.tables_bytes:
        return []
    enough = "which is enough" if size <= room else "and code smaller, too"
    return [f"--optimize size makes weights and tables {size:,}, {enough}"]


def _other_region(target: Target, need: Need) -> list[str]:
    """The region that would take the pool, if there is one to be named."""
    for region in target.regions():
        if region.name != target.pool_region and place_ram(
            replace(target, pool_region=region.name), need.pool, need.rest
        ):
            kind = ", external: your firmware has to set it up" if region.kind == "external" else ""
            return [f"--pool-region {region.name} ({region.size_bytes:,} bytes{kind})"]
    return []


def _two_regions(target: Target, need: Need) -> list[str]:
    """Two regions that take as many bytes; whether the rows fit, only a placement can tell."""
    if target.pool_pair() is None:
        for first, second in target.pairs():
            names = f"{first.name},{second.name}"
            if place_ram(replace(target, pool_region=names), need.pool, need.rest):
                return [f"--pool-region {names}, which splits the pool"]
    return []


def _next_board(target: Target | None, need: Need) -> list[str]:
    """The board with the least memory that suffices, of the target's core if there is one; and what helps without any."""
    fits = [t for t in list_targets() if t.is_board and need.fits(t)]
    if not fits:
        return ["use a smaller model or input: no known board has enough memory"]
    core = target.core if target else None
    best = min(fits, key=lambda t: (t.core != core, t.ram_bytes, t.flash_bytes, t.name))
    have = f"{best.ram_bytes:,} bytes of RAM, {best.flash_bytes:,} of flash"
    return [f"take a larger board, {best.name} ({have})", "use a smaller model or input"]
