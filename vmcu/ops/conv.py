"""Conv: 1-D and 2-D, any kernel, stride, padding, dilation and grouping; depthwise with any multiplier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import channels_last
from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.base import (
    Access,
    ConstArray,
    Int8s,
    Kernel,
    QOp,
    Table,
    Window,
    narrow_weights,
    numbers,
    segments_of,
)
from vmcu.ops.columns import Columns
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View, Weight
from vmcu.quant.requantise import Requant, make_requant


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2D(QOp):
    """Convolution over NHWC rows.

    Attributes:
        weights: (out_channels, kernel_h, kernel_w, in_channels / groups), zero point subtracted;
            int8, or int16 where that does not fit.
        bias: int32 per output channel, input zero point folded in: b - zp_in * sum(w).
        strides, dilations: (vertical, horizontal).
        pads: (top, left, bottom, right).
        groups: of channels.
        input_zero_point: content of the padding.
        requant: accumulator -> output.
        rows: per output row the input rows that it reads, -1 for padding; empty: those of the window. Only the planner
            chooses them, where rows are computed again (`schedule/again.py`).

    Source: SPEC.md section 3.1.
    """

    kind: ClassVar[str] = "Conv2D"

    weights: NDArray[np.int8] | NDArray[np.int16]
    bias: NDArray[np.int32]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    groups: int
    input_zero_point: int
    requant: Requant
    rows: tuple[tuple[int, ...], ...] = ()

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        (x,) = ins
        m, kh, kw, cg = self.weights.shape
        top, left, bottom, right = self.pads
        self.expect(x.channels == cg * self.groups, "input channels contradict the weights")
        self.expect(out.channels == m and m % self.groups == 0, "output channels contradict the weights")
        reach_h, reach_w = (kh - 1) * self.dilations[0] + 1, (kw - 1) * self.dilations[1] + 1
        rows = len(self.rows) or (x.rows + top + bottom - reach_h) // self.strides[0] + 1
        self.expect(out.rows == rows, "output rows")
        self.expect(all(len(read) == kh and max(read) < x.rows for read in self.rows), "input rows")
        self.expect(out.cols == (x.cols + left + right - reach_w) // self.strides[1] + 1, "output columns")
        self.expect(self.bias.shape == (m,), "bias length")
        self.expect(self.requant.zero_point == out.zero_point, "output zero point")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        # Padding holds the input zero point, already folded into the bias: any in-range tap sees raw bytes.
        (x,) = ins
        _, kh, kw, cg = self.weights.shape
        _, left, _, right = self.pads
        zero = self.input_zero_point
        # One row of padding, behind the others: it is row -1.
        padded = np.pad(x, ((0, 1), (left, right), (0, 0)), constant_values=zero).astype(np.int32)
        rows = self._rows()
        read = np.array([segments_of(rows, r, len(x)) for r in range(out.rows)])
        per_group = out.channels // self.groups
        weights = self.weights.astype(np.int32)
        acc = np.zeros((out.rows, out.cols, self.groups, per_group), np.int32)
        for ky in range(kh):
            from_rows = padded[read[:, ky]]
            for kx in range(kw):
                x0 = kx * self.dilations[1]
                tap = from_rows[:, x0 : x0 + (out.cols - 1) * self.strides[1] + 1 : self.strides[1]].reshape(
                    out.rows, out.cols, self.groups, cg
                )
                w = weights[:, ky, kx].reshape(self.groups, per_group, cg)
                if cg == 1:
                    acc += tap * w[:, :, 0]
                else:
                    acc += np.stack([_matmul(tap[:, :, g], w[g].T) for g in range(self.groups)], axis=2)
        total = acc.reshape(out.shape) + self.bias
        return self.requant.apply(total)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (self._columns().access(self._rows(), ins[0], out),)

    @property
    def band(self) -> int:
        if self.weights.shape[1] == 1 or not self.rows:
            return 0
        first = set(self.rows[0]) - {-1}
        return next((n for n, read in enumerate(self.rows) if first.isdisjoint(read)), len(self.rows))

    def _rows(self) -> Window | Table:
        if self.rows:
            return Table(self.rows)
        return Window(self.weights.shape[1], self.strides[0], self.pads[0], self.dilations[0])

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return self._columns().allow_tiles(ins[0], out)

    def _columns(self) -> Columns:
        return Columns(self.weights.shape[2], self.strides[1], self.pads[1], self.dilations[1])

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        (x,) = ins
        m, kh, kw, cg = self.weights.shape
        depthwise = cg == 1
        # Depthwise reads tap by tap over neighbouring channels; the others dot over a pixel's channels.
        weights = self.weights.transpose(1, 2, 3, 0) if depthwise else self.weights
        constants = [
            ConstArray("weights", weights.reshape(-1), "weights"),
            ConstArray("bias", self.bias, "weights"),
            *numbers(self.requant),
        ]
        channel = "[o]" if self.requant.per_channel else "[0]"
        columns = self._columns()
        where = columns.context(x, out)
        # Neighbouring taps of a row are one run of bytes where nothing comes between them.
        together = not columns.pads(x, out) and (x.tiles == 1 or kw == 1)
        joined = not depthwise and together and self.dilations[1] == 1 and self.groups == 1
        context = {
            **where,
            "out_channels": m,
            "kernel_h": kh,
            "taps_per_row": 1 if joined else kw,
            "taps": kh if joined else kh * kw,
            "run": kw * cg if joined else cg,
            "weights_per_output": kh * kw * cg,
            "group_channels": cg,
            "per_group": m // self.groups,
            "groups": self.groups,
            "weight_type": "int16_t" if self.weights.dtype == np.int16 else "int8_t",
            "result": self.requant.c_expr("acc", f"multipliers{channel}", f"shifts{channel}"),
        }
        return Kernel(
            "depthwise" if depthwise else "conv",
            context,
            tuple(constants),
            pad_value=self.input_zero_point,
            pad_pixel=bool(where["padded_cols"]),
            uses_row=columns.uses_row(x, out),
        )

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        one = offer.Linear(
            self.weights,
            self.bias,
            self.requant,
            self._columns(),
            self.groups,
            self.input_zero_point,
            ins[0],
            out,
            compact,
        )
        return offer.convolution(one, isa) or (self.kernel(ins, out),)

    def macs(self, ins: tuple[Tensor, ...], out: Tensor) -> int:
        return out.rows * out.cols * int(self.weights.size)


def _matmul(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int32]:
    """Integer product through float64 BLAS: exact below 2^53, and far faster than NumPy's own loops."""
    return np.asarray(np.rint(a.astype(np.float64) @ b.astype(np.float64)), np.int32)


