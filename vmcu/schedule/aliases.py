"""Tensors that are rows of other tensors: concats, slices and splits of whole rows that move nothing."""

from __future__ import annotations

from collections.abc import Mapping

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import QOp, segments_of
from vmcu.ops.rearrange import Rearrange

Segment = tuple[str, int]  # (tensor, row)


def segments_read(
    graph: QuantizedGraph, op: QOp, aliases: Mapping[str, tuple[Segment, ...]]
) -> list[tuple[Segment, ...]]:
    """Per task of `op`, the segments that it reads, aliases resolved, in order of first use."""
    ins, out = graph.ins(op), graph.tensors[op.output]
    accesses = [
        (tensor, aliases.get(tensor.name), access)
        for tensor, access in zip(ins, op.access(ins, out), strict=True)
    ]
    found: list[tuple[Segment, ...]] = []
    for task in range(op.tasks(ins, out)):
        read: dict[Segment, None] = {}
        for tensor, owners, access in accesses:
            for r in segments_of(access, task, tensor.segments):
                if r >= 0:
                    read[owners[r] if owners else (tensor.name, r)] = None
        found.append(tuple(read))
    return found


def find_aliases(graph: QuantizedGraph) -> dict[str, tuple[Segment, ...]]:
    """Concats, slices and splits of whole rows: their rows need no memory of their own.

    Graph outputs that are not streamed keep theirs (the caller sees one array).
    """
    outputs = {o.tensor for o in graph.outputs if not o.streamed}
    aliases: dict[str, tuple[Segment, ...]] = {}
    for op in graph.ops:
        if isinstance(op, Rearrange) and op.output not in outputs:
            rows = op.aliases(graph.ins(op), graph.tensors[op.output])
            if rows is not None:
                aliases[op.output] = tuple(aliases[t][r] if t in aliases else (t, r) for t, r in rows)
    return aliases
