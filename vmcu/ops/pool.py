"""AveragePool and MaxPool over windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import channels_last
from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.accumulate import Finish, SumRows, sums_name
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Window, narrowest, numbers
from vmcu.ops.columns import Columns
from vmcu.ops.unary import requantise_to
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View
from vmcu.quant.requantise import Requant, make_requant, saturate


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A window walking over an image: (vertical, horizontal) each; pads (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def counts(self, size: int, outputs: int, axis: int) -> NDArray[np.int64]:
        """Taps inside the image per output position along `axis`."""
        taps = np.arange(outputs)[:, None] * self.strides[axis] - self.pads[axis]
        taps = taps + np.arange(self.kernel[axis]) * self.dilations[axis]
        return np.asarray(((taps >= 0) & (taps < size)).sum(axis=1), np.int64)

    def taps(self, x: NDArray[np.integer], out: Tensor, fill: int) -> NDArray[np.int32]:
        """Shapes: result (kernel_h * kernel_w, rows, cols, channels), padding = fill."""
        top, left, bottom, right = self.pads
        padded = np.pad(x.astype(np.int32), ((top, bottom), (left, right), (0, 0)), constant_values=fill)
        found = []
        for ky in range(self.kernel[0]):
            for kx in range(self.kernel[1]):
                y0, x0 = ky * self.dilations[0], kx * self.dilations[1]
                found.append(
                    padded[
                        y0 : y0 + (out.rows - 1) * self.strides[0] + 1 : self.strides[0],
                        x0 : x0 + (out.cols - 1) * self.strides[1] + 1 : self.strides[1],
                    ]
                )
        return np.stack(found)

    def window(self) -> Window:
        """The access function."""
        return Window(self.kernel[0], self.strides[0], self.pads[0], self.dilations[0])

    @property
    def columns(self) -> Columns:
        """Its horizontal part."""
        return Columns(self.kernel[1], self.strides[1], self.pads[1], self.dilations[1])

    def context(self, x: Tensor, out: Tensor) -> dict[str, object]:
        """What the templates of windows print."""
        return {**self.columns.context(x, out), "channels": x.channels, "kernel_h": self.kernel[0]}

    def fits(self, x: Tensor, out: Tensor) -> bool:
        """Do the sizes agree?"""
        top, left, bottom, right = self.pads
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        rows = (x.rows + top + bottom - reach[0]) // self.strides[0] + 1
        cols = (x.cols + left + right - reach[1]) // self.strides[1] + 1
        return out.shape == (rows, cols, x.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(QOp):
    """Largest value of each window; padding never wins. Scale and zero point stay.

    Attributes:
        frame: the windows.
        low, high: clamp of the result.
    """

    kind: ClassVar[str] = "MaxPool"

    frame: Frame
    low: int
    high: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(self.frame.fits(ins[0], out), "output shape")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        return saturate(self.frame.taps(ins[0], out, -128).max(axis=0), self.low, self.high)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (self.frame.columns.access(self.frame.window(), ins[0], out),)

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return self.frame.columns.allow_tiles(ins[0], out)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        context = {**self.frame.context(ins[0], out), "low": self.low, "high": self.high}
        context["clamped"] = (self.low, self.high) != (-128, 127)
        uses_row = self.frame.columns.uses_row(ins[0], out)
        return Kernel("max_pool", context, pad_value=-128, uses_row=uses_row)


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(QOp):
    """Mean of each window.

    Two rules: `requant` rescales sum - count * zero_point by input scale / (count * output scale);
    without it the sum is divided by the count, rounding half away from zero (TFLite).

    Attributes:
        frame: the windows.
        zero_point: of the input. Padding adds nothing to a sum: its rows hold the zero point under
            `requant`, else 0; columns outside the image are left out.
        row_class, col_class: per output row and column the number of its tap count.
        row_counts, col_counts: the tap counts.
        requant: one multiplier per (row class, column class), or None.
        low, high: clamp of the result.

    Source: SPEC.md section 3.5; without `requant`: TFLite's AveragePool for int8.
    """

    kind: ClassVar[str] = "AveragePool"

    frame: Frame
    zero_point: int
    row_class: tuple[int, ...]
    col_class: tuple[int, ...]
    row_counts: tuple[int, ...]
    col_counts: tuple[int, ...]
    requant: Requant | None
    low: int
    high: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(self.frame.fits(ins[0], out), "output shape")
        self.expect(len(self.row_class) == out.rows and len(self.col_class) == out.cols, "classes")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        rows, cols = np.array(self.row_class), np.array(self.col_class)
        if self.requant is not None:
            shifted = ins[0].astype(np.int32) - self.zero_point
            total = self.frame.taps(shifted, out, 0).sum(axis=0)
            which = rows[:, None] * len(self.col_counts) + cols[None, :]
            result = np.empty(out.shape, np.int8)
            for i in np.unique(which):
                result[which == i] = self._one(int(i)).apply(total[which == i])
            return result
        total = self.frame.taps(ins[0], out, 0).sum(axis=0)
        count = (
            np.array(self.row_counts)[rows][:, None, None] * np.array(self.col_counts)[cols][None, :, None]
        )
        mean = (np.abs(total) + count // 2) // count * np.sign(total)
        return saturate(mean, self.low, self.high)

    def _one(self, i: int) -> Requant:
        assert self.requant is not None
        shifts = self.requant.shifts if len(self.requant.shifts) == 1 else self.requant.shifts[i : i + 1]
        return replace(self.requant, multipliers=self.requant.multipliers[i : i + 1], shifts=shifts)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (self.frame.window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        rows, cols = len(self.row_counts) > 1, len(self.col_counts) > 1
        constants = []
        if rows:
            constants.append(ConstArray("row_class", narrowest(np.array(self.row_class)), "tables"))
        if cols:
            constants.append(ConstArray("col_class", narrowest(np.array(self.col_class)), "tables"))
        context = {
            **self.frame.context(ins[0], out),
            "offset": 0 if self.requant is None else self.zero_point,
            "row_class": rows,
            "col_class": cols,
            "col_classes": len(self.col_counts),
            "divides": self.requant is None,
        }
        if self.requant is None:
            counts = np.outer(self.row_counts, self.col_counts).reshape(-1)
            constants.append(ConstArray("counts", counts.astype(np.int32), "tables"))
            context["result"] = f"vmcu_average(acc, count, {self.low}, {self.high})"
        else:
            constants += numbers(self.requant)
            context["result"] = self.requant.c_expr("acc", "multipliers[o]", "shifts[o]")
        return Kernel(
            "average_pool",
            context,
            tuple(constants),
            pad_value=0 if self.requant is None else self.zero_point,
            uses_row=rows,
        )

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        plain = self.kernel(ins, out)
        return offer.average_pool(plain, isa) or (plain,)

    def by_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[QOp, QOp] | None:
        (x,) = ins
        if self.frame.kernel != (x.rows, x.cols) or any(self.frame.pads) or out.shape[:2] != (1, 1):
            return None
        count = x.rows * x.cols
        start = 0 if self.requant is None else -count * self.zero_point
        sums = SumRows(name=self.name, inputs=self.inputs, output=sums_name(out), start=start)
        return sums, Finish(
            name=self.name,
            inputs=(sums.output,),
            output=self.output,
            requant=self.requant,
            count=count,
            low=self.low,
            high=self.high,
        )


def frame_of(node: Node) -> Frame:
    """The window attributes of a canonical pooling node; 1-D becomes columns of width 1."""
    names = ("kernel_shape", "strides", "dilations", "pads")
    attrs = {k: tuple(int(v) for v in node.attributes[k]) for k in names}  # type: ignore[union-attr]
    if len(attrs["kernel_shape"]) == 1:
        pads = attrs["pads"]
        return Frame(
            kernel=(attrs["kernel_shape"][0], 1),
            strides=(attrs["strides"][0], 1),
            dilations=(attrs["dilations"][0], 1),
            pads=(pads[0], 0, pads[1], 0),
        )
    if len(attrs["kernel_shape"]) != 2:
        raise Unsupported(f"{len(attrs['kernel_shape'])}-D pooling", "use 1-D or 2-D pooling")
    return Frame(
        kernel=attrs["kernel_shape"],
        strides=attrs["strides"],  # type: ignore[arg-type]
        dilations=attrs["dilations"],  # type: ignore[arg-type]
        pads=attrs["pads"],  # type: ignore[arg-type]
    )


def _rows(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return (shape[2], shape[3] if len(shape) == 4 else 1, shape[1])


def lower_max_pool(node: Node, ctx: Lowering) -> None:
    """MaxPool with one output."""
    if len([o for o in node.outputs if o]) > 1:
        raise Unsupported("its Indices output", "remove the second output")
    view = ctx.view(node.input(0))
    shape = ctx.graph.shape(node.outputs[0])
    frame = frame_of(node)

    def finish(q: OutQuant) -> View:
        same = (q.scale, q.zero_point) == (view.scale, view.zero_point)
        name = q.name if same else ctx.unique(f"{q.name}.max")
        op = MaxPool(
            name=node.name,
            inputs=(ctx.spatial(view)[0],),
            output=name,
            frame=frame,
            low=q.low if same else -128,
            high=q.high if same else 127,
        )
        out = ctx.emit(op, _rows(shape), channels_last(shape), view.scale, view.zero_point)
        return out if same else requantise_to(ctx, out, q)

    natural = OutQuant(node.outputs[0], view.scale, view.zero_point)
    ctx.define(node.outputs[0], Pending(finish, natural=natural))


def lower_average_pool(node: Node, ctx: Lowering) -> None:
    """AveragePool, count_include_pad both ways."""
    view = ctx.view(node.input(0))
    shape = ctx.graph.shape(node.outputs[0])
    frame = frame_of(node)
    rows = _rows(shape)
    source_shape = view.layout.shape
    sizes = (source_shape[2], source_shape[3] if len(source_shape) == 4 else 1)
    include = bool(node.attributes["count_include_pad"])
    classes = []
    for axis in (0, 1):
        counts = frame.counts(sizes[axis], rows[axis], axis)
        if include:
            counts = np.full_like(counts, frame.kernel[axis])
        if counts.min() == 0:
            raise Unsupported("a window lies entirely in the padding", "use smaller pads")
        distinct, inverse = np.unique(counts, return_inverse=True)
        classes.append((tuple(int(c) for c in distinct), tuple(int(i) for i in inverse)))
    (row_counts, row_class), (col_counts, col_class) = classes

    def finish(q: OutQuant) -> View:
        same = (q.scale, q.zero_point) == (view.scale, view.zero_point)
        divides = ctx.numerics == "tflm" and not (include and any(frame.pads))
        target = (
            q if same or not divides else OutQuant(ctx.unique(f"{q.name}.mean"), view.scale, view.zero_point)
        )
        requant = None
        if not divides:
            reals = [view.scale / (r * c * q.scale) for r in row_counts for c in col_counts]
            bound = 255 * frame.kernel[0] * frame.kernel[1]
            requant = make_requant(
                ctx.numerics, reals, q.zero_point, q.low, q.high, acc_bound=bound, where=f"node {node.name!r}"
            )
        op = AveragePool(
            name=node.name,
            inputs=(ctx.spatial(view)[0],),
            output=target.name,
            frame=frame,
            zero_point=view.zero_point,
            row_class=row_class,
            col_class=col_class,
            row_counts=row_counts,
            col_counts=col_counts,
            requant=requant,
            low=target.low,
            high=target.high,
        )
        out = ctx.emit(op, rows, channels_last(shape), target.scale, target.zero_point)
        return out if target is q else requantise_to(ctx, out, q)

    natural = OutQuant(node.outputs[0], view.scale, view.zero_point)
    ctx.define(node.outputs[0], Pending(finish, natural=natural))


LOWERINGS = {"MaxPool": lower_max_pool, "AveragePool": lower_average_pool}
