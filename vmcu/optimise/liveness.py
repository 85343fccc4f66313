"""Which channels have to stay: the largest set of channels without which every output is the same.

All channels are taken for dispensable at first. Then every operator asks back what it cannot do without, given what is still
gone, until none asks for more. What is asked for is never given up again, so this ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.rearrange import Rearrange
from vmcu.optimise.lanes import Ties, ties
from vmcu.optimise.linear import Flags, Ints, Linear, linear_of
from vmcu.optimise.ranges import Range
from vmcu.optimise.twins import merged


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of the channels of one tensor.

    Attributes:
        constant: flags.
        value: of the constant ones.
        twin: the first channel that is equal; see `find_twins`.
    """

    constant: Flags
    value: Ints
    twin: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """A weighted sum that reads fewer channels: still of all its outputs and all input channels.

    Attributes:
        weights: (outputs, taps, channels); twins are merged.
        bias: (outputs) with the contributions of constant channels.
        needs: input channels that are gone and may not be.
    """

    weights: Ints
    bias: Ints
    needs: Flags


def know(range_: Range, twin: Ints) -> Known:
    """Puts together what two analyses have found."""
    return Known(range_.constant, range_.low, twin)


def fold(linear: Linear, known: Known, kept: Flags, outputs: Flags) -> Folded:
    """Does without the input channels that are not `kept`, for the outputs `outputs`; only where `groups` is 1."""
    gone = ~kept
    fixed = gone & known.constant
    moved = gone & ~known.constant & (known.twin != np.arange(len(kept)))
    needs = fixed & (~linear.folds(known.value) & outputs[:, None]).any(axis=0)
    bias = linear.op.bias + (linear.contributions(known.value) * fixed).sum(axis=1)
    weights = merged(linear.weights, np.where(moved, known.twin, np.arange(len(kept))))
    read = weights[outputs]
    needs |= gone & ~fixed & ~moved & read.any(axis=(0, 1))
    low, high = linear.type_limits
    for channel in np.flatnonzero(((read < low) | (read > high)).any(axis=(0, 1))):
        needs[np.flatnonzero(moved & (known.twin == channel))[-1]] = True
    return Folded(weights, bias, needs)


def find_kept(graph: QuantizedGraph, known: Mapping[str, Known]) -> Mapping[str, Flags]:
    """By tensor, the channels that stay; at least one of each."""
    kept = {name: np.zeros(tensor.channels, np.bool_) for name, tensor in graph.tensors.items()}
    for name in _interface(graph):
        kept[name][:] = True
    steps = [(op, graph.ins(op), graph.tensors[op.output]) for op in reversed(graph.ops)]
    linears = {op.output: linear_of(op, ins[0], out) if ins else None for op, ins, out in steps}
    while True:
        before = _count(kept)
        for op, ins, out in steps:
            linear = linears[op.output]
            tied = ties(op, ins, out)
            if linear is not None and tied is None:
                kept[ins[0].name] |= fold(linear, known[ins[0].name], kept[ins[0].name], kept[out.name]).needs
            elif isinstance(op, Rearrange) and tied is None:
                _ask_back_moved(op, ins, out, kept)
            elif tied is not None:
                _keep_together(tied, kept)
        if _count(kept) == before:
            empty = [flags for flags in kept.values() if not flags.any()]
            if not empty:
                return kept
            empty[0][0] = True  # no tensor is empty


def _interface(graph: QuantizedGraph) -> list[str]:
    """Tensors whose shape the caller knows."""
    ports = [port.tensor for port in (*graph.inputs, *graph.outputs)]
    return ports + [name for link in graph.states for name in (link.current, link.next)]


def _count(kept: Mapping[str, Flags]) -> int:
    return sum(int(flags.sum()) for flags in kept.values())


def _keep_together(ties: Ties, kept: Mapping[str, Flags]) -> None:
    for name in ties.whole:
        kept[name][:] = True
    stays = [kept[name][groups].any(axis=1) for name, groups in ties.tied]
    for name, groups in ties.tied:
        kept[name][groups[np.any(stays, axis=0)]] = True


def _ask_back_moved(op: Rearrange, ins: Sequence[Tensor], out: Tensor, kept: Mapping[str, Flags]) -> None:
    source = op.source.reshape(-1, out.channels)[:, kept[out.name]].reshape(-1)
    base = 0
    for x in ins:
        local = source[(source >= base) & (source < base + x.size_bytes)] - base
        kept[x.name][np.unique(local % x.channels)] = True
        base += x.size_bytes
