"""Report, costs and conditions -> the profile: JSON-ready values. Schema: docs/profile.schema.json.

Keys that a report has, too, mean the same here, so that `vmcu compare` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmcu.cycles import LABEL, NO_ESTIMATE
from vmcu.profile.bounds import ROOFS
from vmcu.profile.costs import LayerCosts, deviation
from vmcu.profile.traffic import Traffic, step_traffic
from vmcu.schedule.schedule import Schedule
from vmcu.targets import Target

SCHEMA_VERSION = 1
KIND = "profile"
TOLERANCE = 0.01  # by which the sum of the layers may differ from the whole
LINE_BYTES = 16  # that a flash delivers at once: 128 bits on STM32F4, L4+ and U5
UNCACHED = (
    "wait states at every branch that is taken and for every 16 bytes of weights a task goes through: "
    "a prefetcher, and no cache"
)
_REPORTED = (
    "model",
    "target",
    "compiler",
    "optimise",
    "numerics",
    "memory",
    "flash",
    "macs",
    "macs_executed",
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which the chip would run.

    Attributes:
        clock_hz: None: unknown, no time is told.
        wait_states: of the flash of the code at that clock.
        weights_wait_states: of the flash of the weights.
        milliamps, volts: whole chip, running from flash at that clock; None where unknown.
        power_source: where they come from.
    """

    clock_hz: int | None = None
    wait_states: int = 0
    weights_wait_states: int = 0
    milliamps: float | None = None
    volts: float | None = None
    power_source: str = ""


def conditions_of(
    target: Target,
    clock_hz: int | None = None,
    wait_states: int | None = None,
    weights_region: str | None = None,
) -> Conditions:
    """What the target's file says, or the user instead.

    Args:
        clock_hz: another clock; the current is known at the target's own only.
        wait_states: of all flash at that clock, instead.
        weights_region: name of the flash of the weights, where it is not that of the code.
    """
    clock = target.clock_hz if clock_hz is None else clock_hz
    code = target.flash[0]
    weights = next((region for region in target.flash if region.name == weights_region), code)
    waits = (code.wait_states, weights.wait_states) if wait_states is None else (wait_states, wait_states)
    power = target.power if clock == target.clock_hz else None
    if power is None:
        return Conditions(clock, *waits)
    return Conditions(clock, *waits, power.run_milliamps, power.volts, power.source)


def make_profile(
    report: Mapping[str, Any],
    schedule: Schedule,
    core: str,
    costs: LayerCosts,
    conditions: Conditions,
    step_stack: Sequence[int] = (),
) -> dict[str, Any]:
    """The profile; None stands for what is not known.

    Args:
        report: `vmcu.report.make_report` of the same model; names, sizes and MACs are taken from it.
        schedule: what was executed.
        core: whose bound holds.
        costs: of one inference.
        conditions: clock, wait states, current.
        step_stack: per step, the worst case of its functions' stack; empty where nothing was built.
    """
    traffic = step_traffic(schedule)
    on_board = costs.source == "board"
    measured = on_board and costs.is_measured
    cycles = costs.cycles
    total_cycles = costs.whole_cycles
    roof = ROOFS.get(core)
    uncached = _uncached(costs, traffic, conditions)
    layers = [
        _layer(i, told, traffic[i], costs, uncached, conditions) for i, told in enumerate(report["layers"])
    ]
    for i, layer in enumerate(layers):
        layer["stack_bytes"] = step_stack[i] if step_stack else None
        layer["stack_seen_bytes"] = costs.stack[i] if costs.stack else None
        whole = sum(cycles) if cycles else sum(costs.instructions or ())
        part = layer["cycles"] if cycles else layer["instructions"]
        layer["share"] = part / whole if whole and part is not None else None
    high = (
        None if uncached is None or total_cycles is None else total_cycles + sum(uncached) - sum(cycles or ())
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        **{key: report[key] for key in _REPORTED},
        "core": core,
        "source": costs.source,
        "engine": costs.engine,
        "cycles_label": None if cycles is None else costs.label if on_board else LABEL,
        "no_cycles": NO_ESTIMATE if cycles is None else None,
        "repetitions": costs.repetitions,
        "warm_up": costs.warm_up,
        "has_hooks": costs.has_hooks,
        "hook_cycles": costs.hook_cycles,
        "clock_hz": conditions.clock_hz,
        "wait_states": conditions.wait_states,
        "weights_wait_states": conditions.weights_wait_states,
        "roof_macs_per_cycle": roof.macs_per_cycle if roof else None,
        "roof_bytes_per_cycle": roof.bytes_per_cycle if roof else None,
        "roof_source": roof.source if roof else None,
        "instructions": costs.whole_instructions,
        "cycles": total_cycles,
        "estimated_cycles": None if on_board else total_cycles,
        "measured_cycles": total_cycles if measured else None,
        "cycles_uncached": high,
        "cycles_spread": list(costs.whole_spread) if costs.whole_spread else None,
        **_time_and_energy(total_cycles, high, conditions),
        "power_source": conditions.power_source or None,
        "sum_of_layers": _sums(costs),
        "layers": layers,
        "stages": [
            _stage(n, layers[first:end], first, end) for n, (first, end) in enumerate(schedule.stages)
        ],
        "power": None,
    }


