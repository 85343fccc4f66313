"""The values that each channel of each tensor can take; a channel with one value is a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.rearrange import Rearrange
from vmcu.ops.unary import Lookup
from vmcu.optimise.lanes import lanes
from vmcu.optimise.linear import Flags, Ints, linear_of


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Per channel of a tensor: every value lies in low..high, whatever the inputs."""

    low: Ints
    high: Ints

    @property
    def constant(self) -> Flags:
        """Channels of one value."""
        return np.asarray(self.low == self.high, np.bool_)


def find_ranges(graph: QuantizedGraph) -> Mapping[str, Range]:
    """Ranges by tensor."""
    found = {name: _anything(graph.tensors[name]) for name in graph.given()}
    for op in graph.ops:
        ins, out = graph.ins(op), graph.tensors[op.output]
        found[op.output] = _range(op, ins, out, [found[x.name] for x in ins])
    return found


def _anything(tensor: Tensor) -> Range:
    return Range(np.full(tensor.channels, -128), np.full(tensor.channels, 127))


def _range(op: QOp, ins: Sequence[Tensor], out: Tensor, given: Sequence[Range]) -> Range:
    linear = linear_of(op, ins[0], out) if ins else None
    if linear is not None:
        return Range(*linear.output_range(given[0].low, given[0].high))
    if isinstance(op, Lookup):
        parts = [op.table[a + 128 : b + 129] for a, b in zip(given[0].low, given[0].high, strict=True)]
        return Range(
            np.array([p.min() for p in parts], np.int64), np.array([p.max() for p in parts], np.int64)
        )
    if isinstance(op, Rearrange):
        return Range(_moved(op, ins, out, [r.low for r in given]).min(axis=(0, 1)),
                     _moved(op, ins, out, [r.high for r in given]).max(axis=(0, 1)))  # fmt: skip
    return _constants(op, ins, out, given)


def _moved(op: Rearrange, ins: Sequence[Tensor], out: Tensor, values: Sequence[Ints]) -> Ints:
    """One value per output element, from one per input channel."""
    flat = [np.broadcast_to(v, x.shape).reshape(-1) for x, v in zip(ins, values, strict=True)]
    return np.asarray(np.concatenate([*flat, [op.fill]])[op.source].reshape(out.shape), np.int64)


def _constants(op: QOp, ins: Sequence[Tensor], out: Tensor, given: Sequence[Range]) -> Range:
    """Channels made from constant channels alone: the reference tells what they hold, at borders too."""
    anything = _anything(out)
    which = lanes(op, ins, out)
    if which is None:
        return anything
    fixed = np.ones(out.channels, np.bool_)
    for r, is_lane in zip(given, which, strict=True):
        fixed &= r.constant if is_lane else r.constant.all()
    if not fixed.any():
        return anything
    filled = tuple(np.broadcast_to(r.low, x.shape).astype(np.int8) for x, r in zip(ins, given, strict=True))
    y = op.reference(filled, out).astype(np.int64)
    fixed &= (y == y[0, 0]).all(axis=(0, 1))
    return Range(np.where(fixed, y[0, 0], anything.low), np.where(fixed, y[0, 0], anything.high))
