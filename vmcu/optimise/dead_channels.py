"""Dead-channel elimination: channels that are constant, that nobody reads, or that another channel repeats.

A convolution whose filter is all zero computes the same value everywhere. It costs as much as any other, and so
does all that feeds only it. Without it the network is smaller and every channel that is left has the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np

from vmcu.ir.quantized import Origin, QuantizedGraph
from vmcu.optimise.liveness import find_kept, know
from vmcu.optimise.ranges import find_ranges
from vmcu.optimise.rewrite import without
from vmcu.optimise.twins import find_twins


def drop_dead_channels(graph: QuantizedGraph) -> QuantizedGraph:
    """The same function with fewer channels; `origin` says which are left. The graph itself where all have to stay.

    Inputs, outputs and states keep their shape. Equal are all values of all channels that are left, for every input.
    """
    current = graph
    left = {name: np.arange(tensor.channels) for name, tensor in graph.tensors.items()}
    while True:
        ranges = find_ranges(current)
        twins = find_twins(current, ranges)
        known = {name: know(ranges[name], twins[name]) for name in current.tensors}
        kept = find_kept(current, known)
        if all(flags.all() for flags in kept.values()):
            break
        current = without(current, kept, known)
        left = {name: numbers[kept[name]] for name, numbers in left.items()}
    if current is graph:
        return graph
    numbers = {name: tuple(int(n) for n in channels) for name, channels in left.items()}
    return replace(current, origin=Origin(graph, MappingProxyType(numbers)))
