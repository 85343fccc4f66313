"""Plans by measured kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import vmcu as command
from tiny_project import need

import vmcu
from vmcu.api import measure_kernels
from vmcu.ir.tuning import Tuning
from vmcu.pipeline import load
from vmcu.planning.cost import estimate
from vmcu.planning.tuning import variants
from vmcu.schedule.schedule import layer_by_layer
from vmcu.schedule.tiles import tile_columns
from vmcu.targets import load_target

MODEL = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"


@pytest.mark.qemu
def test_estimates_become_counts() -> None:
    need("gcc", "qemu")
    off = []
    for tune in (False, True):
        made = vmcu.compile(MODEL, "cortex-m4", optimise="speed", tune=tune, compiler="gcc")
        exact = made.measure().run.instructions
        assert exact and made.compiled.choice
        off.append(abs(made.compiled.choice.chosen.instructions / exact[0] - 1))
    assert off[1] < 0.005 and off[1] <= off[0]


@pytest.mark.qemu
def test_the_commands_take_it() -> None:
    need("gcc", "qemu")
    found = command("plan", MODEL, "-t", "cortex-m4", "--tune", "--json")
    assert found.code == 0
    assert found.json["estimated_instructions"] != command("plan", MODEL, "-t", "cortex-m4", "--json").json[
        "estimated_instructions"
    ]  # fmt: skip


def test_every_kernel_has_its_turn_and_the_slow_ones_that_save_nothing_are_dropped() -> None:
    graph = replace(load(MODEL), isa=load_target("cortex-m4").isa)
    used = {(s.steps[i].output, id(k)) for s in variants(graph) for i, k in enumerate(s.kernels)}
    assert {(op.output, id(k)) for op in graph.ops for k in graph.kernels(op)} <= used
    op = next(op for op in graph.ops if len(graph.kernels(op)) > 1)
    fast, slow = graph.kernels(op)[0], graph.kernels(op)[-1]
    rates = {(op.output, k.template, k.scratch_bytes): float(i) for i, k in enumerate((slow, fast))}
    tuned = replace(graph, tuning=Tuning(rates))
    assert [k.template for k in tuned.kernels(op)] == [slow.template]


@pytest.mark.qemu
def test_tiles_are_priced_by_their_share_of_a_row() -> None:
    need("gcc", "qemu")
    graph = load(MODEL)
    tuned = replace(
        graph, isa=load_target("cortex-m4").isa, tuning=measure_kernels(graph, "cortex-m4", "gcc")
    )
    whole = layer_by_layer(tuned)
    tiled = layer_by_layer(tile_columns(tuned, tuned.tensors, 2))
    assert len(tiled.tasks) > len(whole.tasks)
    assert estimate(tiled) == pytest.approx(estimate(whole), rel=0.1)
