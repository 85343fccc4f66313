"""QuantizedGraph -> QuantizedGraph: rows of chosen tensors are computed again for each band of rows that reads them.

A window over rows keeps as many rows of its input as it reads, each as wide as the image. Where those are wider than the rows
they are made from, as between the expansion and the filter of an inverted bottleneck, less is kept if only the narrow
rows wait and the wide ones are made afresh for every band of the window's outputs, tile of columns by tile of columns.

What is computed again are more rows of the same tensor to the rest of the tool: every row is still one segment, made by one task.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import segments_of
from vmcu.ops.conv import Conv2D

Rows = tuple[tuple[int, ...], ...]


def repeatable(graph: QuantizedGraph) -> list[str]:
    """Tensors made by a convolution of which only the windows of another one read several rows at a time."""
    kept = {p.tensor for p in graph.outputs} | {s.next for s in graph.states}
    readers: dict[str, list[object]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    found = []
    for op in graph.ops:
        if isinstance(op, Conv2D) and op.output not in kept and len(readers.get(op.output, ())) == 1:
            (reader,) = readers[op.output]
            if isinstance(reader, Conv2D) and reader.weights.shape[1] > 1:
                found.append(op.output)
    return found


def compute_again(graph: QuantizedGraph, name: str, band: int) -> QuantizedGraph:
    """Every `band` rows of what reads tensor `name` get rows of it of their own.

    Args:
        name: one of `repeatable`.
        band: rows, at least 1.
    """
    (maker,) = (op for op in graph.ops if op.output == name)
    (reader,) = (op for op in graph.ops if name in op.inputs)
    assert isinstance(maker, Conv2D) and isinstance(reader, Conv2D)
    read, made = _rows(graph, reader), _rows(graph, maker)
    rows: list[int] = []  # of the tensor as it was, for each that there is now
    found: list[tuple[int, ...]] = []
    for start in range(0, len(read), band):
        together = read[start : start + band]
        place = {
            row: len(rows) + n for n, row in enumerate(sorted({r for one in together for r in one} - {-1}))
        }
        rows.extend(place)
        found += [tuple(place.get(row, -1) for row in one) for one in together]
    new = f"{name}.again"
    while new in graph.tensors:
        new += "_"
    tensors = {n: t for n, t in graph.tensors.items() if n != name}
    tensors[new] = replace(graph.tensors[name], name=new, rows=len(rows))
    changed = {
        maker.output: replace(maker, output=new, rows=tuple(made[row] for row in rows)),
        reader.output: replace(reader, inputs=(new,), rows=tuple(found)),
    }
    ops = tuple(changed.get(op.output, op) for op in graph.ops)
    return replace(graph, tensors=MappingProxyType(tensors), ops=ops).verify()


def _rows(graph: QuantizedGraph, op: Conv2D) -> Rows:
    """Per row of the output the rows of the input that it reads, -1 for padding."""
    x, out = (replace(graph.tensors[name], tiles=1) for name in (op.inputs[0], op.output))
    (access,) = op.access((x,), out)
    return tuple(segments_of(access, row, x.rows) for row in range(out.rows))
