"""QuantizedGraph -> QuantizedGraph: operators that read a whole image read it row by row."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp


def by_rows(graph: QuantizedGraph) -> QuantizedGraph:
    """Splits global means and dense layers over images into accumulation and finish."""
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[QOp] = []
    for op in graph.ops:
        split = op.by_rows(graph.ins(op), graph.tensors[op.output])
        if split is None:
            ops.append(op)
            continue
        sums, finish = split
        channels = graph.tensors[op.output].channels
        tensors[sums.output] = Tensor(sums.output, 1, 1, channels, 1.0, 0, elem_bytes=4)
        ops += [sums, finish]
    return replace(graph, tensors=MappingProxyType(tensors), ops=tuple(ops)).verify()
