"""The profile's values: sums, shares, times and energies, and that they follow the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pictures import NAMES, example
from profiles import BOARD, costs_of, made_profile, profile_of

from vmcu.profile import Conditions, conditions_of, from_board
from vmcu.profile.bounds import ROOFS
from vmcu.profile.profile import LINE_BYTES, SCHEMA_VERSION
from vmcu.profile.traffic import step_traffic
from vmcu.targets import load_target

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "profile.schema.json").read_text())


def validate(profile: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(profile)))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    for part in objects(SCHEMA):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert field.get("description"), name
            assert "Bytes" in field["description"] or not name.endswith("_bytes"), name


def test_what_a_report_has_too_means_the_same() -> None:
    report = json.loads((DOCS / "report.schema.json").read_text())
    for key in (
        "model",
        "target",
        "compiler",
        "optimise",
        "numerics",
        "memory",
        "flash",
        "macs",
        "macs_executed",
    ):
        assert SCHEMA["properties"][key] == report["properties"][key]
    assert SCHEMA["$defs"] == report["$defs"]


@pytest.mark.parametrize("name", NAMES)
def test_sums(name: str) -> None:
    profile = profile_of(name)
    validate(profile)
    layers = profile["layers"]
    assert sum(layer["share"] for layer in layers) == pytest.approx(1)
    assert sum(layer["macs"] for layer in layers) == profile["macs_executed"]
    assert [s["first_step"] for s in profile["stages"]] == [
        0,
        *(s["end_step"] for s in profile["stages"][:-1]),
    ]
    assert profile["stages"][-1]["end_step"] == len(layers)
    for key in ("macs", "instructions", "cycles", "read_bytes", "written_bytes", "weights_bytes", "ms"):
        whole = sum(layer[key] for layer in layers)
        assert sum(stage[key] for stage in profile["stages"]) == pytest.approx(whole)


def test_a_layer_by_hand() -> None:
    made = example("mnist_cnn")
    layer, moved = profile_of()["layers"][2], step_traffic(made.plan.schedule)[2]
    assert (layer["instructions"], layer["cycles"], layer["macs"]) == (3000, 4500, moved.macs)
    assert layer["cycles_per_mac"] == 4500 / moved.macs and layer["macs_per_cycle"] == moved.macs / 4500
    assert layer["cycles_uncached"] == 4500 + 3 * 300 + 4 * (moved.fetched_bytes // LINE_BYTES)
    assert layer["ms"] == pytest.approx(4500 / 100e3)
    assert layer["estimated_microjoules"] == pytest.approx(4500 / 100e3 * 10.0 * 3.3)
    moved_bytes = moved.read_bytes + moved.written_bytes + moved.weights_bytes
    assert layer["macs_per_byte"] == moved.macs / moved_bytes


def test_without_wait_states_both_figures_are_one() -> None:
    profile = profile_of(conditions=replace(BOARD, wait_states=0, weights_wait_states=0))
    assert profile["cycles_uncached"] == profile["cycles"]
    assert all(layer["cycles_uncached"] == layer["cycles"] for layer in profile["layers"])


def test_the_whole_waits_as_its_layers_do() -> None:
    profile = profile_of()
    waits = sum(layer["cycles_uncached"] - layer["cycles"] for layer in profile["layers"])
    assert profile["cycles_uncached"] - profile["cycles"] == waits > 0


def test_without_a_timing_table() -> None:
    """Of the M55 exact instructions are known, and nothing that follows from cycles."""
    profile = profile_of(cycles=False, core="cortex-m55")
    validate(profile)
    for key in ("cycles", "estimated_cycles", "measured_cycles", "cycles_uncached", "ms", "cycles_label"):
        assert profile[key] is None
    assert profile["no_cycles"] and profile["roof_macs_per_cycle"] is None
    assert profile["instructions"] == sum(layer["instructions"] for layer in profile["layers"])
    assert sum(layer["share"] for layer in profile["layers"]) == pytest.approx(1)


def test_a_board_s_cycles_are_measured() -> None:
    made = example("mnist_cnn")
    tasks = [t.tasks for t in step_traffic(made.plan.schedule)]
    counted = [[1000 + k for _ in tasks] for k in (0, 1, 2)]
    costs = from_board("a board", counted, [1003 * len(tasks)] * 3, tasks, hook_cycles=0)
    profile = made_profile(made, costs)
    validate(profile)
    assert profile["cycles_label"] == "measured" and profile["estimated_cycles"] is None
    assert profile["measured_cycles"] == 1003 * len(tasks) and profile["cycles_uncached"] is None
    assert profile["layers"][0]["cycles_spread"] == [1000, 1002]
    assert profile["layers"][0]["measured_cycles"] == 1001 and profile["instructions"] is None


@pytest.mark.parametrize(
    ("parts", "whole", "within"), [(1.0, 1.0, True), (1.0, 1.0099, True), (1.0, 1.02, False)]
)
def test_the_sum_of_the_layers_is_checked(parts: float, whole: float, within: bool) -> None:
    made = example("mnist_cnn")
    costs = costs_of(made)
    assert costs.instructions and costs.whole_cycles
    off = replace(costs, whole_cycles=round(costs.whole_cycles * whole / parts))
    sums = made_profile(made, off)["sum_of_layers"]
    assert sums["within_tolerance"] is within and sums["tolerance"] == 0.01
    assert sums["instructions_deviation"] == 0
    assert sums["cycles_deviation"] == pytest.approx(parts / whole - 1, abs=1e-4)


def test_conditions_of_a_core_and_a_board() -> None:
    assert conditions_of(load_target("cortex-m4")) == Conditions(None, 0)
    board = load_target("nucleo-f411re")
    found = conditions_of(board)
    assert (
        (found.clock_hz, found.wait_states)
        == (board.clock_hz, board.flash[0].wait_states)
        == (100_000_000, 3)
    )
    assert board.power and (found.milliamps, found.volts) == (board.power.run_milliamps, board.power.volts)
    assert found.power_source == board.power.source


def test_the_current_is_known_at_the_board_s_clock_only() -> None:
    found = conditions_of(load_target("nucleo-f411re"), 16_000_000, 1)
    assert found == Conditions(16_000_000, 1, 1)


def test_weights_may_lie_in_slower_flash() -> None:
    target = load_target("disco-f746ng")
    code, *others = target.flash
    found = conditions_of(target, weights_region=others[0].name)
    assert (found.wait_states, found.weights_wait_states) == (code.wait_states, others[0].wait_states)
    assert found.weights_wait_states > found.wait_states


def test_roofs_are_of_cores_with_a_timing_table() -> None:
    from vmcu.cycles import TIMINGS

    assert set(ROOFS) == set(TIMINGS)
