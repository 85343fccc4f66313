"""Columns of rows, copied beside each other: how strips and tiles of a tensor are cut out and put together.

Emitted by the planner (`schedule/strips.py`, `schedule/tiles.py`), never by a model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar

import numpy as np

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Table, narrowest
from vmcu.ops.columns import tile_of

Piece = tuple[int, int, int]  # number of the input, first column, column behind the last
Run = tuple[int, int, int]  # number of the pointer from 1 on, offset, bytes
MOST_SPELLED_OUT = 4  # copies that are printed instead of kept in a table


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyColumns(QOp):
    """Row r of the output is the columns `pieces` of row r of the inputs, from left to right.

    Attributes:
        pieces: (input, first column, end), none empty.
        keeps: the copy is made as soon as a row is there, so that the row need not wait for whoever wants the copy.

    Source: SPEC.md section 3.12.
    """

    kind: ClassVar[str] = "CopyColumns"

    pieces: tuple[Piece, ...]
    keeps: bool = False

    @property
    def at_once(self) -> bool:
        return self.keeps

    def verify(self, ins: tuple[Tensor, ...], out: Tensor) -> None:
        self.expect(all(x.rows == out.rows and x.channels == out.channels for x in ins), "shapes")
        self.expect(all(0 <= a < b <= ins[n].cols for n, a, b in self.pieces), "range of the columns")
        self.expect(sum(b - a for _, a, b in self.pieces) == out.cols, "columns")

    def reference(self, ins: tuple[Int8s, ...], out: Tensor) -> Int8s:
        return np.concatenate([ins[n][:, a:b] for n, a, b in self.pieces], axis=1)

    def access(self, ins: tuple[Tensor, ...], out: Tensor) -> tuple[Access, ...]:
        found: list[Access] = []
        for n, x in enumerate(ins):
            of_tile = [self._tiles(n, x, t, out) for t in range(out.tiles)]
            longest = max(1, *map(len, of_tile))
            # Repeating a tile keeps the number of pointers constant; -1 where nothing of this input is read.
            even = tuple(
                (*tiles, *[tiles[-1] if tiles else -1] * (longest - len(tiles))) for tiles in of_tile
            )
            found.append(_table(even, out.rows, x.tiles))
        return tuple(found)

    def _parts(self, tile: int, out: Tensor) -> list[Piece]:
        """Pieces of one tile of the output."""
        start, end, position = tile * out.segment_cols, (tile + 1) * out.segment_cols, 0
        found = []
        for n, a, b in self.pieces:
            low, high = max(start - position, 0), min(end - position, b - a)
            if low < high:
                found.append((n, a + low, a + high))
            position += b - a
        return found

    def _tiles(self, number: int, x: Tensor, tile: int, out: Tensor) -> tuple[int, ...]:
        """Tiles of a row of input `number` that a tile of the output reads."""
        width = x.segment_cols
        ranges = [
            range(a // width, (b - 1) // width + 1) for n, a, b in self._parts(tile, out) if n == number
        ]
        return tuple(sorted({t for tiles in ranges for t in tiles}))

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return True

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        runs = [self._runs(t, ins, out) for t in range(out.tiles)]
        same, even = all(tile == runs[0] for tile in runs), _even_steps(runs)
        if even is not None or (same and len(runs[0]) <= MOST_SPELLED_OUT):
            ends = accumulate((size for _, _, size in runs[0]), initial=0)
            spelled = [
                {
                    "to": to,
                    "source": source - 1,
                    "offset": f"{tile_of(out)} * {even} + {offset}" if even else offset,
                    "bytes": size,
                }
                for to, (source, offset, size) in zip(ends, runs[0], strict=False)
            ]
            return Kernel("copy_columns", {"runs": spelled}, uses_row=bool(even))
        table = runs[0] if same else [run for tile in runs for run in tile] * out.rows
        constants = [ConstArray("runs", narrowest(np.array(table, np.int64).reshape(-1)), "tables")]
        if not same:
            starts = np.cumsum([0] + [len(tile) for tile in runs] * out.rows)
            constants.append(ConstArray("starts", narrowest(starts), "tables"))
        context = {"same": same, "run_count": len(runs[0]), "fills": False, "fill": 0}
        return Kernel("rearrange", context, tuple(constants), uses_row=not same)

    def _runs(self, tile: int, ins: tuple[Tensor, ...], out: Tensor) -> list[Run]:
        """Copies (pointer, offset, bytes) that fill a tile of the output."""
        counts = [
            max(1, *(len(self._tiles(n, x, t, out)) for t in range(out.tiles))) for n, x in enumerate(ins)
        ]
        firsts = np.cumsum([1, *counts])  # pointer 0 is no pointer but a fill
        found = []
        for n, first, end in self._parts(tile, out):
            tiles = self._tiles(n, ins[n], tile, out)
            pixel, width = ins[n].channels * ins[n].elem_bytes, ins[n].segment_cols
            while first < end:
                source, column = divmod(first, width)
                count = min(end - first, width - column)
                found.append((int(firsts[n]) + tiles.index(source), column * pixel, count * pixel))
                first += count
        return found


@lru_cache(maxsize=256)
def _table(of_tile: tuple[tuple[int, ...], ...], rows: int, tiles: int) -> Table:
    """The tiles that every tile of the output reads, row by row; planning asks for the same again and again."""
    return Table(
        tuple(tuple(r * tiles + t if t >= 0 else -1 for t in one) for r in range(rows) for one in of_tile)
    )


def _even_steps(runs: list[list[Run]]) -> int | None:
    """Bytes by which the only copy of each tile starts behind that of the tile before; None if they differ in more."""
    if any(len(tile) != 1 for tile in runs):
        return None
    (first, *others) = [tile[0] for tile in runs]
    step = others[0][1] - first[1] if others else 0
    even = all(run == (first[0], first[1] + n * step, first[2]) for n, run in enumerate(others, 1))
    return step if even else None