def _uncached(costs: LayerCosts, traffic: Sequence[Traffic], conditions: Conditions) -> list[int] | None:
    """Cycles per step with a flash whose prefetcher hides its wait states on straight code only (see `UNCACHED`).

    To first order: caches and accelerators of a real chip save some of it; what a kernel loads again costs more.
    """
    if costs.source == "board" or costs.cycles is None or costs.leaves is None:
        return None
    return [
        cycles
        + conditions.wait_states * leaves
        + conditions.weights_wait_states * (moved.fetched_bytes // LINE_BYTES)
        for cycles, leaves, moved in zip(costs.cycles, costs.leaves, traffic, strict=True)
    ]


def _layer(
    i: int,
    told: Mapping[str, Any],
    moved: Traffic,
    costs: LayerCosts,
    uncached: Sequence[int] | None,
    conditions: Conditions,
) -> dict[str, Any]:
    instructions = costs.instructions[i] if costs.instructions else None
    cycles = costs.cycles[i] if costs.cycles else None
    bytes_moved = moved.read_bytes + moved.written_bytes + moved.weights_bytes
    return {
        "step": i,
        "name": told["name"],
        "op": told["op"],
        "output_shape": told["output_shape"],
        "tasks": moved.tasks,
        "macs": moved.macs,
        "instructions": instructions,
        "cycles": cycles,
        "estimated_cycles": None if costs.source == "board" else cycles,
        "measured_cycles": cycles if costs.source == "board" and costs.is_measured else None,
        "cycles_uncached": uncached[i] if uncached else None,
        "cycles_spread": list(costs.spread[i]) if costs.spread else None,
        "cycles_per_mac": _ratio(cycles, moved.macs),
        "macs_per_cycle": _ratio(moved.macs, cycles),
        "instructions_per_mac": _ratio(instructions, moved.macs),
        "share": None,
        "read_bytes": moved.read_bytes,
        "written_bytes": moved.written_bytes,
        "weights_bytes": moved.weights_bytes,
        "macs_per_byte": _ratio(moved.macs, bytes_moved),
        **_time_and_energy(cycles, uncached[i] if uncached else None, conditions),
    }


def _stage(number: int, layers: Sequence[Mapping[str, Any]], first: int, end: int) -> dict[str, Any]:
    """Sums of a stage, layers whose rows are made in turn; of stack the most."""
    keys = (
        *("macs", "instructions", "cycles", "share", "read_bytes", "written_bytes", "weights_bytes"),
        *("ms", "estimated_microjoules"),
    )
    sums = {key: _sum([layer[key] for layer in layers]) for key in keys}
    most = {key: _most([layer[key] for layer in layers]) for key in ("stack_bytes", "stack_seen_bytes")}
    per_mac = _ratio(sums["cycles"], sums["macs"])
    return {
        "stage": number,
        "first_step": first,
        "end_step": end,
        **sums,
        "cycles_per_mac": per_mac,
        **most,
    }


def _sums(costs: LayerCosts) -> dict[str, Any]:
    """How well the layers add up to the whole, which has no hooks."""
    by_instructions = deviation(costs.instructions, costs.whole_instructions)
    by_cycles = deviation(costs.cycles, costs.whole_cycles)
    known = [abs(d) for d in (by_instructions, by_cycles) if d is not None]
    return {
        "instructions": sum(costs.instructions) if costs.instructions else None,
        "cycles": sum(costs.cycles) if costs.cycles else None,
        "instructions_deviation": by_instructions,
        "cycles_deviation": by_cycles,
        "tolerance": TOLERANCE,
        "within_tolerance": bool(known) and max(known) <= TOLERANCE,
    }


def _time_and_energy(cycles: int | None, uncached: int | None, conditions: Conditions) -> dict[str, Any]:
    """Milliseconds at the clock, and microjoules: milliamperes times volts times milliseconds. Estimates."""
    times = [
        None if c is None or not conditions.clock_hz else 1e3 * c / conditions.clock_hz
        for c in (cycles, uncached)
    ]
    power = None
    if conditions.milliamps is not None and conditions.volts is not None:
        power = conditions.milliamps * conditions.volts
    energy = [None if t is None or power is None else t * power for t in times]
    return {
        "ms": times[0],
        "ms_uncached": times[1],
        "estimated_microjoules": energy[0],
        "estimated_microjoules_uncached": energy[1],
    }


def _sum(values: Sequence[Any]) -> Any:
    return None if any(v is None for v in values) else sum(values)


def _most(values: Sequence[Any]) -> Any:
    return None if any(v is None for v in values) else max(values)


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None
