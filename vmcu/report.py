"""`report.json`: every figure of a compiled model, with how it was obtained. Schema: docs/report.schema.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmcu.codegen.names import c_comment
from vmcu.memory.plan import is_proven
from vmcu.pipeline import Compiled
from vmcu.planning.cost import DEFAULT_COMPILER, estimate_steps, executed_macs
from vmcu.regions import choose_regions
from vmcu.run import RunReport
from vmcu.targets import Target
from vmcu.toolchain import Firmware

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What emulation has shown.

    Attributes:
        run: of the plain build.
        profile: exact instructions per step of the profiling build, or None.
        profile_cycles: estimated cycles per step of that build, or None.
        profile_leaves: how often execution left the straight line per step of that build, or None.
    """

    run: RunReport
    profile: tuple[int, ...] | None
    profile_cycles: tuple[int, ...] | None = None
    profile_leaves: tuple[int, ...] | None = None


def make_report(
    compiled: Compiled,
    target: Target,
    firmware: Firmware | None,
    measured: Measured | None,
    checks: Sequence[str] = (),
    budget_bytes: int | None = None,
) -> dict[str, Any]:
    """The report as JSON-ready values; None stands for what was not measured.

    Args:
        compiled: the model.
        target: what it is for.
        firmware: its build, where a compiler was found.
        measured: a run, where an engine was found.
        checks: further sentences about what was proven.
        budget_bytes: RAM the user allowed.
    """
    graph, plan, project = compiled.graph, compiled.plan, compiled.project
    stack = static = code = flash = ram = None
    if firmware is not None:
        stack, static, ram = firmware.stack_bytes, firmware.static_bytes, firmware.ram_bytes
        flash = firmware.flash_bytes
        code = flash - project.weights_bytes - project.tables_bytes
    regions = choose_regions(project, target, firmware)
    instructions = measured.run.instructions[0] if measured and measured.run.instructions else None
    profile = measured.profile if measured else None
    cycles = measured.run.cycles[0] if measured and measured.run.cycles else None
    step_cycles = measured.profile_cycles if measured else None
    choice = compiled.choice
    compiler = choice.chosen.compiler if choice else DEFAULT_COMPILER
    estimated = estimate_steps(plan.schedule, target.core, compiler)
    proven = is_proven(plan)
    layers = []
    for i, op in enumerate(plan.schedule.steps):
        out = graph.tensors[op.output]
        layers.append(
            {
                "name": c_comment(op.name),
                "op": op.kind,
                "macs": op.macs(graph.ins(op), out),
                "output_shape": list(out.shape),
                "instructions": profile[i] if profile else None,
                "estimated_instructions": estimated[i],
                "estimated_cycles": step_cycles[i] if step_cycles else None,
            }
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": c_comment(graph.name), "sha256": graph.sha256},
        "target": target.name,
        "compiler": f"{firmware.compiler.name} {firmware.compiler.version}" if firmware else None,
        "optimise": firmware.optimise if firmware else None,
        "engine": f"{measured.run.engine} {measured.run.version}" if measured else None,
        "numerics": graph.numerics,
        "planning": {
            "optimise": choice.optimise if choice else None,
            "ram_budget_bytes": budget_bytes,
            "streamed_inputs": [c_comment(p.name) for p in graph.inputs if p.streamed],
            "allow_recompute": choice.allow_recompute if choice else 1.0,
            "schedule": choice.chosen.name if choice else None,
            "candidates": len(choice.candidates) if choice else 1,
        },
        "memory": {
            "pool_bytes": project.pool_bytes,
            "lower_bound_bytes": plan.lower_bound_bytes,
            "placement_proven": proven,
            "scratch_bytes": plan.scratch_bytes,
            "stack_bytes": stack,
            "stack_painted_bytes": measured.run.stack_painted_bytes if measured else None,
            "state_bytes": project.state_bytes,
            "static_bytes": static,
            "ram_total_bytes": ram,
        },
        "flash": {
            "weights_bytes": project.weights_bytes,
            "tables_bytes": project.tables_bytes,
            "code_bytes": code,
            "flash_total_bytes": flash,
        },
        "regions": {"pool": regions.pool, "rest": regions.rest, "weights": regions.weights},
        "macs": compiled.macs,
        "macs_executed": executed_macs(plan.schedule),
        "macs_before": graph.original.macs,
        "channels_removed": graph.channels_removed,
        "instructions": instructions,
        "estimated_instructions": sum(estimated),
        "estimated_cycles": cycles,
        "layers": layers,
        "checks": [
            f"independent checker: {compiled.checked_tasks} tasks simulated on tagged memory",
            f"placement: {placement_text(plan.pool_bytes, plan.lower_bound_bytes, proven)}",
            *_split_check(plan.split_bytes, regions.pool),
            *checks,
        ],
    }


def _split_check(split_bytes: int, regions: str | None) -> list[str]:
    where = f" ({regions})" if regions else ""
    return (
        [
            f"independent checker: no row, array or working memory lies across byte {split_bytes:,}, where the pool is split{where}"
        ]
        if split_bytes
        else []
    )


def macs_note(executed: int, macs: int, before: int, channels_removed: int) -> str:
    """What of a network's multiply-accumulates a plan executes; "" where just those.

    Args:
        executed: by the plan.
        macs: of the network it was made for.
        before, channels_removed: what dead-channel elimination started from and has left out.
    """
    notes = []
    if channels_removed:
        notes.append(
            f"of {before:,}: {channels_removed:,} dead channel{'s' * (channels_removed > 1)} left out"
        )
    if executed < macs:
        notes.append(f"of which {executed:,} are executed: the rest nobody needs")
    elif executed > macs:
        notes.append(f"{executed:,} executed, {executed / macs:.2f} times as many: some are computed again")
    return "; ".join(notes)


def placement_text(pool_bytes: int, lower_bound_bytes: int, is_proven: bool = False) -> str:
    """How good a placement is, and whether that is proven: no pool is smaller than the lower bound."""
    if pool_bytes == lower_bound_bytes:
        return "optimal for this schedule: equal to its lower bound"
    over = f"{pool_bytes / lower_bound_bytes - 1:.1%} above"
    if is_proven:
        return (
            f"optimal for this schedule, by exhaustive search; {over} its lower bound, {lower_bound_bytes:,}"
        )
    return f"{over} the lower bound of this schedule, {lower_bound_bytes:,}"
