"""Every spelling of every operator means the same after `canonicalise`, and has the documented form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from tiny_models import Net

from vmcu.errors import Exit, VmcuError
from vmcu.importer import import_model
from vmcu.ir.graph import Graph, Node
from vmcu.passes import canonicalise

Body = Callable[[Net, str], str]


def ints(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


def op(name: str, /, **attributes: object) -> Body:
    return lambda net, x: net.node(name, [x], **attributes)


def conv(shape: tuple[int, ...], bias: bool = True, **attributes: object) -> Body:
    def body(net: Net, x: str) -> str:
        inputs = [x, net.weights(shape, 0)]
        if bias:
            inputs.append(net.const(net.rng.normal(0, 1, shape[0]), np.float32))
        return net.node("Conv", inputs, **attributes)

    return body


def axes_op(name: str, *axes: int, since: int = 13, **attributes: object) -> Body:
    """Axes as attribute or operand, as the opset wants."""

    def body(net: Net, x: str) -> str:
        if net.opset < since:
            return net.node(name, [x], axes=list(axes), **attributes)
        return net.node(name, [x, ints(net, *axes)], **attributes)

    return body


def split(axis: int, *sizes: int) -> Body:
    def body(net: Net, x: str) -> str:
        outputs = [net.name("part") for _ in sizes]
        inputs = [x]
        attributes: dict[str, object] = {"axis": axis}
        if net.opset < 13:
            attributes["split"] = list(sizes)
        else:
            inputs.append(ints(net, *sizes))
        net.nodes.append(
            __import__("onnx").helper.make_node("Split", inputs, outputs, name="split", **attributes)
        )
        return net.node("Concat", outputs[::-1], axis=axis)

    return body


def reshape_by_shape(net: Net, x: str) -> str:
    """How PyTorch writes x.view(x.size(0), -1)."""
    shape = net.node("Shape", [x])
    size = net.node("Gather", [shape, net.const(0, np.int64)], axis=0)
    size = (
        net.node("Unsqueeze", [size, ints(net, 0)])
        if net.opset >= 13
        else net.node("Unsqueeze", [size], axes=[0])
    )
    return net.node("Reshape", [x, net.node("Concat", [size, ints(net, -1)], axis=0)])


CASES: dict[str, tuple[tuple[int, ...], Body]] = {
    "conv": ((1, 3, 9, 8), conv((4, 3, 3, 3), pads=[1, 0, 2, 1], strides=[2, 1])),
    "conv_same_upper": ((1, 3, 9, 8), conv((4, 3, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2])),
    "conv_same_lower": ((1, 3, 9, 8), conv((4, 3, 4, 2), False, auto_pad="SAME_LOWER", strides=[2, 1])),
    "conv_valid": ((1, 3, 9, 8), conv((4, 3, 3, 3), auto_pad="VALID")),
    "conv_group": ((1, 4, 6, 6), conv((8, 1, 3, 3), group=4)),
    "conv_1d": ((1, 3, 9), conv((4, 3, 3), pads=[1, 1], dilations=[2])),
    "conv_1d_same": ((1, 3, 9), conv((4, 3, 4), auto_pad="SAME_UPPER", strides=[3])),
    "avg_pool": ((1, 3, 8, 8), op("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])),
    "avg_pool_include": (
        (1, 3, 8, 8),
        op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    "avg_pool_ceil": ((1, 3, 8, 8), op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "avg_pool_ceil_include": (
        (1, 3, 8, 8),
        op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1),
    ),
    "avg_pool_ceil_pads": (
        (1, 3, 7, 7),
        op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1),
    ),
    "avg_pool_same": (
        (1, 3, 7, 8),
        op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    ),
    "avg_pool_1d": ((1, 3, 8), op("AveragePool", kernel_shape=[3])),
    "max_pool": ((1, 3, 8, 8), op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    "max_pool_ceil": ((1, 3, 8, 8), op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "max_pool_dilated": ((1, 3, 8, 8), op("MaxPool", kernel_shape=[2, 2], dilations=[2, 3])),
    "max_pool_1d_same": ((1, 3, 7), op("MaxPool", kernel_shape=[2], strides=[2], auto_pad="SAME_LOWER")),
    "global_avg": ((1, 3, 5, 4), op("GlobalAveragePool")),
    "global_max": ((1, 3, 5, 4), op("GlobalMaxPool")),
    "global_avg_1d": ((1, 3, 5), op("GlobalAveragePool")),
    "flatten": ((1, 3, 5, 4), op("Flatten")),
    "flatten_axis_2": ((1, 3, 5, 4), op("Flatten", axis=2)),
    "flatten_negative": ((1, 3, 5, 4), op("Flatten", axis=-1)),
    "reshape": ((1, 3, 5, 4), lambda net, x: net.node("Reshape", [x, ints(net, 0, -1, 2)])),
    "reshape_shape": ((1, 3, 5, 4), reshape_by_shape),
    "squeeze": ((1, 3, 1, 4), axes_op("Squeeze", 2)),
    "squeeze_all": ((1, 3, 1, 4), op("Squeeze")),
    "unsqueeze": ((1, 3, 4), axes_op("Unsqueeze", -1, 1)),
    "transpose": ((1, 3, 5, 4), op("Transpose", perm=[0, 2, 3, 1])),
    "transpose_default": ((2, 3, 4), op("Transpose")),
    "transpose_twice": (
        (1, 3, 5, 4),
        lambda net, x: op("Transpose", perm=[0, 3, 1, 2])(net, op("Transpose", perm=[0, 2, 3, 1])(net, x)),
    ),
    "slice": (
        (1, 6, 8),
        lambda net, x: net.node("Slice", [x, ints(net, 1, -3), ints(net, 99, -1), ints(net, 1, 2)]),
    ),
    "slice_steps": (
        (1, 6, 8),
        lambda net, x: net.node("Slice", [x, ints(net, 7), ints(net, 0), ints(net, -1), ints(net, -2)]),
    ),
    "slice_reverse": (
        (1, 6, 8),
        lambda net, x: net.node(
            "Slice", [x, ints(net, -1), ints(net, -(2**63)), ints(net, 1), ints(net, -1)]
        ),
    ),
    "slice_no_axes": ((2, 6, 8), lambda net, x: net.node("Slice", [x, ints(net, 0, 2), ints(net, 1, 5)])),
    "split": ((1, 6, 8), split(1, 1, 3, 2)),
    "split_negative_axis": ((1, 6, 8), split(-1, 5, 3)),
    "concat_negative": ((1, 3, 4), lambda net, x: net.node("Concat", [x, net.node("Neg", [x])], axis=-1)),
    "gather": ((1, 6, 4), lambda net, x: net.node("Gather", [x, ints(net, 0, -1, 2)], axis=1)),
    "gather_scalar": ((1, 6, 4), lambda net, x: net.node("Gather", [x, net.const(-2, np.int64)], axis=-1)),
    "gather_matrix": (
        (1, 6, 4),
        lambda net, x: net.node("Gather", [x, net.const([[0, 1], [2, 3]], np.int32)], axis=1),
    ),
    "pad": ((1, 3, 4, 4), lambda net, x: net.node("Pad", [x, ints(net, 0, 0, 1, 2, 0, 1, 0, 3)])),
    "pad_value": (
        (1, 3, 4),
        lambda net, x: net.node("Pad", [x, ints(net, 0, 0, 1, 0, 0, 2), net.const(0.5, np.float32)]),
    ),
    "pad_value_quantised": (
        (1, 3, 4),
        lambda net, x: net.node("Pad", [x, ints(net, 0, 0, 1, 0, 0, 2), net.dq(net.const(13, np.int8))]),
    ),
    "pad_reflect": (
        (1, 3, 4),
        lambda net, x: net.node("Pad", [x, ints(net, 0, 0, 2, 0, 0, 1)], mode="reflect"),
    ),
    "clip": (
        (1, 3, 4),
        lambda net, x: net.node("Clip", [x, net.const(-0.5, np.float32), net.const(1.0, np.float32)]),
    ),
    "clip_low": ((1, 3, 4), lambda net, x: net.node("Clip", [x, net.const(0.0, np.float32)])),
    "clip_high": ((1, 3, 4), lambda net, x: net.node("Clip", [x, "", net.const(0.7, np.float32)])),
    "clip_quantised": (
        (1, 3, 4),
        lambda net, x: net.node("Clip", [x, net.dq(net.const(3, np.int8)), net.dq(net.const(123, np.int8))]),
    ),
    "softmax": ((1, 6), op("Softmax")),
    "softmax_axis_1_of_4": ((1, 3, 2, 4), op("Softmax", axis=1)),
    "softmax_axis_1_of_4_flat": ((1, 3, 1, 1), op("Softmax", axis=1)),
    "softmax_axis_2": ((1, 3, 4), op("Softmax", axis=2)),
    "softmax_negative": ((1, 3, 4), op("Softmax", axis=-2)),
    "reduce_mean": ((1, 3, 4, 5), axes_op("ReduceMean", 3, -2, since=18)),
    "reduce_mean_flat": ((1, 3, 4, 5), axes_op("ReduceMean", 2, 3, since=18, keepdims=0)),
    "reduce_mean_all": ((1, 3, 4), op("ReduceMean")),
    "reduce_max": ((1, 3, 4, 5), axes_op("ReduceMax", -1, since=18)),
    "reduce_sum": ((1, 3, 4, 5), axes_op("ReduceSum", 1, since=13, keepdims=0)),
    "gemm": ((2, 5), lambda net, x: net.node("Gemm", [x, net.weights((4, 5), 0)], transB=1, beta=3.0)),
    "gemm_alpha": (
        (2, 5),
        lambda net, x: net.node(
            "Gemm",
            [x, net.weights((5, 4), 1), net.dq(net.const([900, -80, 7, 0], np.int32), 0.0005, 0, np.int32)],
            alpha=0.25,
            beta=-2.0,
        ),
    ),
    "gemm_negative_alpha": (
        (2, 5),
        lambda net, x: net.node(
            "Gemm", [x, net.dq(net.const([[0, 255, 7]] * 5, np.uint8), 0.01, 9, np.uint8)], alpha=-0.5
        ),
    ),
    "gemm_trans_a": ((5, 2), lambda net, x: net.node("Gemm", [x, net.weights((4, 5))], transA=1, transB=1)),
    "gemm_bias": (
        (2, 5),
        lambda net, x: net.node("Gemm", [x, net.weights((5, 4), 1), net.const([1, 2, 3, 4], np.float32)]),
    ),
    "matmul": ((1, 3, 5), lambda net, x: net.node("MatMul", [x, net.weights((5, 4))])),
    "leaky_relu": ((1, 3, 4), op("LeakyRelu")),
    "elu": ((1, 3, 4), op("Elu", alpha=0.5)),
    "hard_sigmoid": ((1, 3, 4), op("HardSigmoid")),
    "depth_to_space": ((1, 8, 2, 3), op("DepthToSpace", blocksize=2)),
    "depth_to_space_crd": ((1, 8, 2, 3), op("DepthToSpace", blocksize=2, mode="CRD")),
    "space_to_depth": ((1, 2, 4, 6), op("SpaceToDepth", blocksize=2)),
    "resize_scales": (
        (1, 2, 3, 4),
        lambda net, x: net.node(
            "Resize",
            [x, net.const([], np.float32), net.const([1, 1, 2, 1.5], np.float32)],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ),
    "resize_sizes": (
        (1, 2, 3, 4),
        lambda net, x: net.node(
            "Resize",
            [x, net.const([], np.float32), net.const([], np.float32), ints(net, 1, 2, 7, 9)],
            mode="linear",
            coordinate_transformation_mode="align_corners",
        ),
    ),
    "dropout": ((1, 3, 4), op("Dropout")),
    "identity": ((1, 3, 4), op("Identity")),
    "cast": ((1, 3, 4), op("Cast", to=1)),
    "expand": ((1, 3, 1), lambda net, x: net.node("Expand", [x, ints(net, 1, 3, 4)])),
}


def network(name: str, opset: int) -> Net:
    shape, body = CASES[name]
    net = Net(opset)
    y = body(net, net.qdq(net.input("x", shape)))
    net.output(net.dq(net.q(y, 0.04, -5), 0.04, -5))
    return net


# Axes of several ranks changed meaning or place in 13 and 18; the rest is alike.
@pytest.mark.parametrize("opset", [11, 12, 13, 18, 21])
@pytest.mark.parametrize("name", CASES)
def test_same_values(name: str, opset: int, tmp_path: Path) -> None:
    net = network(name, opset)
    if opset < 13:
        for node in net.nodes:  # the file cannot say `axis` before 13
            if node.op_type == "DequantizeLinear" and node.attribute:
                node.domain = "com.microsoft"
    graph = import_model(net.save(tmp_path))
    feeds = random_feeds(graph)
    wanted = run_onnx(net.model(), feeds)
    for got in (run_graph(graph, feeds), run_graph(canonicalise(graph), feeds)):
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            # AveragePool has another kernel in onnxruntime since opset 19: another order of float additions
            tolerance = 0.0401 if name.startswith("avg_pool_ceil") else 0.0
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def canonical(name: str, tmp_path: Path, opset: int = 13) -> Graph:
    return canonicalise(import_model(network(name, opset).save(tmp_path)))


def the(op_type: str, graph: Graph) -> Node:
    (node,) = [n for n in graph.nodes if n.op == op_type]
    return node


@pytest.mark.parametrize(
    ("name", "op_type", "attributes"),
    [
        (
            "conv_same_upper",
            "Conv",
            {
                "kernel_shape": (3, 2),
                "strides": (2, 2),
                "dilations": (1, 1),
                "pads": (1, 0, 1, 0),
                "group": 1,
            },
        ),
        ("avg_pool_ceil", "AveragePool", {"pads": (0, 0, 1, 1), "count_include_pad": 0}),
        ("avg_pool_ceil_include", "AveragePool", {"pads": (0, 0, 1, 1), "count_include_pad": 0}),
        ("max_pool_ceil", "MaxPool", {"pads": (0, 0, 1, 1), "dilations": (1, 1)}),
        ("global_avg", "ReduceMean", {"axes": (2, 3), "keepdims": 1}),
        ("global_max", "ReduceMax", {"axes": (2, 3), "keepdims": 1}),
        ("flatten_axis_2", "Reshape", {"shape": (3, 20)}),
        ("reshape_shape", "Reshape", {"shape": (1, 60)}),
        ("unsqueeze", "Reshape", {"shape": (1, 1, 3, 4, 1)}),
        ("slice", "Slice", {"starts": (0, 1, 5), "ends": (1, 6, 7), "axes": (0, 1, 2), "steps": (1, 1, 1)}),
        ("slice_reverse", "Slice", {"starts": (0, 5, 0), "ends": (1, -1, 8), "steps": (1, -1, 1)}),
        ("split", "Split", {"axis": 1, "split": (1, 3, 2)}),
        ("gather", "Gather", {"axis": 1, "indices": (0, 5, 2)}),
        ("pad_value_quantised", "Pad", {"pads": (0, 0, 1, 0, 0, 2), "value": 0.5, "mode": "constant"}),
        ("clip_low", "Clip", {"min": 0.0, "max": float("inf")}),
        ("softmax", "Softmax", {"axis": 1}),
        ("resize_scales", "Resize", {"sizes": (1, 2, 6, 6), "scales": (1.0, 1.0, 2.0, 1.5)}),
        ("reduce_mean", "ReduceMean", {"axes": (2, 3), "keepdims": 1}),
        ("gemm", "Gemm", {"transB": 1}),
        ("gemm_alpha", "Gemm", {"transB": 0}),
        ("gemm_trans_a", "Transpose", {"perm": (1, 0)}),
        ("leaky_relu", "LeakyRelu", {"alpha": 0.01}),
    ],
)
def test_forms(name: str, op_type: str, attributes: dict[str, object], tmp_path: Path) -> None:
    got = the(op_type, canonical(name, tmp_path)).attributes
    assert {key: got[key] for key in attributes} == attributes


def test_same_padding_of_a_dilated_kernel(tmp_path: Path) -> None:
    """onnxruntime cannot run this; the specification's formula counts the dilated extent."""
    net = Net()
    body = conv((4, 3, 3, 3), auto_pad="SAME_UPPER", dilations=[2, 1])
    net.output(net.qdq(body(net, net.qdq(net.input("x", (1, 3, 9, 8))))))
    assert the("Conv", canonicalise(import_model(net.save(tmp_path)))).attributes["pads"] == (2, 1, 2, 1)


