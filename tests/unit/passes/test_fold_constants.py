"""Constants fold, weights stay quantised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise
from vmcu.passes.fold_constants import fold_constants


def finished(net: Net, y: str, tmp_path: Path) -> Graph:
    """The folded graph of a network that ends in `y`; same values before and after."""
    net.output(net.qdq(y))
    graph = import_model(net.save(tmp_path))
    feeds = random_feeds(graph)
    wanted = run_onnx(net.model(), feeds)
    folded = fold_constants(graph).verify()
    for result in (folded, canonicalise(graph)):
        for a, b in zip(run_graph(result, feeds), wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    return folded


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes if not n.op.endswith("zeLinear")]


def test_float_weights_behind_quantize_become_int8(tmp_path: Path) -> None:
    net = Net()
    w = net.qdq(net.const(net.rng.normal(0, 1, (4, 3, 3, 3)), np.float32), 0.02, 0)
    graph = finished(net, net.node("Conv", [net.qdq(net.input("x", [1, 3, 6, 6])), w]), tmp_path)
    (conv,) = [n for n in graph.nodes if n.op == "Conv"]
    source = graph.producers()[conv.input(1)]
    assert source.op == "DequantizeLinear" and graph.constants[source.input(0)].dtype == np.int8


def test_per_channel_quantize_of_a_constant(tmp_path: Path) -> None:
    net = Net()
    scales, zeros = net.const([0.01, 0.02, 0.03], np.float32), net.const([1, -2, 3], np.int8)
    w = net.const(net.rng.normal(0, 1, (5, 3)), np.float32)
    w = net.node("QuantizeLinear", [w, scales, zeros], axis=-1)
    w = net.node("DequantizeLinear", [w, scales, zeros], axis=-1)
    graph = finished(net, net.node("MatMul", [net.qdq(net.input("x", [2, 5])), w]), tmp_path)
    assert sum(n.op == "QuantizeLinear" for n in graph.nodes) == 2  # those of activations


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_transpose_of_weights_moves_before_dequantize(axis: int | None, tmp_path: Path) -> None:
    net = Net()
    w = net.node("Transpose", [net.weights((6, 4, 2), axis)], perm=[2, 0, 1])
    graph = finished(net, net.node("MatMul", [net.qdq(net.input("x", [2, 3, 6])), w]), tmp_path)
    assert ops(graph) == ["MatMul"]
    source = graph.producers()[next(n for n in graph.nodes if n.op == "MatMul").input(1)]
    assert graph.constants[source.input(0)].shape == (2, 6, 4)
    if axis is not None:
        assert source.attributes["axis"] == [2, 0, 1].index(axis)


@pytest.mark.parametrize(("axis", "moves"), [(None, True), (0, True), (1, False)])
def test_reshape_of_weights_moves_where_channels_stay_whole(
    axis: int | None, moves: bool, tmp_path: Path
) -> None:
    net = Net()
    w = net.node("Reshape", [net.weights((4, 3, 2), axis), net.const([4, 6], np.int64)])
    y = net.node("Gemm", [net.qdq(net.input("x", [2, 6])), w], transB=1)
    assert ops(finished(net, y, tmp_path)) == (["Gemm"] if moves else ["Reshape", "Gemm"])


def test_shape_chains_of_pytorch(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 4, 4]))
    shape = net.node("Shape", [x])
    batch = net.node("Gather", [shape, net.const(0, np.int64)], axis=0)
    batch = net.node("Unsqueeze", [batch, net.const([0], np.int64)])
    target = net.node("Concat", [batch, net.const([-1], np.int64)], axis=0)
    assert ops(finished(net, net.node("Reshape", [x, target]), tmp_path)) == ["Reshape"]


def test_constant_of_shape_and_arithmetic(tmp_path: Path) -> None:
    net = Net()
    filled = net.node("ConstantOfShape", [net.const([3, 1], np.int64)])
    filled = net.node("Add", [filled, net.const([0.5], np.float32)])
    graph = finished(net, net.node("Mul", [net.qdq(net.input("x", [1, 3, 4])), net.qdq(filled)]), tmp_path)
    assert ops(graph) == ["Mul"]


def test_large_constants_fold_too(tmp_path: Path) -> None:
    net = Net()
    large = net.node("Transpose", [net.const(net.rng.normal(0, 1, (80, 70)), np.float32)], perm=[1, 0])
    w = net.qdq(large, 0.02, 0)
    graph = finished(net, net.node("MatMul", [net.qdq(net.input("x", [1, 70])), w]), tmp_path)
    assert ops(graph) == ["MatMul"]
