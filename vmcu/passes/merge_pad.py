"""Pad with real 0.0 merges into the Conv or pooling that reads it.

A pad of 0.0 commutes with QuantizeLinear and DequantizeLinear of any parameters: both take 0.0 to the zero point and
back exactly. So the way from Pad to its reader may hold any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vmcu.ir.graph import Graph, Node
from vmcu.passes.edit import Edit

REASON = "a padded copy of a tensor costs RAM; Conv and pooling pad for nothing"


def merge_pad(graph: Graph) -> Graph:
    """Merges every Pad all of whose readers can take it over exactly; repeats, as pads may follow each other.

    AveragePool takes it as padding that counts; MaxPool (which pads with minus infinity) only where the data is
    known to be >= 0 and every window sees some of it. All other Pads stay.
    """
    while True:
        merged = _merge_once(graph)
        if merged is graph:
            return graph
        graph = merged


@dataclass(frozen=True, slots=True)
class _Merge:
    """One Pad's future: `through` tensors lose their padding, `readers` (by output) gain `pads`."""

    through: tuple[str, ...]
    readers: tuple[str, ...]
    pads: tuple[int, ...]


def _merge_once(graph: Graph) -> Graph:
    consumers, producers = graph.consumers(), graph.producers()
    outputs = {value.name for value in graph.outputs}
    for pad in graph.nodes:
        if pad.op != "Pad":
            continue
        merge = _plan(pad, graph, consumers, producers, outputs)
        if merge is not None:
            return _apply(pad, merge, graph)
    return graph


def _plan(
    pad: Node,
    graph: Graph,
    consumers: dict[str, list[Node]],
    producers: dict[str, Node],
    outputs: set[str],
) -> _Merge | None:
    pads = _ints(pad, "pads")
    rank = len(pads) // 2
    spatial = (*pads[2:rank], *pads[rank + 2 :])
    if pad.attributes["mode"] != "constant" or pad.attributes["value"] != 0.0 or rank < 3:
        return None
    if min(pads) < 0 or any((*pads[:2], *pads[rank : rank + 2])):
        return None
    through, readers, todo = [], [], [pad.outputs[0]]
    while todo:
        name = todo.pop()
        through.append(name)
        if name in outputs or not consumers.get(name):
            return None
        for node in consumers[name]:
            if node.op in ("QuantizeLinear", "DequantizeLinear") and graph.constants[node.input(1)].size == 1:
                todo.append(node.outputs[0])
            elif node.inputs.count(name) == 1 and node.input(0) == name and _takes(node, spatial):
                readers.append(node)
            else:
                return None
    if any(n.op == "MaxPool" for n in readers) and not _nonnegative(pad.input(0), graph, producers):
        return None
    return _Merge(tuple(through), tuple(node.outputs[0] for node in readers), spatial)


def _takes(node: Node, extra: tuple[int, ...]) -> bool:
    """Can `node` do the padding itself, with the same results (MaxPool: on data >= 0)?"""
    if node.op == "Conv":
        return True
    if node.op not in ("AveragePool", "MaxPool"):
        return False
    own, kernel = _ints(node, "pads"), _ints(node, "kernel_shape")
    if any(a + b >= k for a, b, k in zip(own, extra, kernel * 2, strict=True)):
        return False  # a window of nothing but padding
    if node.op == "MaxPool":
        return set(_ints(node, "dilations")) == {1}
    return not any(own) or node.attributes["count_include_pad"] == 1


def _nonnegative(name: str, graph: Graph, producers: dict[str, Node]) -> bool:
    """Is every element known to be >= 0?"""
    while name in producers:
        node = producers[name]
        if node.op in ("Relu", "Sigmoid", "HardSigmoid", "Softmax"):
            return True
        if node.op == "Clip":
            low = node.attributes["min"]
            return isinstance(low, float) and low >= 0
        if node.op == "DequantizeLinear":
            zero = graph.constants[node.input(2)]
            if zero.dtype in (np.int8, np.uint8) and np.all(zero == np.iinfo(str(zero.dtype)).min):
                return True
        elif node.op not in ("QuantizeLinear", "MaxPool", "AveragePool", "Reshape", "Transpose", "Slice"):
            return False
        name = node.input(0)
    return False


def _apply(pad: Node, merge: _Merge, graph: Graph) -> Graph:
    edit = Edit(graph)
    for name in merge.through:
        value = edit.values[name]
        begins, ends = merge.pads[: len(merge.pads) // 2], merge.pads[len(merge.pads) // 2 :]
        spatial = tuple(s - b - e for s, b, e in zip(value.shape[2:], begins, ends, strict=True))
        edit.values[name] = replace(value, shape=(*value.shape[:2], *spatial))
    for node in edit.walk():
        if node.name == pad.name and node.outputs == pad.outputs:
            edit.alias(node, node.input(0))
        elif node.outputs and node.outputs[0] in merge.readers:
            pads = tuple(a + b for a, b in zip(_ints(node, "pads"), merge.pads, strict=True))
            if node.op == "AveragePool":
                edit.emit(node, pads=pads, count_include_pad=1)
            else:
                edit.emit(node, pads=pads)
        else:
            edit.emit(node)
    return edit.finish()


def _ints(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return tuple(int(v) for v in value)