def test_softmax_before_13_is_flattened(tmp_path: Path) -> None:
    graph = canonical("softmax_axis_1_of_4", tmp_path, 11)
    soft = the("Softmax", graph)
    assert graph.shape(soft.input(0)) == (1, 24) and soft.attributes == {"axis": 1}


def test_quantisation_has_three_operands(tmp_path: Path) -> None:
    net = Net()
    x = net.input("x", [1, 4])
    scale = net.const([0.1], np.float32)
    y = net.node("QuantizeLinear", [net.node("Relu", [x]), scale])
    net.output(net.node("DequantizeLinear", [y, scale]))
    graph = canonicalise(import_model(net.save(tmp_path)))
    for node in graph.nodes:
        if node.op.endswith("zeLinear"):
            assert graph.shape(node.input(1)) == () == graph.shape(node.input(2))
            assert graph.constants[node.input(2)].dtype == np.uint8 and dict(node.attributes) == {}


def refused(body: Body, shape: tuple[int, ...], tmp_path: Path, opset: int = 13) -> str:
    net = Net(opset)
    net.output(net.qdq(body(net, net.qdq(net.input("x", shape)))))
    graph = import_model(net.save(tmp_path))
    with pytest.raises(VmcuError) as error:
        canonicalise(graph)
    assert error.value.code is Exit.INPUT
    return str(error.value)


