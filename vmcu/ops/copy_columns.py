"""Columns of rows, copied beside each other: how strips of a tensor are cut out and put together.

Emitted by the planner (`schedule/strips.py`), never by a model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, ConstArray, Int8s, Kernel, QOp, Table, narrowest

Piece = tuple[int, int, int]  # number of the input, first column, column behind the last


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
        found = []
        for n, x in enumerate(ins):
            tiles = self._tiles(n, x)
            found.append(Table(tuple(tuple(r * x.tiles + t for t in tiles) for r in range(out.rows))))
        return tuple(found)

    def _tiles(self, number: int, x: Tensor) -> tuple[int, ...]:
        """Tiles of a row of input `number` that any piece touches."""
        width = x.segment_cols
        ranges = [range(a // width, (b - 1) // width + 1) for n, a, b in self.pieces if n == number]
        return tuple(sorted({t for tiles in ranges for t in tiles}))

    def allows_tiles(self, ins: tuple[Tensor, ...], out: Tensor) -> bool:
        return out.tiles == 1

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        pointers = [(n, t) for n, x in enumerate(ins) for t in self._tiles(n, x)]
        runs: list[tuple[int, int, int]] = []
        for n, a, b in self.pieces:
            pixel, width = ins[n].channels * ins[n].elem_bytes, ins[n].segment_cols
            while a < b:
                tile, column = divmod(a, width)
                count = min(b - a, width - column)
                runs.append((1 + pointers.index((n, tile)), column * pixel, count * pixel))
                a += count
        table = narrowest(np.array(runs, np.int64).reshape(-1))
        context = {"same": True, "run_count": len(runs), "fills": False, "fill": 0}
        return Kernel("rearrange", context, (ConstArray("runs", table, "tables"),))
