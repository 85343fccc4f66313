"""QOperator form -> DequantizeLinear, float operator, QuantizeLinear.

Input orders and attributes are those of onnxruntime's com.microsoft schemas (docs/ContribOperators.md, checked
against the installed onnxruntime's `get_all_operator_schema`). Operators that move int8 elements without an own
Q form (MaxPool, Reshape, ...) are wrapped the same way: their result keeps its source's scale and zero point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vmcu.errors import Problem
from vmcu.importer.draft import Builder, Draft
from vmcu.importer.messages import at, quoted, refuse
from vmcu.ir.graph import Array, Attribute, Node

MOVES = frozenset(
    (
        *(
            "MaxPool",
            "Reshape",
            "Flatten",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Slice",
            "Split",
            "Pad",
            "Gather",
        ),
        *(
            "Identity",
            "Dropout",
            "DepthToSpace",
            "SpaceToDepth",
            "Resize",
            "ReduceMax",
            "ReduceMin",
            "GlobalMaxPool",
            "Expand",
            "Tile",
        ),
        *("Concat", "Relu", "Clip"),
    )
)
"""Operators whose output elements are input elements (or between them): the quantisation is the input's.

Where only bytes move, any scale gives the same bytes back; Relu and Clip compare integers as they are.
"""

_READS_QUANTISED = ("DequantizeLinear", "QLinear", "QGemm")  # inputs 0 to 2: tensor, scale, zero point

Params = tuple[str, str]  # names of scale and zero point


class _Malformed(Exception):
    """A QOperator node that lacks what it needs."""


@dataclass(slots=True)
class _Expansion:
    draft: Draft
    build: Builder
    known: dict[tuple[str, ...], str]

    def dequantise(self, node: Node, x: str, scale: str, zero: str, axis: int | None = None) -> str:
        """The float tensor behind `x`; one DequantizeLinear for each tensor and parameters."""
        if not x or not scale:
            raise _Malformed("a quantised input or its scale is left out")
        key = (x, scale, zero, str(axis))
        if key not in self.known:
            attributes: dict[str, Attribute] = {} if axis is None else {"axis": axis}
            output = self.build.fresh(f"{x}_dequantized")
            inputs = (x, scale, zero) if zero else (x, scale)
            self.known[key] = self.build.node(
                "DequantizeLinear", f"{node.name}/dequantize {x}", inputs, output, attributes
            )
        return self.known[key]

    def quantise(self, node: Node, real: str, scale: str, zero: str) -> None:
        """Ends the expansion: `node`'s own output."""
        inputs = (real, scale, zero) if zero else (real, scale)
        self.build.node("QuantizeLinear", f"{node.name}/quantize", inputs, node.outputs[0])

    def op(self, node: Node, op: str, inputs: Sequence[str], attributes: dict[str, Attribute]) -> str:
        """The float operator itself, under the node's own name."""
        return self.build.node(op, node.name, inputs, self.build.fresh(f"{node.outputs[0]}_real"), attributes)

    def transposed(self, node: Node, x: str, perm: tuple[int, ...], tag: str) -> str:
        output = self.build.fresh(f"{x}_{tag}")
        return self.build.node("Transpose", f"{node.name}/{tag}", (x,), output, {"perm": perm})

    def size(self, name: str) -> int:
        """Elements of a parameter; 1 where it is not constant (reported later)."""
        array = self.draft.constants.get(name)
        return 1 if array is None else int(array.size)

    def product(self, node: Node, names: Sequence[str], factor: float) -> str:
        """A new constant: the scale of an int32 bias."""
        arrays = [self.draft.constants.get(name) for name in names]
        if any(a is None or a.dtype != np.float32 for a in arrays):
            raise _Malformed("its scales are not float32 constants")
        total = np.asarray(factor, np.float32)
        for array in arrays:
            assert array is not None
            total = total * np.asarray(array.reshape(()) if array.size == 1 else array, np.float32)
        return self.build.constant(f"{node.name}/bias_scale", np.asarray(total, np.float32))

    def bias(self, node: Node, name: str, scales: Sequence[str], factor: float = 1.0) -> str:
        """Float tensor of an int32 bias, whose scale is the product of the operands' scales."""
        scale = self.product(node, scales, factor)
        array = self.draft.constants.get(name)
        axis = None if self.build.constants[scale].size == 1 or array is None else array.ndim - 1
        return self.dequantise(node, name, scale, "", axis)


