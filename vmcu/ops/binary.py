"""Add, Sub and Mul of two tensors, or of a tensor and a constant, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import Layout
from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Table, Window, narrow_weights
from vmcu.ops.columns import same_tiles
from vmcu.ops.rearrange import emit_map, numbered
from vmcu.ops.unary import apply_function
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Rows, Unsupported, View, Weight
from vmcu.quant.requantise import SUM_OPERAND, Requant, Sum, make_requant, make_sum

Kind = Literal["Add", "Sub", "Mul"]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(QOp):
    """output = a + b, a - b or a * b, element by element.

    Attributes:
        what: which of them.
        shapes: of a and b as (rows, cols, channels); 1 where an operand is broadcast.
        zero_points: of a and b.
        constant: values of the second operand, zero point subtracted, where it is no tensor.
        sum: rescaling of a sum (Add, Sub), or None.
        requant: rescaling of a product (Mul), or None.

    Source: SPEC.md section 3.4.
    """

    kind: ClassVar[str] = "Binary"

    what: Kind
    shapes: tuple[Rows, Rows]
    zero_points: tuple[int, int]
    constant: NDArray[np.int8] | NDArray[np.int16] | None
    sum: Sum | None
    requant: Requant | None

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        for shape in self.shapes:
            self.expect(all(s in (1, o) for s, o in zip(shape, out.shape, strict=True)), "operand shape")
        for tensor, shape in zip(ins, self.shapes, strict=False):
            self.expect(tensor.rows == shape[0] and tensor.size_bytes == int(np.prod(shape)), "operand size")
        self.expect((self.sum is None) != (self.requant is None), "one rescaling rule")
        self.expect((self.constant is None) == (len(ins) == 2), "one second operand")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        second = ins[1] if self.constant is None else self.constant
        a, b = (
            np.broadcast_to(x.astype(np.int64).reshape(shape) - zero, out.shape)
            for x, shape, zero in zip((ins[0], second), self.shapes, self.zero_points, strict=True)
        )
        if self.sum is not None:
            return self.sum.apply(a, b)
        assert self.requant is not None
        return self.requant.apply(a * b)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return tuple(
            Window() if shape[0] == out.rows and x.tiles == out.tiles else Table(((0,),) * out.segments)
            for x, shape in zip(ins, self.shapes, strict=False)
        )

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        def is_uniform(shape: Rows) -> bool:
            return shape[:2] == (1, 1)

        if same_tiles(*ins, out) and out.tiles == 1:
            return True
        constant = self.constant is None or is_uniform(self.shapes[1])
        return constant and all(
            x.tiles == 1 if is_uniform(shape) else x.shape == out.shape and x.tiles == out.tiles
            for x, shape in zip(ins, self.shapes, strict=False)
        )

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        constants: list[ConstArray] = []
        if self.constant is not None:
            constants.append(ConstArray("second", self.constant.reshape(-1), "weights"))
        a, b = f"(a - ({self.zero_points[0]}))", f"(b - ({self.zero_points[1]}))"
        if self.sum is not None:
            result = self.sum.c_expr(a, b)
        else:
            assert self.requant is not None
            result = self.requant.c_expr(
                f"{a} * {b}", str(self.requant.multipliers[0]), str(self.requant.shifts[0])
            )
        (_, a_cols, a_channels), (b_rows, b_cols, b_channels) = self.shapes
        per_row = self.constant is not None and b_rows > 1
        context = {
            "cols": out.segment_cols,
            "channels": out.channels,
            "a_col": a_channels if a_cols > 1 else 0,
            "a_channel": int(a_channels > 1),
            "b_col": b_channels if b_cols > 1 else 0,
            "b_channel": int(b_channels > 1),
            "b_row": b_cols * b_channels,
            "per_row": per_row,
            "constant": self.constant is not None,
            "second_type": "int16_t"
            if self.constant is not None and self.constant.dtype == np.int16
            else "int8_t",
            "result": result,
            "what": self.what,
        }
        return Kernel("binary", context, tuple(constants), uses_row=per_row)

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        found: tuple[Kernel, ...] = ()
        alike = all(shape == out.shape for shape in self.shapes) and same_tiles(*ins, out)
        if self.sum is not None and self.constant is None and alike:
            found = offer.addition(self.sum, self.zero_points, out.segment_bytes, isa)
        return found or (self.kernel(ins, out),)


def lower_binary(node: Node, ctx: Lowering) -> None:
    """Add, Sub, Mul. A constant of one value is a function of one element: it joins a table."""
    first, second = node.input(0), node.input(1)
    what: Kind = node.op  # type: ignore[assignment]
    if ctx.is_constant(first) and ctx.is_constant(second):
        raise Unsupported("both operands are constants", "fold them before the export")
    constants = [name for name in (first, second) if ctx.is_constant(name)]
    if constants and _scalar_function(node, ctx, what, constants[0]):
        return
    shape = ctx.graph.shape(node.outputs[0])
    operands: list[View | Weight] = []
    for name in (first, second):
        weight = ctx.weight(name)
        if weight is None and name in ctx.graph.constants:
            raise Unsupported(
                "its constant operand is float", "quantise the constant too (quantize_static does)"
            )
        if weight is not None and weight.scale.size > 1:
            raise Unsupported("a constant with a scale per channel", "quantise the constant per tensor")
        if weight is not None and what != "Mul" and not weight.fits(SUM_OPERAND):
            raise Unsupported("a constant wider than 8 bits", "quantise the constant to int8")
        operands.append(weight if weight is not None else ctx.view(name))

    ctx.define(node.outputs[0], Pending(lambda q: _emit(node, ctx, what, operands, shape, q)))


def _scalar_function(node: Node, ctx: Lowering, what: Kind, constant: str) -> bool:
    real = ctx.real(constant)
    other = node.input(1) if constant == node.input(0) else node.input(0)
    same_shape = ctx.graph.shape(other) == ctx.graph.shape(node.outputs[0])
    if real is None or real.size != 1 or not same_shape:
        return False
    if ctx.numerics == "tflm" and ctx.weight(constant) is not None and ctx.pending(other) is None:
        return False  # TFLM's own kernel rounds in its own way
    value, swapped = float(real.reshape(-1)[0]), constant == node.input(0)
    match what:
        case "Add":
            apply_function(node, ctx, lambda x: x + value, source=other)
        case "Mul":
            apply_function(node, ctx, lambda x: x * value, source=other)
        case "Sub":
            apply_function(
                node, ctx, (lambda x: value - x) if swapped else (lambda x: x - value), source=other
            )
    return True


def _emit(
    node: Node, ctx: Lowering, what: Kind, operands: list[View | Weight], shape: tuple[int, ...], q: OutQuant
) -> View:
    scales = [o.scale if isinstance(o, View) else float(o.scale.reshape(-1)[0]) for o in operands]
    zeros = [o.zero_point if isinstance(o, View) else 0 for o in operands]
    views = [o for o in operands if isinstance(o, View)]
    base = next((v for v in views if v.layout.size == int(np.prod(shape))), None)
    if base is None:
        grown = _expand(ctx, views[0], shape, node.name)
        operands = [grown if o is views[0] else o for o in operands]
        base = grown
    layout = _padded(base.layout, len(shape))
    rows = ctx.rows_of(base)
    names, shapes = [], []
    constant = None
    for operand in operands:
        if isinstance(operand, Weight):
            constant, pattern = _constant(operand, layout, rows, shape)
        else:
            name, pattern = _tensor(ctx, operand, layout, rows, shape, node.name)
            names.append(name)
        shapes.append(pattern)
    swap = constant is not None and isinstance(operands[0], Weight)
    if swap:  # the tensor comes first
        shapes.reverse(), scales.reverse(), zeros.reverse()  # type: ignore[func-returns-value]
    where = f"node {node.name!r}"
    rescale_sum = rescale = None
    if what == "Mul":
        real = scales[0] * scales[1] / q.scale
        bound = 255 * (255 if constant is None else int(np.abs(constant).max()))
        rescale = make_requant(
            ctx.numerics, [real], q.zero_point, q.low, q.high, acc_bound=bound, where=where
        )
    else:
        signs = (1, 1) if what == "Add" else ((-1, 1) if swap else (1, -1))
        rescale_sum = make_sum(ctx.numerics, scales[0], scales[1], signs, q, where=where)
    op = Binary(
        name=node.name,
        inputs=tuple(names),
        output=q.name,
        what=what,
        shapes=(shapes[0], shapes[1]),
        zero_points=(zeros[0], zeros[1]),
        constant=constant,
        sum=rescale_sum,
        requant=rescale,
    )
    return ctx.emit(op, rows, layout, q.scale, q.zero_point)


def _padded(layout: Layout, rank: int) -> Layout:
    """Leading dimensions of size 1, as broadcasting adds them."""
    return Layout(layout.atoms, ((),) * (rank - len(layout.dims)) + layout.dims, layout.memory)


def _expand(ctx: Lowering, view: View, shape: tuple[int, ...], node_name: str) -> View:
    numbers = np.broadcast_to(numbered(view), shape)
    return emit_map(ctx, [view], numbers, ctx.unique(f"{view.tensor}.expanded"), node_name)


def _pattern(index: Index, rows: Rows) -> Rows | None:
    """The shape (1 where broadcast) whose element numbers are `index` (rows, cols, channels), or None."""
    for r in (1, rows[0]):
        for c in (1, rows[1]):
            for k in (1, rows[2]):
                numbers = np.arange(r * c * k).reshape(r, c, k)
                if np.array_equal(np.broadcast_to(numbers, rows), index):
                    return (r, c, k)
    return None


def _tensor(
    ctx: Lowering, view: View, layout: Layout, rows: Rows, shape: tuple[int, ...], node_name: str
) -> tuple[str, Rows]:
    """A tensor the kernel can read for `view`, and its shape."""
    if _padded(view.layout, len(shape)) == layout and ctx.tensors[view.tensor].shape == rows:
        return view.tensor, rows
    index = layout.to_memory(np.broadcast_to(numbered(view), shape)).reshape(rows)
    pattern = _pattern(np.asarray(index, np.int64), rows)
    if pattern is not None:
        return ctx.arrange(view, view.layout, pattern), pattern
    return emit_map(
        ctx,
        [view],
        np.broadcast_to(numbered(view), shape),
        ctx.unique(f"{view.tensor}.expanded"),
        node_name,
        layout=layout,
        rows=rows,
    ).tensor, rows


def _constant(
    weight: Weight, layout: Layout, rows: Rows, shape: tuple[int, ...]
) -> tuple[NDArray[np.int8] | NDArray[np.int16], Rows]:
    numbers = np.broadcast_to(np.arange(weight.values.size).reshape(weight.values.shape), shape)
    full = np.asarray(layout.to_memory(np.broadcast_to(weight.values, shape)), np.int64).reshape(rows)
    index = np.asarray(layout.to_memory(numbers), np.int64).reshape(rows)
    kept = [slice(None) if np.any(index != np.take(index, [0], axis)) else slice(1) for axis in range(3)]
    values = np.array(full[kept[0], kept[1], kept[2]])
    return narrow_weights(values), (values.shape[0], values.shape[1], values.shape[2])


LOWERINGS = {"Add": lower_binary, "Sub": lower_binary, "Mul": lower_binary}
