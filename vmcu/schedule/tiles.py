"""QuantizedGraph -> QuantizedGraph: rows of chosen tensors are cut into tiles of columns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.copy_columns import CopyColumns

MOST_TILES = 16


def tile_counts(graph: QuantizedGraph) -> list[int]:
    """Numbers of tiles that divide the rows of some tensor without a rest."""
    widths = {t.cols for t in graph.tensors.values()}
    return [n for n in range(2, MOST_TILES + 1) if any(w % n == 0 for w in widths)]


def tile_columns(graph: QuantizedGraph, names: Collection[str], tiles: int) -> QuantizedGraph:
    """Cuts the rows of as many of the tensors `names` as the operators around them allow into `tiles`.

    Those of `names` that are not cut have whole rows. What is streamed, and states, keep whole rows: the caller, or the next
    run, knows those. The graph itself is returned where other tensors' tiles do not go with that.
    """
    fixed = {p.tensor for p in (*graph.inputs, *graph.outputs) if p.streamed}
    fixed |= {name for s in graph.states for name in (s.current, s.next)}
    chosen = {n for n in names if n not in fixed and graph.tensors[n].cols % tiles == 0}

    def seen(name: str) -> Tensor:
        tensor = graph.tensors[name]
        return replace(tensor, tiles=tiles if name in chosen else 1) if name in names else tensor

    while True:
        at_odds = [
            {*op.inputs, op.output}
            for op in graph.ops
            if not op.allows_tiles(tuple(seen(n) for n in op.inputs), seen(op.output))
        ]
        if not at_odds:
            break
        if not all(chosen & touched for touched in at_odds):
            return graph
        chosen = chosen.difference(*at_odds)
    tensors = MappingProxyType({name: seen(name) for name in graph.tensors})
    return replace(graph, tensors=tensors).verify()


def copy_streamed(graph: QuantizedGraph) -> QuantizedGraph:
    """Puts a copy behind each streamed input: its rows come whole, those of the copy may be cut."""
    tensors, ops = dict(graph.tensors), list[QOp]()
    renamed: dict[str, str] = {}
    for op in graph.ops:
        inputs = tuple(renamed.get(name, name) for name in op.inputs)
        ops.append(op if inputs == op.inputs else replace(op, inputs=inputs))
        if op.is_input:
            given = tensors[op.output]
            name = f"{given.name}.copy"
            while name in tensors:
                name += "_"
            tensors[name] = replace(given, name=name)
            pieces = ((0, 0, given.cols),)
            ops.append(
                CopyColumns(name=op.name, inputs=(given.name,), output=name, pieces=pieces, keeps=True)
            )
            renamed[given.name] = name
    kept = {p.tensor for p in graph.outputs} & renamed.keys()
    if kept or len(ops) == len(graph.ops):
        return graph
    return replace(graph, tensors=MappingProxyType(tensors), ops=tuple(ops)).verify()


def whole_rows(graph: QuantizedGraph) -> QuantizedGraph:
    """The same without tiles."""
    tensors = {name: replace(tensor, tiles=1) for name, tensor in graph.tensors.items()}
    return replace(graph, tensors=MappingProxyType(tensors))