def expand_qoperators(draft: Draft) -> Draft:
    """The same network without QOperator nodes.

    Raises:
        VmcuError: (INPUT) listing nodes whose operands do not allow it.
    """
    build = Builder.of(draft)
    step = _Expansion(draft, build, {})
    params = _input_params(draft)
    problems: list[Problem] = []
    for node in draft.nodes:
        expand = _EXPAND.get(node.op)
        try:
            if expand is not None:
                expand(step, node)
            elif node.op in MOVES and any(name in params for name in _moved(node)):
                found = next(params[name] for name in _moved(node) if name in params)
                _move(step, node, found)
                params |= {output: found for output in node.outputs if output}
            elif node.op in ("ArgMax", "ArgMin") and node.input(0) in params:
                real = step.dequantise(node, node.input(0), *params[node.input(0)])
                build.nodes.append(replace(node, inputs=(real, *node.inputs[1:])))
            elif node.op in ("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear"):
                build.nodes.append(replace(node, op=node.op.rpartition(".")[2]))
            else:
                build.nodes.append(node)
        except _Malformed as error:
            problems.append(Problem(str(error), at(node), "export the model again, or use QuantFormat.QDQ"))
        last = build.nodes[-1] if build.nodes else node
        if last.op == "QuantizeLinear":
            params[last.outputs[0]] = (last.input(1), last.input(2))
    refuse(problems)
    return replace(draft, nodes=tuple(build.nodes), constants=build.constants)


def _moved(node: Node) -> tuple[str, ...]:
    """The data among a node's inputs."""
    return node.inputs if node.op == "Concat" else node.inputs[:1]


def _input_params(draft: Draft) -> dict[str, Params]:
    """Scale and zero point of int8 graph inputs that are moved about before a DequantizeLinear names them."""
    behind: dict[
        str, tuple[str, ...]
    ] = {}  # graph input or moved tensor -> graph inputs its elements are from
    found: dict[str, Params] = {}
    behind |= {port.name: (port.name,) for port in draft.inputs}
    inputs = set(behind)
    for node in draft.nodes:
        origins = tuple(dict.fromkeys(origin for name in _moved(node) for origin in behind.get(name, ())))
        if node.op in MOVES:
            behind |= {output: origins for output in node.outputs if output}
        elif node.input(0) not in inputs and node.op.rpartition(".")[2].startswith(_READS_QUANTISED):
            for origin in origins:
                found.setdefault(origin, (node.input(1), node.input(2)))
    return found


def _move(step: _Expansion, node: Node, params: Params) -> None:
    scale, zero = params
    if step.size(scale) != 1:
        raise _Malformed("moves a tensor that is quantised per channel")
    moved = _moved(node)
    inputs = [*(step.dequantise(node, name, scale, zero) for name in moved), *node.inputs[len(moved) :]]
    if node.op in ("Relu", "Clip"):
        _integer_clamp(step, node, inputs[0], params)
        return
    if node.op == "Pad":
        value = node.input(2)
        if not value:
            array = step.draft.constants.get(zero)
            value = step.build.constant(
                f"{node.name}/value", np.zeros((), array.dtype if array is not None else "u1")
            )
        real_value = step.dequantise(node, value, scale, zero)
        inputs[2:3] = [real_value]
    outputs = [step.build.fresh(f"{output}_real") if output else "" for output in node.outputs]
    if node.op in ("MaxPool", "Dropout"):  # their second output is not data
        outputs[1:] = node.outputs[1:]
    step.build.nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs)))
    for real_output, output in zip(outputs, node.outputs, strict=True):
        if output and real_output != output:
            inputs = [real_output, scale, zero] if zero else [real_output, scale]
            step.build.node("QuantizeLinear", f"{node.name}/quantize {output}", inputs, output)


