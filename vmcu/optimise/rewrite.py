"""The network without the channels that go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.binary import Binary
from vmcu.ops.prelu import PRelu
from vmcu.ops.rearrange import Rearrange
from vmcu.optimise.linear import Flags, Linear, linear_of
from vmcu.optimise.liveness import Known, fold


def without(graph: QuantizedGraph, kept: Mapping[str, Flags], known: Mapping[str, Known]) -> QuantizedGraph:
    """Keeps the channels `kept` of every tensor, in their order; what the others add is folded into their readers."""
    tensors = {name: replace(t, channels=int(kept[name].sum())) for name, t in graph.tensors.items()}
    ops = tuple(_op(op, graph.ins(op), graph.tensors[op.output], kept, known) for op in graph.ops)
    return replace(graph, tensors=MappingProxyType(tensors), ops=ops).verify()


def _op(
    op: QOp, ins: Sequence[Tensor], out: Tensor, kept: Mapping[str, Flags], known: Mapping[str, Known]
) -> QOp:
    outputs = kept[out.name]
    if outputs.all() and all(kept[x.name].all() for x in ins):
        return op
    linear = linear_of(op, ins[0], out) if ins else None
    if linear is not None:
        return _linear(linear, known[ins[0].name], kept[ins[0].name], outputs)
    if isinstance(op, Rearrange):
        return _rearrange(op, ins, out, kept)
    if isinstance(op, PRelu):
        return replace(op, slopes=op.slopes[outputs])
    if isinstance(op, Binary):
        count = int(outputs.sum())
        a, b = ((r, c, count if k > 1 else 1) for r, c, k in op.shapes)
        constant = op.constant
        if constant is not None and op.shapes[1][2] > 1:
            constant = constant[:, :, outputs]
        return replace(op, shapes=(a, b), constant=constant)
    return op  # it has nothing of its own per channel


def _linear(linear: Linear, known: Known, kept: Flags, outputs: Flags) -> QOp:
    if linear.groups > 1:  # whole groups go, inputs and outputs together
        groups = int(kept.reshape(linear.groups, -1).any(axis=1).sum())
        return linear.rebuilt(
            linear.weights[outputs], linear.op.bias[outputs].astype(np.int64), outputs, groups
        )
    # No accumulator, nor any sum on the way to it, can become larger than before: what leaves a sum of |weight| * 128 joins the
    # bias with at most as much, and twins merge to at most the sum of their sizes. The bounds of `make_requant` hold.
    folded = fold(linear, known, kept, outputs)
    return linear.rebuilt(folded.weights[outputs][:, :, kept], folded.bias[outputs], outputs, 1)


def _rearrange(op: Rearrange, ins: Sequence[Tensor], out: Tensor, kept: Mapping[str, Flags]) -> Rearrange:
    stays = np.concatenate([np.broadcast_to(kept[x.name], x.shape).reshape(-1) for x in ins])
    renumbered = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)  # a fill, -1, stays one
    source = op.source.reshape(out.shape)[:, :, kept[out.name]]
    return replace(op, source=renumbered[source].reshape(out.rows, -1).astype(np.int32))
