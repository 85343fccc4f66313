"""BatchNormalization folds: same real function, weights still 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.errors import Exit, VmcuError
from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise

STEP = 0.05


def batchnorm(net: Net, x: str, gamma: list[float], variance: float = 0.8) -> str:
    n = len(gamma)
    parameters = [gamma, net.rng.normal(0, 1, n), net.rng.normal(0, 1, n), np.full(n, variance)]
    return net.node("BatchNormalization", [x, *(net.const(p, np.float32) for p in parameters)])


def canonical(net: Net, y: str, tmp_path: Path) -> Graph:
    """Equal up to one step of the output: factors are rounded to float32 in another place."""
    net.output(net.qdq(y, STEP))
    graph = import_model(net.save(tmp_path))
    result = canonicalise(graph)
    assert "BatchNormalization" not in [n.op for n in result.nodes]
    for seed in range(3):
        feeds = random_feeds(graph, seed)
        got, wanted = run_graph(result, feeds)[0], run_onnx(net.model(), feeds)[0]
        assert np.abs(got - wanted).max() <= STEP * 1.01
        assert (got == wanted).mean() > 0.97
    return result


def count(graph: Graph, op: str) -> int:
    return sum(n.op == op for n in graph.nodes)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("bias", ["", "float", "int32"])
def test_into_conv(axis: int | None, bias: str, tmp_path: Path) -> None:
    net = Net()
    inputs = [net.qdq(net.input("x", [1, 3, 6, 6])), net.weights((4, 3, 3, 3), axis)]
    if bias == "float":
        inputs.append(net.const([1, -1, 0.5, 2], np.float32))
    if bias == "int32":
        inputs.append(net.dq(net.const([900, -80, 7, 0], np.int32), 0.0005, 0, np.int32))
    graph = canonical(net, batchnorm(net, net.node("Conv", inputs), [0.9, -0.7, 1.1, 0.0]), tmp_path)
    assert count(graph, "Conv") == 1
    conv = next(n for n in graph.nodes if n.op == "Conv")
    source = graph.producers()[conv.input(1)]
    assert graph.constants[source.input(0)].dtype == np.int8 and source.attributes["axis"] == 0


@pytest.mark.parametrize("trans_b", [0, 1])
def test_into_gemm(trans_b: int, tmp_path: Path) -> None:
    net = Net()
    w = net.weights((5, 8) if trans_b else (8, 5))
    gemm = net.node("Gemm", [net.qdq(net.input("x", [1, 8])), w], transB=trans_b)
    graph = canonical(net, batchnorm(net, gemm, [0.3, -0.2, 0.5, 0.1, 0.4]), tmp_path)
    assert [count(graph, op) for op in ("Gemm", "Conv")] == [1, 0]


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 0), (np.uint8, 128), (np.uint8, 7), (np.int8, -5)])
def test_negated_weights_are_exact(dtype: type, zero: int, tmp_path: Path) -> None:
    """-128 has no negative in int8: weight and zero point take their complement instead."""
    net = Net()
    info = np.iinfo(dtype)
    w = net.dq(
        net.const(net.rng.permutation(np.linspace(info.min, info.max, 36)).reshape(4, 1, 3, 3), dtype),
        0.01,
        zero,
        dtype,
    )
    conv = net.node("Conv", [net.qdq(net.input("x", [1, 4, 5, 5])), w], group=4)
    graph = canonical(net, batchnorm(net, conv, [-0.5, -0.5, 0.5, -0.5]), tmp_path)
    source = graph.producers()[next(n for n in graph.nodes if n.op == "Conv").input(1)]
    q, z = (graph.constants[source.input(i)].astype(int) for i in (0, 2))
    before = next(c for c in import_model(net.save(tmp_path)).constants.values() if c.shape == (4, 1, 3, 3))
    signs = np.array([-1, -1, 1, -1]).reshape(4, 1, 1, 1)
    np.testing.assert_array_equal(q - z.reshape(4, 1, 1, 1), signs * (before.astype(int) - zero))


def test_alone_becomes_depthwise_conv(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 4, 4]))
    graph = canonical(net, batchnorm(net, x, [0.9, -0.7, 0.0]), tmp_path)
    conv = next(n for n in graph.nodes if n.op == "Conv")
    assert conv.attributes["group"] == 3 and conv.attributes["kernel_shape"] == (1, 1)


def test_alone_on_rank_two(tmp_path: Path) -> None:
    net = Net()
    graph = canonical(net, batchnorm(net, net.qdq(net.input("x", [1, 3])), [0.9, -0.7, 0.2]), tmp_path)
    assert count(graph, "Conv") == 1 and graph.outputs[0].shape == (1, 3)


def test_conv_read_twice_stays_apart(tmp_path: Path) -> None:
    net = Net()
    conv = net.node("Conv", [net.qdq(net.input("x", [1, 3, 4, 4])), net.weights((3, 3, 1, 1))])
    y = net.node("Add", [net.qdq(batchnorm(net, conv, [0.9, -0.7, 0.2])), net.qdq(conv)])
    assert count(canonical(net, y, tmp_path), "Conv") == 2


def test_bad_parameters(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 4, 4]))
    net.output(net.qdq(batchnorm(net, x, [1, 1, 1], variance=-3.0)))
    with pytest.raises(VmcuError, match="factors that are not finite numbers") as error:
        canonicalise(import_model(net.save(tmp_path)))
    assert error.value.code is Exit.INPUT and "BatchNormalization" in str(error.value)
