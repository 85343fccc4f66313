"""Operators that compute: defaults filled in, optional operands turned into attributes, one meaning for an axis."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vmcu.ir.graph import Attribute, Node
from vmcu.passes.edit import Edit, Refused
from vmcu.passes.forms.common import Form, axes_of, get_float, get_int, positive, real_scalar


def _qdq(node: Node, edit: Edit) -> None:
    """Three inputs always; scalar parameters and no axis per tensor, vectors and `axis` per channel."""
    integer = node.input(0) if node.op == "DequantizeLinear" else node.outputs[0]
    scale = edit.constants[node.input(1)]
    zero_name, scale_name = node.input(2), node.input(1)
    zero = edit.constants[zero_name] if zero_name else np.zeros(scale.shape, edit.dtype(integer))
    attributes: dict[str, Attribute] = {}
    shape: tuple[int, ...] = ()
    if scale.size > 1:
        attributes["axis"] = positive(get_int(node, "axis", 1), len(edit.shape(node.input(0))))
        shape = (scale.size,)
    if scale.shape != shape:
        scale_name = edit.constant(f"{scale_name}_flat", scale.reshape(shape))
    if not zero_name or zero.shape != shape:
        zero_name = edit.constant(f"{integer}_zero_point", zero.reshape(shape))
    edit.emit(Node(node.op, node.name, (node.input(0), scale_name, zero_name), node.outputs, attributes))


def _clip(node: Node, edit: Edit) -> None:
    """Attributes min and max, infinite where left out."""
    low = real_scalar(node, 1, edit, "minimum", -math.inf)
    high = real_scalar(node, 2, edit, "maximum", math.inf)
    if low > high:
        raise Refused(f"its minimum {low:g} is above its maximum {high:g}", "export the model again")
    edit.emit(Node("Clip", node.name, node.inputs[:1], node.outputs, {"min": low, "max": high}))


def _softmax(node: Node, edit: Edit) -> None:
    """One axis. Before opset 13 all axes from `axis` on are one: Reshape around, unless only one is longer than 1."""
    shape = edit.shape(node.input(0))
    if edit.graph.opset >= 13:
        edit.emit(replace(node, attributes={"axis": positive(get_int(node, "axis", -1), len(shape))}))
        return
    axis = positive(get_int(node, "axis", 1), max(len(shape), 2)) if len(shape) > 1 else 0
    long = [i for i in range(axis, len(shape)) if shape[i] > 1]
    if len(long) <= 1:
        edit.emit(replace(node, attributes={"axis": long[0] if long else axis}))
        return
    flat_shape = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    flat = edit.tensor(f"{node.input(0)}_flat", flat_shape)
    soft = edit.tensor(f"{node.outputs[0]}_flat", flat_shape)
    edit.emit(Node("Reshape", f"{node.name}/flatten", node.inputs, (flat,), {"shape": flat_shape}))
    edit.emit(Node(node.op, node.name, (flat,), (soft,), {"axis": 1}))
    edit.emit(Node("Reshape", f"{node.name}/unflatten", (soft,), node.outputs, {"shape": shape}))


def _reduce(node: Node, edit: Edit) -> None:
    """Attributes axes (ascending) and keepdims."""
    rank = len(edit.shape(node.input(0)))
    axes = axes_of(node, 1, edit, rank)
    if not axes:
        if get_int(node, "noop_with_empty_axes", 0):
            edit.emit(Node("Identity", node.name, node.inputs[:1], node.outputs, {}))
            return
        axes = tuple(range(rank))
    attributes: dict[str, Attribute] = {
        "axes": tuple(sorted(set(axes))),
        "keepdims": get_int(node, "keepdims", 1),
    }
    edit.emit(Node(node.op, node.name, node.inputs[:1], node.outputs, attributes))


def _gemm(node: Node, edit: Edit) -> None:
    """transB explicit; transA is a Transpose before, alpha in the scale of the weights, beta in the bias."""
    alpha, beta = get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0)
    data, weights, bias = (node.input(i) for i in range(3))
    if get_int(node, "transA", 0):
        shape = edit.shape(data)
        data = edit.tensor(f"{data}_transposed", shape[::-1])
        edit.emit(Node("Transpose", f"{node.name}/transA", node.inputs[:1], (data,), {"perm": (1, 0)}))
    if alpha != 1.0:
        weights = _scaled_weights(node, alpha, edit)
    if bias and beta != 1.0:
        real = edit.real(bias)
        if real is None:
            raise Refused(f"has beta {beta:g} and a bias computed at run time", "use beta 1")
        with np.errstate(all="ignore"):
            scaled = (real.astype(np.float64) * beta).astype(np.float32)
        if not np.all(np.isfinite(scaled)):
            raise Refused(f"has beta {beta:g}, which makes its bias infinite", "use beta 1")
        bias = edit.constant(f"{bias}_beta", scaled)
    attributes: dict[str, Attribute] = {"transB": int(bool(get_int(node, "transB", 0)))}
    inputs = (data, weights, bias) if bias else (data, weights)
    edit.emit(Node("Gemm", node.name, inputs, node.outputs, attributes))


def _scaled_weights(node: Node, alpha: float, edit: Edit) -> str:
    """The weights of a Gemm times alpha: their scale takes it, the integers stay."""
    source = edit.producer.get(node.input(1))
    if (
        source is None
        or source.op != "DequantizeLinear"
        or source.input(0) not in edit.constants
        or alpha == 0.0
    ):
        raise Refused(f"has alpha {alpha:g}", "fold it into the weights before quantising (alpha 1)")
    with np.errstate(all="ignore"):
        scale = (edit.constants[source.input(1)].astype(np.float64) * abs(alpha)).astype(np.float32)
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise Refused(f"has alpha {alpha:g}", "fold it into the weights before quantising (alpha 1)")
    data, zero = source.input(0), source.input(2)
    if alpha < 0:  # -1 - q for weight and zero point is exact: (-1 - q) - (-1 - z) = -(q - z)
        data = edit.constant(f"{data}_negated", np.invert(edit.constants[data]))
        zero = edit.constant(f"{zero}_negated", np.invert(edit.constants[zero]))
    inputs = (data, edit.constant(f"{source.input(1)}_alpha", scale), zero)
    real = edit.tensor(f"{node.input(1)}_alpha", edit.shape(node.input(1)))
    edit.emit(Node("DequantizeLinear", f"{node.name}/alpha", inputs, (real,), source.attributes))
    return real


def _batchnorm(node: Node, edit: Edit) -> None:
    if get_int(node, "training_mode", 0) or any(node.outputs[1:]):
        raise Refused("runs in training mode", "export the model in inference mode (model.eval())")
    attributes: dict[str, Attribute] = {"epsilon": get_float(node, "epsilon", 1e-5)}
    edit.emit(Node(node.op, node.name, node.inputs, node.outputs[:1], attributes))


def _arg(node: Node, edit: Edit) -> None:
    attributes: dict[str, Attribute] = {
        "axis": positive(get_int(node, "axis", 0), len(edit.shape(node.input(0)))),
        "keepdims": get_int(node, "keepdims", 1),
        "select_last_index": get_int(node, "select_last_index", 0),
    }
    edit.emit(replace(node, attributes=attributes))


def _floats(**defaults: float) -> Form:
    """Float attributes with their defaults filled in."""

    def form(node: Node, edit: Edit) -> None:
        attributes: dict[str, Attribute] = {n: get_float(node, n, default) for n, default in defaults.items()}
        edit.emit(replace(node, attributes=attributes))

    return form


def _plain(node: Node, edit: Edit) -> None:
    """No attributes."""
    edit.emit(replace(node, attributes={}))


FORMS: dict[str, Form] = {
    "QuantizeLinear": _qdq,
    "DequantizeLinear": _qdq,
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "Gemm": _gemm,
    "BatchNormalization": _batchnorm,
    "ArgMax": _arg,
    "ArgMin": _arg,
    "LeakyRelu": _floats(alpha=0.01),
    "Elu": _floats(alpha=1.0),
    "HardSigmoid": _floats(alpha=0.2, beta=0.5),
    "HardSwish": _plain,
}
