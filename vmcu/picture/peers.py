"""What others would need for the same network: the yardsticks beside a plan.

TFLite Micro's figure is computed here, by a short form of its memory planner on the tensors of our graph. It
is an estimate of the head of its arena: a converter may leave other tensors than our reading of the
model does. Outside the head the interpreter keeps its own structures, persistent buffers and states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.memory.plan import MemoryPlan, lower_bound
from vmcu.ops.base import QOp
from vmcu.ops.conv import Conv2D
from vmcu.ops.copy_columns import CopyColumns
from vmcu.schedule.schedule import layer_by_layer

ALIGNMENT = 16
"""Bytes to which every buffer is rounded. Source: tflite-micro, micro_arena_constants.h."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A whole tensor: bytes, and the first and last operator that needs it, both included."""

    size: int
    first: int
    last: int


def layered_bytes(plan: MemoryPlan) -> int:
    """What layer by layer takes at least, though rows give up their memory one by one; its pool if it is so."""
    schedule, graph = plan.schedule, plan.schedule.graph
    if all(end == first + 1 for first, end in schedule.stages):
        return plan.pool_bytes
    sums = {op.output for op in graph.ops if op.accumulates}
    if not sums:
        return lower_bound(layer_by_layer(graph))
    # Layer by layer nobody would accumulate in 32 bits: the plain operator has its result in their place.
    tensors = {n: replace(t, elem_bytes=1) if n in sums else t for n, t in graph.tensors.items()}
    plain = replace(graph, tensors=MappingProxyType(tensors))
    whole = plan.state_bytes + most_alive(whole_tensors(graph))
    return min(lower_bound(layer_by_layer(plain)), whole)


def tflm_head_bytes(graph: QuantizedGraph) -> int:
    """Estimate of the head of TFLite Micro's arena: activations, without states and persistent buffers.

    It computes the network as the file has it, dead channels included.
    """
    return greedy_bytes(whole_tensors(graph.original))


def unshared_bytes(plan: MemoryPlan) -> int:
    """All tensors side by side: no byte is used twice."""
    graph = plan.schedule.graph
    stored = {s.next for s in graph.states} | set(plan.schedule.aliases)
    return sum(tensor.size_bytes for name, tensor in graph.tensors.items() if name not in stored)


def most_alive(buffers: Sequence[Buffer]) -> int:
    """The most bytes needed by one operator."""
    return max(
        (sum(b.size for b in buffers if b.first <= at <= b.last) for at in {b.first for b in buffers}),
        default=0,
    )


def greedy_bytes(buffers: Sequence[Buffer]) -> int:
    """The largest buffer first, the later one among equals, each where it first fits while it lives.

    Source: tflite-micro, greedy_memory_planner.cc, `CalculateOffsetsIfNeeded`.
    """
    placed: list[tuple[int, int, Buffer]] = []
    for _, buffer in sorted(enumerate(buffers), key=lambda pair: (-pair[1].size, -pair[0])):
        size = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        address = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if other.first <= buffer.last and buffer.first <= other.last:
                if start - address >= size:
                    break
                address = max(address, end)
        placed.append((address, address + size, buffer))
    return max((end for _, end, _ in placed), default=0)


def whole_tensors(graph: QuantizedGraph) -> list[Buffer]:
    """The buffers of an interpreter, in the order in which they are made.

    Inputs live from the start, outputs to the end. What our graph has in another form is put back: an
    accumulation and its finish are one operator, an input read row by row is given, an output handed out row by
    row lies there in full, a state is copied in for its reader and stored at once, and padding that is neither SAME nor VALID is an operator
    of its own with a padded tensor behind it.
    """
    sizes = {name: tensor.size_bytes for name, tensor in graph.tensors.items()}
    current, stored = {s.current for s in graph.states}, {s.next for s in graph.states}
    first: dict[str, int] = {port.tensor: 0 for port in graph.inputs}
    last = dict(first)
    sums: dict[str, tuple[str, ...]] = {}
    clock = count()
    for op in graph.ops:
        copied = isinstance(op, CopyColumns) and len(op.inputs) == 1  # a streamed input, cut into tiles
        if copied or op.accumulates:
            sums[op.output] = op.inputs
        if copied:
            continue
        if op.accumulates or op.is_input or op.is_output or op.output in stored:
            continue
        reads = [name for given in op.inputs for name in sums.get(given, (given,))]
        padded = _padded_bytes(op, graph.ins(op), graph.tensors[op.output])
        at = next(clock)
        for name in reads:
            if name in current:
                first.setdefault(name, at)
            last[name] = at
        if padded:
            # No name of a tensor is two lines long.
            name = f"{op.output}\npadded"
            sizes[name], first[name], last[name] = padded, at, (at := next(clock))
        first[op.output] = last[op.output] = at
    for port in graph.outputs:
        last[port.tensor] = next(clock)
    return [Buffer(sizes[name], start, last[name]) for name, start in first.items()]


def _padded_bytes(op: QOp, ins: Sequence[Tensor], out: Tensor) -> int:
    """Size of the input with its padding, where a TFLite operator cannot do the padding itself; else 0."""
    if not isinstance(op, Conv2D) or not any(op.pads):
        return 0
    x, (top, left, bottom, right) = ins[0], op.pads
    reach = [(k - 1) * d + 1 for k, d in zip(op.weights.shape[1:3], op.dilations, strict=True)]
    same = [
        _same(size, outputs, stride, taps) == pads
        for size, outputs, stride, taps, pads in zip(
            (x.rows, x.cols),
            (out.rows, out.cols),
            op.strides,
            reach,
            ((top, bottom), (left, right)),
            strict=True,
        )
    ]
    return 0 if all(same) else (x.rows + top + bottom) * (x.cols + left + right) * x.channels * x.elem_bytes


def _same(size: int, outputs: int, stride: int, taps: int) -> tuple[int, int] | None:
    """Padding before and after along one axis as TFLite's SAME means it; None where the sizes rule it out."""
    if outputs != -(-size // stride):
        return None
    total = max(0, (outputs - 1) * stride + taps - size)
    return total // 2, total - total // 2
