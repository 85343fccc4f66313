"""QOperator models in `onnx` numerics against onnxruntime's integer kernels: one step, and only next to a tie.

The float result that ties are judged by is the same operator in float32, in a part of the model only onnxruntime sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from oracles.ort_model import SAFE_WEIGHT, Activation, QuantNet, compare
from oracles.twin_ops import Case, name

TYPES = pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["int8", "uint8"])
IMAGE = (1, 4, 6, 5)
SOFTMAX_TIE = 0.5
"""onnxruntime's QLinearSoftmax truncates: it may differ anywhere, by one step; vmcu is exact all the same."""

WEIGHTED: list[Case] = [
    {"op": "Conv", "shape": (1, 3, 8, 8), "weights": (5, 3, 3, 3)},
    {"op": "Conv", "shape": (1, 3, 8, 8), "weights": (5, 3, 3, 3), "bias": True, "per_channel": True},
    {
        "op": "Conv",
        "shape": (1, 3, 9, 8),
        "weights": (4, 3, 3, 2),
        "attrs": {"strides": [2, 1], "pads": [0, 1, 1, 0]},
    },
    {
        "op": "Conv",
        "shape": (1, 6, 7, 7),
        "weights": (6, 1, 3, 3),
        "bias": True,
        "attrs": {"group": 6, "pads": [1] * 4},
    },
    {
        "op": "Conv",
        "shape": (1, 6, 7, 7),
        "weights": (4, 3, 3, 3),
        "attrs": {"group": 2, "dilations": [2, 2]},
    },
    {"op": "Conv", "shape": (1, 4, 20), "weights": (6, 4, 5), "bias": True, "per_channel": True},
    {"op": "MatMul", "shape": (1, 20), "weights": (20, 7)},
    {"op": "MatMul", "shape": (1, 5, 20), "weights": (20, 7), "per_channel": True},
    {"op": "Gemm", "shape": (1, 20), "weights": (20, 7), "bias": True},
    {"op": "Gemm", "shape": (1, 20), "weights": (7, 20), "bias": True, "attrs": {"transB": 1}},
    {"op": "Gemm", "shape": (1, 20), "weights": (7, 20), "per_channel": True, "attrs": {"transB": 1}},
    {"op": "Gemm", "shape": (4, 20), "weights": (20, 7), "bias": True, "attrs": {"alpha": 0.5}},
]

# op of ONNX, whose QLinear form is of the same name in com.microsoft.
UNARY: list[Case] = [
    {"op": "LeakyRelu", "shape": IMAGE, "attrs": {"alpha": 0.2}},
    {"op": "Sigmoid", "shape": IMAGE},
    {"op": "GlobalAveragePool", "shape": IMAGE},
    {"op": "AveragePool", "shape": IMAGE, "attrs": {"kernel_shape": [3, 2], "strides": [2, 1]}},
    {"op": "AveragePool", "shape": IMAGE, "attrs": {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}},
    {
        "op": "AveragePool",
        "shape": IMAGE,
        "attrs": {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1},
    },
    {
        "op": "Softmax",
        "shape": (1, 10),
        "attrs": {"axis": 1},
        "extra": {"opset": 18},
        "oracle_tie": SOFTMAX_TIE,
    },
    {
        "op": "Softmax",
        "shape": IMAGE,
        "attrs": {"axis": -1},
        "extra": {"opset": 18},
        "oracle_tie": SOFTMAX_TIE,
    },
]
BINARY: list[Case] = [
    {"op": op, "shapes": (IMAGE, other)}
    for op in ("Add", "Mul")
    for other in (IMAGE, (1, 4, 1, 1), (1, 1, 6, 5), (1, 1, 1, 1))
]
MOVES: list[Case] = [
    {"op": "Reshape", "shape": IMAGE, "operands": [np.int64([1, -1])]},
    {"op": "Transpose", "shape": IMAGE, "attrs": {"perm": [0, 2, 3, 1]}},
    {"op": "MaxPool", "shape": IMAGE, "attrs": {"kernel_shape": [2, 3], "strides": [2, 2]}},
    {"op": "Slice", "shape": IMAGE, "operands": [np.int64([1]), np.int64([5]), np.int64([2])]},
    {"op": "Gather", "shape": IMAGE, "operands": [np.int64([2, 0])], "attrs": {"axis": 1}},
    {"op": "Squeeze", "shape": (1, 1, 6, 5), "operands": [np.int64([1])]},
]


def scalars(n: QuantNet, scale: float, zero: int) -> list[str]:
    """Operands: scale and zero point of an activation."""
    return [n.const(scale, np.float32), n.const(zero, n.dtype)]


def quantised(n: QuantNet, x: Activation) -> list[str]:
    """Operands: tensor, scale, zero point."""
    return [x.name, *scalars(n, x.scale, x.zero)]


