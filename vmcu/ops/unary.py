"""Functions of one element: activations and requantisation, as a table of 256 bytes.

A chain of such functions without Q/DQ between them becomes one table, evaluated exactly in double
precision and rounded half to even (`onnx`), or by TFLM's fixed-point kernel (`tflm`, one function).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Window
from vmcu.ops.columns import same_tiles
from vmcu.quant.fixedpoint import to_raw
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unary, Unsupported, View
from vmcu.quant.requantise import saturate
from vmcu.quant.tflm import unary_table_tflm

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(QOp):
    """output = table[input + 128].

    Attributes:
        table: 256 int8 values.
        what: the functions it stands for, for comments.
    """

    kind: ClassVar[str] = "Lookup"

    table: Int8s
    what: str

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(self.table.shape == (256,) and ins[0].shape == out.shape, "shapes")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        return self.table[ins[0].astype(np.int16) + 128]

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        constants = (ConstArray("table", self.table, "tables"),)
        return Kernel("lookup", {"count": out.segment_bytes, "what": self.what}, constants)

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        return offer.lookup(self.table, out.segment_bytes, isa) or (self.kernel(ins, out),)

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return same_tiles(ins[0], out)


def emit_lookup(
    ctx: Lowering, view: View, table: NDArray[np.int64], q: OutQuant, node_name: str, what: str
) -> View:
    """Emits a table over `view`, clamped as `q` asks."""
    op = Lookup(
        name=node_name,
        inputs=(view.tensor,),
        output=q.name,
        table=saturate(table, q.low, q.high),
        what=what,
    )
    return ctx.emit(op, ctx.rows_of(view), view.layout, q.scale, q.zero_point)


def requantised(ctx: Lowering, view: View) -> Pending:
    """`view` waiting for another scale."""
    return _pending(ctx, Unary(view, ("Requantise",), lambda x: x, {}), "requantise")


def requantise_to(ctx: Lowering, view: View, q: OutQuant) -> View:
    """`view` itself where `q` asks for nothing else, else a requantised and clamped copy named as `q` says."""
    if (view.scale, view.zero_point, -128, 127) == (q.scale, q.zero_point, q.low, q.high):
        return view
    return requantised(ctx, view).finish(q)


def _pending(ctx: Lowering, unary: Unary, node_name: str) -> Pending:
    def finish(q: OutQuant) -> View:
        view = unary.source
        table = None
        if ctx.numerics == "tflm" and len(unary.names) == 1:
            table = unary_table_tflm(unary.names[0], unary.attributes, view, q)
        if table is None:
            real = np.asarray((np.arange(-128, 128) - view.zero_point) * view.scale, np.float64)
            with np.errstate(all="ignore"):  # infinities saturate
                steps = np.rint(unary.function(real) / q.scale)
            if np.any(np.isnan(steps)):
                raise Unsupported(
                    "its result is not a number for some inputs", "check the constants it reads"
                )
            table = to_raw(steps) + q.zero_point
        return emit_lookup(ctx, view, table, q, node_name, " -> ".join(unary.names))

    return Pending(finish, unary=unary)


def apply_function(
    node: Node, ctx: Lowering, function: Callable[[Reals], Reals], *, source: str = ""
) -> None:
    """`node` is `function` of its input `source` (the first): starts a table, or extends the chain it reads."""
    source = source or node.input(0)
    pending = ctx.pending(source)
    if pending is None:
        unary = Unary(ctx.view(source), (node.op,), function, dict(node.attributes))
    elif pending.unary is not None:
        before, low, high = pending.unary, pending.low, pending.high
        unary = Unary(
            before.source,
            (*before.names, node.op),
            lambda x: function(np.clip(before.function(x), low, high)),
            {},
        )
    else:
        ctx.view(source)  # raises: names the tensor to quantise
        return
    ctx.define(node.outputs[0], _pending(ctx, unary, node.name))


def _clamp(node: Node, ctx: Lowering, low: float, high: float) -> None:
    """Relu and Clip: fused into whatever computes the input, else a table."""
    pending = ctx.pending(node.input(0))
    if pending is None:
        unary = Unary(
            ctx.view(node.input(0)), (node.op,), lambda x: np.clip(x, low, high), dict(node.attributes)
        )
        pending = replace(_pending(ctx, unary, node.name), low=low, high=high)
    else:
        limit = (min(max(pending.low, low), high), max(min(pending.high, high), low))
        pending = replace(pending, low=limit[0], high=limit[1])
    ctx.define(node.outputs[0], pending)


def lower_relu(node: Node, ctx: Lowering) -> None:
    """max(x, 0)."""
    _clamp(node, ctx, 0.0, float("inf"))


def lower_clip(node: Node, ctx: Lowering) -> None:
    """Clip with constant bounds."""
    low = float(node.attributes.get("min", float("-inf")))  # type: ignore[arg-type]
    high = float(node.attributes.get("max", float("inf")))  # type: ignore[arg-type]
    if low > high:
        raise Unsupported(f"min {low} exceeds max {high}", "correct the bounds")
    _clamp(node, ctx, low, high)


def _sigmoid(x: Reals) -> Reals:
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(-x, 700.0))), np.float64)  # exp(710) overflows


def _attribute(node: Node, name: str, default: float) -> float:
    return float(node.attributes.get(name, default))  # type: ignore[arg-type]


def lower_leaky_relu(node: Node, ctx: Lowering) -> None:
    """x, or alpha * x where negative."""
    alpha = _attribute(node, "alpha", 0.01)
    apply_function(node, ctx, lambda x: np.where(x < 0, alpha * x, x))


def lower_sigmoid(node: Node, ctx: Lowering) -> None:
    """1 / (1 + exp(-x))."""
    apply_function(node, ctx, _sigmoid)


def lower_tanh(node: Node, ctx: Lowering) -> None:
    """tanh(x)."""
    apply_function(node, ctx, np.tanh)


def lower_hard_sigmoid(node: Node, ctx: Lowering) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    alpha, beta = _attribute(node, "alpha", 0.2), _attribute(node, "beta", 0.5)
    apply_function(node, ctx, lambda x: np.clip(alpha * x + beta, 0.0, 1.0))


def lower_hard_swish(node: Node, ctx: Lowering) -> None:
    """x * clip(x / 6 + 0.5, 0, 1)."""
    apply_function(node, ctx, lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0))


def lower_elu(node: Node, ctx: Lowering) -> None:
    """x, or alpha * (exp(x) - 1) where negative."""
    alpha = _attribute(node, "alpha", 1.0)
    apply_function(node, ctx, lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x))


LOWERINGS = {
    "Relu": lower_relu,
    "Clip": lower_clip,
    "LeakyRelu": lower_leaky_relu,
    "Sigmoid": lower_sigmoid,
    "Tanh": lower_tanh,
    "HardSigmoid": lower_hard_sigmoid,
    "HardSwish": lower_hard_swish,
    "Elu": lower_elu,
}
