"""Constants a channel fold into the operator before them: same real function, no operator left."""

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

STEP = 0.05


def canonical(net: Net, y: str, tmp_path: Path) -> Graph:
    """Equal up to float rounding: at most one step, and that rarely."""
    net.output(net.qdq(y, STEP))
    graph = import_model(net.save(tmp_path))
    result = canonicalise(graph)
    for seed in range(3):
        feeds = random_feeds(graph, seed)
        got, wanted = run_graph(result, feeds)[0], run_onnx(net.model(), feeds)[0]
        assert got.shape == wanted.shape and np.abs(got - wanted).max() <= STEP * 1.01
        assert (got == wanted).mean() > 0.97
    return result


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes if not n.op.endswith("zeLinear")]


def vector(net: Net, *shape: int) -> str:
    return net.const(net.rng.uniform(0.3, 1.5, shape), np.float32)


def conv(net: Net, bias: bool = False) -> str:
    inputs = [net.qdq(net.input("x", [1, 3, 6, 6])), net.weights((4, 3, 3, 3), 0)]
    return net.node("Conv", inputs + ([vector(net, 4)] if bias else []))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_into_conv(op: str, bias: bool, tmp_path: Path) -> None:
    net = Net()
    y = net.node(op, [conv(net, bias), vector(net, 4, 1, 1)])
    assert ops(canonical(net, y, tmp_path)) == ["Conv"]


def test_constant_first(tmp_path: Path) -> None:
    net = Net()
    y = net.node("Sub", [vector(net, 1, 4, 1, 1), conv(net, True)])
    assert ops(canonical(net, y, tmp_path)) == ["Conv"]


def test_quantised_constants_and_a_chain(tmp_path: Path) -> None:
    net = Net()
    y = net.node("Mul", [conv(net), net.dq(net.const([[[40]], [[-30]], [[20]], [[90]]], np.int8), 0.01, 0)])
    y = net.node("Relu", [net.node("Add", [y, net.const(0.5, np.float32)])])
    assert ops(canonical(net, y, tmp_path)) == ["Conv", "Relu"]


def test_matrix_product_becomes_gemm(tmp_path: Path) -> None:
    net = Net()
    y = net.node("MatMul", [net.qdq(net.input("x", [2, 8])), net.weights((8, 5), 1)])
    graph = canonical(net, net.node("Add", [vector(net, 5), y]), tmp_path)
    assert ops(graph) == ["Gemm"]


def test_matrix_product_of_a_sequence(tmp_path: Path) -> None:
    net = Net()
    y = net.node("MatMul", [net.qdq(net.input("x", [1, 7, 8])), net.weights((8, 5))])
    graph = canonical(net, net.node("Add", [y, vector(net, 5)]), tmp_path)
    assert ops(graph) == ["Reshape", "Gemm", "Reshape"]


UNFOLDED: dict[str, Callable[[Net], str]] = {
    "quantised between": lambda net: net.node("Add", [net.qdq(conv(net)), vector(net, 4, 1, 1)]),
    "a constant a pixel": lambda net: net.node("Add", [conv(net), vector(net, 4, 4)]),
    "beyond float32": lambda net: net.node(
        "Add", [net.node("Add", [conv(net), net.const(3e38, np.float32)]), net.const(3e38, np.float32)]
    ),
    "divided by": lambda net: net.node("Div", [vector(net, 1), net.node("Abs", [conv(net)])]),
    "batch of matrices": lambda net: net.node(
        "Add",
        [
            net.node("MatMul", [net.qdq(net.input("x", [1, 2, 3, 8])), net.weights((2, 8, 5))]),
            vector(net, 5),
        ],
    ),
}


@pytest.mark.parametrize("name", UNFOLDED)
def test_left_alone(name: str, tmp_path: Path) -> None:
    net = Net()
    graph = canonical(net, UNFOLDED[name](net), tmp_path)
    assert {"Add", "Div"} & set(ops(graph))


def test_read_twice(tmp_path: Path) -> None:
    net = Net()
    y = conv(net)
    both = net.node("Add", [net.qdq(net.node("Add", [y, vector(net, 4, 1, 1)])), net.qdq(y)])
    assert ops(canonical(net, both, tmp_path)).count("Add") == 2
