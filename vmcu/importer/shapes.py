"""Static shapes and types of every tensor, node by node; integer arithmetic on shapes is carried out on the way.

PyTorch writes a reshape as Shape -> Gather -> Concat -> Reshape. Such nodes are replaced by their values here, as
shapes after them depend on it; all other constant folding is a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from vmcu.errors import Problem
from vmcu.importer.decode import ELEM_TYPES, shape_problem, type_fix, type_name
from vmcu.importer.draft import Draft, Port
from vmcu.importer.messages import at, near, quoted, refuse, shorten
from vmcu.importer.onnx_form import evaluate, node_proto, opset_of, tensor_proto
from vmcu.ir.graph import Array, Node, Value

MAX_SHAPE_ELEMS = 1024
"""Constants up to this size are shown to shape inference and may be results of shape arithmetic."""

FOLDABLE = frozenset(
    (
        *(
            "Abs",
            "Add",
            "And",
            "Cast",
            "Ceil",
            "Concat",
            "ConstantOfShape",
            "Div",
            "Equal",
            "Expand",
            "Flatten",
        ),
        *("Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or"),
        *(
            "Pow",
            "Range",
            "Reciprocal",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "Reshape",
            "Shape",
        ),
        *(
            "Size",
            "Slice",
            "Split",
            "Sqrt",
            "Squeeze",
            "Sub",
            "Tile",
            "Transpose",
            "Unsqueeze",
            "Where",
            "Pad",
        ),
        *("GatherElements", "ScatterND", "GreaterOrEqual", "LessOrEqual", "Exp", "Clip", "Relu", "Trilu"),
    )
)
"""Deterministic operators whose outputs on constants may be computed while compiling."""

INPUT_DTYPES = ("float32", "int8", "uint8")


def with_input_shapes(draft: Draft, shapes: Mapping[str, tuple[int, ...]]) -> Draft:
    """The draft with every graph input's shape fixed.

    Raises:
        VmcuError: (INPUT) naming each input that is dynamic, and each given shape that does not fit.
    """
    known = {port.name for port in draft.inputs}
    problems = [
        Problem("is not a graph input", f"--input-shape {quoted(name)}", near(name, known))
        for name in shapes
        if name not in known
    ]
    fixed: list[Port] = []
    for port in draft.inputs:
        where = f"input {quoted(port.name)}"
        if port.elem_type not in ELEM_TYPES or ELEM_TYPES[port.elem_type] not in INPUT_DTYPES:
            what = f"has type {type_name(port.elem_type)}; float32, int8 and uint8 are supported"
            problems.append(Problem(what, where, type_fix(port.elem_type)))
        dims = _fixed_dims(port, shapes.get(port.name))
        if isinstance(dims, Problem):
            problems.append(dims)
            continue
        wrong = shape_problem(dims, allow_empty=False)
        if wrong:
            problems.append(Problem(wrong, where, "export the model with the input's real shape"))
        fixed.append(replace(port, dims=dims))
    refuse(problems)
    return replace(draft, inputs=tuple(fixed))


def _fixed_dims(port: Port, given: tuple[int, ...] | None) -> tuple[int, ...] | Problem:
    where = f"input {quoted(port.name)}"
    if given is not None:
        declared = port.dims if port.dims is not None else ("",) * len(given)
        fits = len(given) == len(declared) and all(
            isinstance(d, str) or d == g for d, g in zip(declared, given, strict=True)
        )
        if not fits:
            what = f"--input-shape {_spec(given)} does not fit the declared shape {_spec(declared)}"
            return Problem(what, where, "keep the rank and the fixed dimensions of the model")
        return tuple(given)
    if port.dims is None:
        what = "has no shape in the file"
        return Problem(
            what, where, f"give it with --input-shape {_option(port.name)}:1x3x96x96 (its real shape)"
        )
    fixed = tuple(d for d in port.dims if isinstance(d, int))
    if len(fixed) == len(port.dims):
        return fixed
    dynamic = ", ".join(
        f"{i} ({quoted(d)})" if d else str(i) for i, d in enumerate(port.dims) if isinstance(d, str)
    )
    return Problem(
        f"has dynamic dimensions: {dynamic} of {_spec(port.dims)}",
        where,
        f"fix them with --input-shape {_option(port.name)}:{_spec(port.dims)}, a number for each '?'",
    )


def _spec(dims: tuple[int | str, ...]) -> str:
    return "x".join(str(d) if isinstance(d, int) else "?" for d in dims) or "scalar"


def _option(name: str) -> str:
    return name if name.isidentifier() and len(name) < 60 else quoted(name)


def infer(draft: Draft) -> tuple[Draft, dict[str, Value]]:
    """Shapes and types of all computed tensors and inputs; shape arithmetic is replaced by constants.

    Raises:
        VmcuError: (INPUT) listing every node whose outputs have no static, supported shape and type.
    """
    types: dict[str, onnx.TypeProto] = {}
    values: dict[str, Value] = {}
    constants = dict(draft.constants)
    for port in draft.inputs:
        dims = tuple(d for d in port.dims or () if isinstance(d, int))
        values[port.name] = Value(port.name, dims, ELEM_TYPES[port.elem_type])
        types[port.name] = onnx.helper.make_tensor_type_proto(port.elem_type, dims)
    for name, array in constants.items():
        types[name] = _array_type(array)
    problems: list[Problem] = []
    kept: list[Node] = []
    for node in draft.nodes:
        if any(name and name not in types for name in node.inputs):
            continue  # its cause is already reported
        found = _infer_node(node, draft.opset, types, constants)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        types |= found
        results = _shape_arithmetic(node, draft.opset, found, values, constants)
        if results is not None:
            constants |= results
            continue
        outputs, wrong = _values(node, found)
        problems += wrong
        values |= outputs
        for name in found.keys() - outputs.keys():
            del types[name]
        kept.append(node)
    refuse(problems)
    return replace(draft, nodes=tuple(kept), constants=constants).pruned(), values


def _array_type(array: Array) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _infer_node(
    node: Node, opset: int, types: Mapping[str, onnx.TypeProto], constants: Mapping[str, Array]
) -> dict[str, onnx.TypeProto] | Problem:
    version = opset_of(node, opset)
    inputs = [name for name in dict.fromkeys(node.inputs) if name]
    small = {
        name: tensor_proto(name, constants[name])
        for name in inputs
        if name in constants and constants[name].size <= MAX_SHAPE_ELEMS
    }
    try:
        schema = onnx.defs.get_schema(node.op, version, "")
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            node_proto(node),
            {name: types[name] for name in inputs},
            small,
            opset_imports=[onnx.helper.make_opsetid("", version)],
        )
    except Exception as error:
        shapes = ", ".join(_type_text(types[name]) for name in inputs)
        reason = shorten(error)
        return Problem(
            f"its inputs do not fit together ({shapes}): {reason}",
            at(node),
            "export the model again; if onnxruntime runs it, report it",
        )
    return {name: found[name] for name in node.outputs if name and name in found}


def _type_text(kind: onnx.TypeProto) -> str:
    tensor = kind.tensor_type
    dims = "x".join(str(d.dim_value) if d.HasField("dim_value") else "?" for d in tensor.shape.dim)
    return f"{type_name(tensor.elem_type)}[{dims}]"


def _dims(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    if not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _shape_arithmetic(
    node: Node,
    opset: int,
    found: Mapping[str, onnx.TypeProto],
    values: Mapping[str, Value],
    constants: Mapping[str, Array],
) -> dict[str, Array] | None:
    """The values of a node's outputs, where it computes with shapes; None elsewhere."""
    if node.op not in FOLDABLE or not found:
        return None
    for kind in found.values():
        dims = _dims(kind)
        if dims is None or int(np.prod(dims, dtype=np.float64)) > MAX_SHAPE_ELEMS:
            return None
        if ELEM_TYPES.get(kind.tensor_type.elem_type) not in ("int64", "int32", "bool", "float32"):
            return None
    given: dict[str, Array] = {}
    for name in node.inputs:
        if name in constants:
            given[name] = constants[name]
        elif name and node.op in ("Shape", "Size"):
            given[name] = np.broadcast_to(np.zeros((), values[name].dtype), values[name].shape)
        elif name:
            return None
    if not all(array.size <= MAX_SHAPE_ELEMS for array in given.values()) and node.op not in (
        "Shape",
        "Size",
    ):
        return None
    try:
        results = evaluate(node, opset, given)
    except Exception:
        return None  # stays a node; whoever needs its value reports it
    return dict(zip(filter(None, node.outputs), results, strict=True))


def _values(node: Node, found: Mapping[str, onnx.TypeProto]) -> tuple[dict[str, Value], list[Problem]]:
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for name in node.outputs:
        if not name:
            continue
        where = f"{at(node)}, output {quoted(name)}"
        dims = _dims(found[name]) if name in found else None
        if dims is None:
            what = "has no static shape: it depends on data known only at run time"
            problems.append(Problem(what, where, "export with fixed sizes, or remove the operator"))
            continue
        elem_type = found[name].tensor_type.elem_type
        wrong = shape_problem(dims, allow_empty=False)
        if wrong:
            problems.append(Problem(wrong, where, "check the shapes the model was exported with"))
        elif elem_type not in ELEM_TYPES:
            what = f"has type {type_name(elem_type)}, which is not supported"
            problems.append(Problem(what, where, type_fix(elem_type)))
        else:
            values[name] = Value(name, dims, ELEM_TYPES[elem_type])
    return values, problems
