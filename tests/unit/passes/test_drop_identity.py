"""No-ops go, names of graph outputs stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise


def canonical(net: Net, tmp_path: Path) -> Graph:
    graph = import_model(net.save(tmp_path))
    feeds = random_feeds(graph)
    result = canonicalise(graph)
    for a, b in zip(run_graph(result, feeds), run_onnx(net.model(), feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    return result


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


QDQ = ["QuantizeLinear", "DequantizeLinear"]


def test_everything_that_does_nothing(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 4, 4]))
    x = net.node("Identity", [x])
    x = net.node("Dropout", [x])
    x = net.node("Cast", [x], to=1)
    x = net.node("Reshape", [x, net.const([1, 3, 4, 4], np.int64)])
    x = net.node("Transpose", [x], perm=[0, 1, 2, 3])
    x = net.node("Pad", [x, net.const([0] * 8, np.int64)])
    x = net.node(
        "Slice", [x, net.const([0], np.int64), net.const([2**62], np.int64), net.const([2], np.int64)]
    )
    x = net.node("Concat", [x], axis=1)
    x = net.node("MaxPool", [x], kernel_shape=[1, 1])
    x = net.node("Clip", [x])
    x = net.node("Unsqueeze", [x, net.const([0], np.int64)])
    x = net.node("Squeeze", [x, net.const([0], np.int64)])
    net.output(net.node("Relu", [x]))
    assert ops(canonical(net, tmp_path)) == [*QDQ, "Relu"]


def test_pool_of_one_that_moves_elements(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 3, 3]))
    net.output(net.node("AveragePool", [x], kernel_shape=[1, 1], strides=[2, 2], pads=[1, 1, 1, 1]))
    net.output(net.node("Slice", [x, *(net.const([v], np.int64) for v in (2, -4, 1, -1))]))
    graph = canonicalise(import_model(net.save(tmp_path)))
    assert "AveragePool" in ops(graph) and "Slice" in ops(graph)


def test_identity_to_an_output_renames_the_producer(tmp_path: Path) -> None:
    net = Net()
    y = net.qdq(net.input("x", [1, 4]))
    net.output(net.node("Identity", [y], "result"))
    graph = canonical(net, tmp_path)
    assert ops(graph) == QDQ and graph.nodes[-1].outputs == ("result",)


def test_one_tensor_two_output_names(tmp_path: Path) -> None:
    net = Net()
    y = net.qdq(net.input("x", [1, 4]))
    net.output(net.node("Identity", [y], "first"))
    net.output(net.node("Identity", [y], "second"))
    z = net.node("Relu", [y], "third")
    net.output(z)
    graph = canonical(net, tmp_path)
    assert [v.name for v in graph.outputs] == ["first", "second", "third"]
    assert ops(graph).count("Identity") == 1


def test_input_straight_to_output(tmp_path: Path) -> None:
    net = Net()
    net.output(net.node("Identity", [net.input("x", [1, 4], np.int8)], "y"), np.int8)
    net.output(net.qdq(net.input("x2", [1, 4])))
    graph = canonical(net, tmp_path)
    assert [n.op for n in graph.nodes if "y" in n.outputs] == ["Identity"]


def test_doubled_pairs(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.qdq(net.qdq(net.input("x", [1, 4]))))
    net.output(net.qdq(x, 0.06, 3))  # other parameters: a requantisation, it stays
    assert ops(canonical(net, tmp_path)) == [*QDQ, *QDQ]


def test_pair_around_a_moved_tensor(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 4]))
    net.output(net.qdq(net.node("Reshape", [x, net.const([2, 2], np.int64)])))
    assert ops(canonical(net, tmp_path)) == [*QDQ, "Reshape", *QDQ]


def test_chains_join(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 4, 5]))
    x = net.node("Transpose", [x], perm=[0, 2, 3, 1])
    x = net.node("Transpose", [x], perm=[0, 3, 1, 2])
    x = net.node("Reshape", [x, net.const([3, 20], np.int64)])
    x = net.node("Flatten", [x], axis=0)
    net.output(x)
    assert ops(canonical(net, tmp_path)) == [*QDQ, "Reshape"]
