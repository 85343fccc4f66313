"""Resize: nearest moves bytes, linear interpolates between four neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import channels_last
from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Table, numbers
from vmcu.ops.rearrange import emit_map, numbered
from vmcu.ops.unary import requantise_to
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View
from vmcu.quant.requantise import Requant, make_requant, saturate

WEIGHT_BITS = 11  # `onnx`: two weights of 11 bits times 8 bits stay within int32
TFLM_WEIGHT_BITS = 10

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Interpolation along one axis: output i = low[i] * weight[i][0] + high[i] * weight[i][1].

    Attributes:
        low, high: input positions.
        weights: (outputs, 2), scaled by 2^bits.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weights: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeLinear(QOp):
    """Bilinear interpolation with fixed-point weights.

    Attributes:
        vertical, horizontal: the two axes.
        zero_point: of the input; subtracted under `requant`.
        requant: rescaling of the weighted sum; None: division by 2^20, half away from zero (TFLite).
        low, high: clamp of the result.

    Source: SPEC.md section 3.8; without `requant`: TFLite's ResizeBilinearInteger.
    """

    kind: ClassVar[str] = "ResizeLinear"

    vertical: Axis
    horizontal: Axis
    zero_point: int
    requant: Requant | None
    low: int
    high: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(out.shape == (len(self.vertical.low), len(self.horizontal.low), ins[0].channels), "shape")
        self.expect(int(self.vertical.high.max()) < ins[0].rows, "rows")
        self.expect(int(self.horizontal.high.max()) < ins[0].cols, "columns")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        x = ins[0].astype(np.int64)
        if self.requant is not None:
            x = x - self.zero_point
        v, h = self.vertical, self.horizontal
        rows = x[v.low] * v.weights[:, 0, None, None] + x[v.high] * v.weights[:, 1, None, None]
        total = rows[:, h.low] * h.weights[None, :, 0, None] + rows[:, h.high] * h.weights[None, :, 1, None]
        if self.requant is not None:
            return self.requant.apply(np.asarray(total, np.int64))
        half = 1 << (2 * TFLM_WEIGHT_BITS - 1)
        y = np.sign(total) * ((np.abs(total) + half) >> (2 * TFLM_WEIGHT_BITS))
        return saturate(y, self.low, self.high)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        rows = zip(self.vertical.low, self.vertical.high, strict=True)
        return (Table(tuple((int(a), int(b)) for a, b in rows)),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        positions = np.stack([self.horizontal.low, self.horizontal.high], axis=1) * ins[0].channels
        constants = [
            ConstArray("row_weights", self.vertical.weights.astype(np.int16).reshape(-1), "tables"),
            ConstArray("col_weights", self.horizontal.weights.astype(np.int16).reshape(-1), "tables"),
            ConstArray("offsets", positions.astype(np.uint32).reshape(-1), "tables"),
        ]
        if self.requant is not None:
            constants += numbers(self.requant)
            result = self.requant.c_expr("acc", "multipliers[0]", "shifts[0]")
        else:
            result = f"vmcu_average(acc, {1 << (2 * TFLM_WEIGHT_BITS)}, {self.low}, {self.high})"
        context = {
            "cols": out.cols,
            "channels": out.channels,
            "zero_point": 0 if self.requant is None else self.zero_point,
            "result": result,
        }
        return Kernel("resize_linear", context, tuple(constants), uses_row=True)


def source_positions(mode: str, inputs: int, outputs: int, scale: float) -> Reals:
    """Input coordinate of every output index.

    Source: ONNX Resize, `coordinate_transformation_mode`.
    """
    x = np.arange(outputs, dtype=np.float64)
    match mode:
        case "half_pixel":
            return np.asarray((x + 0.5) / scale - 0.5)
        case "half_pixel_symmetric":
            adjustment = outputs / (scale * inputs)
            return np.asarray(inputs / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5)
        case "pytorch_half_pixel":
            return np.asarray((x + 0.5) / scale - 0.5) if outputs > 1 else np.zeros(1)
        case "align_corners":
            return np.asarray(x * (inputs - 1) / (outputs - 1)) if outputs > 1 else np.zeros(1)
        case "asymmetric":
            return np.asarray(x / scale)
    raise Unsupported(
        f"coordinate_transformation_mode {mode!r}", "use half_pixel, align_corners or asymmetric"
    )


def nearest(mode: str, positions: Reals, inputs: int) -> NDArray[np.int64]:
    """The input index of every output. Source: ONNX Resize, `nearest_mode`."""
    match mode:
        case "floor":
            index = np.floor(positions)
        case "ceil":
            index = np.ceil(positions)
        case "round_prefer_floor":
            index = np.ceil(positions - 0.5)
        case "round_prefer_ceil":
            index = np.floor(positions + 0.5)
        case _:
            raise Unsupported(f"nearest_mode {mode!r}", "use floor, ceil or a round mode")
    return np.clip(index, 0, inputs - 1).astype(np.int64)


def linear_axis(positions: Reals, inputs: int) -> Axis:
    """Weights of WEIGHT_BITS that add up exactly."""
    clipped = np.clip(positions, 0, inputs - 1)
    low = np.floor(clipped).astype(np.int64)
    high = np.minimum(low + 1, inputs - 1)
    upper = np.rint((clipped - low) * (1 << WEIGHT_BITS)).astype(np.int64)
    return Axis(low=low, high=high, weights=np.stack([(1 << WEIGHT_BITS) - upper, upper], axis=1))


def linear_axis_tflm(mode: str, inputs: int, outputs: int) -> Axis | None:
    """The same as TFLite computes it in integers, or None where TFLite has no such mode."""
    one = 1 << TFLM_WEIGHT_BITS
    if mode not in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        return None
    scale = (one * inputs + outputs // 2) // outputs
    if mode == "align_corners" and outputs > 1:
        scale = (one * (inputs - 1) + (outputs - 1) // 2) // (outputs - 1)
    position = np.arange(outputs, dtype=np.int64) * scale
    if mode in ("half_pixel", "pytorch_half_pixel"):
        position = position + scale // 2 - one // 2
    whole = np.where(position >= 0, position // one, -((-position) // one))
    low = np.maximum(whole, 0)
    high = np.minimum((position + one - 1) // one, inputs - 1)  # position > -one
    upper = position - one * low
    # Below the first sample both taps are row 0: the weights still add up to `one`.
    return Axis(low=low, high=high, weights=np.stack([one - upper, upper], axis=1))


def lower_resize(node: Node, ctx: Lowering) -> None:
    """Resize of the spatial dimensions, modes nearest and linear."""
    a = node.attributes
    view = ctx.view(node.input(0))
    before, after = view.layout.shape, ctx.graph.shape(node.outputs[0])
    mode, coordinates = str(a["mode"]), str(a["coordinate_transformation_mode"])
    scales = [float(s) for s in a["scales"]]  # type: ignore[union-attr]
    if mode == "nearest":
        indices = [
            np.arange(n)
            if n == m and s == 1.0
            else nearest(str(a["nearest_mode"]), source_positions(coordinates, n, m, s), n)
            for n, m, s in zip(before, after, scales, strict=True)
        ]
        ctx.through(
            node.input(0),
            node.outputs[0],
            lambda v: emit_map(ctx, [v], numbered(v)[np.ix_(*indices)], node.outputs[0], node.name),
        )
        return
    if mode != "linear":
        raise Unsupported(f"mode {mode!r}", "use nearest or linear")
    if len(before) not in (3, 4) or before[:2] != after[:2]:
        raise Unsupported("linear resizing of batch or channels", "resize spatial dimensions only")
    if int(a.get("antialias", 0)):  # type: ignore[arg-type]
        raise Unsupported("antialias", "export without antialias")
    sizes = [*zip(before[2:], after[2:], scales[2:], strict=True), (1, 1, 1.0)][:2]
    tflm = [linear_axis_tflm(coordinates, n, m) for n, m, _ in sizes] if ctx.numerics == "tflm" else []
    divides = bool(tflm) and None not in tflm

    def finish(q: OutQuant) -> View:
        if divides:
            vertical, horizontal = tflm
        else:
            vertical, horizontal = (linear_axis(source_positions(coordinates, *s), s[0]) for s in sizes)
        same = (q.scale, q.zero_point) == (view.scale, view.zero_point)
        target = (
            q
            if same or not divides
            else OutQuant(ctx.unique(f"{q.name}.linear"), view.scale, view.zero_point)
        )
        requant = None
        if not divides:
            real = view.scale / q.scale / (1 << 2 * WEIGHT_BITS)
            bound = 255 << (2 * WEIGHT_BITS)
            requant = make_requant(
                ctx.numerics,
                [real],
                q.zero_point,
                q.low,
                q.high,
                acc_bound=bound,
                where=f"node {node.name!r}",
            )
        assert vertical is not None and horizontal is not None
        op = ResizeLinear(
            name=node.name,
            inputs=(ctx.spatial(view)[0],),
            output=target.name,
            vertical=vertical,
            horizontal=horizontal,
            zero_point=view.zero_point,
            requant=requant,
            low=target.low,
            high=target.high,
        )
        rows = (after[2], after[3] if len(after) == 4 else 1, after[1])
        out = ctx.emit(op, rows, channels_last(after), target.scale, target.zero_point)
        return out if target is q else requantise_to(ctx, out, q)

    natural = OutQuant(node.outputs[0], view.scale, view.zero_point)
    ctx.define(node.outputs[0], Pending(finish, natural=natural))


LOWERINGS = {"Resize": lower_resize}
