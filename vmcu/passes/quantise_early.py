"""QuantizeLinear moves before operators that only move elements or pick the largest.

quantize_static leaves float what happens to a graph input before its first operator of weight (Reshape, Transpose),
and MaxPool or Concat after an activation it does not know. Rounding is monotonic and works element by element: it
may be done first, with the same scale, and nothing changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmcu.ir.graph import Graph, Node
from vmcu.passes.edit import Edit

REASON = "moving int8 elements takes a quarter of the bytes of floats, and floats cannot be moved at all here"

_MOVES = frozenset(
    (
        *("Reshape", "Transpose", "Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth", "Expand"),
        *("Concat", "MaxPool", "ReduceMax", "ReduceMin", "Pad", "Relu", "Clip", "Identity"),
    )
)


def quantise_early(graph: Graph) -> Graph:
    """Inserts Q/DQ of the quantisation that follows before each such operator on a tensor not quantised.

    Relu and Clip only where they read a graph input or what one of these operators gives: elsewhere they belong to
    the operator before.
    """
    wanted = _wanted(graph)
    if not wanted:
        return graph
    edit = Edit(graph)
    done: dict[tuple[str, int], str] = {}
    for node in edit.walk():
        quantiser = wanted.get(node.outputs[0]) if node.op in _MOVES else None
        if quantiser is None:
            edit.emit(node)
            continue
        inputs = []
        for name in node.inputs:
            producer = edit.producer.get(name)
            if name not in edit.constants and (producer is None or producer.op != "DequantizeLinear"):
                key = (name, id(quantiser))
                if key not in done:
                    done[key] = _pair(name, quantiser, edit)
                name = done[key]
            inputs.append(name)
        edit.emit(replace(node, inputs=tuple(inputs)))
    return edit.finish()


def _wanted(graph: Graph) -> dict[str, Node]:
    """First output of each operator to change -> the QuantizeLinear after it; equal ones are one object."""
    readers, producers = graph.consumers(), graph.producers()
    outputs = {value.name for value in graph.outputs}
    inputs = {value.name for value in graph.inputs}
    edit = Edit(graph)
    wanted: dict[str, Node] = {}
    kinds: list[Node] = []

    def kind_of(quantiser: Node) -> Node | None:
        if edit.constants[quantiser.input(1)].size != 1:
            return None
        for known in kinds:
            if edit.same_parameters(known, quantiser):
                return known
        kinds.append(quantiser)
        return quantiser

    for node in reversed(graph.nodes):
        if node.op not in _MOVES or any(graph.values[o].dtype != "float32" for o in node.outputs if o):
            continue
        before = producers.get(node.input(0))
        if node.op in ("Relu", "Clip") and not (before.op in _MOVES if before else node.input(0) in inputs):
            continue
        bare = [
            name
            for name in node.inputs
            if name not in graph.constants
            and (name not in producers or producers[name].op != "DequantizeLinear")
        ]
        after = [reader for output in node.outputs if output for reader in readers.get(output, [])]
        if not bare or not after or outputs.intersection(node.outputs):
            continue
        found = [
            wanted.get(reader.outputs[0]) if reader.op != "QuantizeLinear" else kind_of(reader)
            for reader in after
        ]
        first = found[0]
        if first is not None and all(quantiser is first for quantiser in found):
            wanted[node.outputs[0]] = first
    return wanted


def _pair(name: str, quantiser: Node, edit: Edit) -> str:
    """QuantizeLinear and DequantizeLinear of `name`, with the parameters of `quantiser`."""
    shape = edit.shape(name)
    zero = edit.constants[quantiser.input(2)]
    integer = edit.tensor(f"{name}_quantized_early", shape, str(np.dtype(zero.dtype)))
    real = edit.tensor(f"{name}_dequantized_early", shape)
    parameters = quantiser.inputs[1:]
    edit.emit(Node("QuantizeLinear", f"{name}/quantise_early", (name, *parameters), (integer,), {}))
    edit.emit(Node("DequantizeLinear", f"{name}/dequantise_early", (integer, *parameters), (real,), {}))
    return real
