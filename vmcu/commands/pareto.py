"""plan --pareto: the plans that no other beats, with the inputs in RAM and streamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from vmcu.codegen.names import c_comment
from vmcu.commands.output import print_json, print_table
from vmcu.ir.quantized import QuantizedGraph
from vmcu.picture.curve import Curve, Dot
from vmcu.planning.choose import STACK_ALLOWANCE_BYTES, Candidate, Optimise, choose, list_candidates, pareto
from vmcu.planning.cost import DEFAULT_CORE
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.targets import Target

WISHES: tuple[Optimise, ...] = ("ram", "balanced", "speed")


@dataclass(frozen=True, slots=True)
class Front:
    """The plans of one way to deliver the inputs.

    Attributes:
        name: "resident", or "streamed".
        plans: that no other beats; smallest pool first.
        wishes: per plan, the values of --optimize that choose it.
        candidates: how many were placed.
    """

    name: str
    plans: tuple[Candidate, ...]
    wishes: tuple[tuple[Optimise, ...], ...]
    candidates: int


def find_fronts(
    graph: QuantizedGraph,
    streamed: Sequence[str],
    core: str,
    ram_bytes: int | None,
    allow_recompute: float = 1.0,
) -> tuple[Front, ...]:
    """Both curves; what is asked of --optimize is what fits `ram_bytes`, as for a build that has no stack figure yet.

    Args:
        streamed: inputs of the second curve; all where none is named.
        allow_recompute: see `list_candidates`.
    """
    found = []
    streaming = stream_inputs(graph, streamed or [ALL_INPUTS])
    limit = None if ram_bytes is None else ram_bytes - STACK_ALLOWANCE_BYTES
    for name, one in (("resident", graph), ("streamed", streaming)):
        candidates = list_candidates(one, core, allow_recompute)
        plans = pareto(candidates)
        chosen = {wish: choose(plans, wish, limit) for wish in WISHES}
        wishes = tuple(
            tuple(w for w in WISHES if _same(chosen[w], plan) and (limit is None or plan.pool_bytes <= limit))
            for plan in plans
        )
        found.append(Front(name, plans, wishes, len(candidates)))
    return tuple(found)


def _same(a: Candidate, b: Candidate) -> bool:
    return (a.pool_bytes, a.instructions, a.macs) == (b.pool_bytes, b.instructions, b.macs)


def print_fronts(
    fronts: Sequence[Front],
    graph: QuantizedGraph,
    chip: Target | None,
    ram_bytes: int | None,
    cpi: float | None,
    as_json: bool,
) -> None:
    """A table, or JSON."""
    core = chip.core if chip else DEFAULT_CORE
    curves = [
        {
            "input": front.name,
            "candidates": front.candidates,
            "plans": [
                {
                    "schedule": plan.name,
                    "pool_bytes": plan.pool_bytes,
                    "estimated_instructions": plan.instructions,
                    "macs": plan.macs,
                    **estimates(plan.instructions, chip, cpi),
                    "fits": None if ram_bytes is None else plan.pool_bytes <= ram_bytes,
                    "chosen_by": list(wishes),
                }
                for plan, wishes in zip(front.plans, front.wishes, strict=True)
            ],
        }
        for front in fronts
    ]
    if as_json:
        print_json(
            {"model": c_comment(graph.name), "numerics": graph.numerics, "core": core, "curves": curves}
        )
        return
    extra = {
        "estimated_cycles": "estimated cycles",
        "estimated_ms": "estimated ms (zero wait state)",
    }
    shown = [key for key in extra if cpi is not None and (key != "estimated_ms" or (chip and chip.clock_hz))]
    header = ["input", "schedule", "pool bytes", "estimated instructions", *(extra[k] for k in shown), "MACs"]
    rows: list[list[object]] = []
    for curve in curves:
        for plan in curve["plans"]:  # type: ignore[attr-defined]
            row = [curve["input"], plan["schedule"], plan["pool_bytes"], plan["estimated_instructions"]]
            row += [plan[k] for k in shown] + [plan["macs"]]
            if ram_bytes is not None:
                row.append("yes" if plan["fits"] else "no")
            rows.append([*row, ", ".join(plan["chosen_by"])])
    header += ["fits", "--optimize"] if ram_bytes is not None else ["--optimize"]
    print_table(header, rows, right=tuple(range(2, 5 + len(shown))))
    click.echo()
    total = sum(f.candidates for f in fronts)
    click.echo(
        f"{len(rows)} of {total} plans; the others are larger and no faster, or slower and no smaller."
    )
    click.echo(
        f"Instructions are estimates for {core}, not counts: see `vmcu run`. Stack comes on top of pool."
    )


def estimates(instructions: int, chip: Target | None, cpi: float | None) -> dict[str, Any]:
    """Estimated cycles and time; None where the user or the target does not say what they need."""
    cycles = None if cpi is None else round(instructions * cpi)
    clock = chip.clock_hz if chip else None
    ms = None if cycles is None or clock is None else round(cycles * 1000 / clock, 3)
    return {"estimated_cycles": cycles, "estimated_ms": ms}


def draw(fronts: Sequence[Front]) -> list[Curve]:
    """The curves for the picture."""
    return [
        Curve(
            f"input {front.name}",
            tuple(
                Dot(
                    plan.pool_bytes,
                    plan.instructions,
                    ", ".join(wishes),
                    f"{plan.name}\npool {plan.pool_bytes:,} bytes\n"
                    f"{plan.instructions:,} estimated instructions\n{plan.macs:,} MACs",
                )
                for plan, wishes in zip(front.plans, front.wishes, strict=True)
            ),
        )
        for front in fronts
    ]
