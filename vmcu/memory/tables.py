"""MemoryPlan -> Tables: exactly the numbers that are printed into C, as plain integers and tuples.

The checker reads these, and only these: what it has approved is what runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from vmcu.memory.plan import MemoryPlan
from vmcu.ops.base import Every, Patch, Table, Window
from vmcu.ops.write_rows import WriteRows


@dataclass(frozen=True, slots=True)
class TensorTable:
    """Where the rows of one tensor lie. Where a tensor is cut into tiles of columns, "row" means tile.

    Attributes:
        name: of the tensor (untrusted text).
        rows: how many it has, as the graph says.
        row_bytes: size of a row.
        elem_bytes: size of an element; every address is a multiple of it.
        addresses: of each row, bytes from the start of the pool.
        owners: per row the (tensor, row) whose bytes these are: itself, or another where the tensor
            consists of rows of others.
    """

    name: str
    rows: int
    row_bytes: int
    elem_bytes: int
    addresses: tuple[int, ...]
    owners: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ReadTable:
    """The rows of one input that an output row reads; the kinds of `vmcu.ops.base.Access`.

    Attributes:
        tensor: index of the input.
        kind: "window": kernel rows from row * stride - pad, every `dilation`; "every": all rows;
            "table": `rows[row]`.
            "patch": the window is over rows r of `tiles` each; output row (r, t), of `tiles_out` a row, reads
            from each the `count` tiles from t - left, or from 0 where tiles and tiles_out differ. Where `rows` is
            given, these are `rows[r]` instead of a window's.
        kernel, stride, pad, dilation: of a window.
        rows: of a table, or of a patch; -1 is padding.
        tiles, tiles_out, left, count: of a patch. Tiles outside a row are padding.
    """

    tensor: int
    kind: str
    kernel: int = 0
    stride: int = 0
    pad: int = 0
    dilation: int = 0
    rows: tuple[tuple[int, ...], ...] = ()
    tiles: int = 1
    tiles_out: int = 1
    left: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class StepTable:
    """One operator: computes rows of `output` from rows of `reads`.

    Attributes:
        output: index of the tensor it writes.
        reads: its inputs, in kernel order.
        scratch_address, scratch_bytes: working memory during each of its tasks.
        accumulates: row 0 of `output` takes one task per row of the first input; else a task is a row.
        moves_rows: every row of `output` is the one row it reads, byte for byte.
        port: of a step that hands row after row of `output` to the caller and writes nothing: its place in
            `Tables.handed`. None for all others.
    """

    output: int
    reads: tuple[ReadTable, ...]
    scratch_address: int
    scratch_bytes: int
    accumulates: bool = False
    moves_rows: bool = False
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Tasks first <= row < end of a step, ascending."""

    step: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The whole plan.

    Attributes:
        pool_bytes: size of the pool.
        state_bytes: leading part that persists between runs.
        tensors, steps: by index.
        order: the schedule.
        inputs, outputs: tensors the caller writes and reads as one array each.
        states: (current, next) tensors: at the end `next` lies where `current` is read.
        handed: tensors the caller receives row by row during the run, one per port.
        split_bytes: the pool's leading bytes are one array in memory, the others another one; 0: it is one array.
    """

    pool_bytes: int
    state_bytes: int
    tensors: tuple[TensorTable, ...]
    steps: tuple[StepTable, ...]
    order: tuple[Range, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[tuple[int, int], ...]
    handed: tuple[int, ...] = ()
    split_bytes: int = 0


def make_tables(plan: MemoryPlan) -> Tables:
    """Numbers tensors in the order of the graph and spells the plan out."""
    schedule, graph = plan.schedule, plan.schedule.graph
    named = {name: tensor for name, tensor in graph.tensors.items() if tensor.elem_bytes}
    index = {name: i for i, name in enumerate(named)}
    tensors = []
    for name, tensor in named.items():
        own = tuple((index[name], r) for r in range(tensor.segments))
        alias = schedule.aliases.get(name)
        owners = tuple((index[t], r) for t, r in alias) if alias is not None else own
        sizes = (tensor.segments, tensor.segment_bytes, tensor.elem_bytes)
        tensors.append(TensorTable(name, *sizes, plan.addresses[name], owners))
    steps = []
    for i, op in enumerate(schedule.steps):
        ins, out = graph.ins(op), graph.tensors[op.output]
        if isinstance(op, WriteRows):
            steps.append(StepTable(index[op.inputs[0]], (), 0, 0, port=op.port))
            continue
        reads = []
        for tensor, access in zip(ins, op.access(ins, out), strict=True):
            match access:
                case Window(kernel, stride, pad, dilation):
                    reads.append(ReadTable(index[tensor.name], "window", kernel, stride, pad, dilation))
                case Every():
                    reads.append(ReadTable(index[tensor.name], "every"))
                case Table(rows):
                    reads.append(ReadTable(index[tensor.name], "table", rows=rows))
                case Patch(rows_in, tiles, tiles_out, left, count):
                    patch = (tiles, tiles_out, left, count)
                    match rows_in:
                        case Window(kernel, stride, pad, dilation):
                            window, rows = (kernel, stride, pad, dilation), ()
                        case Table(rows):
                            window = (rows_in.pointers, 1, 0, 1)
                    reads.append(ReadTable(index[tensor.name], "patch", *window, rows, *patch))
        size = schedule.kernels[i].scratch_bytes
        steps.append(
            StepTable(
                index[op.output],
                tuple(reads),
                plan.scratch.get(i, 0),
                size,
                op.accumulates,
                op.moves_rows(ins, out),
            )
        )
    return Tables(
        plan.pool_bytes,
        plan.state_bytes,
        tuple(tensors),
        tuple(steps),
        ranges([(t.step, t.row) for t in schedule.tasks]),
        tuple(index[p.tensor] for p in graph.inputs if not p.streamed),
        tuple(index[p.tensor] for p in graph.outputs if not p.streamed),
        tuple((index[s.current], index[s.next]) for s in graph.states),
        tuple(index[p.tensor] for p in graph.outputs if p.streamed),
        plan.split_bytes,
    )


def ranges(tasks: list[tuple[int, int]]) -> tuple[Range, ...]:
    """Runs of ascending rows of one step."""
    found = []
    for _, group in groupby(enumerate(tasks), key=lambda item: (item[1][0], item[1][1] - item[0])):
        run = [task for _, task in group]
        found.append(Range(run[0][0], run[0][1], run[-1][1] + 1))
    return tuple(found)
