"""Row-wise forms of operators that read their whole input: partial sums, then one rescaling.

A global mean or a dense layer over an image needs all rows, but not at once. Split in two, the first
operator consumes its input row by row into 32-bit accumulators, so that no more than the row just
computed has to stay in memory; the second turns the accumulators into the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import offer
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Window, numbers
from vmcu.quant.requantise import Requant, saturate

AT_ONCE = 4  # channels of a single pixel that are added in a trip of the loop


def sums_name(out: Tensor) -> str:
    """Name of the accumulators of the operator that computes `out`."""
    return f"{out.name}.sums"


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRows(QOp):
    """acc[c] = start + sum of x[:, :, c], one input row a task.

    Attributes:
        start: initial value of every accumulator.

    Source: SPEC.md section 3.11.
    """

    kind: ClassVar[str] = "SumRows"
    accumulates: ClassVar[bool] = True

    start: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(out.shape == (1, 1, ins[0].channels) and out.elem_bytes == 4, "accumulators")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> NDArray[np.int32]:
        return np.asarray(ins[0].sum(axis=(0, 1), dtype=np.int32).reshape(out.shape) + self.start, np.int32)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return out.tiles == 1

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        cols, channels = ins[0].segment_cols, ins[0].channels
        lanes = list(range(AT_ONCE)) if cols == 1 and channels % AT_ONCE == 0 else []
        context = {"cols": cols, "channels": channels, "start": self.start, "lanes": lanes}
        return Kernel("sum_rows", context, uses_row=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseRows(QOp):
    """acc[u] = bias[u] + weights[u] . x, one input row a task.

    Attributes:
        weights: (units, depth) as in `Dense`.
        bias: int32 per unit.

    Source: SPEC.md section 3.11.
    """

    kind: ClassVar[str] = "DenseRows"
    accumulates: ClassVar[bool] = True

    weights: NDArray[np.int8] | NDArray[np.int16]
    bias: NDArray[np.int32]

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        units, depth = self.weights.shape
        self.expect(out.shape == (1, 1, units) and out.elem_bytes == 4, "accumulators")
        self.expect(depth == ins[0].size_bytes, "depth")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> NDArray[np.int32]:
        product = self.weights.astype(np.float64) @ ins[0].reshape(-1).astype(np.float64)  # exact < 2^53
        return np.asarray(np.rint(product) + self.bias, np.int32).reshape(out.shape)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return out.tiles == 1

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        (x,) = ins
        units = self.weights.shape[0]
        # One block of weights per input row, so that each task reads its own in order.
        by_row = self.weights.reshape(units, x.segments, x.segment_bytes).transpose(1, 0, 2)
        constants = (
            ConstArray("weights", by_row.reshape(-1), "weights"),
            ConstArray("bias", self.bias, "weights"),
        )
        context = {
            "units": units,
            "fours": units - units % 4,
            "depth": x.segment_bytes,
            "block": units * x.segment_bytes,
            "weight_type": "int16_t" if self.weights.dtype == np.int16 else "int8_t",
        }
        return Kernel("dense_rows", context, constants, uses_row=True)

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        by_row = self.weights.reshape(len(self.weights), ins[0].segments, ins[0].segment_bytes)
        return offer.accumulation(by_row, self.bias, isa, compact) or (self.kernel(ins, out),)

    def macs(self, ins: tuple[Tensor, ...], out: Tensor) -> int:
        return int(self.weights.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(QOp):
    """output = rescaled accumulators.

    Attributes:
        requant: accumulator -> output; None: division by `count`, half away from zero (TFLite).
        count: number of values summed.
        low, high: clamp under division.

    Source: SPEC.md section 3.11.
    """

    kind: ClassVar[str] = "Finish"

    requant: Requant | None
    count: int = 1
    low: int = -128
    high: int = 127

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(ins[0].shape == out.shape and ins[0].elem_bytes == 4, "accumulators")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        acc = ins[0].astype(np.int64)
        if self.requant is not None:
            return self.requant.apply(acc)
        return saturate((np.abs(acc) + self.count // 2) // self.count * np.sign(acc), self.low, self.high)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        if self.requant is None:
            result = f"vmcu_average(acc[o], {self.count}, {self.low}, {self.high})"
            return Kernel("finish", {"channels": out.channels, "result": result})
        channel = "[o]" if self.requant.per_channel else "[0]"
        result = self.requant.c_expr("acc[o]", f"multipliers{channel}", f"shifts{channel}")
        return Kernel("finish", {"channels": out.channels, "result": result}, tuple(numbers(self.requant)))
