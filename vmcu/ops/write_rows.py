"""A graph output that is handed to the caller row by row: it never has to lie in memory as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, Int8s, Kernel, QOp, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRows(QOp):
    """Hands the rows of its input to the caller, each once, ascending.

    Its output is a tensor of the same shape without bytes: what the caller has received.

    Attributes:
        port: number of the graph output among those that are streamed.

    Source: SPEC.md section 5.
    """

    kind: ClassVar[str] = "WriteRows"
    is_output: ClassVar[bool] = True

    port: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(len(ins) == 1 and ins[0].shape == out.shape, "it changes the shape")
        self.expect(out.size_bytes == 0, "it writes")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        return ins[0]

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return (Window(),)

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        return Kernel("write_rows", {"port": self.port}, uses_row=True, uses_caller=True)
