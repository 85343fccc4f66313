"""The integer network: what the reference computes, the planner plans and the generator prints.

Every activation is a `Tensor` of rows (NHWC, batch 1). Operators are the classes in `vmcu.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from vmcu.errors import internal
from vmcu.ir.layout import Layout
from vmcu.ir.tuning import Tuning

if TYPE_CHECKING:
    from vmcu.ops.base import Kernel, QOp

Numerics = Literal["onnx", "tflm"]
Isa = Literal["c", "armv6-m", "armv7-m", "armv7e-m", "armv8.1-m"]
"""What kernels may use: C alone, Thumb, Thumb-2, Thumb-2 with DSP, Helium."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation. A *segment* is one of its rows, or a tile of columns of a row.

    Attributes:
        name: unique; derived from the model's names (untrusted text).
        rows, cols, channels: H, W, C; element (h, w, c) lies at h*W*C + w*C + c.
        scale, zero_point: real = scale * (q - zero_point); (1.0, 0) for int32 indices.
        elem_bytes: 1 (int8), 4 (int32), or 0: it has been handed to the caller and takes no memory.
        tiles: segments per row, all of the same number of columns; segment (h, t) has number h*tiles + t.
    """

    name: str
    rows: int
    cols: int
    channels: int
    scale: float
    zero_point: int
    elem_bytes: int = 1
    tiles: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, cols, channels)."""
        return (self.rows, self.cols, self.channels)

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.cols * self.channels * self.elem_bytes

    @property
    def segments(self) -> int:
        """How many there are."""
        return self.rows * self.tiles

    @property
    def segment_cols(self) -> int:
        """Columns of one segment."""
        return self.cols // self.tiles

    @property
    def segment_bytes(self) -> int:
        """Size of one segment."""
        return self.row_bytes // self.tiles

    @property
    def size_bytes(self) -> int:
        """Size of the whole tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True)
class Interface:
    """A graph input or output as the model file declares it.

    Attributes:
        name: in the model file.
        tensor: the tensor that holds it.
        layout: ONNX shape and how it lies in the tensor's memory.
        dtype: in the model file: "int8", "uint8" (= int8 + 128), "float32" (quantised with the
            tensor's scale and zero point) or "int64" (held as int32).
        streamed: the caller delivers or receives it row by row during the run.
    """

    name: str
    tensor: str
    layout: Layout
    dtype: str
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class StateLink:
    """Tensor `next` is, at the end of a run, in the memory of `current` for the following run.

    Attributes:
        current, next: tensor names of equal shape.
        input, output: the model's names of the pair.
        dtype: in the model file.
    """

    current: str
    next: str
    input: str
    output: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What an optimised network was made from.

    Attributes:
        graph: computes the same outputs.
        kept: tensor name -> numbers of the channels that are left, ascending; equal to those of `graph` in every value.
    """

    graph: QuantizedGraph
    kept: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class QuantizedGraph:
    """Integer operators in topological order.

    Attributes:
        name: of the model (untrusted).
        numerics: rounding mode (SPEC.md).
        tensors: by name.
        ops: each writes one tensor.
        inputs, outputs: states excluded.
        states: persistent tensors.
        sha256: of the model file.
        isa: whose kernels are planned with.
        compact: with those that take least flash.
        tuning: what they cost, where it was measured.
        origin: of an optimised network.
    """

    name: str
    numerics: Numerics
    tensors: Mapping[str, Tensor]
    ops: tuple[QOp, ...]
    inputs: tuple[Interface, ...]
    outputs: tuple[Interface, ...]
    states: tuple[StateLink, ...]
    sha256: str
    isa: Isa = "c"
    compact: bool = False
    tuning: Tuning | None = None
    origin: Origin | None = None

    @property
    def original(self) -> QuantizedGraph:
        """The network as the model file has it: itself where nothing was optimised."""
        return self.origin.graph if self.origin else self

    @property
    def channels_removed(self) -> int:
        """Channels of the original's tensors that are not computed."""
        if self.origin is None:
            return 0
        tensors = self.origin.graph.tensors
        return sum(tensors[name].channels - len(kept) for name, kept in self.origin.kept.items())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(op.macs(self.ins(op), self.tensors[op.output]) for op in self.ops)

    def ins(self, op: QOp) -> tuple[Tensor, ...]:
        """The input tensors of `op`."""
        return tuple(self.tensors[name] for name in op.inputs)

    def kernels(self, op: QOp) -> tuple[Kernel, ...]:
        """The kernels there are for `op`: the fastest first, the one with the least scratch last."""
        return _kernels(_One(op), self.ins(op), self.tensors[op.output], self.isa, self.compact, self.tuning)

    def given(self) -> tuple[str, ...]:
        """Tensors that hold data before the first operator: inputs that are not streamed, then states."""
        inputs = [i.tensor for i in self.inputs if not i.streamed]
        return tuple(dict.fromkeys(inputs + [s.current for s in self.states]))

    def verify(self) -> QuantizedGraph:
        """Checks order, single production and the shape rules of every operator; returns self."""
        known = set(self.given())
        for op in self.ops:
            missing = [n for n in op.inputs if n not in known]
            if missing or op.output in known:
                raise internal(f"order of tensors is broken ({missing or op.output})", op.name)
            op.verify(self.ins(op), self.tensors[op.output])
            known.add(op.output)
        for port in (*self.inputs, *self.outputs):
            if port.tensor not in known:
                raise internal("is not computed", port.name)
            if (
                port.layout.size
                != self.tensors[port.tensor].size_bytes // self.tensors[port.tensor].elem_bytes
            ):
                raise internal("layout and tensor disagree in size", port.name)
        return self

    def to_text(self) -> str:
        """For `--dump-after`."""
        lines = [f"quantized {self.name!r} numerics {self.numerics} macs {self.macs}"]
        for port in self.inputs:
            lines.append(f"  input  {port.name!r} {port.dtype} in {_text(self.tensors[port.tensor])}")
        for op in self.ops:
            out = _text(self.tensors[op.output])
            lines.append(f"  {out} = {op.kind}({', '.join(map(repr, op.inputs))})  # {op.name!r}")
        for port in self.outputs:
            lines.append(f"  output {port.name!r} {port.dtype} from {port.tensor!r}")
        lines += [f"  state  {s.current!r} <- {s.next!r}" for s in self.states]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """An operator, equal to itself alone."""

    op: QOp

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _One) and self.op is other.op

    def __hash__(self) -> int:
        return id(self.op)


@lru_cache(maxsize=2048)
def _kernels(
    one: _One, ins: tuple[Tensor, ...], out: Tensor, isa: Isa, compact: bool, tuning: Tuning | None
) -> tuple[Kernel, ...]:
    """Schedules by the dozen ask for the same kernels."""
    found = one.op.kernels(ins, out, isa, compact)
    return tuning.apply(one.op, out, found) if tuning else found


def _text(tensor: Tensor) -> str:
    return f"{tensor.name!r}[{tensor.rows}x{tensor.cols}x{tensor.channels} s={tensor.scale:.9g} z={tensor.zero_point}]"
