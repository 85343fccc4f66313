"""ReduceMean, ReduceSum, ReduceMax, ReduceMin (global pooling among them) and ArgMax / ArgMin."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import Layout, row_major
from vmcu.ir.quantized import Tensor
from vmcu.ops.accumulate import Finish, SumRows, sums_name
from vmcu.ops.base import Access, Every, Int8s, Kernel, QOp, Window, numbers
from vmcu.ops.unary import requantise_to
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Rows, Unsupported, View
from vmcu.quant.requantise import Requant, make_requant, make_requant_mean_tflm, saturate

Axes = tuple[bool, bool, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(QOp):
    """Sum, largest or smallest value over some of (rows, cols, channels).

    Attributes:
        what: the function; "sum" is rescaled by `requant` (a mean's count is in its multiplier).
        axes: which of rows, cols, channels are reduced; those become 1.
        zero_point: of the input, subtracted from every term of a sum.
        requant: of a sum, else None.
        low, high: clamp of the result.

    Source: SPEC.md section 3.6.
    """

    kind: ClassVar[str] = "Reduce"

    what: Literal["sum", "max", "min"]
    axes: Axes
    zero_point: int
    requant: Requant | None
    low: int
    high: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        shape = tuple(1 if r else s for s, r in zip(ins[0].shape, self.axes, strict=True))
        self.expect(out.shape == shape, "output shape")
        self.expect((self.requant is not None) == (self.what == "sum"), "rescaling rule")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        axes = tuple(i for i, reduced in enumerate(self.axes) if reduced)
        x = ins[0].astype(np.int32)
        if self.requant is not None:
            return self.requant.apply((x - self.zero_point).sum(axis=axes, keepdims=True))
        y = x.max(axis=axes, keepdims=True) if self.what == "max" else x.min(axis=axes, keepdims=True)
        return saturate(y, self.low, self.high)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Every() if self.axes[0] else Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        (x,) = ins
        count = prod(s for s, r in zip(x.shape, self.axes, strict=True) if r)
        if self.requant is None:
            result = f"(int8_t)vmcu_clamp(acc, {self.low}, {self.high})"
            start = {"max": -128, "min": 127}.get(self.what, 0)
        else:
            # The zero point leaves the inner loop: sum(q - z) = sum(q) - count * z.
            result = self.requant.c_expr("acc", "multipliers[0]", "shifts[0]")
            start = -count * self.zero_point
        context = {
            "what": self.what,
            "in_rows": x.rows if self.axes[0] else 1,
            "cols": x.cols,
            "channels": x.channels,
            "out_cols": out.cols,
            "out_channels": out.channels,
            "loop_cols": x.cols if self.axes[1] else 1,
            "loop_channels": x.channels if self.axes[2] else 1,
            "sums": self.what == "sum",
            "compare": ">" if self.what == "max" else "<",
            "start": start,
            "result": result,
        }
        return Kernel("reduce", context, tuple(numbers(self.requant)) if self.requant else ())

    def by_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[QOp, QOp] | None:
        if self.requant is None or self.axes != (True, True, False):
            return None
        count = ins[0].rows * ins[0].cols
        sums = SumRows(
            name=self.name, inputs=self.inputs, output=sums_name(out), start=-count * self.zero_point
        )
        return sums, Finish(name=self.name, inputs=(sums.output,), output=self.output, requant=self.requant)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgExtreme(QOp):
    """Index of the largest (or smallest) channel of each pixel, as int32.

    Attributes:
        largest: ArgMax, else ArgMin.
        last: among equals the last index, else the first.
    """

    kind: ClassVar[str] = "ArgMax"

    largest: bool
    last: bool

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(out.shape == (*ins[0].shape[:2], 1) and out.elem_bytes == 4, "output shape")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> NDArray[np.int32]:
        x = ins[0].astype(np.int32) * (1 if self.largest else -1)
        if self.last:
            index = x.shape[2] - 1 - np.argmax(x[:, :, ::-1], axis=2, keepdims=True)
        else:
            index = np.argmax(x, axis=2, keepdims=True)
        return np.asarray(index, np.int32)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        compare = (">" if self.largest else "<") + ("=" if self.last else "")
        context = {"cols": out.cols, "channels": ins[0].channels, "compare": compare}
        return Kernel("argmax", context)


def grouped(
    ctx: Lowering, view: View, reduced: set[int], *, innermost: bool = False
) -> tuple[str, Rows, Axes, Layout]:
    """`view` as (rows, cols, channels) such that each of the three is wholly reduced or wholly kept.

    Returns:
        tensor, its rows, which of the three are reduced, layout of the kept dimensions (reduced ones 1).
    """
    shape = view.layout.shape
    order = view.layout.memory_dims()
    wide = [d for d, s in enumerate(shape) if s > 1]
    if order is None:
        order = tuple(wide)
    groups: list[list[int]] = []
    for d in order:
        if groups and (groups[-1][0] in reduced) == (d in reduced):
            groups[-1].append(d)
        else:
            groups.append([d])
    pattern = tuple(g[0] in reduced for g in groups)
    if innermost or pattern in ((True, False, True), ()) or len(groups) > 3:
        kept = [d for d in order if d not in reduced]
        gone = [d for d in order if d in reduced]
        groups = [g for g in (kept, gone) if g]
        order = tuple(kept + gone)
        pattern = tuple(g[0] in reduced for g in groups)
    sizes = [[shape[d] for d in g] for g in groups]
    match pattern:
        case (True, False):  # spatial mean of an image: the first reduced dimension is the rows
            rows = (sizes[0][0], prod(sizes[0][1:]), prod(sizes[1]))
            axes = (True, True, False)
        case (False, True):
            rows = (sizes[0][0], prod(sizes[0][1:]), prod(sizes[1]))
            axes = (False, False, True)
        case (False, True, False):
            rows = (prod(sizes[0]), prod(sizes[1]), prod(sizes[2]))
            axes = (False, True, False)
        case (True,):
            rows, axes = (1, 1, prod(sizes[0])), (False, False, True)
        case _:  # nothing of size > 1 is reduced
            rows, axes = (1, 1, prod(shape)), (False, False, False)
    layout = view.layout.ordered((*(d for d in range(len(shape)) if shape[d] == 1), *order))
    kept_shape = tuple(1 if d in reduced else s for d, s in enumerate(shape))
    kept_order = [d for d in order if d not in reduced]
    rest = [d for d in range(len(shape)) if d not in kept_order]
    return ctx.arrange(view, layout, rows), rows, axes, row_major(kept_shape).ordered((*rest, *kept_order))


def _drop(layout: Layout, reduced: set[int], shape: tuple[int, ...]) -> Layout:
    """Without the reduced dimensions, where the node drops them."""
    if len(shape) == len(layout.dims):
        return layout
    dims = tuple(dim for d, dim in enumerate(layout.dims) if d not in reduced)
    return Layout(layout.atoms, dims, layout.memory)


def lower_reduce(node: Node, ctx: Lowering) -> None:
    """ReduceMean, ReduceSum, ReduceMax, ReduceMin."""
    view = ctx.view(node.input(0))
    reduced = {int(a) for a in node.attributes["axes"]}  # type: ignore[union-attr]
    shape = ctx.graph.shape(node.outputs[0])
    count = prod(view.layout.shape[a] for a in reduced)

    def finish(q: OutQuant) -> View:
        source, rows, axes, layout = grouped(ctx, view, reduced)
        out_rows: Rows = tuple(1 if r else s for s, r in zip(rows, axes, strict=True))  # type: ignore[assignment]
        layout = _drop(layout, reduced, shape)
        if node.op in ("ReduceMax", "ReduceMin"):
            same = (q.scale, q.zero_point) == (view.scale, view.zero_point)
            op = Reduce(
                name=node.name,
                inputs=(source,),
                output=q.name if same else ctx.unique(f"{q.name}.extreme"),
                what="max" if node.op == "ReduceMax" else "min",
                axes=axes,
                zero_point=view.zero_point,
                requant=None,
                low=q.low if same else -128,
                high=q.high if same else 127,
            )
            out = ctx.emit(op, out_rows, layout, view.scale, view.zero_point)
            return out if same else requantise_to(ctx, out, q)
        where = f"node {node.name!r}"
        if ctx.numerics == "tflm":
            divisor = count if node.op == "ReduceMean" else 1
            requant = make_requant_mean_tflm(
                view.scale / q.scale, divisor, q, acc_bound=255 * count, where=where
            )
        else:
            real = view.scale / q.scale / (count if node.op == "ReduceMean" else 1)
            requant = make_requant(
                ctx.numerics, [real], q.zero_point, q.low, q.high, acc_bound=255 * count, where=where
            )
        op = Reduce(
            name=node.name,
            inputs=(source,),
            output=q.name,
            what="sum",
            axes=axes,
            zero_point=view.zero_point,
            requant=requant,
            low=q.low,
            high=q.high,
        )
        return ctx.emit(op, out_rows, layout, q.scale, q.zero_point)

    natural = None
    if node.op in ("ReduceMax", "ReduceMin"):
        natural = OutQuant(node.outputs[0], view.scale, view.zero_point)
    ctx.define(node.outputs[0], Pending(finish, natural=natural))


def lower_arg(node: Node, ctx: Lowering) -> None:
    """ArgMax, ArgMin as an output of the graph."""
    name = node.outputs[0]
    if ctx.graph.consumers().get(name) or name not in {o.name for o in ctx.graph.outputs}:
        raise Unsupported("its indices are computed with", f"make {name!r} an output of the model")
    view = ctx.view(node.input(0))
    reduced = {int(node.attributes["axis"])}  # type: ignore[arg-type]
    source, rows, axes, layout = grouped(ctx, view, reduced, innermost=True)
    if not axes[2]:
        raise Unsupported("an axis of size 1", "remove the node: its result is always 0")
    op = ArgExtreme(
        name=node.name,
        inputs=(source,),
        output=ctx.unique(name),
        largest=node.op == "ArgMax",
        last=bool(node.attributes["select_last_index"]),
    )
    layout = _drop(layout, reduced, ctx.graph.shape(name))
    ctx.define(name, ctx.emit(op, (rows[0], rows[1], 1), layout, 1.0, 0, elem_bytes=4))


LOWERINGS = {
    "ReduceMean": lower_reduce,
    "ReduceSum": lower_reduce,
    "ReduceMax": lower_reduce,
    "ReduceMin": lower_reduce,
    "ArgMax": lower_arg,
    "ArgMin": lower_arg,
}