@pytest.mark.parametrize(
    ("body", "shape", "text"),
    [
        (
            op(
                "AveragePool",
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1, 1, 0, 0],
                ceil_mode=1,
                count_include_pad=1,
            ),
            (1, 3, 7, 7),
            "ceil_mode together with count_include_pad",
        ),
        (
            lambda net, x: net.node("Gemm", [x, net.weights((5, 4))], alpha=0.0),
            (1, 5),
            "has alpha 0",
        ),
        (
            lambda net, x: net.node("Gemm", [x, net.weights((5, 4))], alpha=float("inf")),
            (1, 5),
            "has alpha inf",
        ),
        (
            lambda net, x: net.node(
                "Gemm", [x, net.weights((5, 4)), net.const([9.0] * 4, np.float32)], beta=1e38
            ),
            (1, 5),
            "has beta 1e+38, which makes its bias infinite",
        ),
        (
            lambda net, x: net.node("Clip", [x, net.const(2.0, np.float32), net.const(1.0, np.float32)]),
            (1, 5),
            "its minimum 2 is above its maximum 1",
        ),
        (
            lambda net, x: net.node(
                "Resize",
                [x, net.const([], np.float32), net.const([1, 1, 2, 2], np.float32)],
                mode="cubic",
            ),
            (1, 2, 4, 4),
            "interpolates by mode 'cubic'",
        ),
        (
            lambda net, x: net.node("Clip", [x, net.const(float("nan"), np.float32)]),
            (1, 5),
            "not a number (NaN)",
        ),
        (
            lambda net, x: net.node("Gather", [x, ints(net, 9)], axis=1),
            (1, 5),
            "has an index outside the 5 elements of axis 1",
        ),
        (
            conv((4, 3, 3, 3), strides=[2, 2], dilations=[2, 2]),
            (1, 3, 4, 9),
            "its window reaches over 5 elements, but its input with padding has 4",
        ),
        (
            op("MaxPool", kernel_shape=[2, 4], strides=[2, 2]),
            (1, 3, 5, 3),
            "its window reaches over 4 elements, but its input with padding has 3",
        ),
    ],
)
def test_refused(body: Body, shape: tuple[int, ...], text: str, tmp_path: Path) -> None:
    assert text in refused(body, shape, tmp_path)


def test_all_refusals_at_once(tmp_path: Path) -> None:
    def body(net: Net, x: str) -> str:
        x = net.node("Gemm", [x, net.weights((5, 5))], alpha=0.0)
        return net.node("Clip", [x, net.const(float("nan"), np.float32)])

    text = refused(body, (1, 5), tmp_path)
    assert "alpha 0" in text and "not a number (NaN)" in text
