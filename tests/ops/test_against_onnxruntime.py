"""QDQ models in `onnx` numerics against onnxruntime: one step of tolerance, and only next to float ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.ort_model import TIE, QuantNet, compare
from oracles.twin_ops import Case, name

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's: a user would see them
TYPES = pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["int8", "uint8"])
IMAGE = (1, 4, 6, 5)
RESIZE_TIE = 0.13
"""vmcu's interpolation weights have 11 bits: an error of 255 steps * 2 axes * 2^-12."""

# op, inputs (shapes); operands are constants after the inputs; attrs; then: clamp before QuantizeLinear;
# limit: of the weights; same: the output has the input's scale; weights: shape of the DequantizeLinear'd operand, scaled along `axis`.
WEIGHTED: list[Case] = [
    {"op": "Conv", "inputs": [(1, 3, 8, 8)], "weights": (5, 3, 3, 3)},
    {"op": "Conv", "inputs": [(1, 3, 8, 8)], "weights": (5, 3, 3, 3), "bias": True, "axis": 0},
    {
        "op": "Conv",
        "inputs": [(1, 3, 9, 8)],
        "weights": (5, 3, 3, 2),
        "axis": 0,
        "attrs": {"strides": [2, 3]},
    },
    {"op": "Conv", "inputs": [(1, 3, 9, 8)], "weights": (4, 3, 3, 3), "attrs": {"pads": [2, 0, 1, 1]}},
    {
        "op": "Conv",
        "inputs": [(1, 3, 9, 8)],
        "weights": (4, 3, 3, 3),
        "attrs": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    },
    {"op": "Conv", "inputs": [(1, 3, 9, 8)], "weights": (4, 3, 2, 2), "attrs": {"auto_pad": "SAME_LOWER"}},
    {
        "op": "Conv",
        "inputs": [(1, 3, 9, 8)],
        "weights": (4, 3, 3, 3),
        "attrs": {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
    },
    {"op": "Conv", "inputs": [(1, 6, 7, 7)], "weights": (4, 3, 3, 3), "bias": True, "attrs": {"group": 2}},
    {"op": "Conv", "inputs": [(1, 6, 7, 7)], "weights": (6, 1, 3, 3), "axis": 0, "attrs": {"group": 6}},
    {"op": "Conv", "inputs": [(1, 3, 7, 7)], "weights": (9, 1, 5, 5), "bias": True, "attrs": {"group": 3}},
    {
        "op": "Conv",
        "inputs": [(1, 4, 20)],
        "weights": (6, 4, 5),
        "bias": True,
        "axis": 0,
        "attrs": {"strides": [2]},
    },
    {"op": "Conv", "inputs": [(1, 4, 20)], "weights": (4, 1, 3), "attrs": {"group": 4, "pads": [0, 2]}},
    {"op": "Conv", "inputs": [(1, 3, 6, 6)], "weights": (5, 3, 3, 3), "bias": True, "then": ("Relu",)},
    {"op": "Conv", "inputs": [(1, 3, 6, 6)], "weights": (5, 3, 3, 3), "then": ("Clip", -1.0, 9.0)},
    {"op": "Conv", "inputs": [(1, 3, 6, 6)], "weights": (5, 3, 1, 1), "wtype": np.uint8, "wzero": 128},
    {
        "op": "Conv",
        "inputs": [(1, 3, 6, 6)],
        "weights": (5, 3, 3, 3),
        "wtype": np.uint8,
        "wzero": 77,
        "bias": True,
    },
    {"op": "Conv", "inputs": [(1, 3, 6, 6)], "weights": (5, 3, 3, 3), "in": (0.05, -128)},
    {
        "op": "Conv",
        "inputs": [(1, 3, 6, 6)],
        "weights": (5, 3, 3, 3),
        "in": (3.0, 127),
        "attrs": {"pads": [1] * 4},
    },
    {"op": "Conv", "inputs": [(1, 3, 6, 6)], "weights": (5, 3, 1, 1), "in": (4e-6, 0)},
    {"op": "Conv", "inputs": [(1, 1, 4, 4)], "weights": (7, 1, 1, 1), "limit": 2, "out": (0.0001, 5)},
    {
        "op": "Conv",
        "inputs": [(1, 1, 4, 4)],
        "weights": (7, 1, 1, 1),
        "limit": 2,
        "out": (1e-7, 5),
        "distinct": 3,
    },
    {"op": "Gemm", "inputs": [(1, 20)], "weights": (20, 7), "bias": True},
    {"op": "Gemm", "inputs": [(1, 20)], "weights": (7, 20), "axis": 0, "attrs": {"transB": 1}, "bias": True},
    {"op": "Gemm", "inputs": [(1, 20)], "weights": (20, 7), "axis": 1, "then": ("Relu",)},
    {"op": "Gemm", "inputs": [(6, 20)], "weights": (20, 7)},
    {"op": "Gemm", "inputs": [(1, 20)], "weights": (20, 7), "wtype": np.uint8, "wzero": 3},
    {
        "op": "Gemm",
        "inputs": [(1, 20)],
        "weights": (20, 7),
        "attrs": {"alpha": 0.5, "beta": 2.0},
        "bias": True,
    },
    {"op": "MatMul", "inputs": [(1, 20)], "weights": (20, 7)},
    {"op": "MatMul", "inputs": [(1, 5, 20)], "weights": (20, 7), "axis": 1},
    {"op": "MatMul", "inputs": [(1, 2, 5, 20)], "weights": (20, 7)},
]

PLAIN: list[Case] = [
    *(
        {"op": op, "inputs": [IMAGE, other]}
        for op in ("Add", "Sub", "Mul")
        for other in (IMAGE, (1, 4, 1, 1), (1, 1, 6, 5), (1, 1, 1, 1), (5,), (6, 1))
    ),
    *({"op": op, "inputs": [(1, 30), (1, 30)], "in": (0.003, -128)} for op in ("Add", "Sub", "Mul")),
    {"op": "Add", "inputs": [IMAGE, IMAGE], "then": ("Relu",)},
    {"op": "Mul", "inputs": [(1, 1, 6, 5), (1, 4, 1, 1)]},
    *({"op": op, "inputs": [IMAGE], "operands": [np.float32(0.7)]} for op in ("Add", "Sub", "Mul")),
    {"op": "Relu", "inputs": [IMAGE]},
    {"op": "Relu", "inputs": [IMAGE], "same": True},
    {"op": "Clip", "inputs": [IMAGE], "operands": [np.float32(0.0), np.float32(6.0)]},
    {"op": "LeakyRelu", "inputs": [IMAGE], "attrs": {"alpha": 0.1}},
    {"op": "LeakyRelu", "inputs": [IMAGE], "attrs": {}},
    {"op": "Sigmoid", "inputs": [IMAGE]},
    {"op": "Sigmoid", "inputs": [IMAGE], "out": (1 / 256, -128)},
    {"op": "Sigmoid", "inputs": [IMAGE], "in": (20.0, 0), "distinct": 2},
    {"op": "Tanh", "inputs": [IMAGE]},
    {"op": "Elu", "inputs": [IMAGE], "in": (20.0, 0)},
    {"op": "Softmax", "inputs": [(1, 30)], "in": (20.0, 0), "distinct": 2},
    {"op": "HardSigmoid", "inputs": [IMAGE]},
    {"op": "HardSigmoid", "inputs": [IMAGE], "attrs": {"alpha": 1 / 6, "beta": 0.5}},
    {"op": "HardSwish", "inputs": [IMAGE]},
    {"op": "Elu", "inputs": [IMAGE], "attrs": {"alpha": 0.7}},
    *({"op": "Softmax", "inputs": [IMAGE], "attrs": {"axis": axis}} for axis in (1, 2, 3, -1)),
    {"op": "Softmax", "inputs": [(1, 10)], "out": (1 / 256, -128)},
    {"op": "Softmax", "inputs": [(1, 1000)], "in": (0.1, 3), "out": (1 / 256, -128)},
    {"op": "Softmax", "inputs": [(1, 5, 12)], "attrs": {"axis": 1}, "in": (0.5, 3)},
    *(
        {"op": op, "inputs": [(1, 3, 9, 8)], "attrs": {"kernel_shape": [3, 2], **attrs}, "same": same}
        for op in ("AveragePool", "MaxPool")
        for attrs in (
            {},
            {"strides": [2, 2], "pads": [1, 0, 1, 1]},
            {"strides": [3, 2], "ceil_mode": 1},
            {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
        )
        for same in (True, False)
    ),
    {
        "op": "AveragePool",
        "inputs": [(1, 3, 9, 8)],
        "attrs": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    },
    {
        "op": "AveragePool",
        "inputs": [(1, 3, 20)],
        "attrs": {"kernel_shape": [4], "strides": [3], "pads": [1, 2]},
    },
    {"op": "MaxPool", "inputs": [(1, 3, 20)], "attrs": {"kernel_shape": [4], "strides": [3]}},
    {"op": "MaxPool", "inputs": [(1, 3, 9, 8)], "attrs": {"kernel_shape": [2, 2], "dilations": [2, 3]}},
    {"op": "GlobalAveragePool", "inputs": [(1, 6, 7, 5)]},
    {"op": "GlobalMaxPool", "inputs": [(1, 6, 7, 5)], "same": True},
    {"op": "GlobalAveragePool", "inputs": [(1, 6, 35)]},
    *(
        {"op": op, "inputs": [IMAGE], "operands": [np.int64(axes)], "attrs": {"keepdims": keep}}
        for op in ("ReduceMean", "ReduceSum", "ReduceMax")
        for axes, keep in (([2, 3], 1), ([2, 3], 0), ([1], 1), ([1], 0), ([-1], 0), ([1, 3], 1), ([2], 0))
    ),
    {"op": "ReduceMin", "inputs": [IMAGE], "operands": [np.int64([2, 3])]},
    {"op": "ReduceMean", "inputs": [(1, 30, 8)], "operands": [np.int64([1])], "attrs": {"keepdims": 0}},
]

_COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
MOVES: list[Case] = [
    {"op": "Concat", "inputs": [IMAGE, (1, 2, 6, 5)], "attrs": {"axis": 1}},
    {"op": "Concat", "inputs": [IMAGE, (1, 4, 6, 2), IMAGE], "attrs": {"axis": -1}},
    {"op": "Concat", "inputs": [(1, 9), (1, 20)], "attrs": {"axis": 1}},
    {"op": "Slice", "inputs": [IMAGE], "operands": [np.int64(v) for v in ([1, 4], [3, 0], [1, 2], [1, -2])]},
    {"op": "Slice", "inputs": [IMAGE], "operands": [np.int64(v) for v in ([-3], [1 << 40], [-1])]},
    {"op": "Pad", "inputs": [IMAGE], "operands": [np.int64([0, 0, 1, 2, 0, 0, 0, 3]), np.float32(0.4)]},
    *(
        {
            "op": "Pad",
            "inputs": [IMAGE],
            "operands": [np.int64([0, 0, 1, 2, 0, 1, 0, 3])],
            "attrs": {"mode": mode},
        }
        for mode in ("constant", "reflect", "edge")
    ),
    *(
        {
            "op": "Resize",
            "inputs": [IMAGE],
            "operands": [None, None, np.int64([1, 4, *size])],
            "attrs": {"mode": "nearest", "coordinate_transformation_mode": c, "nearest_mode": n},
            "same": True,
        }
        for c in _COORDINATES[:4]
        for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for size in ((12, 10), (4, 7))
    ),
    *(
        {
            "op": "Resize",
            "inputs": [IMAGE],
            "operands": [None, None, np.int64([1, 4, *size])],
            "attrs": {"mode": "linear", "coordinate_transformation_mode": c},
            "tie": RESIZE_TIE,
        }
        for c in _COORDINATES
        for size in ((12, 10), (4, 7), (11, 3))
    ),
    {
        "op": "Resize",
        "inputs": [IMAGE],
        "operands": [None, np.float32([1, 1, 2.5, 1.7])],
        "attrs": {"mode": "nearest"},
    },
    {
        "op": "Resize",
        "inputs": [IMAGE],
        "operands": [None, np.float32([1, 1, 2.5, 1.7])],
        "attrs": {"mode": "linear"},
        "tie": RESIZE_TIE,
    },
    {"op": "Reshape", "inputs": [IMAGE], "operands": [np.int64([1, -1])]},
    {"op": "Reshape", "inputs": [IMAGE], "operands": [np.int64([0, 6, 4, 5])]},
    {"op": "Reshape", "inputs": [(1, 24)], "operands": [np.int64([2, 3, 4])]},
    {"op": "Flatten", "inputs": [IMAGE], "attrs": {"axis": 2}},
    {"op": "Squeeze", "inputs": [(1, 4, 1, 5)], "operands": [np.int64([2])]},
    {"op": "Unsqueeze", "inputs": [(1, 40)], "operands": [np.int64([1, 3])]},
    *(
        {"op": "Transpose", "inputs": [IMAGE], "attrs": {"perm": p}}
        for p in ([0, 2, 3, 1], [0, 3, 2, 1], [3, 1, 0, 2])
    ),
    {"op": "Identity", "inputs": [IMAGE]},
    {"op": "Dropout", "inputs": [IMAGE]},
    {"op": "Cast", "inputs": [IMAGE], "attrs": {"to": 1}},
    *(
        {"op": "DepthToSpace", "inputs": [(1, 12, 3, 4)], "attrs": {"blocksize": 2, "mode": mode}}
        for mode in ("DCR", "CRD")
    ),
    {"op": "SpaceToDepth", "inputs": [(1, 3, 4, 6)], "attrs": {"blocksize": 2}},
    {"op": "Gather", "inputs": [IMAGE], "operands": [np.int64([3, 0, 0, -1])], "attrs": {"axis": 2}},
    {"op": "Gather", "inputs": [(1, 40)], "operands": [np.int64([[3, 0], [39, 1]])], "attrs": {"axis": 1}},
    {"op": "Expand", "inputs": [(1, 1, 6, 5)], "operands": [np.int64([1, 4, 6, 5])]},
]


@TYPES
@pytest.mark.parametrize("case", WEIGHTED + PLAIN + MOVES, ids=name)
def test_operator(case: Case, dtype: type, tmp_path: Path) -> None:
    n = QuantNet(dtype)
    xs = [n.activation(s, *_input_quant(case, i)) for i, s in enumerate(case["inputs"])]
    reals = [n.real(x) for x in xs]
    if "weights" in case:
        reals += _weights(n, case, xs[0].scale)
    operands = ["" if o is None else n.const(o) for o in case.get("operands", [])]
    real = n.node(case["op"], [*reals, *operands], **case.get("attrs", {}))
    if "then" in case:
        op, *bounds = case["then"]
        real = n.node(op, [real, *(n.const(b, np.float32) for b in bounds)])
    scale, zero = case.get("out", (0.0, 0))
    zero = n.zero(zero)
    if case.get("same"):
        scale, zero = xs[0].scale, xs[0].zero
    elif not scale:
        scale, zero = n.calibrated(real)
    n.quantised_output(real, scale, zero)
    compare(n, tmp_path, real, scale, zero, tie=case.get("tie", TIE), distinct=case.get("distinct", 6))


def _input_quant(case: Case, index: int) -> tuple[float, int]:
    return case.get("in", ((0.05, 3), (0.083, -20), (0.05, 3))[index])


def _weights(n: QuantNet, case: Case, input_scale: float) -> list[str]:
    """The weight operand and the bias, int32 with the product of the scales."""
    shape, axis, dtype = case["weights"], case.get("axis"), case.get("wtype", np.int8)
    limit = case.get("limit", 128)
    values = (n.rng.integers(-limit, limit, shape) + (128 if dtype == np.uint8 else 0)).astype(dtype)
    channel_axis = 0 if case["op"] == "Conv" or case.get("attrs", {}).get("transB") else 1
    scales = n.rng.uniform(0.002, 0.03, shape[axis]) if axis is not None else np.array(0.01)
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    zero = np.full(scales.shape, case.get("wzero", 0), dtype)
    operands = [
        n.node(
            "DequantizeLinear", [n.const(values), n.const(scales, np.float32), n.const(zero)], **attributes
        )
    ]
    if case.get("bias"):
        bias_scale = np.float32(input_scale) * scales.astype(np.float32)
        bias = n.const(n.rng.integers(-4000, 4001, shape[channel_axis]), np.int32)
        attributes = {} if axis is None else {"axis": 0}
        operands.append(n.node("DequantizeLinear", [bias, n.const(bias_scale, np.float32)], **attributes))
    return operands


@TYPES
@pytest.mark.parametrize(("axis", "slope"), [(None, (4, 1, 1)), (0, (1,)), (None, (1, 4, 1, 1))], ids=str)
def test_prelu(dtype: type, axis: int | None, slope: tuple[int, ...], tmp_path: Path) -> None:
    n = QuantNet(dtype)
    x = n.activation(IMAGE)
    slopes = n.dq(n.const(n.rng.integers(-100, 101, slope), np.int8), 0.005, 0)
    real = n.node("PRelu", [n.real(x), slopes])
    scale, zero = n.calibrated(real)
    n.quantised_output(real, scale, zero)
    compare(n, tmp_path, real, scale, zero)


@TYPES
def test_split(dtype: type, tmp_path: Path) -> None:
    """Both parts are used, each in its place."""
    n = QuantNet(dtype)
    x = n.activation(IMAGE)
    first = n.node("Split", [n.real(x), n.const([1, 3], np.int64)], "a", axis=1)
    n.nodes[-1].output.append("b")
    real = n.node("Sub", [n.dq(n.q("b", 0.05, 3), 0.05, 3), n.dq(n.q(first, 0.05, 3), 0.05, 3)])
    scale, zero = n.calibrated(real)
    n.quantised_output(real, scale, zero)
    compare(n, tmp_path, real, scale, zero)


@TYPES
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(("axis", "keep", "last"), [(1, 0, 0), (2, 1, 0), (-1, 0, 1)])
def test_arg_max(op: str, axis: int, keep: int, last: int, dtype: type, tmp_path: Path) -> None:
    n = QuantNet(dtype)
    x = n.activation(IMAGE)
    again = n.dq(n.q(n.real(x), x.scale, x.zero, dtype), x.scale, x.zero, dtype)
    n.node(op, [again], "y", axis=axis, keepdims=keep, select_last_index=last)
    reference = None
    for feed in n.arrays(6):
        coarse = {k: (v // 40 * 40).astype(dtype) for k, v in feed.items()}  # many ties
        (want,) = n.run(coarse, {"y": np.int64})
        reference = reference or n.reference(tmp_path, want.shape, np.int64)
        assert np.array_equal(reference.run(coarse)["y"], want)