def lower_conv(node: Node, ctx: Lowering) -> None:
    """Conv of the canonical graph: explicit pads, constant quantised weights."""
    weight = ctx.weight(node.input(1))
    if weight is None:
        raise Unsupported("its weights are not a quantised constant", "quantise the weights to int8")
    view = ctx.view(node.input(0))
    one_d = weight.values.ndim == 3
    if weight.values.ndim not in (3, 4):
        raise Unsupported(f"{weight.values.ndim - 2}-D convolution", "use 1-D or 2-D convolutions")
    shape = ctx.graph.shape(node.outputs[0])
    values = weight.values[..., None] if one_d else weight.values

    def pair(key: str) -> tuple[int, int]:
        got = tuple(node.attributes[key])  # type: ignore[arg-type]
        return (int(got[0]), 1 if one_d else int(got[1]))

    raw_pads = tuple(int(p) for p in node.attributes["pads"])  # type: ignore[union-attr]
    pads = (raw_pads[0], 0, raw_pads[1], 0) if one_d else raw_pads
    real_bias = bias_operand(ctx, node.input(2), shape[1])

    def finish(q: OutQuant) -> View:
        source, _ = ctx.spatial(view)
        weights, bias, requant = linear_parameters(
            ctx, node, weight, real_bias, view, q, values.transpose(0, 2, 3, 1)
        )
        op = Conv2D(
            name=node.name,
            inputs=(source,),
            output=q.name,
            weights=weights,
            bias=bias,
            strides=pair("strides"),
            dilations=pair("dilations"),
            pads=pads,  # type: ignore[arg-type]
            groups=int(node.attributes["group"]),  # type: ignore[arg-type]
            requant=requant,
            input_zero_point=view.zero_point,
        )
        rows = (shape[2], 1 if one_d else shape[3], shape[1])
        return ctx.emit(op, rows, channels_last(shape), q.scale, q.zero_point)

    ctx.define(node.outputs[0], Pending(finish))


def bias_operand(ctx: Lowering, name: str, channels: int) -> NDArray[np.float64]:
    """Real bias per output channel; zeros where it is left out."""
    if not name:
        return np.zeros(channels)
    real = ctx.real(name)
    if real is None:
        raise Unsupported("its bias is computed", "make the bias a constant")
    if real.size not in (1, channels):
        raise Unsupported(f"bias of shape {real.shape}", f"use one value per output channel ({channels})")
    return np.broadcast_to(real.reshape(-1), (channels,))


def linear_parameters(
    ctx: Lowering,
    node: Node,
    weight: Weight,
    real_bias: NDArray[np.float64],
    view: View,
    q: OutQuant,
    values: NDArray[np.int64],
) -> tuple[NDArray[np.int8] | NDArray[np.int16], NDArray[np.int32], Requant]:
    """Integer weights, folded bias and requantisation of a convolution or dense layer.

    Args:
        values: `weight.values` with the output channel first, in kernel order.

    Raises:
        VmcuError: accumulators may exceed int32.
        Unsupported: weights exceed int16.
    """
    channels = values.shape[0]
    scale = np.broadcast_to(weight.scale.reshape(-1), (channels,))
    product = view.scale * scale
    single = product.astype(np.float32).astype(np.float64)  # what an int32 bias in the file is scaled by
    bias = np.rint(real_bias / np.where(single > 0, single, product))
    flat = values.reshape(channels, -1)
    sizes = np.abs(flat).sum(axis=1)
    folded = bias - view.zero_point * flat.sum(axis=1)
    bounds = np.maximum(128 * sizes + np.abs(folded), 255 * sizes + np.abs(bias))
    reals = product / q.scale
    if np.all(reals == reals[0]):
        reals, bounds = reals[:1], bounds.max(keepdims=True)
    requant = make_requant(
        ctx.numerics,
        [float(r) for r in reals],
        q.zero_point,
        q.low,
        q.high,
        acc_bound=[int(b) for b in bounds],
        where=f"node {node.name!r}",
    )
    return narrow_weights(values), np.asarray(folded, np.int32), requant


LOWERINGS = {"Conv": lower_conv}
