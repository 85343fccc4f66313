"""Nodes that change nothing are dropped; graph outputs keep their names."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vmcu.ir.graph import Graph, Node
from vmcu.passes.edit import Edit

REASON = "what changes nothing must not cost memory or hide a fusion"


def drop_identity(graph: Graph) -> Graph:
    """Drops no-ops, joins Reshape-Reshape and Transpose-Transpose, and undoubles Q/DQ pairs."""
    edit = Edit(graph)
    for node in edit.walk():
        node = _joined(node, edit)
        source = _unchanged(node, edit)
        if source is None:
            edit.emit(node)
        else:
            edit.alias(node, source)
    return edit.finish()


def _joined(node: Node, edit: Edit) -> Node:
    """A Reshape of a Reshape, or a Transpose of a Transpose, is one."""
    before = edit.producer.get(node.input(0))
    if before is None or before.op != node.op or node.op not in ("Reshape", "Transpose"):
        return node
    if node.op == "Transpose":
        first, second = _ints(before, "perm"), _ints(node, "perm")
        return replace(node, inputs=before.inputs, attributes={"perm": tuple(first[p] for p in second)})
    return replace(node, inputs=before.inputs)


def _unchanged(node: Node, edit: Edit) -> str | None:
    """The tensor that equals the node's output, or None if the node does something."""
    if not node.inputs or any(node.outputs[1:]) or not node.input(0):
        return None
    data, output = node.input(0), node.outputs[0]
    same_shape = edit.shape(data) == edit.shape(output)
    if node.op == "QuantizeLinear":  # of a DequantizeLinear of the same scale: exact, as |q - z| <= 255
        before = edit.producer.get(data)
        if before is not None and before.op == "DequantizeLinear" and edit.same_parameters(before, node):
            return before.input(0)
        return None
    if node.op in ("Identity", "Dropout"):
        return data
    if node.op == "Cast":
        return data if edit.dtype(data) == edit.dtype(output) else None
    if not same_shape:
        return None
    if node.op in ("Relu", "Clip") and _within(node, edit):
        return data
    if node.op in ("Reshape", "Expand"):
        return data
    if node.op == "Transpose":
        return data if _ints(node, "perm") == tuple(range(len(edit.shape(data)))) else None
    if node.op == "Pad":
        return data if not any(_ints(node, "pads")) else None
    if node.op == "Slice":
        return data if all(step == 1 for step in _ints(node, "steps")) else None
    if node.op in ("Concat", "Split"):
        return data
    if node.op in ("AveragePool", "MaxPool"):
        trivial = set(_ints(node, "kernel_shape") + _ints(node, "strides")) == {1}
        return data if trivial and not any(_ints(node, "pads")) else None
    if node.op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"):
        return data
    return None


def _within(node: Node, edit: Edit) -> bool:
    """Does no value the input can have exceed the bounds of a Relu or Clip?"""
    low, high = (0.0, math.inf) if node.op == "Relu" else (node.attributes["min"], node.attributes["max"])
    assert isinstance(low, float) and isinstance(high, float)
    if (low, high) == (-math.inf, math.inf):
        return True
    before = edit.producer.get(node.input(0))
    if before is None or before.op != "DequantizeLinear" or edit.constants[before.input(1)].size != 1:
        return False
    zero = edit.constants[before.input(2)]
    if zero.dtype not in (np.int8, np.uint8):
        return False
    limits, scale = np.iinfo(str(zero.dtype)), np.float32(edit.constants[before.input(1)].reshape(()))
    least, most = (np.float32(q - int(zero.reshape(()))) * scale for q in (limits.min, limits.max))
    return bool(low <= least and most <= high)


def _ints(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return tuple(int(v) for v in value)
