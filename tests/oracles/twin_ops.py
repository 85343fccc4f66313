"""One function per operator: adds it to both models of a `Twin`. Arguments are TFLite's, shapes NHWC."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt
from typing import Any

import numpy as np
from oracles.tflite_model import Quant
from oracles.twin import RANDOM_STD, Pair, Twin, f32, onnx_axis, to_onnx

Case = dict[str, Any]
"""A line of a table of cases."""

_SAME, _VALID = 0, 1


def name(case: Case) -> str:
    """A test's id: what the case sets."""
    return ",".join(f"{k}={v}" for k, v in case.items()).replace(" ", "")


def out_and_pads(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int, int]:
    """Output size and padding before and after along one axis, as TFLite counts them."""
    reach = (kernel - 1) * dilation + 1
    if padding == "VALID":
        return ceil((size - reach + 1) / stride), 0, 0
    out = ceil(size / stride)
    total = max((out - 1) * stride + reach - size, 0)
    return out, total // 2, total - total // 2


def frame(
    x: Pair, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: str
) -> tuple[tuple[int, int], dict[str, object]]:
    """Output height and width, and the ONNX attributes of the window."""
    h, w = (out_and_pads(x.shape[1 + i], kernel[i], stride[i], dilation[i], padding) for i in (0, 1))
    attributes = {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": [h[1], w[1], h[2], w[2]],
    }
    if tuple(dilation) != (1, 1):
        attributes["dilations"] = list(dilation)
    return (h[0], w[0]), attributes


def tflite_window(stride: Sequence[int], dilation: Sequence[int], padding: str) -> dict[str, int]:
    """The fields of Conv2DOptions and DepthwiseConv2DOptions."""
    names = ("strideH", "strideW", "dilationHFactor", "dilationWFactor")
    sizes = dict(zip(names, (*stride, *dilation), strict=True))
    return sizes | {"padding": _SAME if padding == "SAME" else _VALID}


def conv(
    t: Twin,
    x: Pair,
    channels: int,
    kernel: Sequence[int] = (3, 3),
    *,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    padding: str = "SAME",
    groups: int = 1,
    activation: str = "",
    per_channel: bool = True,
    bias: int = 2000,
    gain: float = 1.0,
    zero: int = -5,
    spread: float = 3.0,
) -> Pair:
    """Conv2D. `gain` scales the result against the output's range; `bias` is its largest value, 0 for none."""
    depth = x.shape[3] // groups
    values, quant = t.weights((channels, *kernel, depth), channels, 0, per_channel, spread)
    weights = t.tfl.const(values, quant)
    w = t.constant_weights(values.transpose(0, 3, 1, 2), quant.scale, 0)
    return _convolution(
        t, x, "CONV_2D", "Conv2DOptions", weights, w, quant, channels, kernel, stride, dilation, padding,
        prod(kernel) * depth, groups, activation, bias, gain, zero, {},
    )  # fmt: skip


def depthwise(
    t: Twin,
    x: Pair,
    multiplier: int = 1,
    kernel: Sequence[int] = (3, 3),
    *,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    padding: str = "SAME",
    activation: str = "",
    per_channel: bool = True,
    bias: int = 2000,
    gain: float = 1.0,
    zero: int = -5,
    spread: float = 3.0,
) -> Pair:
    """DepthwiseConv2D."""
    channels = x.shape[3] * multiplier
    values, quant = t.weights((1, *kernel, channels), channels, 3, per_channel, spread)
    weights = t.tfl.const(values, quant)
    w = t.constant_weights(values.transpose(3, 0, 1, 2), quant.scale, 0)
    return _convolution(
        t, x, "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", weights, w, quant, channels, kernel, stride, dilation,
        padding, prod(kernel), x.shape[3], activation, bias, gain, zero, {"depthMultiplier": multiplier},
    )  # fmt: skip


def _convolution(
    t: Twin, x: Pair, code: str, options: str, weights: int, w: str, quant: Quant, channels: int,
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: str, depth: int, groups: int,
    activation: str, bias: int, gain: float, zero: int, fields: dict[str, object],
) -> Pair:  # fmt: skip
    size, attributes = frame(x, kernel, stride, dilation, padding)
    index, b = t.bias(x, np.asarray(quant.scale), channels, bias)
    real = t.onnx.node("Conv", [x.name, w, *([b] if b else [])], group=groups, **attributes)
    out = Quant(_spread_scale(x, quant, depth, gain), zero)
    fields = fields | tflite_window(stride, dilation, padding)
    return t.emit(code, [x, weights, *index], (1, *size, channels), out, real, options, activation, **fields)


