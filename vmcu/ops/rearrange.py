"""Everything that only moves bytes: Concat, Slice, Split, Pad, Gather, Transpose, DepthToSpace, SpaceToDepth,
Resize (nearest), copies between layouts and the storing of states.

All of them are one integer operator, an index map from output to input elements. The map is found by
running the ONNX operator on an array of element numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Array, Node
from vmcu.ir.layout import Layout, channels_last, row_major
from vmcu.ir.quantized import Interface, Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Table, narrowest
from vmcu.quant.lowering import Lowering, Rows, Unsupported, View, natural_rows

Numbers = NDArray[np.int32]
FILL = 0  # in a run: not a pointer but the fill value; pointers count from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearrange(QOp):
    """output.flat[i] = concatenation of all inputs' elements [source[i]], or `fill` where source[i] is -1.

    Attributes:
        source: (rows, cols * channels) of the output; numbers count the inputs' elements one after another.
        fill: int8.
        pinned: the output takes the addresses of this tensor (a state's memory), or None.
        own_memory: a copy that is wanted: never an alias of what it reads.
    """

    kind: ClassVar[str] = "Rearrange"

    source: Numbers
    fill: int = 0
    pinned: str | None = None
    own_memory: bool = False

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(self.source.shape == (out.rows, out.row_bytes), "shape of the index map")
        total = sum(x.size_bytes for x in ins)
        self.expect(int(self.source.min()) >= -1 and int(self.source.max()) < total, "range of the index map")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        flat = np.concatenate([x.reshape(-1) for x in ins] + [np.array([self.fill], np.int8)])
        return flat[self.source].reshape(out.shape)  # -1 is the last element: the fill

    def aliases(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[tuple[str, int], ...] | None:
        """Per output row the (input, row) whose memory serves for it; None unless that holds for all rows."""
        return None if self.pinned or self.own_memory else self._whole_rows(ins, out)

    def moves_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return self._whole_rows(ins, out) is not None

    def _whole_rows(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[tuple[str, int], ...] | None:
        """Per output row the (input, row) it is identical with; None unless that holds for all rows."""
        if any(x.row_bytes != out.row_bytes for x in ins):
            return None
        first = self.source[:, :1]
        width = out.row_bytes
        if np.any(first % width) or np.any(self.source != first + np.arange(width)):
            return None
        rows = [(x.name, r) for x in ins for r in range(x.rows)]
        return tuple(rows[int(f) // width] for f in first[:, 0])

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        found: list[Access] = []
        base = 0
        for x in ins:
            per_row = [self._rows(r, base, x) for r in range(out.rows)]
            longest = max(1, *(len(rows) for rows in per_row))
            # Repeating a row keeps the number of pointers constant; its bytes are not read twice.
            found.append(
                Table(tuple(rows + (rows[-1] if rows else -1,) * (longest - len(rows)) for rows in per_row))
            )
            base += x.size_bytes
        return tuple(found)

    def _rows(self, row: int, base: int, x: Tensor) -> tuple[int, ...]:
        local = self.source[row] - base
        local = local[(local >= 0) & (local < x.size_bytes)]
        return tuple(int(r) for r in np.unique(local // x.row_bytes))

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        runs = self._runs(ins, out)
        table = [run for row in runs for run in row]
        same = all(row == runs[0] for row in runs)
        if same:
            table = runs[0]
        starts = np.cumsum([0] + [len(row) for row in runs])
        constants = [ConstArray("runs", narrowest(np.array(table, np.int64).reshape(-1)), "tables")]
        if not same:
            constants.append(ConstArray("starts", narrowest(starts), "tables"))
        context = {
            "same": same,
            "run_count": len(runs[0]),
            "fills": bool((self.source < 0).any()),
            "fill": self.fill,
        }
        return Kernel("rearrange", context, tuple(constants), uses_row=not same)

    def _runs(self, ins: tuple[Tensor, ...], out: Tensor) -> list[list[tuple[int, int, int]]]:
        """Per output row the copies (pointer, offset, length) that fill it; pointer FILL is the fill."""
        tables = self.access(ins, out)
        bases = np.cumsum([0] + [x.size_bytes for x in ins])
        firsts = np.cumsum([0] + [len(t.rows[0]) for t in tables if isinstance(t, Table)])
        result = []
        for r in range(out.rows):
            numbers = self.source[r]
            # -1 (a fill) and 0 (an element) are no neighbours.
            breaks = np.flatnonzero((np.diff(numbers) != 1) | (numbers[:-1] < 0)) + 1
            row: list[tuple[int, int, int]] = []
            for part in np.split(numbers, breaks):
                if part[0] < 0:
                    row.append((FILL, 0, 1))
                    continue
                position, left = int(part[0]), len(part)
                while left:
                    i = int(np.searchsorted(bases, position, side="right")) - 1
                    line, offset = divmod(position - int(bases[i]), ins[i].row_bytes)
                    length = min(left, ins[i].row_bytes - offset)
                    access = tables[i]
                    assert isinstance(access, Table)
                    row.append((1 + int(firsts[i]) + access.rows[r].index(line), offset, length))
                    position, left = position + length, left - length
            result.append(_merge_fills(row))
        return result


def _merge_fills(runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    merged: list[tuple[int, int, int]] = []
    for run in runs:
        if merged and run[0] == FILL == merged[-1][0]:
            merged[-1] = (FILL, 0, merged[-1][2] + run[2])
        else:
            merged.append(run)
    return merged


def numbered(view: View) -> Numbers:
    """Element numbers of `view`'s tensor memory, in ONNX shape."""
    return np.asarray(view.layout.from_memory(np.arange(view.layout.size, dtype=np.int32)), np.int32)


def emit_map(
    ctx: Lowering,
    views: list[View],
    numbers: Numbers,
    name: str,
    node_name: str,
    *,
    layout: Layout | None = None,
    rows: Rows | None = None,
    fill: int = 0,
    pinned: str | None = None,
    own_memory: bool = False,
) -> View:
    """Emits the operator whose output, in ONNX shape, is `numbers`; memory order like the first input's."""
    first = views[0]
    if layout is None:
        same_kind = (
            first.layout == channels_last(first.layout.shape) and len(first.layout.shape) == numbers.ndim
        )
        layout = channels_last(numbers.shape) if same_kind else row_major(numbers.shape)
    rows = rows or natural_rows(layout)
    for view in views:
        ctx.rows_of(view)
    op = Rearrange(
        name=node_name,
        inputs=tuple(v.tensor for v in views),
        output=ctx.unique(name),
        source=np.asarray(layout.to_memory(numbers), np.int32).reshape(rows[0], -1),
        fill=fill,
        pinned=pinned,
        own_memory=own_memory,
    )
    return ctx.emit(op, rows, layout, first.scale, first.zero_point)


def rearrange(ctx: Lowering, view: View, layout: Layout, rows: Rows) -> View:
    """A copy of `view` in another memory order or cut into other rows."""
    name = ctx.unique(f"{view.tensor}.rearranged")
    return emit_map(ctx, [view], numbered(view), name, view.tensor, layout=layout, rows=rows)


def copy_of(ctx: Lowering, view: View, name: str) -> View:
    """A copy of `view` as it lies."""
    rows = ctx.rows_of(view)
    return emit_map(ctx, [view], numbered(view), name, name, layout=view.layout, rows=rows, own_memory=True)


def store_states(
    ctx: Lowering, updates: Sequence[tuple[View, Interface]], outputs: Collection[str]
) -> list[str]:
    """Copies new states into the memory of the old ones, after everything else; returns the tensors' names.

    Stores may run in any order, the rows of each ascend. A new state that one of them would overwrite
    before it is read is copied first.

    Args:
        updates: (new state, state).
        outputs: tensors of the graph's outputs.
    """
    states = {state.tensor for _, state in updates}
    sources = []
    for view, state in updates:
        late = _read_too_late(ctx, view, state, states, outputs)
        sources.append(copy_of(ctx, view, ctx.unique(f"{state.tensor}.new")) if late else view)
    stored = []
    for view, (_, state) in zip(sources, updates, strict=True):
        name, rows = (
            f"{state.tensor}.next",
            ctx.rows_of(View(state.tensor, state.layout, view.scale, view.zero_point)),
        )
        stored.append(
            emit_map(
                ctx, [view], numbered(view), name, name, layout=state.layout, rows=rows, pinned=state.tensor
            )
        )
    return [view.tensor for view in stored]


def _read_too_late(
    ctx: Lowering, view: View, state: Interface, states: Collection[str], outputs: Collection[str]
) -> bool:
    """Would storing `view` read memory of a state that another store, or an earlier row of this one, overwrites?

    Reading the very row it writes is sound only where the row moves onto itself byte for byte.
    """
    owners = _owners(ctx, view.tensor, outputs)
    rows, width = ctx.tensors[state.tensor].rows, ctx.tensors[view.tensor].row_bytes
    for row, numbers in enumerate(state.layout.to_memory(numbered(view)).reshape(rows, -1)):
        for source in np.unique(numbers // width):
            tensor, owner_row = owners[source]
            if tensor in states and (tensor != state.tensor or owner_row < row):
                return True
            onto_itself = np.array_equal(numbers, source * width + np.arange(width))
            if (tensor, owner_row) == (state.tensor, row) and not onto_itself:
                return True
    return False


def _owners(ctx: Lowering, name: str, outputs: Collection[str]) -> list[tuple[str, int]]:
    """Per row of a tensor, the (tensor, row) whose memory it may be: itself unless it is an alias."""
    tensor = ctx.tensors[name]
    op = next((op for op in ctx.ops if op.output == name), None)
    rows = None
    if isinstance(op, Rearrange) and name not in outputs:
        rows = op.aliases(tuple(ctx.tensors[n] for n in op.inputs), tensor)
    if rows is None:
        return [(name, r) for r in range(tensor.rows)]
    found = {source: _owners(ctx, source, outputs) for source in {t for t, _ in rows}}
    return [found[t][r] for t, r in rows]


def _move(node: Node, ctx: Lowering, change: Callable[[Array], Array], fill: int = 0) -> None:
    """`node` applies `change` to element numbers."""

    def through(view: View) -> View:
        return emit_map(ctx, [view], change(numbered(view)), node.outputs[0], node.name, fill=fill)  # type: ignore[arg-type]

    ctx.through(node.input(0), node.outputs[0], through)


def lower_slice(node: Node, ctx: Lowering) -> None:
    """Slice with full-rank starts, ends, steps."""
    a = node.attributes
    cut = tuple(
        slice(int(s), int(e) if int(e) >= 0 else None, int(k))
        for s, e, k in zip(a["starts"], a["ends"], a["steps"], strict=True)  # type: ignore[arg-type]
    )
    _move(node, ctx, lambda x: x[cut])


def lower_split(node: Node, ctx: Lowering) -> None:
    """Split into the sizes of attribute `split`."""
    axis = int(node.attributes["axis"])  # type: ignore[arg-type]
    edges = np.cumsum(node.attributes["split"])[:-1]
    for i, output in enumerate(node.outputs):
        if output:
            part = Node(node.op, f"{node.name}[{i}]", node.inputs, (output,), node.attributes)
            _move(part, ctx, lambda x, i=i: np.split(x, edges, axis)[i])  # type: ignore[misc]


def lower_gather(node: Node, ctx: Lowering) -> None:
    """Gather with constant indices."""
    indices = np.asarray(node.attributes["indices"], np.int64)
    axis = int(node.attributes.get("axis", 0))  # type: ignore[arg-type]
    shape = ctx.graph.shape(node.outputs[0])
    _move(node, ctx, lambda x: np.take(x, indices.reshape(-1), axis).reshape(shape))


def lower_pad(node: Node, ctx: Lowering) -> None:
    """Pad of constant, reflect or edge mode; a constant is quantised to the input's scale."""
    mode = str(node.attributes.get("mode", "constant"))
    pads = tuple(int(p) for p in node.attributes["pads"])  # type: ignore[union-attr]
    rank = len(pads) // 2
    if min(pads) < 0:
        raise Unsupported("negative pads", "use Slice")
    width = [(pads[i], pads[i + rank]) for i in range(rank)]
    if mode != "constant":
        if mode not in ("reflect", "edge"):
            raise Unsupported(f"mode {mode!r}", "use constant, reflect or edge")
        _move(node, ctx, lambda x: np.pad(x, width, mode=mode))  # type: ignore[call-overload]
        return
    view = ctx.view(node.input(0))
    value = float(node.attributes.get("value", 0.0))  # type: ignore[arg-type]
    fill = int(np.clip(np.rint(value / view.scale) + view.zero_point, -128, 127))
    _move(node, ctx, lambda x: np.pad(x, width, constant_values=-1), fill)


def lower_depth_to_space(node: Node, ctx: Lowering) -> None:
    """DepthToSpace, modes DCR and CRD."""
    n, c, h, w = ctx.graph.shape(node.input(0))
    b = int(node.attributes["blocksize"])  # type: ignore[arg-type]

    def change(x: Array) -> Array:
        if str(node.attributes.get("mode", "DCR")) == "DCR":
            split = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            split = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        return split.reshape(n, c // b**2, h * b, w * b)

    _move(node, ctx, change)


def lower_space_to_depth(node: Node, ctx: Lowering) -> None:
    """SpaceToDepth."""
    n, c, h, w = ctx.graph.shape(node.input(0))
    b = int(node.attributes["blocksize"])  # type: ignore[arg-type]
    _move(
        node,
        ctx,
        lambda x: (
            x.reshape(n, c, h // b, b, w // b, b)
            .transpose(0, 3, 5, 1, 2, 4)
            .reshape(n, c * b * b, h // b, w // b)
        ),
    )


def lower_concat(node: Node, ctx: Lowering) -> None:
    """Concat; inputs are requantised to the output's scale, and clamped as it is, once that is known."""
    from vmcu.ops.unary import requantise_to
    from vmcu.quant.lowering import OutQuant, Pending

    views = [ctx.view(name) for name in node.inputs]
    axis = int(node.attributes["axis"])  # type: ignore[arg-type]

    def finish(q: OutQuant) -> View:
        same = [
            requantise_to(ctx, v, replace(q, name=ctx.unique(f"{q.name}.part{i}")))
            for i, v in enumerate(views)
        ]
        base, parts = 0, []
        for view in same:
            parts.append(numbered(view) + base)
            base += view.layout.size
        return emit_map(ctx, same, np.concatenate(parts, axis), q.name, node.name)

    natural = None
    if all((v.scale, v.zero_point) == (views[0].scale, views[0].zero_point) for v in views):
        natural = OutQuant(node.outputs[0], views[0].scale, views[0].zero_point)
    ctx.define(node.outputs[0], Pending(finish, natural=natural))


def lower_expand(node: Node, ctx: Lowering) -> None:
    """Expand to the output's shape."""
    shape = ctx.graph.shape(node.outputs[0])
    _move(node, ctx, lambda x: np.broadcast_to(x, shape))


LOWERINGS = {
    "Slice": lower_slice,
    "Split": lower_split,
    "Gather": lower_gather,
    "Pad": lower_pad,
    "DepthToSpace": lower_depth_to_space,
    "SpaceToDepth": lower_space_to_depth,
    "Concat": lower_concat,
    "Expand": lower_expand,
}
