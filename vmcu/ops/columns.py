"""Windows over columns, where rows of input or output may be cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, Patch, Table, Window


def same_tiles(*tensors: Tensor) -> bool:
    """Are they cut alike? Element by element, that is all that matters."""
    return len({t.tiles for t in tensors}) == 1


def quotient(count: int, divisor: int) -> str:
    """C expression of row / divisor for rows below `count`: a multiplication and a shift, which every core has, where that is exact."""
    if divisor == 1:
        return "row"
    for bits in range(divisor.bit_length(), 16):
        factor = -(-(1 << bits) // divisor)
        if count * factor < 1 << 31 and all(r * factor >> bits == r // divisor for r in range(count)):
            return f"(row >> {bits})" if factor == 1 else f"(row * {factor} >> {bits})"
    return f"(row / {divisor})"


def tile_of(out: Tensor) -> str:
    """C expression of where in its row tile number `row` of a tensor is."""
    return f"(row - {quotient(out.rows * out.tiles, out.tiles)} * {out.tiles})"


@dataclass(frozen=True, slots=True)
class Columns:
    """Output column c reads input columns c*stride - pad + i*dilation for i < kernel.

    Where input and output are both tiled, an output tile reads its input tile and as many neighbours as
    the window reaches into; all tiles have the same geometry, and what lies outside the row is a tile of
    padding. Where only one of them is tiled, columns are counted over the whole row.
    """

    kernel: int
    stride: int
    pad: int
    dilation: int

    def allow_tiles(self, x: Tensor, out: Tensor) -> bool:
        """Tiles of equal number have to lie over each other."""
        if x.tiles == out.tiles:
            return x.tiles == 1 or x.cols == out.cols * self.stride
        return 1 in (x.tiles, out.tiles)

    def pads(self, x: Tensor, out: Tensor) -> bool:
        """Does any window reach outside the row?"""
        reach = (out.cols - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return self.pad > 0 or reach - self.pad > x.cols

    def access(self, rows: Window | Table, x: Tensor, out: Tensor) -> Access:
        """The access function of a window of columns, of the rows that `rows` says."""
        if x.tiles == out.tiles == 1:
            return rows
        if x.tiles == out.tiles:
            left, right = self._neighbours(x, out)
            return Patch(rows, x.tiles, out.tiles, left, left + 1 + right)
        return Patch(rows, x.tiles, out.tiles, 0, x.tiles)

    def context(self, x: Tensor, out: Tensor) -> dict[str, object]:
        """What templates print.

        Keys: first: C expression of the first column that pixel `col` of the output reads, and pixel: of
        where the tap (ky, kx) lies, in terms of its column `x`, or of `tile[kx]` and `at[kx]` where
        `tiles` > 1; start: the column that pixel 0 reads first, unless the tile decides; padded_cols: x has to be compared with 0 and in_cols; tile_cols: of an input tile; tiles_out: of
        an output row.
        """
        both = x.tiles == out.tiles > 1
        left, right = self._neighbours(x, out) if both else (0, 0)
        col, tiles = "col", 1
        if out.tiles > 1 and not both:
            col = f"(row % {out.tiles} * {out.segment_cols} + col)"
        if x.tiles > 1:
            tiles = left + 1 + right if both else x.tiles
        start = left * x.segment_cols - self.pad
        first = col if self.stride == 1 else f"{col} * {self.stride}"
        if start:
            first += f" {'+' if start > 0 else '-'} {abs(start)}"
        padded = self.pads(x, out) and not both
        pixel = f"in[ky] + {'x' if padded else f'(first + kx * {self.dilation})'} * {x.channels}"
        if tiles > 1:
            pixel = f"in[ky * {tiles} + tile[kx]] + at[kx] * {x.channels}"
        return {
            "in_cols": x.cols,
            "out_cols": out.segment_cols,
            "first": first,
            "start": start,
            "pixel": pixel,
            "kernel_w": self.kernel,
            "dilation": self.dilation,
            "padded_cols": padded,
            "tiles": tiles,
            "tiles_out": out.tiles,
            "tile_cols": x.segment_cols,
        }

    def uses_row(self, x: Tensor, out: Tensor) -> bool:
        """Does the kernel need to know which tile it computes?"""
        return out.tiles > 1 and x.tiles == 1

    def _neighbours(self, x: Tensor, out: Tensor) -> tuple[int, int]:
        """Tiles to the left and right that an output tile reads."""
        width = x.segment_cols
        beyond = (
            (out.segment_cols - 1) * self.stride + (self.kernel - 1) * self.dilation - self.pad + 1 - width
        )
        return -(-self.pad // width), max(0, -(-beyond // width))
