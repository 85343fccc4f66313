"""QuantizedGraph -> QuantizedGraph: chosen inputs are read row by row from the caller."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vmcu.errors import fail
from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.read_rows import ReadRows

ALL_INPUTS = "*"


def stream_inputs(graph: QuantizedGraph, names: Collection[str]) -> QuantizedGraph:
    """Puts a `ReadRows` before everything else for each input in `names` (`ALL_INPUTS`: for every one).

    Raises:
        VmcuError: (INPUT) the model has no such input.
    """
    known = [p.name for p in graph.inputs]
    if ALL_INPUTS in names:
        names = known
    for name in names:
        if name not in known:
            choices = ", ".join(repr(n[:80]) for n in known)
            raise fail(f"the model has no input {name[:80]!r}", "--stream-input", f"its inputs are {choices}")
    inputs = tuple(replace(p, streamed=p.name in names) for p in graph.inputs)
    reads = tuple(
        ReadRows(name=p.name, inputs=(), output=p.tensor, port=n)
        for n, p in enumerate([p for p in inputs if p.streamed])
    )
    return replace(graph, inputs=inputs, ops=(*reads, *graph.ops)).verify()
