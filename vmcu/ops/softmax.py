"""Softmax over one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.quantized import Numerics, Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Window
from vmcu.ops.reduce import grouped
from vmcu.ops.unary import requantise_to
from vmcu.quant.fixedpoint import divide_by_pot, high_mul, one_over_one_plus_x
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View
from vmcu.quant.requantise import saturate
from vmcu.quant.tflm import softmax_exps_tflm, softmax_parameters_tflm

SUM_INTEGER_BITS = 12  # of TFLM's accumulator
MAX_SCALE_UP = 1 << 33  # times 2^29, the largest table entry, plus the rounding term stays within int64
TFLM_CLASSES = (1 << SUM_INTEGER_BITS) - 1  # equal inputs must not overflow it


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(QOp):
    """Softmax over the channels of each pixel.

    `onnx`: y = (e * scale_up + sum * 2^15) / (sum * 2^16) + zero point, integer division, with e from the
    table of exp(-scale * d) * 2^k. `tflm`: TFLM's fixed-point reciprocal.

    Attributes:
        numerics: which rule.
        exps: exp of minus the distance to the largest input, by distance; 0 beyond the table.
        scale_up: `onnx`: 2^16 / output scale.
        zero_point, low, high: of the output.

    Source: SPEC.md section 3.7; `tflm`: TFLite's Softmax for int8.
    """

    kind: ClassVar[str] = "Softmax"

    numerics: Numerics
    exps: NDArray[np.int32]
    scale_up: int
    zero_point: int
    low: int
    high: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(ins[0].shape == out.shape, "output shape")
        self.expect(int(self.exps.max()) * out.channels < 1 << 31 or self.numerics == "tflm", "sum overflows")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        x = ins[0].astype(np.int64)
        distance = x.max(axis=2, keepdims=True) - x
        table = np.concatenate([self.exps.astype(np.int64), np.zeros(256 - len(self.exps), np.int64)])
        e = table[distance]
        if self.numerics == "onnx":
            total = e.sum(axis=2, keepdims=True)
            y = (e * self.scale_up + (total << 15)) // (total << 16)
        else:
            total = divide_by_pot(e, SUM_INTEGER_BITS).sum(axis=2, keepdims=True)
            headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
            scale = one_over_one_plus_x((total << headroom) - (1 << 31))
            y = divide_by_pot(high_mul(scale, e), SUM_INTEGER_BITS - headroom + 31 - 8)
        return saturate(y + self.zero_point, self.low, self.high)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        context = {
            "cols": out.cols,
            "channels": out.channels,
            "exp_count": len(self.exps),
            "scale_up": self.scale_up,
            "zero_point": self.zero_point,
            "low": self.low,
            "high": self.high,
            "tflm": self.numerics == "tflm",
        }
        return Kernel("softmax", context, (ConstArray("exps", self.exps, "tables"),))


def _exponentials(scale: float, channels: int) -> NDArray[np.int32]:
    bits = 30 - (channels - 1).bit_length()
    if bits < 16:
        raise Unsupported(f"over {channels} classes", "16384 is the limit")
    table = np.rint(np.exp(-scale * np.arange(256)) * 2.0**bits)
    return np.asarray(table[table > 0], np.int32)


def lower_softmax(node: Node, ctx: Lowering) -> None:
    """Softmax over one axis; the axis becomes innermost."""
    view = ctx.view(node.input(0))
    axis = int(node.attributes["axis"])  # type: ignore[arg-type]
    shape = ctx.graph.shape(node.outputs[0])

    def finish(q: OutQuant) -> View:
        source, rows, axes, _ = grouped(ctx, view, {axis}, innermost=True)
        if not axes[2]:
            raise Unsupported("an axis of size 1", "remove the node: its result is always 1")
        target, exps, scale_up = q, _exponentials(view.scale, shape[axis]), round(2.0**16 / q.scale)
        if ctx.numerics == "tflm" and shape[axis] > TFLM_CLASSES:
            raise Unsupported(
                f"over {shape[axis]} classes in tflm numerics",
                f"{TFLM_CLASSES} is the limit; use onnx numerics",
            )
        if ctx.numerics == "tflm":
            exps, scale_up = np.trim_zeros(softmax_exps_tflm(softmax_parameters_tflm(view.scale)), "b"), 0
            if (q.scale, q.zero_point) != (1 / 256, -128):  # the only output TFLM knows
                target = OutQuant(ctx.unique(f"{q.name}.softmax"), 1 / 256, -128)
        if scale_up >= MAX_SCALE_UP:
            raise Unsupported(f"an output scale of {q.scale}", "use a scale near 1/256")
        op = Softmax(
            name=node.name,
            inputs=(source,),
            output=target.name,
            numerics=ctx.numerics,
            exps=exps,
            scale_up=scale_up,
            zero_point=target.zero_point,
            low=target.low,
            high=target.high,
        )
        wide = [d for d in view.layout.memory_dims() or range(len(shape)) if d != axis and shape[d] > 1]
        narrow = [d for d in range(len(shape)) if d not in wide and d != axis]
        layout = view.layout.ordered((*narrow, *wide, axis))
        out = ctx.emit(op, rows, layout, target.scale, target.zero_point)
        return out if target is q else requantise_to(ctx, out, q)

    ctx.define(node.outputs[0], Pending(finish))


LOWERINGS = {"Softmax": lower_softmax}