def _integer_clamp(step: _Expansion, node: Node, real: str, params: Params) -> None:
    """Relu and Clip of integers: their bounds are integers of the same quantisation."""
    scale, zero = params
    bounds = list(node.inputs[1:])
    if node.op == "Relu":
        array = step.draft.constants.get(zero)
        bounds = [
            step.build.constant(f"{node.name}/zero", np.zeros((), "u1" if array is None else array.dtype))
        ]
    inputs = [real, *(step.dequantise(node, bound, scale, zero) if bound else "" for bound in bounds)]
    step.quantise(node, step.op(node, "Clip", inputs, {}), scale, zero)


# ---- one function an operator ------------------------------------------------------------------------


def _conv(step: _Expansion, node: Node) -> None:
    x, xs, xz, w, ws, wz, ys, yz, bias = (node.input(i) for i in range(9))
    attributes = dict(node.attributes)
    last = bool(attributes.pop("channels_last", 0))
    inputs = [
        step.dequantise(node, x, xs, xz),
        step.dequantise(node, w, ws, wz, 0 if step.size(ws) > 1 else None),
    ]
    if last:
        inputs[0] = step.transposed(node, inputs[0], _to_first(_rank_of(step, w, node)), "channels_first")
    if bias:
        inputs.append(step.bias(node, bias, (xs, ws)))
    y = step.op(node, "Conv", inputs, attributes)
    if last:
        y = step.transposed(node, y, _to_last(_rank_of(step, w, node)), "channels_last")
    step.quantise(node, y, ys, yz)


def _matmul(step: _Expansion, node: Node) -> None:
    a, a_s, az, b, bs, bz, ys, yz = (node.input(i) for i in range(8))
    axis = None
    if step.size(bs) > 1:
        scale = step.draft.constants[bs]
        if scale.ndim != 1:
            raise _Malformed("the second operand's scale is not one number a column")
        axis = _rank_of(step, b, node) - 1
    if step.size(a_s) > 1:
        raise _Malformed("the first operand has one scale a row")
    inputs = [step.dequantise(node, a, a_s, az), step.dequantise(node, b, bs, bz, axis)]
    step.quantise(node, step.op(node, "MatMul", inputs, {}), ys, yz)


def _gemm(step: _Expansion, node: Node) -> None:
    a, a_s, az, b, bs, bz, c, ys, yz = (node.input(i) for i in range(9))
    attributes = dict(node.attributes)
    axis = None
    if step.size(bs) > 1:
        axis = 0 if attributes.get("transB", 0) else 1
    inputs = [step.dequantise(node, a, a_s, az), step.dequantise(node, b, bs, bz, axis)]
    if c:
        alpha = attributes.get("alpha", 1.0)
        inputs.append(step.bias(node, c, (a_s, bs), alpha if isinstance(alpha, float) else 1.0))
    if ys:
        step.quantise(node, step.op(node, "Gemm", inputs, attributes), ys, yz)
    else:
        step.build.node("Gemm", node.name, inputs, node.outputs[0], attributes)


def _binary(op: str) -> Callable[[_Expansion, Node], None]:
    def expand(step: _Expansion, node: Node) -> None:
        a, a_s, az, b, bs, bz, cs, cz = (node.input(i) for i in range(8))
        inputs = [step.dequantise(node, a, a_s, az), step.dequantise(node, b, bs, bz)]
        step.quantise(node, step.op(node, op, inputs, {}), cs, cz)

    return expand


