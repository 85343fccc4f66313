"""The cost model: what is counted, and that every core and kernel has a rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from broken_plans import NETS, compiled

from vmcu.pipeline import load
from vmcu.planning.cost import (
    INSTRUCTION_SET,
    OTHER,
    RATES,
    estimate,
    estimate_steps,
    executed_macs,
    rate_name,
    step_work,
)
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.targets import list_targets

ROOT = Path(__file__).parents[2]
GRAPH = load(ROOT / "models" / "mnist_cnn" / "model.onnx")
LAYERS, STREAMED = layer_by_layer(GRAPH), streamed(GRAPH)[0]


def test_work_is_that_of_the_network() -> None:
    """Step 2 of mnist_cnn: 1x1 convolution 14x14x16 -> 14x14x32."""
    work = step_work(LAYERS)[2]
    assert (work.template, work.rows, work.calls) == ("conv", 14, 1)
    assert work.work == 14 * 14 * 16 * 32 and work.outputs == 14 * 14 * 32
    mean = step_work(LAYERS)[11]
    assert mean.template == "reduce" and mean.work == 7 * 7 * 64 and mean.outputs == 64


@pytest.mark.parametrize("name", NETS)
def test_counts_add_up(name: str) -> None:
    schedule = compiled(name).plan.schedule
    works = step_work(schedule)
    assert sum(w.rows for w in works) == len(schedule.tasks)
    assert sum(w.calls for w in works) == len(compiled(name).tables.order)
    assert executed_macs(schedule) <= schedule.graph.macs


def test_streaming_only_adds_calls() -> None:
    before, after = step_work(LAYERS), step_work(STREAMED)
    assert [(w.template, w.work, w.outputs, w.rows) for w in before] == [
        (w.template, w.work, w.outputs, w.rows) for w in after
    ]
    assert sum(w.calls for w in before) == len(LAYERS.steps) < sum(w.calls for w in after)
    assert executed_macs(LAYERS) == executed_macs(STREAMED) == GRAPH.macs


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("core", sorted(INSTRUCTION_SET))
def test_layer_by_layer_is_cheapest(core: str, compiler: str) -> None:
    sums = streamed(by_rows(GRAPH))[0]
    found = [estimate(s, core, compiler) for s in (LAYERS, STREAMED, sums)]
    assert 0 < found[0] < found[1] < found[2]
    assert found[0] == sum(estimate_steps(LAYERS, core, compiler))


def test_every_core_has_rates_and_an_unknown_one_counts_as_a_cortex_m4() -> None:
    assert {t.core for t in list_targets()} <= set(INSTRUCTION_SET)
    assert {rate_name(isa, c) for isa in INSTRUCTION_SET.values() for c in ("gcc", "zig")} == set(RATES)
    assert estimate(LAYERS, "cortex-m99") == estimate(LAYERS, "cortex-m4")


def test_rates_are_of_kernels_there_are() -> None:
    templates = {p.name.removesuffix(".c.j2") for p in (ROOT / "templates" / "kernels").iterdir()}
    for rate in RATES.values():
        assert rate.call > 0 and OTHER in rate.kernels
        assert set(rate.kernels) - {OTHER} <= templates
        for values in rate.kernels.values():
            assert min(values) >= 0 and max(values) > 0


def test_the_estimate_is_of_the_schedule_alone() -> None:
    empty = replace(LAYERS, tasks=())
    assert estimate(empty) == executed_macs(empty) == 0
