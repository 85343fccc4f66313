"""QOperator models mean the same after expansion: onnxruntime runs the file and the imported graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.passes import canonicalise

Body = Callable[[Net, str], str]


def weights(net: Net, *shape: int) -> str:
    return net.const(net.rng.normal(0, 0.3, shape), np.float32)


def conv(net: Net, x: str, out: int, into: int, **attributes: object) -> str:
    return net.node(
        "Conv", [x, weights(net, out, into, 3, 3), weights(net, out)], pads=[1, 1, 1, 1], **attributes
    )


def residual(net: Net, x: str) -> str:
    a = net.node("Relu", [conv(net, x, 8, 3)])
    b = net.node("Relu", [conv(net, a, 8, 1, group=8)])
    c = net.node("Mul", [net.node("Add", [a, b]), net.node("Sigmoid", [b])])
    c = net.node("LeakyRelu", [net.node("Concat", [c, a], axis=1)], alpha=0.1)
    c = net.node("MaxPool", [c], kernel_shape=[2, 2], strides=[2, 2])
    c = net.node("Flatten", [net.node("GlobalAveragePool", [c])])
    return net.node("Softmax", [net.node("Gemm", [c, weights(net, 16, 5), weights(net, 5)])], axis=1)


def movement(net: Net, x: str) -> str:
    a = net.node("Transpose", [conv(net, x, 4, 3)], perm=[0, 2, 3, 1])
    b = net.node("Reshape", [a, net.const([1, 8, 32], np.int64)])
    c = net.node("MatMul", [b, weights(net, 32, 6)])
    d = net.node("Unsqueeze", [c, net.const([1], np.int64)])
    e = net.node("Pad", [d, net.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64)])
    f = net.node("AveragePool", [e], kernel_shape=[2, 2], strides=[2, 2])
    return net.node("Squeeze", [f, net.const([1], np.int64)])


def resized(net: Net, x: str) -> str:
    a = conv(net, x, 4, 3)
    scales = net.const([1, 1, 2, 2], np.float32)
    b = net.node("Resize", [a, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric")
    return conv(net, b, 2, 4)


class Reader(CalibrationDataReader):
    def __init__(self, shape: Sequence[int]) -> None:
        rng = np.random.default_rng(1)
        self.samples = iter([{"x": rng.normal(0, 1.5, shape).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
@pytest.mark.parametrize("body", [residual, movement, resized])
def test_quantize_static(
    body: Body, form: QuantFormat, kind: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    net = Net(13)
    net.output(body(net, net.input("x", [1, 3, 8, 8])))
    quantize_static(
        net.save(tmp_path, "float.onnx"),
        tmp_path / "quantised.onnx",
        Reader((1, 3, 8, 8)),
        quant_format=form,
        activation_type=kind,
        weight_type=QuantType.QInt8 if kind == QuantType.QInt8 else QuantType.QUInt8,
        per_channel=per_channel,
        reduce_range=kind == QuantType.QUInt8,  # uint8 x int8 saturates in onnxruntime's x86 kernels
    )
    check(tmp_path / "quantised.onnx")


def check(path: Path, lsb: float = 1.0) -> None:
    """Imported and canonical graph give the file's outputs, up to one step of the output's scale."""
    graph = import_model(path)
    assert not [n.op for n in graph.nodes if "." in n.op or n.op.startswith("QLinear")]
    by_output = {n.outputs[0]: n for n in graph.nodes}
    step = [1.0] * len(graph.outputs)
    for i, value in enumerate(graph.outputs):
        node = by_output[value.name]
        if value.dtype == "float32":
            assert node.op == "DequantizeLinear"
            step[i] = float(graph.constants[node.input(1)])
    for seed in range(3):
        feeds = random_feeds(graph, seed)
        wanted = run_onnx(onnx.load(path), feeds)
        for got in (run_graph(graph, feeds), run_graph(canonicalise(graph), feeds)):
            for a, b, size in zip(got, wanted, step, strict=True):
                difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
                assert difference.max() <= lsb * size * 1.001, difference.max() / size


# ---- operators quantize_static does not make, or not in every form ------------------------------------


def quantised(net: Net, scale: float = 0.05, zero: int = 3, dtype: object = np.int8) -> list[str]:
    return [net.const(scale, np.float32), net.const(zero, dtype)]


def single(op: str, shape: tuple[int, ...], *more: str, dtype: object = np.int8, **attributes: object) -> Net:
    net = Net(13)
    x = net.input("x", shape, dtype)
    inputs = [x, *quantised(net, dtype=dtype), *quantised(net, 0.03, 1, dtype)]
    net.output(net.node(op, inputs, domain="com.microsoft", **attributes), dtype)
    return net


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("QLinearLeakyRelu", (1, 3, 4), {"alpha": 0.3}),
        ("QLinearSigmoid", (1, 3, 4), {}),
        ("QLinearGlobalAveragePool", (1, 3, 4, 5), {}),
        ("QLinearGlobalAveragePool", (1, 4, 5, 3), {"channels_last": 1}),
        ("QLinearAveragePool", (1, 3, 6, 6), {"kernel_shape": [2, 3], "strides": [2, 1]}),
        ("QLinearAveragePool", (1, 6, 6, 3), {"kernel_shape": [2, 3], "channels_last": 1}),
        (
            "QLinearAveragePool",
            (1, 3, 6, 6),
            {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        ),
        ("QLinearSoftmax", (1, 3, 4), {"opset": 13, "axis": -1}),
        ("QLinearSoftmax", (1, 3, 4), {"opset": 13, "axis": 1}),
        ("QLinearSoftmax", (1, 3, 4), {"opset": 12, "axis": 1}),
    ],
)
def test_one_input(
    op: str, shape: tuple[int, ...], attributes: dict[str, object], dtype: object, tmp_path: Path
) -> None:
    check(single(op, shape, dtype=dtype, **attributes).save(tmp_path))


def test_reduce_mean_expands(tmp_path: Path) -> None:
    """onnxruntime has the schema but no CPU kernel, so only the structure is checked."""
    graph = import_model(single("QLinearReduceMean", (1, 3, 4, 5), axes=[2, 3], keepdims=0).save(tmp_path))
    assert [n.op for n in graph.nodes] == ["DequantizeLinear", "ReduceMean", "QuantizeLinear"]
    assert graph.outputs[0].shape == (1, 3)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary_without_zero_points(op: str, tmp_path: Path) -> None:
    """Allowed by the schema, though onnxruntime cannot type a left out output zero point."""
    net = Net(13)
    x = net.input("x", (1, 3, 4), np.uint8)
    other = net.const(net.rng.integers(0, 256, (3, 1)), np.uint8)
    scale = net.const(0.05, np.float32)
    net.output(net.node(op, [x, scale, "", other, scale, "", scale, ""], domain="com.microsoft"), np.uint8)
    graph = import_model(net.save(tmp_path))
    feeds = random_feeds(graph)
    a, b = (v.astype(np.float64) * 0.05 for v in (feeds["x"], np.asarray(graph.constants[other])))
    wanted = np.clip(np.rint((a + b if op == "QLinearAdd" else a * b) / 0.05), 0, 255)
    for got in (run_graph(graph, feeds), run_graph(canonicalise(graph), feeds)):
        assert np.abs(got[0] - wanted).max() <= 1


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("quantised_output", [False, True])
def test_qgemm(trans_b: int, per_channel: bool, quantised_output: bool, tmp_path: Path) -> None:
    net = Net(13)
    x = net.input("x", (2, 6), np.int8)
    b = net.const(net.rng.integers(-127, 128, (4, 6) if trans_b else (6, 4)), np.int8)
    scale = net.const(net.rng.uniform(0.005, 0.02, 4) if per_channel else 0.01, np.float32)
    zero = net.const(np.zeros(4) if per_channel else 0, np.int8)
    c = net.const(net.rng.integers(-999, 999, 4), np.int32)
    inputs = [x, *quantised(net), b, scale, zero, c]
    if quantised_output:
        inputs += quantised(net, 0.04, -3)
    net.output("y", np.int8 if quantised_output else np.float32)
    y = net.node("QGemm", inputs, "" if not quantised_output else "y", domain="com.microsoft", transB=trans_b)
    if not quantised_output:
        net.dq(net.q(y), 0.05, 3)
        net.nodes[-1].output[0] = "y"
    check(net.save(tmp_path))


@pytest.mark.parametrize("op", ["MaxPool", "Flatten", "ArgMax", "Slice", "Split"])
def test_int8_data_is_moved_as_real(op: str, tmp_path: Path) -> None:
    """QOperator models run MaxPool, Reshape and others on int8 directly, even on a graph input."""
    net = Net(13)
    x = net.input("x", (1, 3, 4, 4), np.int8)
    y, dtype = net.name("moved"), np.int8
    if op == "MaxPool":
        net.node(op, [x], y, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    elif op == "Slice":
        net.node(op, [x, net.const([1], np.int64), net.const([3], np.int64), net.const([2], np.int64)], y)
    elif op == "Split":
        net.nodes.append(onnx.helper.make_node("Split", [x], [y, "other"], axis=2))
    elif op == "ArgMax":
        net.node(op, [net.q(net.dq(x), 0.1, 0)], y, axis=1)
        dtype = np.int64
    else:
        net.node(op, [x], y)
    net.output(y if op == "ArgMax" else net.dq(y), dtype if op == "ArgMax" else np.float32)
    if op != "ArgMax":
        net.output(net.q(net.node("Relu", [net.outputs[0].name])), np.int8)
    graph = import_model(net.save(tmp_path))
    node = next(n for n in graph.nodes if n.op == op)
    assert graph.values[node.input(0)].dtype == "float32"
    feeds = random_feeds(graph)
    for a, b in zip(run_graph(canonicalise(graph), feeds), run_onnx(net.model(), feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def int8_clip(net: Net, x: str) -> str:
    return net.node("Clip", [x, net.const(-20, np.int8), net.const(50, np.int8)])


INT8: dict[str, Body] = {
    "Concat": lambda net, x: net.node("Concat", [x, net.q(net.node("Tanh", [net.dq(x)]), 0.01, 7)], axis=1),
    "Concat of a moved input": lambda net, x: net.node("Concat", [net.node("Flatten", [x])] * 2, axis=0),
    "Concat, input second": lambda net, x: net.node(
        "Concat", [net.q(net.input("other", (1, 3, 4, 4))), x], axis=1
    ),
    "Relu": lambda net, x: net.node("Relu", [x]),
    "Clip": int8_clip,
    "Clip, one bound": lambda net, x: net.node("Clip", [x, "", net.const(50, np.int8)]),
    "ReduceMin": lambda net, x: net.node("ReduceMin", [x], axes=[2, 3]),
    "DepthToSpace": lambda net, x: net.node(
        "DepthToSpace", [net.node("Transpose", [x], perm=[0, 2, 1, 3])], blocksize=2
    ),
}


@pytest.mark.parametrize("name", INT8)
def test_integers_keep_their_bytes(name: str, tmp_path: Path) -> None:
    """Whatever scale the bytes are given on the way: what comes out is byte for byte onnxruntime's."""
    net = Net(14)
    x = net.input("x", (1, 3, 4, 4), np.int8)
    y = INT8[name](net, x)
    net.output(net.qdq(net.dq(y, 0.031, -9), 0.031, -9))
    graph = import_model(net.save(tmp_path))
    assert not [n for n in graph.nodes if n.op == name and graph.values[n.input(0)].dtype != "float32"]
    feeds = random_feeds(graph)
    for a, b in zip(run_graph(canonicalise(graph), feeds), run_onnx(net.model(), feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_concats_of_concats_stay_small(tmp_path: Path) -> None:
    """Where elements are from is a set: forty doublings are not 2**40 sources."""
    net = Net(14)
    x = net.input("x", (1, 1, 1, 1), np.int8)
    for _ in range(40):
        x = net.node(
            "Slice", [net.node("Concat", [x, x], axis=1), *(net.const([n], np.int64) for n in (0, 1, 1))]
        )
    net.output(net.qdq(net.dq(x)))
    assert import_model(net.save(tmp_path)).outputs[0].shape == (1, 1, 1, 1)
