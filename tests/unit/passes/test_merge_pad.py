"""Pad merges into its reader where the results stay the same, bit for bit; elsewhere it stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise


def canonical(net: Net, y: str, tmp_path: Path) -> Graph:
    net.output(net.qdq(y, 0.0371))  # no ties: the order of float additions may differ
    graph = import_model(net.save(tmp_path))
    result = canonicalise(graph)
    for seed in range(2):
        feeds = random_feeds(graph, seed)
        for a, b in zip(run_graph(result, feeds), run_onnx(net.model(), feeds), strict=True):
            np.testing.assert_array_equal(a, b)
    return result


def pads_left(graph: Graph) -> int:
    return sum(n.op == "Pad" for n in graph.nodes)


def padded(net: Net, x: str, *spatial: int, value: float = 0.0, **attributes: object) -> str:
    half = len(spatial) // 2
    pads = [0, 0, *spatial[:half], 0, 0, *spatial[half:]]
    return net.node("Pad", [x, net.const(pads, np.int64), net.const(value, np.float32)], **attributes)


def start(zero: int = 3) -> tuple[Net, str]:
    net = Net()
    return net, net.qdq(net.input("x", [1, 3, 6, 6]), 0.05, zero)


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_into_conv_through_pairs(pairs: int, tmp_path: Path) -> None:
    net, x = start()
    x = padded(net, x, 1, 0, 2, 1)
    for i in range(pairs):
        x = net.qdq(x, 0.05 + 0.01 * i, 3 + i)
    graph = canonical(net, net.node("Conv", [x, net.weights((4, 3, 3, 3))], pads=[0, 1, 0, 0]), tmp_path)
    (conv,) = [n for n in graph.nodes if n.op == "Conv"]
    assert pads_left(graph) == 0 and conv.attributes["pads"] == (1, 1, 2, 1)


def test_before_quantize(tmp_path: Path) -> None:
    net, x = start()
    x = net.qdq(padded(net, net.node("Relu", [x]), 1, 1, 1, 1))
    assert pads_left(canonical(net, net.node("Conv", [x, net.weights((4, 3, 3, 3))]), tmp_path)) == 0


def test_two_pads_two_readers(tmp_path: Path) -> None:
    net, x = start()
    x = net.qdq(padded(net, padded(net, x, 1, 1, 1, 1), 0, 1, 0, 1))
    a = net.qdq(net.node("Conv", [x, net.weights((4, 3, 3, 3))]))
    b = net.qdq(net.node("Conv", [x, net.weights((4, 3, 3, 3))]))
    assert pads_left(canonical(net, net.node("Add", [a, b]), tmp_path)) == 0


def test_average_pool_counts_the_padding(tmp_path: Path) -> None:
    net, x = start()
    y = net.node("AveragePool", [padded(net, x, 1, 1, 1, 1)], kernel_shape=[3, 3], strides=[2, 2])
    graph = canonical(net, y, tmp_path)
    (pool,) = [n for n in graph.nodes if n.op == "AveragePool"]
    assert pads_left(graph) == 0 and pool.attributes["count_include_pad"] == 1


def test_average_pool_with_pads_of_its_own(tmp_path: Path) -> None:
    for include, left in ((1, 0), (0, 1)):
        net, x = start()
        y = net.node(
            "AveragePool",
            [padded(net, x, 1, 0, 0, 1)],
            kernel_shape=[3, 3],
            pads=[1, 1, 0, 1],
            count_include_pad=include,
        )
        assert pads_left(canonical(net, y, tmp_path)) == left


@pytest.mark.parametrize(("zero", "left"), [(-128, 0), (3, 1)])
def test_max_pool_only_of_data_above_zero(zero: int, left: int, tmp_path: Path) -> None:
    net, x = start(zero)
    y = net.node("MaxPool", [padded(net, x, 1, 1, 0, 0)], kernel_shape=[3, 3], strides=[2, 2])
    assert pads_left(canonical(net, y, tmp_path)) == left


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Clip"])
def test_max_pool_after_a_function_above_zero(op: str, tmp_path: Path) -> None:
    net, x = start()
    inputs = [x, net.const(0.0, np.float32), net.const(6.0, np.float32)] if op == "Clip" else [x]
    x = net.qdq(net.node(op, inputs))
    y = net.node("MaxPool", [padded(net, x, 1, 1, 1, 1)], kernel_shape=[3, 3], strides=[2, 2])
    assert pads_left(canonical(net, y, tmp_path)) == 0


def test_max_pool_window_of_padding_only(tmp_path: Path) -> None:
    net, x = start(-128)
    y = net.node("MaxPool", [padded(net, x, 2, 2, 2, 2)], kernel_shape=[2, 2])
    assert pads_left(canonical(net, y, tmp_path)) == 1


def test_pads_that_stay(tmp_path: Path) -> None:
    def conv(net: Net, x: str) -> str:
        return net.node("Conv", [x, net.weights((4, 3, 3, 3))])

    net, x = start()
    assert pads_left(canonical(net, conv(net, padded(net, x, 1, 1, 1, 1, value=0.5)), tmp_path)) == 1
    net, x = start()
    assert pads_left(canonical(net, conv(net, padded(net, x, 1, 1, 1, 1, mode="edge")), tmp_path)) == 1
    net, x = start()
    assert pads_left(canonical(net, conv(net, padded(net, x, -1, 0, 0, 0)), tmp_path)) == 1
    net, x = start()
    pad = net.qdq(padded(net, x, 1, 1, 1, 1))
    both = net.node("Concat", [net.qdq(conv(net, pad)), net.qdq(conv(net, pad))], axis=1)
    net.output(pad)
    assert pads_left(canonical(net, both, tmp_path)) == 1
