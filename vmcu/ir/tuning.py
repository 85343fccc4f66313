"""What kernels were measured to cost, beside a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmcu.ir.quantized import Tensor
    from vmcu.ops.base import Kernel, QOp

Key = tuple[str, str, int]  # output, template, scratch


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What was measured.

    Attributes:
        rates: exact instructions of a task, per element of the segment it writes.
    """

    rates: Mapping[Key, float]

    def apply(self, op: QOp, out: Tensor, kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
        """The kernels with their measured instructions: the fastest first, each with less scratch than those before it."""
        elements = out.segment_cols * out.channels
        known = []
        for kernel in kernels:
            rate = self.rates.get((op.output, kernel.template, kernel.scratch_bytes))
            known.append(kernel if rate is None else replace(kernel, instructions=round(rate * elements)))
        if any(k.instructions is None for k in known):
            return tuple(known)
        known.sort(key=lambda k: (k.instructions or 0, k.scratch_bytes))
        best = [k for i, k in enumerate(known) if all(k.scratch_bytes < b.scratch_bytes for b in known[:i])]
        return tuple(best)
