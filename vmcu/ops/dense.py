"""Gemm and MatMul with constant weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Node
from vmcu.ir.layout import Layout, row_major
from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.accumulate import DenseRows, Finish, sums_name
from vmcu.ops.base import Access, ConstArray, Every, Int8s, Kernel, QOp, Window, numbers
from vmcu.ops.columns import Columns
from vmcu.ops.conv import bias_operand, linear_parameters
from vmcu.quant.lowering import Lowering, OutQuant, Pending, Unsupported, View
from vmcu.quant.requantise import Requant


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(QOp):
    """Matrix product. Two forms: the whole input is one vector (whatever its rows), or each pixel is one.

    Attributes:
        weights: (units, depth), zero point subtracted, depth in the input's memory order.
        bias: int32 per unit, input zero point folded in.
        per_pixel: each pixel's channels are a vector; else the whole tensor is.
        requant: accumulator -> output.

    Source: SPEC.md section 3.2.
    """

    kind: ClassVar[str] = "Dense"

    weights: NDArray[np.int8] | NDArray[np.int16]
    bias: NDArray[np.int32]
    per_pixel: bool
    requant: Requant

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        (x,) = ins
        units, depth = self.weights.shape
        if self.per_pixel:
            self.expect(out.shape == (x.rows, x.cols, units) and depth == x.channels, "shapes")
        else:
            self.expect(out.shape == (1, 1, units) and depth == x.size_bytes, "shapes")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        (x,) = ins
        depth = self.weights.shape[1]
        product = x.reshape(-1, depth).astype(np.float64) @ self.weights.astype(np.float64).T  # exact < 2^53
        acc = np.rint(product).astype(np.int64) + self.bias
        return self.requant.apply(acc).reshape(out.shape)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window() if self.per_pixel else Every(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        (x,) = ins
        units, depth = self.weights.shape
        constants = [
            ConstArray("weights", self.weights.reshape(-1), "weights"),
            ConstArray("bias", self.bias, "weights"),
            *numbers(self.requant),
        ]
        channel = "[o]" if self.requant.per_channel else "[0]"
        context = {
            "pixels": x.cols if self.per_pixel else 1,
            "units": units,
            "in_rows": 1 if self.per_pixel else x.rows,
            "row_depth": x.channels if self.per_pixel else x.row_bytes,
            "depth": depth,
            "weight_type": "int16_t" if self.weights.dtype == np.int16 else "int8_t",
            "result": self.requant.c_expr("acc", f"multipliers{channel}", f"shifts{channel}"),
        }
        return Kernel("dense", context, tuple(constants))

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        (x,) = ins
        if self.per_pixel:
            weights, columns = self.weights[:, None, None, :], Columns(1, 1, 0, 1)
            one = offer.Linear(weights, self.bias, self.requant, columns, 1, 0, x, out, compact)
            found = offer.convolution(one, isa)
        else:
            found = offer.dense(self.weights, self.bias, self.requant, x, isa, compact)
        return found or (self.kernel(ins, out),)

    def by_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[QOp, QOp] | None:
        if self.per_pixel or ins[0].rows == 1:
            return None
        sums = DenseRows(
            name=self.name, inputs=self.inputs, output=sums_name(out), weights=self.weights, bias=self.bias
        )
        return sums, Finish(name=self.name, inputs=(sums.output,), output=self.output, requant=self.requant)

    def macs(self, ins: tuple[Tensor, ...], out: Tensor) -> int:
        return out.rows * out.cols * int(self.weights.size)


def lower_gemm(node: Node, ctx: Lowering) -> None:
    """Gemm (alpha, beta folded) with constant B."""
    if node.attributes.get("transA", 0):
        raise Unsupported("transA", "transpose the input with a Transpose node")
    _lower(node, ctx, bool(node.attributes.get("transB", 0)), node.input(2))


def lower_matmul(node: Node, ctx: Lowering) -> None:
    """MatMul with constant right operand of rank 2."""
    _lower(node, ctx, False, "")


def _lower(node: Node, ctx: Lowering, transposed: bool, bias_name: str) -> None:
    weight = ctx.weight(node.input(1))
    if weight is None:
        raise Unsupported(
            "its right operand is not a quantised constant", "only constant weights are supported"
        )
    if weight.values.ndim != 2:
        raise Unsupported(f"weights of rank {weight.values.ndim}", "use a matrix of weights")
    if not transposed and weight.scale.size > 1 and weight.scale.shape[0] > 1:
        raise Unsupported("weight scales along the summed axis", "quantise per output unit")
    if transposed and weight.scale.size > 1 and weight.scale.shape[-1] > 1:
        raise Unsupported("weight scales along the summed axis", "quantise per output unit")
    values = weight.values if transposed else weight.values.T
    units, depth = values.shape
    view = ctx.view(node.input(0))
    real_bias = bias_operand(ctx, bias_name, units)
    shape = ctx.graph.shape(node.outputs[0])
    vectors = view.layout.size // depth

    def finish(q: OutQuant) -> View:
        if vectors == 1:
            # The weights take the input's memory order, so a flattened NHWC tensor needs no copy.
            order = view.layout.to_memory(np.arange(depth).reshape(view.layout.shape))
            source, rows = view.tensor, (1, 1, units)
            ctx.rows_of(view)
            kernel_values = values[:, order]
            layout: Layout = row_major(shape)
        else:
            tensor = ctx.tensors[view.tensor]
            cut = (tensor.rows, tensor.cols) if tensor.channels == depth else (vectors, 1)
            source = ctx.arrange(view, row_major(view.layout.shape), (*cut, depth))
            rows, kernel_values, layout = (*cut, units), values, row_major(shape)
        weights, bias, requant = linear_parameters(ctx, node, weight, real_bias, view, q, kernel_values)
        op = Dense(
            name=node.name,
            inputs=(source,),
            output=q.name,
            weights=weights,
            bias=bias,
            per_pixel=vectors != 1,
            requant=requant,
        )
        return ctx.emit(op, rows, layout, q.scale, q.zero_point)

    ctx.define(node.outputs[0], Pending(finish))


LOWERINGS = {"Gemm": lower_gemm, "MatMul": lower_matmul}
