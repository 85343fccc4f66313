"""QuantizedGraph -> QuantizedGraph: the first convolutions work strip by strip of columns, top to bottom in each.

Row by row, the windows over a wide image have to keep rows of all first tensors before the image has given up more than a few of its
own. In a strip those rows are short. What the next strip reads of this one, the last columns, is copied aside as soon as
it is there: exactly the columns needed, so nothing is computed twice and little is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.conv import Conv2D
from vmcu.ops.copy_columns import CopyColumns, Piece

Stages = tuple[tuple[int, int], ...]


def chain(graph: QuantizedGraph) -> int:
    """How many of the first operators are convolutions in a line that starts at a resident image."""
    given = {p.tensor for p in graph.inputs if not p.streamed}
    kept = {p.tensor for p in graph.outputs} | {s.next for s in graph.states}
    readers: dict[str, int] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers[name] = readers.get(name, 0) + 1
    count, name = 0, next((n for n in graph.ops[0].inputs if n in given), "")
    while count < len(graph.ops):
        op = graph.ops[count]
        if not isinstance(op, Conv2D) or op.inputs != (name,) or readers.get(name) != 1 or name in kept:
            break
        count, name = count + 1, op.output
    return count


@dataclass(frozen=True, slots=True)
class Strips:
    """A graph whose first operators work in strips.

    Attributes:
        graph: with these operators, and one that puts the strips together.
        stages: of its operators, up to that one exclusively.
        left_behind: tensors that the first stage makes for later ones.
    """

    graph: QuantizedGraph
    stages: Stages
    left_behind: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    """Columns of a tensor that belong to a strip: made by it, and read by it."""

    made: tuple[int, int]
    read: tuple[int, int]


def cut_strips(
    graph: QuantizedGraph,
    count: int,
    edges: Sequence[int],
    abreast: int,
    image_tiles: int,
    recompute: bool = False,
) -> Strips | None:
    """The first `count` operators, strip by strip.

    None where the windows of a narrow strip at the right edge read nothing that earlier strips have not made.

    Args:
        count: at most `chain(graph)`.
        edges: columns at which strips of the last of their outputs begin, and its width.
        abreast: strips of one stage.
        image_tiles: tiles of the image, each of which is given up as soon as it has been read.
        recompute: columns that strips of two stages read are computed by both, instead of being kept.
    """
    work = _Cutter(graph, count, edges, abreast if recompute else len(edges))
    if any(first == end for ranges in work.ranges for first, end in (r.made for r in ranges)):
        return None
    stages: list[tuple[int, int]] = []
    results: list[str] = []
    left_behind: tuple[str, ...] = ()
    for start in range(0, len(edges) - 1, abreast):
        first = len(work.found)
        strips = range(start, min(start + abreast, len(edges) - 1))
        results += [work.strip(j) for j in strips]
        stages.append((first, len(work.found)))
        if start == 0:
            left_behind = (*results, *(name for (_, j), name in work.kept.items() if j == strips[-1]))
    last = work.ops[-1]
    pieces = tuple((n, 0, work.tensors[name].cols) for n, name in enumerate(results))
    together = CopyColumns(name=last.name, inputs=tuple(results), output=last.output, pieces=pieces)
    image = work.ops[0].inputs[0]
    gone = {op.output for op in work.ops[:-1]}
    tensors = {name: t for name, t in work.tensors.items() if name not in gone}
    tensors[image] = replace(tensors[image], tiles=image_tiles)
    ops = (*work.found, together, *graph.ops[count:])
    made = replace(graph, tensors=MappingProxyType(tensors), ops=ops).verify()
    return Strips(made, tuple(stages), left_behind)


class _Cutter:
    """Makes the operators of one strip after the other.

    Attributes:
        shared: so many strips, from the first on, keep columns for each other.
        ops: the convolutions.
        tensors: of the graph, and the new ones.
        found: the new operators.
        kept: (convolution, strip) -> columns of its input that the next strip reads, too.
    """

    def __init__(self, graph: QuantizedGraph, count: int, edges: Sequence[int], shared: int) -> None:
        self.graph, self.shared = graph, shared
        self.ops = [op for op in graph.ops[:count] if isinstance(op, Conv2D)]
        self.ranges = _ranges(graph, self.ops, edges, shared)
        self.tensors = dict(graph.tensors)
        self.found: list[QOp] = []
        self.kept: dict[tuple[int, int], str] = {}

    def strip(self, j: int) -> str:
        """All convolutions of strip `j`; returns the last one's output."""
        made = ""
        for n, op in enumerate(self.ops):
            wide = self._read(n, j, made)
            self._keep(n, j, wide)
            first, end = self.ranges[n + 1][j].made
            made = self._tensor(op.output, f"strip{j}", end - first)
            self.found.append(_cut(op, self.graph.tensors[op.inputs[0]], (first, end), wide, made))
        return made

    def _read(self, n: int, j: int, made: str) -> str:
        """What convolution `n` reads in strip `j`: columns kept by the strip before, and those of this one."""
        here, name = self.ranges[n][j], self.ops[n].inputs[0]
        sources, pieces = [name], [(0, *here.read)]
        if n:
            sources, pieces = [made], [(0, max(0, here.read[0] - here.made[0]), here.read[1] - here.made[0])]
            if (n, j - 1) in self.kept:
                sources = [self.kept[n, j - 1], made]
                pieces = [(0, 0, here.made[0] - here.read[0]), (1, *pieces[0][1:])]
            if pieces == [(0, 0, self.tensors[made].cols)]:
                return made
        wide = self._tensor(name, f"strip{j}.read", here.read[1] - here.read[0])
        self._copy(n, sources, wide, pieces)
        return wide

    def _keep(self, n: int, j: int, wide: str) -> None:
        """Copies what the next strip reads again. The image need not be copied for that: it is there."""
        if n == 0 or (j + 1) % self.shared == 0 or j + 1 == len(self.ranges[n]):
            return
        here, begin = self.ranges[n][j].read, self.ranges[n][j + 1].read[0]
        if begin < here[1]:
            self.kept[n, j] = self._tensor(self.ops[n].inputs[0], f"strip{j}.kept", here[1] - begin)
            self._copy(n, [wide], self.kept[n, j], [(0, begin - here[0], here[1] - here[0])], keeps=True)

    def _copy(
        self, n: int, sources: Sequence[str], output: str, pieces: Sequence[Piece], keeps: bool = False
    ) -> None:
        name = self.ops[n].name
        self.found.append(
            CopyColumns(name=name, inputs=tuple(sources), output=output, pieces=tuple(pieces), keeps=keeps)
        )

    def _tensor(self, base: str, what: str, columns: int) -> str:
        name = f"{base}.{what}"
        while name in self.tensors:
            name += "_"
        self.tensors[name] = replace(self.graph.tensors[base], name=name, cols=columns, tiles=1)
        return name