def _spread_scale(x: Pair, weights: Quant, depth: int, gain: float) -> float:
    """Output scale such that random inputs reach about the whole range at gain 1."""
    return x.quant.scale * float(np.max(weights.scale)) * RANDOM_STD**2 * sqrt(depth) / 50 / gain


def dense(
    t: Twin,
    x: Pair,
    units: int,
    *,
    activation: str = "",
    per_channel: bool = False,
    bias: int = 2000,
    gain: float = 1.0,
    zero: int = -5,
    matmul: bool = False,
) -> Pair:
    """FullyConnected over the last dimension: Gemm, or MatMul where there is no bias or a higher rank."""
    depth = x.shape[-1]
    values, quant = t.weights((units, depth), units, 0, per_channel)
    index, b = t.bias(x, np.asarray(quant.scale), units, 0 if matmul else bias)
    weights = t.tfl.const(values, quant)
    if matmul:
        w = t.constant_weights(np.ascontiguousarray(values.T), quant.scale, 1)
        real = t.onnx.node("MatMul", [x.name, w])
    else:
        w = t.constant_weights(values, quant.scale, 0)
        real = t.onnx.node("Gemm", [x.name, w, *([b] if b else [])], transB=1)
    out = Quant(_spread_scale(x, quant, depth, gain), zero)
    return t.emit(
        "FULLY_CONNECTED", [x, weights, *index], (*x.shape[:-1], units), out, real, "FullyConnectedOptions",
        activation, keepNumDims=len(x.shape) > 2,
    )  # fmt: skip


def binary(
    t: Twin, what: str, a: Pair, b: Pair, *, scale: float = 0.08, zero: int = 7, activation: str = ""
) -> Pair:
    """Add, Sub, Mul."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    real = t.onnx.node(what, [a.name, b.name])
    return t.emit(what.upper(), [a, b], shape, Quant(scale, zero), real, f"{what}Options", activation)


def pool(
    t: Twin,
    what: str,
    x: Pair,
    kernel: Sequence[int] = (2, 2),
    *,
    stride: Sequence[int] = (2, 2),
    padding: str = "VALID",
    activation: str = "",
) -> Pair:
    """AveragePool (padding not counted) and MaxPool; the quantisation stays."""
    size, attributes = frame(x, kernel, stride, (1, 1), padding)
    real = t.onnx.node(what, [x.name], **attributes)
    fields = {k: v for k, v in tflite_window(stride, (1, 1), padding).items() if "dilation" not in k}
    return t.emit(
        {"AveragePool": "AVERAGE_POOL_2D", "MaxPool": "MAX_POOL_2D"}[what], [x], (1, *size, x.shape[3]), x.quant,
        real, "Pool2DOptions", activation, filterHeight=kernel[0], filterWidth=kernel[1], **fields,
    )  # fmt: skip


def reduce(
    t: Twin, code: str, x: Pair, axes: Sequence[int], *, keep: bool = True, quant: Quant | None = None
) -> Pair:
    """MEAN, SUM, REDUCE_MAX over TFLite's axes."""
    rank = len(x.shape)
    gone = {a % rank for a in axes}
    shape = [1 if i in gone else s for i, s in enumerate(x.shape) if keep or i not in gone]
    assert keep or rank != 4 or gone in ({1, 2}, {3}, {1, 2, 3}), "the ONNX result would be in another order"
    constant = t.onnx.const([onnx_axis(a, rank) for a in axes], np.int64)
    op = {"MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin"}[
        code
    ]
    real = t.onnx.node(op, [x.name, constant], keepdims=int(keep))
    operand = t.tfl.const(np.asarray(axes, np.int32))
    return t.emit(code, [x, operand], shape, quant or x.quant, real, "ReducerOptions", keepDims=keep)


def unary(
    t: Twin,
    code: str,
    op: str,
    x: Pair,
    quant: Quant,
    options: str = "",
    onnx: dict | None = None,
    **fields: object,
) -> Pair:
    """An operator of one tensor that keeps its shape."""
    real = t.onnx.node(op, [x.name], **(onnx or {}))
    return t.emit(code, [x], x.shape, quant, real, options, **fields)


