"""Add, Sub, Mul and Div of a constant a channel disappear into the Conv, Gemm or MatMul right before them.

PyTorch writes a Linear layer on a sequence as MatMul and Add, and a normalisation written out by hand as Mul and Add.
Where a QuantizeLinear stands between, the file asks for a rounding there, and nothing is folded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmcu.ir.graph import Graph, Node
from vmcu.passes.edit import Edit
from vmcu.passes.fold_batchnorm import Reals, folded_into

REASON = "a bias is free in the accumulator, and what no QuantizeLinear separates has no scale of its own"


def fold_affine(graph: Graph) -> Graph:
    """Folds every such operator whose other operand nothing else reads; a MatMul becomes a Gemm by it."""
    edit = Edit(graph)
    readers = graph.consumers()
    outputs = {value.name for value in graph.outputs}
    for node in edit.walk():
        found = _affine(node, edit)
        if found is None:
            edit.emit(node)
            continue
        name, factor, offset = found
        before = edit.producer[name]
        if name in outputs or len(readers.get(name, [])) != 1:
            edit.emit(node)
            continue
        gemm = before if before.op != "MatMul" else _gemm(before, edit)
        folded = folded_into(gemm, factor, offset, edit)
        if folded is None:
            edit.emit(node)
            continue
        edit.nodes = [n for n in edit.nodes if n is not before]
        if before.op != "MatMul" or len(edit.shape(node.outputs[0])) == 2:
            edit.emit(replace(folded, outputs=node.outputs))
        else:
            _on_matrix(folded, node, edit)
    return edit.finish()


def _affine(node: Node, edit: Edit) -> tuple[str, Reals, Reals] | None:
    """(x, factor, offset) with one number an output channel where `node` is factor * x + offset, else None."""
    if node.op not in ("Add", "Sub", "Mul", "Div"):
        return None
    first, second = (edit.real(name) for name in node.inputs)
    if (first is None) == (second is None) or (node.op == "Div" and second is None):
        return None
    name = node.input(0 if first is None else 1)
    before = edit.producer.get(name)
    if before is None or before.op not in ("Conv", "Gemm", "MatMul"):
        return None
    shape = edit.shape(name)
    axis = 1 if before.op == "Conv" else len(shape) - 1
    constant = np.asarray(second if first is None else first, np.float64)
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    if len(shape) < 2 or len(full) != len(shape) or constant.size not in (1, shape[axis]):
        return None
    if any(s != 1 for i, s in enumerate(full) if i != axis):
        return None
    if before.op == "MatMul" and len(edit.shape(before.input(1))) != 2:
        return None
    numbers = np.broadcast_to(constant.reshape(-1), (shape[axis],))
    ones, zeros = np.ones(shape[axis]), np.zeros(shape[axis])
    match node.op:
        case "Add":
            factor, offset = ones, numbers
        case "Sub":
            factor, offset = (ones, -numbers) if first is None else (-ones, numbers)
        case "Mul":
            factor, offset = numbers, zeros
        case _:
            if not np.all(numbers):
                return None
            factor, offset = 1.0 / numbers, zeros
    return (name, factor, offset) if np.all(np.isfinite(factor) & np.isfinite(offset)) else None


def _gemm(matmul: Node, edit: Edit) -> Node:
    """A MatMul by a constant matrix as a Gemm (its input is made a matrix later)."""
    return Node("Gemm", matmul.name, matmul.inputs, matmul.outputs, {"transB": 0})


def _on_matrix(gemm: Node, node: Node, edit: Edit) -> None:
    """`gemm` on all leading dimensions joined: its output is that of `node`."""
    data, shape = gemm.input(0), edit.shape(gemm.input(0))
    out = edit.shape(node.outputs[0])
    rows = int(np.prod(out[:-1]))
    flat = edit.tensor(f"{data}_matrix", (rows, shape[-1]))
    result = edit.tensor(f"{node.outputs[0]}_matrix", (rows, out[-1]))
    edit.emit(Node("Reshape", f"{node.name}/matrix", (data,), (flat,), {"shape": (rows, shape[-1])}))
    edit.emit(replace(gemm, inputs=(flat, *gemm.inputs[1:]), outputs=(result,)))
    edit.emit(Node("Reshape", f"{node.name}/rank", (result,), node.outputs, {"shape": out}))
