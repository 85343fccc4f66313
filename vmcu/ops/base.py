"""What every integer operator provides, and the words operators are described in.

An operator family is one file in this folder: ONNX parsing and quantisation (`lower_*` functions),
the frozen operator class with its integer reference, its access function and its choice of kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import Unsupported, internal
from vmcu.ir.quantized import Isa, Tensor
from vmcu.quant.requantise import Requant

Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Window:
    """Output row r reads input rows r*stride - pad + i*dilation for i < kernel; rows outside are padding."""

    kernel: int = 1
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @property
    def pointers(self) -> int:
        """Rows that an output row reads, padding among them."""
        return self.kernel


@dataclass(frozen=True, slots=True)
class Every:
    """Each output row reads all input rows."""


@dataclass(frozen=True, slots=True)
class Table:
    """Output row r reads the input rows `rows[r]`, in this order; -1 is a padding row.

    All entries have the same length.
    """

    rows: tuple[tuple[int, ...], ...]

    @property
    def pointers(self) -> int:
        """Rows that an output row reads, padding among them."""
        return len(self.rows[0])


@dataclass(frozen=True, slots=True)
class Patch:
    """Output segment (r, t) reads, of each row that `rows` says for r, `count` tiles from first(t).

    Attributes:
        rows: over rows of the input.
        tiles_in, tiles_out: per row of input and output.
        left: first(t) = t - left where both are tiled, else 0. Tiles outside the row are padding.
        count: tiles.
    """

    rows: Window | Table
    tiles_in: int
    tiles_out: int
    left: int
    count: int


Access = Window | Every | Table | Patch


def segments_of(access: Access, segment: int, input_segments: int) -> tuple[int, ...]:
    """Input segments that an output segment reads, in kernel order; -1 stands for padding."""
    match access:
        case Window(kernel, stride, pad, dilation):
            rows = (segment * stride - pad + i * dilation for i in range(kernel))
            return tuple(r if 0 <= r < input_segments else -1 for r in rows)
        case Patch(rows_in, tiles_in, tiles_out, left, count):
            row, tile = divmod(segment, tiles_out)
            first = tile - left if tiles_in == tiles_out else 0
            return tuple(
                r * tiles_in + t if r >= 0 and 0 <= t < tiles_in else -1
                for r in segments_of(rows_in, row, input_segments // tiles_in)
                for t in range(first, first + count)
            )
        case Every():
            return tuple(range(input_segments))
        case Table(rows_of):
            return rows_of[segment]


def narrow_weights(values: NDArray[np.int64]) -> NDArray[np.int8] | NDArray[np.int16]:
    """Weights with their zero point subtracted as int8, or as int16 where that does not fit.

    Raises:
        Unsupported: they are wider still.
    """
    low, high = int(values.min()), int(values.max())
    if low >= -128 and high <= 127:
        return values.astype(np.int8)
    if low >= -(1 << 15) and high < 1 << 15:
        return values.astype(np.int16)
    raise Unsupported(f"a constant operand with values from {low} to {high}", "quantise the constant to int8")


def narrowest(values: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Indices and counts, none negative, in the narrowest type that holds them."""
    for dtype in (np.uint8, np.uint16):
        if values.max(initial=0) <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.uint32)


@dataclass(frozen=True, slots=True)
class ConstArray:
    """A constant of a kernel, emitted as a C array.

    Attributes:
        suffix: of the C name.
        given: integer array, or the function that makes it: plans are compared without it.
        role: "weights" (the model's parameters: weights, biases, scales as multipliers) or "tables" (derived).
    """

    suffix: str
    given: NDArray[np.integer[Any]] | Callable[[], NDArray[np.integer[Any]]] = field(compare=False)
    role: Literal["weights", "tables"]

    @property
    def values(self) -> NDArray[np.integer[Any]]:
        """Integer array; its dtype is the C type."""
        return self.given() if callable(self.given) else self.given


def numbers(requant: Requant) -> list[ConstArray]:
    """The tables that `requant.c_expr` reads: `multipliers`, and `shifts` where the rule has them."""
    found = [ConstArray("multipliers", np.array(requant.multipliers, np.int32), "weights")]
    if requant.numerics == "tflm":
        found.append(ConstArray("shifts", np.array(requant.shifts, np.int8), "tables"))
    return found


PLACEHOLDER = "vmcu_kernel_name"