def concat(t: Twin, parts: Sequence[Pair], axis: int, quant: Quant | None = None) -> Pair:
    """Concat of tensors of one quantisation (TFLM does not rescale)."""
    rank = len(parts[0].shape)
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    real = t.onnx.node("Concat", [p.name for p in parts], axis=onnx_axis(axis, rank))
    return t.emit(
        "CONCATENATION", parts, shape, quant or parts[0].quant, real, "ConcatenationOptions", axis=axis
    )


def move(
    t: Twin, code: str, x: Pair, shape: Sequence[int], real: str, operands: Sequence[np.ndarray] = (),
    options: str = "", **fields: object,
) -> Pair:  # fmt: skip
    """An operator that only moves elements; `operands` are TFLite's constants."""
    constants = [t.tfl.const(o) for o in operands]
    return t.emit(code, [x, *constants], shape, x.quant, real, options, **fields)


def reshape(t: Twin, x: Pair, shape: tuple[int, ...]) -> Pair:
    """TFLite's Reshape, in NHWC order: ONNX has to transpose before and after, as converters write it."""
    source = x.name
    if len(x.shape) == 4:
        source = t.onnx.node("Transpose", [source], perm=[0, 2, 3, 1])
    real = t.onnx.node("Reshape", [source, t.onnx.const(shape, np.int64)])
    if len(shape) == 4:
        real = t.onnx.node("Transpose", [real], perm=[0, 3, 1, 2])
    return move(
        t, "RESHAPE", x, shape, real, [np.asarray(shape, np.int32)], "ReshapeOptions", newShape=list(shape)
    )


def pad(t: Twin, x: Pair, widths: Sequence[tuple[int, int]], value: int | None = None) -> Pair:
    """Pad with the zero point, or PadV2 with the quantised `value`."""
    order = (0, 3, 1, 2) if len(x.shape) == 4 else tuple(range(len(x.shape)))
    pads = [widths[i][0] for i in order] + [widths[i][1] for i in order]
    operands = [x.name, t.onnx.const(pads, np.int64)]
    shape = [s + a + b for s, (a, b) in zip(x.shape, widths, strict=True)]
    constants: list[Pair | int] = [x, t.tfl.const(np.asarray(widths, np.int32))]
    if value is not None:
        operands.append(t.onnx.const((value - x.quant.zero) * np.float32(x.quant.scale), np.float32))
        constants.append(t.tfl.const(np.array([value], np.int8), x.quant))
    real = t.onnx.node("Pad", operands)
    return t.emit("PAD" if value is None else "PADV2", constants, shape, x.quant, real)


def resize(
    t: Twin, what: str, x: Pair, size: tuple[int, int], *, align: bool = False, half: bool = False
) -> Pair:
    """ResizeNearestNeighbor and ResizeBilinear."""
    mode = "align_corners" if align else "half_pixel" if half else "asymmetric"
    attributes: dict[str, object] = {"mode": what, "coordinate_transformation_mode": mode}
    if what == "nearest":
        attributes["nearest_mode"] = "round_prefer_ceil" if align or half else "floor"
    shape = (1, *size, x.shape[3])
    sizes = t.onnx.const(to_onnx(np.empty(shape)).shape, np.int64)
    real = t.onnx.node("Resize", [x.name, "", "", sizes], **attributes)
    code, options = {
        "nearest": ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
        "linear": ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    }[what]
    return move(
        t,
        code,
        x,
        shape,
        real,
        [np.asarray(size, np.int32)],
        options,
        alignCorners=align,
        halfPixelCenters=half,
    )


def softmax(t: Twin, x: Pair, beta: float = 1.0) -> Pair:
    """Softmax over the last (ONNX: channel) dimension."""
    axis = onnx_axis(len(x.shape) - 1, len(x.shape))
    return unary(
        t, "SOFTMAX", "Softmax", x, Quant(1 / 256, -128), "SoftmaxOptions", {"axis": axis}, beta=beta
    )


def prelu(t: Twin, x: Pair, alpha: Pair, quant: Quant) -> Pair:
    """PRelu with a constant slope."""
    real = t.onnx.node("PRelu", [x.name, alpha.name])
    return t.emit("PRELU", [x, alpha], x.shape, Quant(f32(quant.scale), quant.zero), real)
