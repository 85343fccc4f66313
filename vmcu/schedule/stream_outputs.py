"""QuantizedGraph -> QuantizedGraph: chosen outputs are handed to the caller row by row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType

from vmcu.errors import fail
from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import QOp
from vmcu.ops.write_rows import WriteRows

ALL_OUTPUTS = "*"


def stream_outputs(graph: QuantizedGraph, names: Collection[str]) -> QuantizedGraph:
    """Puts a `WriteRows` behind the maker of each output in `names` (`ALL_OUTPUTS`: of every one).

    Raises:
        VmcuError: (INPUT) the model has no such output, or it is a state.
    """
    known = [p.name for p in graph.outputs]
    if ALL_OUTPUTS in names:
        names = known
    for name in names:
        if name in known:
            continue
        what = f"the model has no output {name[:80]!r}"
        if any(name == s.output for s in graph.states):
            what = f"output {name[:80]!r} is a state: it stays in the pool for the next run"
        choices = ", ".join(repr(n[:80]) for n in known)
        raise fail(what, "--stream-output", f"its outputs are {choices}" if known else "leave the option out")
    outputs = tuple(replace(p, streamed=p.name in names) for p in graph.outputs)
    tensors, behind = dict(graph.tensors), dict[str, QOp]()
    for port, interface in enumerate(p for p in outputs if p.streamed):
        given = tensors[interface.tensor]
        received = f"{given.name}.received"
        while received in tensors:
            received += "_"
        tensors[received] = replace(given, name=received, elem_bytes=0, tiles=1)
        behind[given.name] = WriteRows(name=interface.name, inputs=(given.name,), output=received, port=port)
    ops = tuple(o for op in graph.ops for o in (op, behind.get(op.output)) if o is not None)
    return replace(graph, tensors=MappingProxyType(tensors), outputs=outputs, ops=ops).verify()
