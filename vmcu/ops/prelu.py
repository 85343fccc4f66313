"""PRelu: a slope per channel where the input is negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Window, narrow_weights
from vmcu.ops.columns import same_tiles
from vmcu.ops.unary import apply_function
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View
from vmcu.quant.requantise import Requant, make_requant


@dataclass(frozen=True, slots=True, kw_only=True)
class PRelu(QOp):
    """output = x >= 0 ? x : x * slope[channel], each side with its own rescaling.

    Attributes:
        zero_point: of the input.
        slopes: integers per channel, zero point subtracted.
        positive, negative: rescaling of x and of x * slope.
    """

    kind: ClassVar[str] = "PRelu"

    zero_point: int
    slopes: NDArray[np.int16]
    positive: Requant
    negative: Requant

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(ins[0].shape == out.shape and self.slopes.shape == (out.channels,), "shapes")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        x = ins[0].astype(np.int64) - self.zero_point
        return np.where(x >= 0, self.positive.apply(x), self.negative.apply(x * self.slopes)).astype(np.int8)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return same_tiles(ins[0], out)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        def expression(requant: Requant, acc: str) -> str:
            return requant.c_expr(acc, str(requant.multipliers[0]), str(requant.shifts[0]))

        context = {
            "cols": out.segment_cols,
            "channels": out.channels,
            "zero_point": self.zero_point,
            "positive": expression(self.positive, "x"),
            "negative": expression(self.negative, "x * slopes[o]"),
        }
        return Kernel("prelu", context, (ConstArray("slopes", self.slopes, "weights"),))


def lower_prelu(node: Node, ctx: Lowering) -> None:
    """PRelu with a constant slope, one for all or one per channel."""
    real = ctx.real(node.input(1))
    if real is None:
        raise Unsupported("its slope is computed", "make the slope a constant")
    weight = ctx.weight(node.input(1))
    if real.size == 1 and (ctx.numerics == "onnx" or weight is None):
        slope = float(real.reshape(-1)[0])
        apply_function(node, ctx, lambda x: np.where(x < 0, slope * x, x))
        return
    if weight is None or weight.scale.size != 1:
        raise Unsupported(
            "a slope that is not quantised per tensor", "quantise the slope (quantize_static does)"
        )
    view = ctx.view(node.input(0))
    shape = ctx.graph.shape(node.outputs[0])
    channels = shape[1] if len(shape) > 1 else 1
    slots = np.broadcast_to(weight.values, np.broadcast_shapes(weight.values.shape, (1,) * len(shape)))
    if slots.size not in (1, channels) or (slots.size > 1 and slots.shape[1] != channels):
        raise Unsupported(f"a slope of shape {weight.values.shape}", "use one slope per channel")
    scale = float(weight.scale.reshape(-1)[0])

    def finish(q: OutQuant) -> View:
        if len(shape) in (3, 4):
            source, rows = ctx.spatial(view)
            layout = view.layout.ordered((0, *range(2, len(shape)), 1))
            per_channel = np.broadcast_to(slots.reshape(-1), (rows[2],))
        else:  # one row; the slopes take the order of its memory
            layout, rows = view.layout, (1, 1, view.layout.size)
            source = ctx.arrange(view, layout, rows)
            per_channel = np.asarray(layout.to_memory(np.broadcast_to(slots, shape)), np.int64)
        where = f"node {node.name!r}"
        real = view.scale / q.scale
        bound = 255 * int(np.abs(slots).max())
        op = PRelu(
            name=node.name,
            inputs=(source,),
            output=q.name,
            zero_point=view.zero_point,
            slopes=narrow_weights(per_channel).astype(np.int16),
            positive=make_requant(
                ctx.numerics, [real], q.zero_point, q.low, q.high, acc_bound=255, where=where
            ),
            negative=make_requant(
                ctx.numerics, [real * scale], q.zero_point, q.low, q.high, acc_bound=bound, where=where
            ),
        )
        return ctx.emit(op, rows, layout, q.scale, q.zero_point)

    ctx.define(node.outputs[0], Pending(finish))


LOWERINGS = {"PRelu": lower_prelu}
