"""A graph input that the caller delivers row by row: it never has to lie in memory as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmcu.errors import internal
from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, Int8s, Kernel, QOp


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows(QOp):
    """Asks the caller for the rows of its output, ascending; rows that nobody reads are not asked for.

    Attributes:
        port: number of the graph input.

    Source: SPEC.md section 5.
    """

    kind: ClassVar[str] = "ReadRows"
    is_input: ClassVar[bool] = True

    port: int

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(not ins, "it has an input")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        raise internal("an input is given, not computed", self.name)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        return ()

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        return Kernel("read_rows", {"port": self.port}, uses_row=True, uses_caller=True)
