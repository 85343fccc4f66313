"""Channels of a tensor that always hold the same: filters that a network has twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.binary import Binary
from vmcu.ops.prelu import PRelu
from vmcu.ops.rearrange import Rearrange
from vmcu.optimise.lanes import lanes
from vmcu.optimise.linear import Ints, Linear, linear_of
from vmcu.optimise.ranges import Range

Key = tuple[object, ...]


def find_twins(graph: QuantizedGraph, ranges: Mapping[str, Range]) -> Mapping[str, Ints]:
    """By tensor, per channel the first channel that is equal to it in every pixel: itself where there is none.

    Constant channels are no twins.
    """
    found = {name: np.arange(graph.tensors[name].channels) for name in graph.given()}
    for op in graph.ops:
        ins, out = graph.ins(op), graph.tensors[op.output]
        keys = _keys(op, ins, out, [found[x.name] for x in ins])
        twins = np.arange(out.channels)
        first: dict[Key, int] = {}
        for channel in np.flatnonzero(~ranges[op.output].constant) if keys else ():
            twins[channel] = first.setdefault(keys[channel], int(channel))
        found[op.output] = twins
    return found


def _keys(op: QOp, ins: Sequence[Tensor], out: Tensor, given: Sequence[Ints]) -> list[Key]:
    """Per output channel a key; equal keys, equal channels. Empty: nothing is known."""
    linear = linear_of(op, ins[0], out) if ins else None
    if linear is not None:
        return _linear_keys(linear, given[0])
    if isinstance(op, Rearrange):
        flat, base = [], 0
        for x, twins in zip(ins, given, strict=True):
            pixels = np.arange(x.rows * x.cols)[:, None] * x.channels
            flat.append((base + pixels + twins).reshape(-1))
            base += x.size_bytes
        source = np.concatenate([*flat, [-1]])[op.source].reshape(-1, out.channels)
        return [(source[:, k].tobytes(),) for k in range(out.channels)]
    which = lanes(op, ins, out)
    if which is None:
        return []
    keys = []
    for k in range(out.channels):
        key: list[object] = [int(t[k]) for t, is_lane in zip(given, which, strict=True) if is_lane]
        if isinstance(op, PRelu):
            key.append(int(op.slopes[k]))
        if isinstance(op, Binary) and op.constant is not None and op.constant.shape[2] > 1:
            key.append(op.constant[:, :, k].tobytes())
        keys.append(tuple(key))
    return keys


def _linear_keys(linear: Linear, twins: Ints) -> list[Key]:
    requant = linear.op.requant
    weights = merged(linear.weights, twins) if linear.groups == 1 else linear.weights
    keys: list[Key] = []
    for o in range(len(weights)):
        factor = requant.multipliers[o] if requant.per_channel else 0
        shift = requant.shifts[o] if len(requant.shifts) > 1 else 0
        reads = twins[linear.reads[o]].tobytes()
        keys.append((weights[o].tobytes(), int(linear.op.bias[o]), factor, shift, reads))
    return keys


def merged(weights: Ints, twins: Ints) -> Ints:
    """Weights that read the first of equal channels only. Shapes: weights (outputs, taps, channels)."""
    result = weights.copy()
    for channel in np.flatnonzero(twins != np.arange(len(twins))):
        result[:, :, twins[channel]] += weights[:, :, channel]
        result[:, :, channel] = 0
    return result