def _ranges(
    graph: QuantizedGraph, ops: Sequence[Conv2D], edges: Sequence[int], shared: int
) -> list[list[_Range]]:
    """Per tensor of the chain, image first, its columns per strip.

    A strip makes what it reads and no earlier one has read; so only columns to its left are shared. But of `shared`
    strips at a time the first makes all that it reads, whoever has computed it before.
    """
    last = list(pairwise(edges))
    found = [[_Range(r, r) for r in last]]
    for op in reversed(ops):
        x = graph.tensors[op.inputs[0]]
        reach = (op.weights.shape[2] - 1) * op.dilations[1] + 1
        stride, pad = op.strides[1], op.pads[1]
        ranges: list[_Range] = []
        begin = 0
        for j, out in enumerate(found[0]):
            first, end = out.made
            read = (max(0, first * stride - pad), min(x.cols, (end - 1) * stride - pad + reach))
            end = x.cols if out is found[0][-1] else read[1]
            begin = read[0] if j and j % shared == 0 else begin
            ranges.append(_Range((begin, end), read))
            begin = end
        found.insert(0, ranges)
    return found


def _cut(op: Conv2D, x: Tensor, out: tuple[int, int], wide: str, made: str) -> Conv2D:
    """`op` for the columns `out` of its output; padding only where they reach outside the tensor."""
    top, left, bottom, _ = op.pads
    reach = (op.weights.shape[2] - 1) * op.dilations[1] + 1
    first, end = out[0] * op.strides[1] - left, (out[1] - 1) * op.strides[1] - left + reach
    pads = (top, max(0, -first), bottom, max(0, end - x.cols))
    return replace(op, inputs=(wide,), output=made, pads=pads)