@TYPES
@pytest.mark.parametrize("case", WEIGHTED, ids=name)
def test_weighted(case: Case, dtype: type, tmp_path: Path) -> None:
    n = QuantNet(dtype)
    x = n.activation(case["shape"])
    shape, op, attributes = case["weights"], case["op"], case.get("attrs", {})
    out_axis = 0 if op == "Conv" or attributes.get("transB") else 1
    channels = shape[out_axis]
    scales = n.rng.uniform(0.002, 0.03, channels if case.get("per_channel") else ()).astype(np.float32)
    w = [
        n.const(n.rng.integers(-SAFE_WEIGHT, SAFE_WEIGHT + 1, shape), np.int8),
        n.const(scales),
        n.const(np.zeros(scales.shape), np.int8),
    ]
    bias_scale = np.float32(x.scale) * scales * np.float32(attributes.get("alpha", 1.0))
    bias = n.rng.integers(-4000, 4001, channels).astype(np.int32) if case.get("bias") else None
    with n.only_oracle():
        axis = {"axis": out_axis} if scales.ndim else {}
        operands = [n.real(x), n.node("DequantizeLinear", w, **axis)]
        if bias is not None:
            operands.append(n.const((bias * bias_scale.astype(np.float64)).astype(np.float32)))
        real = n.node(op, operands, **attributes)
    scale, zero = n.calibrated(real)
    out, b = scalars(n, scale, zero), [n.const(bias)] if bias is not None else []
    if op == "Gemm":
        n.node("QGemm", [*quantised(n, x), *w, *(b or [""]), *out], "y", "com.microsoft", **attributes)
    else:
        n.node(f"QLinear{op}", [*quantised(n, x), *w, *out, *b], "y", **attributes)
    compare(n, tmp_path, real, scale, zero)


@TYPES
@pytest.mark.parametrize("case", UNARY, ids=name)
def test_unary(case: Case, dtype: type, tmp_path: Path) -> None:
    n = QuantNet(dtype)
    x = n.activation(case["shape"])
    attributes = case.get("attrs", {})
    with n.only_oracle():
        real = n.node(case["op"], [n.real(x)], **attributes)
    scale, zero = n.calibrated(real)
    operands = [*quantised(n, x), *scalars(n, scale, zero)]
    n.node(f"QLinear{case['op']}", operands, "y", "com.microsoft", **attributes, **case.get("extra", {}))
    compare(n, tmp_path, real, scale, zero, oracle_tie=case.get("oracle_tie", 0.0))


@TYPES
@pytest.mark.parametrize("case", BINARY, ids=name)
def test_binary(case: Case, dtype: type, tmp_path: Path) -> None:
    n = QuantNet(dtype)
    a, b = n.activation(case["shapes"][0]), n.activation(case["shapes"][1], 0.083, -20)
    _finish(n, case["op"], [a, b], tmp_path)


def _finish(n: QuantNet, op: str, xs: Sequence[Activation], folder: Path) -> None:
    with n.only_oracle():
        real = n.node(op, [n.real(x) for x in xs])
    scale, zero = n.calibrated(real)
    operands = [o for x in xs for o in quantised(n, x)]
    n.node(f"QLinear{op}", [*operands, *scalars(n, scale, zero)], "y", "com.microsoft")
    compare(n, folder, real, scale, zero)


@TYPES
@pytest.mark.parametrize("axis", [1, 3])
def test_concat(axis: int, dtype: type, tmp_path: Path) -> None:
    """Inputs of different scales."""
    n = QuantNet(dtype)
    xs = [n.activation(IMAGE), n.activation(IMAGE, 0.083, -20)]
    with n.only_oracle():
        real = n.node("Concat", [n.real(x) for x in xs], axis=axis)
    scale, zero = n.calibrated(real)
    operands = [*scalars(n, scale, zero), *(o for x in xs for o in quantised(n, x))]
    n.node("QLinearConcat", operands, "y", "com.microsoft", axis=axis)
    compare(n, tmp_path, real, scale, zero)


@TYPES
@pytest.mark.parametrize("case", MOVES, ids=name)
def test_integers_moved_between_operators(case: Case, dtype: type, tmp_path: Path) -> None:
    """An operator of ONNX itself on int8 values, then one that computes."""
    n = QuantNet(dtype)
    x = n.activation(case["shape"])
    operands = [n.const(o) for o in case.get("operands", [])]
    moved = n.node(case["op"], [x.name, *operands], **case.get("attrs", {}))
    with n.only_oracle():
        real = n.node("Sigmoid", [n.dq(moved, x.scale, x.zero, dtype)])
    scale, zero = n.calibrated(real)
    out = [moved, *scalars(n, x.scale, x.zero), *scalars(n, scale, zero)]
    n.node("QLinearSigmoid", out, "y", "com.microsoft")
    compare(n, tmp_path, real, scale, zero)
