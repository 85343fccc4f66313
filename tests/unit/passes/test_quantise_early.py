"""QuantizeLinear moves before what only moves elements: exactly the same integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise

Body = Callable[[Net, str], str]


def canonical(net: Net, tmp_path: Path) -> Graph:
    graph = import_model(net.save(tmp_path))
    result = canonicalise(graph)
    for seed in range(3):
        feeds = random_feeds(graph, seed)
        for got, wanted in zip(run_graph(result, feeds), run_onnx(net.model(), feeds), strict=True):
            np.testing.assert_array_equal(got, wanted)
    return result


def quantised_before(graph: Graph, op: str) -> bool:
    """Does every `op` read DequantizeLinear only?"""
    producers = graph.producers()
    nodes = [n for n in graph.nodes if n.op == op]
    assert nodes
    return all(
        name in producers and producers[name].op == "DequantizeLinear" for n in nodes for name in n.inputs
    )


def ints(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


INPUT: dict[str, Body] = {
    "Transpose": lambda net, x: net.node("Transpose", [x], perm=[0, 3, 1, 2]),
    "Reshape": lambda net, x: net.node("Reshape", [x, ints(net, 1, 2, -1)]),
    "Slice": lambda net, x: net.node("Slice", [x, ints(net, 1), ints(net, 3), ints(net, 2)]),
    "MaxPool": lambda net, x: net.node("MaxPool", [x], kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
    "Pad": lambda net, x: net.node(
        "Pad", [x, ints(net, 0, 0, 1, 0, 0, 0, 0, 2), net.const(0.37, np.float32)]
    ),
    "Relu": lambda net, x: net.node("Relu", [x]),
    "Clip": lambda net, x: net.node("Clip", [x, net.const(-0.13, np.float32), net.const(0.61, np.float32)]),
    "Concat": lambda net, x: net.node("Concat", [x, net.node("Tanh", [net.qdq(x, 0.02)])], axis=1),
    "ReduceMax": lambda net, x: net.node("ReduceMax", [x], axes=[2, 3]),
}


@pytest.mark.parametrize("name", INPUT)
def test_of_a_graph_input(name: str, tmp_path: Path) -> None:
    net = Net()
    net.output(net.qdq(INPUT[name](net, net.input("x", [1, 4, 5, 6]))))
    assert quantised_before(canonical(net, tmp_path), name)


def test_chain_after_an_activation(tmp_path: Path) -> None:
    net = Net()
    x = net.node("Elu", [net.qdq(net.input("x", [1, 4, 5, 6]))])
    y = net.node("MaxPool", [net.node("Transpose", [x], perm=[0, 1, 3, 2])], kernel_shape=[2, 2])
    net.output(net.qdq(net.node("Relu", [net.node("Flatten", [y])])))
    graph = canonical(net, tmp_path)
    assert all(quantised_before(graph, op) for op in ("MaxPool", "Transpose", "Reshape", "Relu"))


def test_relu_stays_with_its_convolution(tmp_path: Path) -> None:
    net = Net()
    y = net.node(
        "Relu", [net.node("Conv", [net.qdq(net.input("x", [1, 3, 6, 6])), net.weights((4, 3, 3, 3))])]
    )
    net.output(net.qdq(net.node("MaxPool", [y], kernel_shape=[2, 2])))
    graph = canonical(net, tmp_path)
    assert not quantised_before(graph, "Relu") and quantised_before(graph, "MaxPool")


def test_two_quantisations_stay_after(tmp_path: Path) -> None:
    """Which of two scales would be the first?"""
    net = Net()
    y = net.node("MaxPool", [net.node("Elu", [net.qdq(net.input("x", [1, 3, 6, 6]))])], kernel_shape=[2, 2])
    net.output(net.qdq(y, 0.05))
    net.output(net.qdq(y, 0.02))
    assert not quantised_before(canonical(net, tmp_path), "MaxPool")


def test_split(tmp_path: Path) -> None:
    net = Net()
    x = net.input("x", [1, 6, 5])
    net.node("Split", [x], "left", axis=1)
    net.nodes[-1].output.append("right")
    net.output(net.qdq("left"))
    net.output(net.qdq("right"))
    assert quantised_before(canonical(net, tmp_path), "Split")


@pytest.mark.parametrize(("zero", "dropped"), [(-128, True), (-127, False)])
def test_clamp_that_the_range_implies_is_dropped(zero: int, dropped: bool, tmp_path: Path) -> None:
    net = Net()
    net.output(net.qdq(net.node("Relu", [net.qdq(net.input("x", [1, 30]), 0.05, zero)]), 0.04, -128))
    net.output(net.qdq(net.node("Relu", [net.qdq(net.input("z", [1, 30]), 0.05, -128)]), 0.04, -128))
    assert [n.op for n in canonical(net, tmp_path).nodes].count("Relu") == (0 if dropped else 1)


def test_clip_wider_than_the_range_is_dropped(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 30]), 0.05, 0)
    bounds = [net.const(-6.4, np.float32), net.const(6.35, np.float32)]
    y = net.node("Clip", [x, *bounds])
    net.output(net.qdq(y, 0.04))
    net.output(net.qdq(net.node("Clip", [x, bounds[0], net.const(6.3, np.float32)]), 0.04))
    assert [n.op for n in canonical(net, tmp_path).nodes].count("Clip") == 1