def _unary(op: str) -> Callable[[_Expansion, Node], None]:
    def expand(step: _Expansion, node: Node) -> None:
        x, xs, xz, ys, yz = (node.input(i) for i in range(5))
        attributes = dict(node.attributes)
        real = step.dequantise(node, x, xs, xz)
        if attributes.pop("channels_last", 0):
            kernel = attributes.get("kernel_shape")
            rank = len(kernel) + 2 if isinstance(kernel, tuple) else 4
            real = step.transposed(node, real, _to_first(rank), "channels_first")
            y = step.transposed(node, step.op(node, op, [real], attributes), _to_last(rank), "channels_last")
        else:
            y = step.op(node, op, [real], attributes)
        step.quantise(node, y, ys, yz)

    return expand


def _reduce_mean(step: _Expansion, node: Node) -> None:
    x, xs, xz, ys, yz = (node.input(i) for i in range(5))
    attributes = dict(node.attributes)
    inputs = [step.dequantise(node, x, xs, xz)]
    axes = attributes.get("axes")
    if axes is not None and step.draft.opset >= 18:  # an input since then
        del attributes["axes"]
        inputs.append(step.build.constant(f"{node.name}/axes", np.asarray(axes, np.int64)))
    step.quantise(node, step.op(node, "ReduceMean", inputs, attributes), ys, yz)


def _softmax(step: _Expansion, node: Node) -> None:
    """`opset` says whose Softmax is meant: before 13 the dimensions from `axis` on are taken as one."""
    x, xs, xz, ys, yz = (node.input(i) for i in range(5))
    own = node.attributes.get("opset", step.draft.opset)
    joined = isinstance(own, int) and own < 13
    axis = node.attributes.get("axis", 1 if joined else -1)
    real = step.dequantise(node, x, xs, xz)
    if joined == (step.draft.opset < 13) or axis == -1:
        step.quantise(node, step.op(node, "Softmax", [real], {"axis": axis}), ys, yz)
        return
    if not joined:
        raise _Malformed(f"means the Softmax of opset {own} in a model of opset {step.draft.opset}")
    build = step.build
    shape = build.node("Shape", f"{node.name}/shape", [real], build.fresh(f"{real}_shape"))
    flat = build.node("Flatten", f"{node.name}/flatten", [real], build.fresh(f"{real}_flat"), {"axis": axis})
    soft = step.op(node, "Softmax", [flat], {"axis": -1})
    whole = build.node("Reshape", f"{node.name}/reshape", [soft, shape], build.fresh(f"{real}_whole"))
    step.quantise(node, whole, ys, yz)


def _concat(step: _Expansion, node: Node) -> None:
    scale, zero, *parts = node.inputs
    if not parts or len(parts) % 3:
        raise _Malformed("its inputs are not triples of tensor, scale and zero point")
    inputs = [step.dequantise(node, parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)]
    step.quantise(node, step.op(node, "Concat", inputs, dict(node.attributes)), scale, zero)


def _rank_of(step: _Expansion, name: str, node: Node) -> int:
    array: Array | None = step.draft.constants.get(name)
    if array is None:
        raise _Malformed(f"its weights {quoted(name)} are not constant")
    return int(array.ndim)


def _to_first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1))


def _to_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)


_EXPAND: dict[str, Callable[[_Expansion, Node], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "com.microsoft.QLinearConv": _conv,
    "com.microsoft.QGemm": _gemm,
    "com.microsoft.QLinearAdd": _binary("Add"),
    "com.microsoft.QLinearMul": _binary("Mul"),
    "com.microsoft.QLinearLeakyRelu": _unary("LeakyRelu"),
    "com.microsoft.QLinearSigmoid": _unary("Sigmoid"),
    "com.microsoft.QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "com.microsoft.QLinearAveragePool": _unary("AveragePool"),
    "com.microsoft.QLinearReduceMean": _reduce_mean,
    "com.microsoft.QLinearSoftmax": _softmax,
    "com.microsoft.QLinearConcat": _concat,
}