@dataclass(frozen=True, slots=True)
class Function:
    """A C function that kernels call; those of equal text are one.

    Attributes:
        stem: start of its name.
        text: its definition, with `PLACEHOLDER` for its name.
    """

    stem: str
    text: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """The C function of one step: a template of `templates/kernels/` and its numbers.

    The function is `void f(const int8_t *const *in, int8_t *out, ...)`; `in` lists the row pointers of
    all inputs in the order of `rows_read`. Then follow, where used, `int32_t row`, `int8_t *scratch`,
    `const int8_t *pad` and a pointer per constant, named by its suffix.

    Attributes:
        template: file name without ".c.j2".
        context: what the template prints.
        constants: arrays.
        pad_value: content of a padding row; None where no row is ever padding.
        pad_pixel: the kernel itself reads padding, at the ends of a row.
        uses_row: the kernel depends on the output row's index.
        uses_caller: it asks the caller for rows, or hands rows to it.
        scratch_bytes: working memory during one task, 4-byte aligned, from the plan.
        functions: what the template calls, by the word it prints for the name.
        instructions: exact or estimated instructions of one task; None where only measurements tell
            (`vmcu/planning/cost.py`).
        make_leaner: lists kernels that do the same in less flash, from fast to small; asked only where flash is short.
    """

    template: str
    context: Mapping[str, object]
    constants: tuple[ConstArray, ...] = ()
    pad_value: int | None = None
    pad_pixel: bool = False
    uses_row: bool = False
    uses_caller: bool = False
    scratch_bytes: int = 0
    functions: Mapping[str, Function] = field(default_factory=dict)
    instructions: int | None = None
    make_leaner: Callable[[], tuple[Kernel, ...]] | None = field(default=None, compare=False)

    @property
    def leaner(self) -> tuple[Kernel, ...]:
        """Those that do the same in less flash, with no more scratch."""
        listed = self.make_leaner() if self.make_leaner else ()
        return tuple(k for k in listed if k.scratch_bytes <= self.scratch_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class QOp:
    """An integer operator writing one tensor.

    Attributes:
        name: of the ONNX node (untrusted), for messages and comments.
        inputs: tensor names.
        output: tensor name.

    An operator that `accumulates` writes one row of accumulators and takes one task per segment of its first
    input: task s adds segment s. All others take one task per output segment. One that `is_input` computes
    nothing: its output is given by the caller. One that `is_output` hands its input to the caller: its output has
    no bytes.
    """

    kind: ClassVar[str] = ""
    accumulates: ClassVar[bool] = False
    is_input: ClassVar[bool] = False
    is_output: ClassVar[bool] = False

    name: str
    inputs: tuple[str, ...]
    output: str

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        """Raises VmcuError (BUG) where shapes contradict the operator."""
        raise NotImplementedError

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s | NDArray[np.int32]:
        """The integer semantics (SPEC.md).

        Shapes: inputs (rows, cols, channels) as planned; result `out.shape`.
        """
        raise NotImplementedError

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        """Per input, the segments that one output segment reads."""
        raise NotImplementedError

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        """Can it read and write the tiles of columns that its tensors have?"""
        return all(t.tiles == 1 for t in (*ins, out))

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        """The plain C kernel."""
        raise NotImplementedError

    def kernels(
        self, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool = False
    ) -> tuple[Kernel, ...]:
        """All that compute it on an instruction set: the fastest first, the one with the least scratch last.

        Args:
            compact: only those that take least flash.
        """
        return (self.kernel(ins, out),)

    def moves_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        """Is every output row one row of an input, byte for byte? It may then be written onto that row."""
        return False

    @property
    def band(self) -> int:
        """Rows of the output that share what they read with each other alone; 0: there are none such."""
        return 0

    @property
    def in_order(self) -> bool:
        """Do its tasks have to run in ascending order?"""
        return self.accumulates or self.is_input or self.is_output

    @property
    def at_once(self) -> bool:
        """Is a task to run as soon as what it reads is there? That needs little memory, and frees some."""
        return self.is_output

    def tasks(self, ins: tuple[Tensor, ...], out: Tensor) -> int:
        """Number of tasks."""
        return ins[0].segments if self.accumulates else out.segments

    def by_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[QOp, QOp] | None:
        """The same as an operator that accumulates (into a tensor of its own) and one that finishes it.

        None where the operator does not read its whole input at once.
        """
        return None

    def macs(self, ins: tuple[Tensor, ...], out: Tensor) -> int:
        """Multiply-accumulates of the whole operator (0 where the field counts none)."""
        return 0

    def expect(self, condition: bool, what: str) -> None:
        """Helper of `verify`."""
        if not condition:
            raise internal(what, f"{self.kind} {self.name!r}")
