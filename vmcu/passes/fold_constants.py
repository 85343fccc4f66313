"""Constants are computed now; weights stay quantised."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vmcu.importer.onnx_form import evaluate
from vmcu.importer.shapes import FOLDABLE
from vmcu.ir.graph import Array, Graph, Node
from vmcu.passes.edit import Edit, along, axis_of

REASON = "a node whose inputs are all constant costs nothing on the chip"

_REARRANGES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def fold_constants(graph: Graph) -> Graph:
    """Folds nodes of constants.

    DequantizeLinear of a constant is left (weights stay 8 bits wide), QuantizeLinear of a constant is folded, and a
    rearrangement of a dequantised constant moves before the DequantizeLinear.
    """
    edit = Edit(graph)
    for node in edit.walk():
        constant = [name in edit.constants for name in node.inputs if name]
        if node.op == "QuantizeLinear" and all(constant):
            edit.into_constant(node.outputs[0], quantised(node, edit))
        elif node.op in FOLDABLE and constant and all(constant):
            _fold(node, edit)
        elif node.op in _REARRANGES and _moved_before_dequantise(node, edit):
            continue
        else:
            edit.emit(node)
    return edit.finish()


def quantised(node: Node, edit: Edit) -> Array:
    """What QuantizeLinear of a constant is: float32 division, round half to even, saturate."""
    data = edit.constants[node.input(0)]
    scale = along(edit.constants[node.input(1)], node, data.ndim)
    name = node.input(2)
    zero = edit.constants[name] if name else np.zeros((), edit.values[node.outputs[0]].dtype)
    limits = np.iinfo(zero.dtype)
    steps = np.rint(data.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    shifted = steps + along(zero, node, data.ndim).astype(np.float64)
    return np.asarray(np.clip(shifted, limits.min, limits.max).astype(zero.dtype))


def _fold(node: Node, edit: Edit) -> None:
    try:
        results = evaluate(node, edit.graph.opset, edit.constants)
    except Exception:
        edit.emit(node)  # lowering names it, if it matters
        return
    for name, array in zip(filter(None, node.outputs), results, strict=True):
        edit.into_constant(name, array)


def _moved_before_dequantise(node: Node, edit: Edit) -> bool:
    """DequantizeLinear(w) -> Transpose becomes DequantizeLinear(Transpose(w)), scales following their axis."""
    source = edit.producer.get(node.input(0))
    if source is None or source.op != "DequantizeLinear" or source.input(0) not in edit.constants:
        return False
    data = edit.constants[source.input(0)]
    shape = edit.values[node.outputs[0]].shape
    attributes = dict(source.attributes)
    if node.op == "Transpose":
        given = node.attributes.get("perm")
        perm = given if isinstance(given, tuple) else tuple(range(data.ndim))[::-1]
        moved = data.transpose(tuple(int(p) for p in perm))
    else:
        perm = None
        moved = data.reshape(shape)
    if edit.constants[source.input(1)].size > 1:
        axis = axis_of(source, data.ndim)
        new_axis = perm.index(axis) if perm is not None else _axis_after(data.shape, axis, shape)
        if new_axis is None:
            return False
        attributes["axis"] = new_axis
    name = edit.constant(f"{source.input(0)}_{node.op.lower()}", moved)
    edit.emit(
        replace(
            source,
            name=node.name,
            inputs=(name, *source.inputs[1:]),
            outputs=node.outputs,
            attributes=attributes,
        )
    )
    return True


def _axis_after(before: tuple[int, ...], axis: int, after: tuple[int, ...]) -> int | None:
    """Where a reshape takes `axis`, None if it splits or joins it."""
    leading = math.prod(before[:axis])
    for candidate, size in enumerate(after):
        if size == before[axis] and math.prod(after[:candidate]) == leading:
            return candidate
    return None
