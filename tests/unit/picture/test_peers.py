"""The yardsticks: TFLite Micro's planner against the real one, layer by layer against the planner of vmcu."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_plans import compiled
from pictures import example
from shared_models import NEEDS_SHARED, path_of
from tiny_models import Net

from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import make_plan
from vmcu.picture.peers import (
    Buffer,
    greedy_bytes,
    layered_bytes,
    tflm_head_bytes,
    unshared_bytes,
    whole_tensors,
)
from vmcu.pipeline import load
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed

# What TFLite Micro itself reports for the .tflite of these models ("Arena allocation head").
HEADS = {
    "hello_world": 32,
    "mcunet_vww": 161_472,
    "micro_speech": 5_968,
    "mlperf_ad": 768,
    "mlperf_kws": 16_000,
    "mlperf_resnet8": 49_152,
    "mlperf_sww": 6_656,
    "mlperf_vww": 73_728,
    "person_detect": 55_296,
}


def sizes(graph: QuantizedGraph) -> list[int]:
    return [b.size for b in whole_tensors(graph)]


# ---- the greedy planner ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffers", "wanted"),
    [
        ([], 0),
        ([(1, 0, 0)], 16),
        ([(16, 0, 0), (17, 1, 1)], 32),  # one after the other
        ([(16, 0, 1), (17, 1, 1)], 48),  # together for one operator
        ([(64, 0, 1), (32, 1, 2), (64, 2, 3)], 96),
        # The 64 goes first, then the 48 beside it; the 32 fits between neither.
        ([(32, 0, 2), (64, 0, 1), (48, 1, 2)], 144),
        # Equals: the later one is placed first, as TFLite Micro sorts a reversed list.
        ([(27_648, 0, 0), (18_432, 0, 1), (18_432, 1, 2), (36_864, 2, 3)], 73_728),
    ],
)
def test_greedy_by_hand(buffers: list[tuple[int, int, int]], wanted: int) -> None:
    assert greedy_bytes([Buffer(*b) for b in buffers]) == wanted


@NEEDS_SHARED
@pytest.mark.parametrize("name", HEADS)
def test_heads_of_known_models(name: str) -> None:
    graph = load(path_of(name))
    assert tflm_head_bytes(graph) == HEADS[name]
    assert tflm_head_bytes(by_rows(graph)) == HEADS[name]


# ---- which tensors it sees ---------------------------------------------------------------------------


def convolution(tmp_path: Path, pads: list[int], stride: int = 1) -> QuantizedGraph:
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 8, 8)))
    conv = net.node("Conv", [x, net.weights((4, 2, 3, 3))], pads=pads, strides=[stride, stride])
    net.node("Identity", [net.qdq(conv, 0.1)], "y")
    size = [(8 + pads[axis] + pads[axis + 2] - 3) // stride + 1 for axis in (0, 1)]
    net.output("y", shape=(1, 4, *size))
    return load(net.save(tmp_path))


@pytest.mark.parametrize(
    ("pads", "stride", "wanted"),
    [
        ([0, 0, 0, 0], 1, [128, 144]),  # VALID
        ([1, 1, 1, 1], 1, [128, 256]),  # SAME
        ([0, 0, 1, 1], 2, [128, 64]),  # SAME
        ([1, 1, 1, 1], 2, [128, 200, 64]),  # the other side: an operator that pads
        ([2, 2, 2, 2], 1, [128, 288, 400]),
        ([1, 1, 0, 0], 1, [128, 162, 196]),
        ([1, 0, 1, 0], 1, [128, 160, 192]),  # SAME in one direction only
    ],
)
def test_padding_that_tflite_cannot_do_is_a_tensor(
    tmp_path: Path, pads: list[int], stride: int, wanted: list[int]
) -> None:
    assert sizes(convolution(tmp_path, pads, stride)) == wanted


def test_accumulation_is_one_operator_again() -> None:
    rows = example("average").plan.schedule.graph
    assert any(op.accumulates for op in rows.ops)
    # input 2x9x4, convolution 16x9x4, mean
    assert [(b.size, b.first, b.last) for b in whole_tensors(rows)] == [(72, 0, 0), (576, 0, 1), (16, 1, 2)]


def test_a_streamed_input_is_whole_there() -> None:
    streamed = whole_tensors(example("streamed_input").plan.schedule.graph)
    assert streamed == whole_tensors(example("mnist_cnn").plan.schedule.graph)


def test_states_are_no_part_of_the_head() -> None:
    graph = compiled("stream").graph
    (state,) = graph.states
    found = whole_tensors(graph)
    assert len(found) == len(graph.tensors) - 1  # what is stored is no tensor of its own
    read = next(n for n, op in enumerate(graph.ops) if state.current in op.inputs)
    assert any((b.size, b.first) == (graph.tensors[state.current].size_bytes, read) for b in found)


# ---- layer by layer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist_cnn", "average"])
def test_layer_by_layer_is_no_more_than_its_plan(name: str) -> None:
    plan = example(name).plan
    assert any(end > first + 1 for first, end in plan.schedule.stages)
    whole = make_plan(layer_by_layer(plan.schedule.graph))
    assert plan.pool_bytes < layered_bytes(plan) <= whole.pool_bytes


def test_layer_by_layer_of_such_a_plan_is_its_pool() -> None:
    plan = example("branches").plan
    assert layered_bytes(plan) == plan.pool_bytes


def test_a_dense_layer_by_rows_does_not_make_layer_by_layer_look_bad(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 8, 8)))
    conv = net.qdq(net.node("Conv", [x, net.weights((3, 2, 1, 1))]), 0.1)
    flat = net.node("Flatten", [conv])
    net.node("Identity", [net.qdq(net.node("MatMul", [flat, net.weights((192, 100))]), 0.1)], "y")
    net.output("y", shape=(1, 100))
    graph = load(net.save(tmp_path))
    plain = make_plan(layer_by_layer(graph))
    rows = make_plan(streamed(by_rows(graph))[0])
    assert make_plan(layer_by_layer(rows.schedule.graph)).pool_bytes > plain.pool_bytes
    assert layered_bytes(rows) == plain.pool_bytes


def test_all_tensors_side_by_side() -> None:
    # x, z, conv, added, pool, y; the concatenation is an alias
    assert unshared_bytes(example("branches").plan) == 60 + 90 + 90 + 90 + 36 + 4
    # the state, x, y; the shifted state lies in the memory of the old one
    assert unshared_bytes(example("stream").plan) == 60 + 15 + 27
