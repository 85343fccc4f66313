"""BatchNormalization disappears: into the Conv or Gemm before it, or else into a depthwise Conv of its own.

Alone between DequantizeLinear and QuantizeLinear it becomes a 1x1 depthwise Conv with weights +-127 and one scale
a channel, rather than Mul and Add: those would need the scale of the product between them, which no file tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.graph import Array, Attribute, Graph, Node
from vmcu.passes.edit import Edit, Refused

REASON = "a scale a channel is free in the weights of the operator before"

Reals = NDArray[np.float64]


def fold_batchnorm(graph: Graph) -> Graph:
    """Folds every BatchNormalization.

    The scales of quantised weights take |gamma / std|, the weights its sign; the bias becomes float. Real values are
    the same up to float rounding.

    Raises:
        VmcuError: (INPUT) listing nodes whose parameters are not finite constants.
    """
    edit = Edit(graph)
    readers = graph.consumers()
    outputs = {value.name for value in graph.outputs}
    problems: list[Problem] = []
    for node in edit.walk():
        if node.op != "BatchNormalization":
            edit.emit(node)
            continue
        try:
            factor, offset = _affine(node, edit)
            before = edit.producer.get(node.input(0))
            alone = node.input(0) in outputs or len(readers.get(node.input(0), [])) != 1
            folded = None if before is None or alone else folded_into(before, factor, offset, edit)
            if before is not None and folded is not None:
                edit.nodes = [n for n in edit.nodes if n is not before]
                edit.emit(replace(folded, outputs=node.outputs))
            else:
                _depthwise(node, factor, offset, edit)
        except Refused as error:
            problems.append(error.problem(node))
            edit.emit(node)
    if problems:
        raise VmcuError(Exit.INPUT, problems)
    return edit.finish()


def _affine(node: Node, edit: Edit) -> tuple[Reals, Reals]:
    """y = factor * x + offset, one number a channel."""
    fix = "export the model in inference mode (model.eval()) with constant parameters"
    parameters = [edit.real(name) for name in node.inputs[1:5]]
    shape = edit.shape(node.input(0))
    if len(parameters) < 4 or any(p is None for p in parameters):
        raise Refused("its parameters are computed at run time", fix)
    gamma, beta, mean, variance = (np.asarray(p, np.float64).reshape(-1) for p in parameters)
    if len(shape) < 2 or any(p.size != shape[1] for p in (gamma, beta, mean, variance)):
        raise Refused(f"its parameters do not fit an input of shape {list(shape)}", fix)
    epsilon = node.attributes["epsilon"]
    assert isinstance(epsilon, float)
    with np.errstate(all="ignore"):
        factor = gamma / np.sqrt(variance + epsilon)
        offset = beta - mean * factor
    if not (np.all(np.isfinite(factor)) and np.all(np.isfinite(offset))):
        raise Refused("its parameters give factors that are not finite numbers", fix)
    return factor, offset


def folded_into(before: Node, factor: Reals, offset: Reals, edit: Edit) -> Node | None:
    """`before` (Conv, Gemm) with the affine function inside, or None where that cannot be."""
    if before.op not in ("Conv", "Gemm"):
        return None
    source = edit.producer.get(before.input(1))
    if source is None or source.op != "DequantizeLinear" or source.input(0) not in edit.constants:
        return None
    weights = edit.constants[source.input(0)]
    axis = 0 if before.op == "Conv" or before.attributes["transB"] else 1
    scale, zero = edit.constants[source.input(1)], edit.constants[source.input(2)]
    if (scale.size > 1 and source.attributes["axis"] != axis) or weights.dtype not in (np.int8, np.uint8):
        return None
    bias: Array | None = np.zeros(1, np.float32)
    if before.input(2):
        bias = edit.real(before.input(2))
    if bias is None or bias.size not in (1, factor.size):
        return None

    with np.errstate(over="ignore"):
        real_bias = (np.asarray(bias, np.float64).reshape(-1) * factor + offset).astype(np.float32)
    if not np.all(np.isfinite(real_bias)):
        return None
    new_bias = edit.constant(f"{before.outputs[0]}_bias", real_bias)
    if np.all(factor == 1):
        return replace(before, inputs=(before.input(0), before.input(1), new_bias))
    channels = factor.size
    magnitude = np.where(factor == 0, 1.0, np.abs(factor))
    scales = (np.broadcast_to(scale.astype(np.float64).reshape(-1), channels) * magnitude).astype(np.float32)
    if not np.all(np.isfinite(scales) & (scales > 0)):
        return None
    signed, zeros = _signed(
        np.moveaxis(weights, axis, 0), np.broadcast_to(zero.reshape(-1), channels), factor
    )
    name = source.input(0)
    inputs = (
        edit.constant(f"{name}_normalised", np.moveaxis(signed, 0, axis)),
        edit.constant(f"{name}_normalised_scale", scales),
        edit.constant(f"{name}_normalised_zero_point", zeros),
    )
    real = edit.tensor(f"{before.input(1)}_normalised", tuple(weights.shape))
    edit.emit(Node("DequantizeLinear", f"{source.name}/normalised", inputs, (real,), {"axis": axis}))
    return replace(before, inputs=(before.input(0), real, new_bias))


def _signed(weights: Array, zeros: Array, factor: Reals) -> tuple[Array, Array]:
    """Weights (channel first) and zero points with the factor's sign.

    A negated weight has to fit its type again: -128 has no negative in int8. There both weight and zero point take
    their bitwise complement (-1 - q), which is exact: (-1 - q) - (-1 - z) = -(q - z), at the price of a zero point.
    """
    signed, new_zeros = weights.copy(), zeros.copy()
    for channel in np.flatnonzero(factor <= 0):
        q, z = weights[channel].astype(np.int64), int(np.int64(zeros[channel]))
        if factor[channel] == 0:
            signed[channel] = zeros[channel]
        elif weights.dtype == np.int8 and z == 0 and np.all(q > -128):
            signed[channel] = (-q).astype(np.int8)
        else:
            signed[channel] = ~weights[channel]
            new_zeros[channel] = ~zeros[channel]
    return signed, new_zeros


def _depthwise(node: Node, factor: Reals, offset: Reals, edit: Edit) -> None:
    """A Conv whose weight is factor, written as +-127 steps of |factor| / 127 (a fine grid for the bias too)."""
    shape = edit.shape(node.input(0))
    channels, spatial = shape[1], max(len(shape) - 2, 1)
    steps = (np.sign(factor) * 127).astype(np.int8).reshape(channels, 1, *(1,) * spatial)
    scales = (np.where(factor == 0, 1.0, np.abs(factor)) / 127).astype(np.float32)
    if not np.all(scales > 0):
        raise Refused("its factors are too small for float32", "remove the channels it suppresses")
    base = node.outputs[0]
    weights = (
        edit.constant(f"{base}_weights", steps),
        edit.constant(f"{base}_weights_scale", scales),
        edit.constant(f"{base}_weights_zero_point", np.zeros(channels, np.int8)),
    )
    real = edit.tensor(f"{base}_weights_real", steps.shape)
    edit.emit(Node("DequantizeLinear", f"{node.name}/weights", weights, (real,), {"axis": 0}))
    bias = edit.constant(f"{base}_bias", offset.astype(np.float32))
    attributes: dict[str, Attribute] = {
        "kernel_shape": (1,) * spatial,
        "strides": (1,) * spatial,
        "dilations": (1,) * spatial,
        "pads": (0,) * (2 * spatial),
        "group": channels,
    }
    if len(shape) > 2:
        edit.emit(Node("Conv", node.name, (node.input(0), real, bias), node.outputs, attributes))
        return
    long = edit.tensor(f"{node.input(0)}_long", (*shape, 1))
    result = edit.tensor(f"{base}_long", (*shape, 1))
    edit.emit(Node("Reshape", f"{node.name}/long", (node.input(0),), (long,), {"shape": (*shape, 1)}))
    edit.emit(Node("Conv", node.name, (long, real, bias), (result,), attributes))
    edit.emit(Node("Reshape", f"{node.name}/flat", (result,), node.outputs, {"shape": shape}))
