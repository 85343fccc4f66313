"""An optimised network against the one it was made from: every channel that is left, in every layer."""

from __future__ import annotations

import numpy as np

from vmcu.batch import Batch
from vmcu.errors import internal
from vmcu.ir.quantized import QuantizedGraph
from vmcu.quant.reference import Reference
from vmcu.verify.mismatch import Mismatch, compare


def compare_original(graph: QuantizedGraph, batch: Batch) -> tuple[list[Mismatch], str]:
    """Both references on the same inputs, states carried over; exact.

    Returns:
        The first layer that differs, and what was compared.
    """
    if graph.origin is None:
        raise internal("nothing was optimised", graph.name)
    original, kept = graph.origin.graph, graph.origin.kept
    ours, whole = Reference(graph), Reference(original)
    values = 0
    for n, given in enumerate(batch.tensors):
        found, expected = ours.run_tensors(given), whole.run_tensors(given)
        for op in original.ops:
            left = np.asarray(expected[op.output])[..., list(kept[op.output])]
            values += left.size
            different = compare(f"{op.kind} {op.name}", n, left, found[op.output])
            if different:
                return [different], f"{n + 1} inferences"
    text = f"{values:,} values of the network with all channels; {graph.channels_removed:,} channels left out"
    return [], text
