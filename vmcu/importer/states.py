"""Pairs of graph output and input whose value survives from one run to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmcu.errors import Problem
from vmcu.importer.draft import Draft
from vmcu.importer.messages import near, quoted
from vmcu.ir.graph import Array, State, Value

PREFIX_IN, PREFIX_OUT = "state_in_", "state_out_"


def find_states(draft: Draft, named: Sequence[State] | None) -> tuple[tuple[State, ...], list[Problem]]:
    """The pairs the user names, or else those named state_in_X / state_out_X; and what is missing of them."""
    inputs = [port.name for port in draft.inputs]
    outputs = [port.name for port in draft.outputs]
    problems: list[Problem] = []
    if named is not None:
        for state in named:
            where = f"state {quoted(state.input)} <- {quoted(state.output)}"
            if state.input not in inputs:
                problems.append(Problem("the model has no such input", where, near(state.input, inputs)))
            if state.output not in outputs:
                problems.append(Problem("the model has no such output", where, near(state.output, outputs)))
        for side in ("input", "output"):
            names = [getattr(state, side) for state in named]
            problems += [
                Problem("is named in two state pairs", f"{side} {quoted(name)}", "name each tensor once")
                for name in dict.fromkeys(names)
                if names.count(name) > 1
            ]
        return tuple(named), problems
    states = []
    for name in inputs:
        if name.startswith(PREFIX_IN):
            partner = PREFIX_OUT + name[len(PREFIX_IN) :]
            if partner in outputs:
                states.append(State(name, partner))
            else:
                problems.append(_missing("input", name, "output", partner, outputs))
    for name in outputs:
        if name.startswith(PREFIX_OUT) and PREFIX_IN + name[len(PREFIX_OUT) :] not in inputs:
            problems.append(_missing("output", name, "input", PREFIX_IN + name[len(PREFIX_OUT) :], inputs))
    return tuple(states), problems


def _missing(side: str, name: str, other: str, partner: str, known: Sequence[str]) -> Problem:
    return Problem(
        f"is a state without its {other} {quoted(partner)}",
        f"{side} {quoted(name)}",
        f"name the pair with --state, or rename the tensor; {near(partner, known)}",
    )


def state_problems(
    states: Sequence[State], values: Mapping[str, Value], constants: Mapping[str, Array]
) -> list[Problem]:
    """Pairs whose shapes or types differ."""
    problems = []
    for state in states:
        before = values[state.input]
        if state.output in constants:
            array = constants[state.output]
            after = Value(state.output, tuple(array.shape), str(array.dtype))
        else:
            after = values[state.output]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            problems.append(
                Problem(
                    f"input is {before.dtype}{list(before.shape)}, output is {after.dtype}{list(after.shape)}",
                    f"state {quoted(state.input)} <- {quoted(state.output)}",
                    "both sides of a state must have the same shape and type",
                )
            )
    return problems
