"""Convolutions and dense layers as one thing: weighted sums over taps and channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import QOp, narrow_weights
from vmcu.ops.conv import Conv2D
from vmcu.ops.dense import Dense
from vmcu.quant.requantise import Requant

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A Conv2D or Dense: acc[o] = bias[o] + sum of weights[o, t, c] * x[t, reads[o, c]].

    Attributes:
        op: what it is.
        weights: (outputs, taps, channels that an output reads).
        reads: (outputs, channels that an output reads), input channels.
        inside: (cases, taps). The windows of an image differ in which of their taps lie inside it; a case is one such
            set of taps. Every case occurs.
        padding: what a tap outside reads in every channel.
    """

    op: Conv2D | Dense
    weights: Ints
    reads: Ints
    inside: Flags
    padding: int

    @property
    def groups(self) -> int:
        """Of channels; 1: every output reads every input channel."""
        return self.op.groups if isinstance(self.op, Conv2D) else 1

    @property
    def type_limits(self) -> tuple[int, int]:
        """Least and largest value of the weights' type."""
        info = np.iinfo(self.op.weights.dtype)
        return int(info.min), int(info.max)

    def accumulators(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Least and largest accumulator where input channel c holds low[c]..high[c].

        Shapes: low, high (input channels); results (cases, outputs).
        """
        up, down = np.maximum(self.weights, 0), np.minimum(self.weights, 0)
        low, high = low[self.reads], high[self.reads]
        outside = self.padding * self.weights.sum(axis=2) @ ~self.inside.T + self.op.bias[:, None]
        found = []
        for for_up, for_down in ((low, high), (high, low)):
            taps = np.einsum("otc,oc->ot", up, for_up) + np.einsum("otc,oc->ot", down, for_down)
            found.append(np.asarray((taps @ self.inside.T + outside).T, np.int64))
        return found[0], found[1]

    def folds(self, values: Ints) -> Flags:
        """Does a channel that holds values[c] throughout add the same to an output's every accumulator?

        Only where `groups` is 1. Shapes: values (input channels); result (outputs, input channels).
        """
        inside = np.einsum("bt,otc->boc", self.inside.astype(np.int64), self.weights)
        return np.asarray((values == self.padding) | (np.ptp(inside, axis=0) == 0), np.bool_)

    def contributions(self, values: Ints) -> Ints:
        """What each such channel adds. Shapes as `folds`."""
        case = self.inside[0]
        inside = self.weights[:, case].sum(axis=1)
        return np.asarray(inside * values + self.weights[:, ~case].sum(axis=1) * self.padding, np.int64)

    def output_range(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Least and largest value of every output channel. Shapes: low, high (input channels)."""
        requant = self.op.requant
        least, most = self.accumulators(low, high)
        ends = np.stack([requant.apply(least), requant.apply(most)]).astype(np.int64)
        bottom, top = ends.min(axis=(0, 1)), ends.max(axis=(0, 1))
        if requant.numerics == "tflm":
            # Rescaling keeps the order of accumulators, unless its left shift leaves int32.
            left = np.clip(np.array(requant.shifts, np.int64), 0, 32)
            largest = np.maximum(np.abs(least), np.abs(most)).max(axis=0)
            wraps = largest << left >= 1 << 31
            bottom, top = np.where(wraps, requant.low, bottom), np.where(wraps, requant.high, top)
        return bottom, top

    def rebuilt(self, weights: Ints, bias: Ints, outputs: Flags, groups: int) -> Conv2D | Dense:
        """The operator with other weights and bias for those of its outputs that are kept.

        Shapes: weights (kept outputs, taps, kept channels that an output reads); bias (kept outputs).
        """
        values = narrow_weights(weights)
        changes: dict[str, Any] = {
            "bias": bias.astype(np.int32),
            "requant": requant_of(self.op.requant, outputs),
        }
        if isinstance(self.op, Dense):
            return replace(self.op, weights=values.reshape(len(bias), -1), **changes)
        _, kernel_h, kernel_w, _ = self.op.weights.shape
        shaped = values.reshape(len(bias), kernel_h, kernel_w, -1)
        return replace(self.op, weights=shaped, groups=groups, **changes)


def linear_of(op: QOp, x: Tensor, out: Tensor) -> Linear | None:
    """`op` as `Linear`, None where it is something else."""
    if isinstance(op, Dense):
        # The pixels of an image that is one vector are taps.
        weights = op.weights.astype(np.int64).reshape(len(op.weights), -1, x.channels)
        reads = np.broadcast_to(np.arange(x.channels), (len(op.weights), x.channels))
        return Linear(op, weights, reads, np.ones((1, weights.shape[1]), np.bool_), 0)
    if not isinstance(op, Conv2D):
        return None
    outputs, kernel_h, kernel_w, depth = op.weights.shape
    rows, cols = (
        _cases(size, count, taps, op.strides[axis], op.pads[axis], op.dilations[axis])
        for axis, (size, count, taps) in enumerate(
            ((x.rows, out.rows, kernel_h), (x.cols, out.cols, kernel_w))
        )
    )
    inside = (rows[:, None, :, None] & cols[None, :, None, :]).reshape(-1, kernel_h * kernel_w)
    group = np.arange(outputs) // (outputs // op.groups)
    reads = group[:, None] * depth + np.arange(depth)
    weights = op.weights.astype(np.int64).reshape(outputs, kernel_h * kernel_w, depth)
    return Linear(op, weights, reads, inside, op.input_zero_point)


def _cases(size: int, outputs: int, taps: int, stride: int, pad: int, dilation: int) -> Flags:
    """Along one axis: which taps are inside, (different cases, taps)."""
    at = np.arange(outputs)[:, None] * stride - pad + np.arange(taps) * dilation
    return np.unique((at >= 0) & (at < size), axis=0)


def requant_of(requant: Requant, kept: Flags) -> Requant:
    """The rescaling of the kept channels: each by its own factor, as before."""
    if not requant.per_channel:
        return requant
    numbers = np.flatnonzero(kept)
    shifts = requant.shifts
    if len(shifts) > 1:
        shifts = tuple(shifts[i] for i in numbers)
    return replace(requant, multipliers=tuple(requant.multipliers[i] for i in numbers), shifts=shifts)
