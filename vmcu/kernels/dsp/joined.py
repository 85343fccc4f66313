"""Where the pixels of a row read, and tiles put side by side for windows that lie across them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmcu.kernels.dsp.weights import WORD


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the pixels of a row read.

    Attributes:
        kernel_h, kernel_w, channels: of the window.
        stride: of columns.
        in_cols, out_cols: of the row.
        padded: windows may reach beyond the row.
        scattered: the taps of a row are never one run (tiles, dilation).
    """

    kernel_h: int
    kernel_w: int
    channels: int
    stride: int
    in_cols: int
    out_cols: int
    padded: bool
    scattered: bool

    @property
    def run(self) -> int:
        """Bytes of a window in one row."""
        return self.kernel_w * self.channels

    @property
    def edges(self) -> int:
        """Pixels whose window is not taken in runs of whole rows, about."""
        if self.scattered:
            return self.out_cols
        return min(-(-(self.kernel_w - 1) // self.stride), self.out_cols) if self.padded else 0


Piece = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Joined:
    """All columns that neighbouring outputs read, put side by side before these are computed.

    Attributes:
        outputs: that read from the same lines.
        columns: of a line.
        groups: for the outputs of a tile, in turn: the pieces of a line, each a tile, offset in it, place in the line, and bytes.
        bytes: of all lines, and of what a word may reach beyond the last.
        slack: the latter.
    """

    outputs: int
    columns: int
    groups: tuple[tuple[Piece, ...], ...]
    bytes: int
    slack: int


def pieces_of(first: int, count: int, width: int, channels: int) -> tuple[Piece, ...]:
    """Neighbouring columns in tiles of some width: each piece a tile, offset in it, place in the line, and bytes."""
    pieces, at = list[Piece](), first
    while at < first + count:
        end = min((at // width + 1) * width, first + count)
        offset, to, length = (n * channels for n in (at % width, at - first, end - at))
        pieces.append((at // width, offset, to, length))
        at = end
    return tuple(pieces)


def in_tiles(shape: Shape, where: Mapping[str, object]) -> tuple[dict[int, tuple[Piece, ...]], int, int]:
    """Pixels whose windows lie in several tiles, with the pieces of a line; the tile of the others, and where in it pixel 0 would begin."""
    start, width = (int(str(where[k])) for k in ("start", "tile_cols"))
    found = {
        col: pieces_of(start + col * shape.stride, shape.kernel_w, width, shape.channels)
        for col in range(shape.out_cols)
    }
    own = next((pieces[0][0] for pieces in found.values() if len(pieces) == 1), 0)
    edges = {col: pieces for col, pieces in found.items() if len(pieces) > 1 or pieces[0][0] != own}
    return edges, own, start - own * width


def join(shape: Shape, where: Mapping[str, object], outputs: int) -> Joined | None:
    """Where taps are runs of their own only because they lie in several tiles, and are no whole words."""
    tiles, start, width = (int(str(where[k])) for k in ("tiles", "start", "tile_cols"))
    if tiles == 1 or where["dilation"] != 1 or where["padded_cols"] or shape.channels % WORD == 0:
        return None
    groups = []
    for output in range(0, shape.out_cols, outputs):
        first = start + output * shape.stride
        last = (min(outputs, shape.out_cols - output) - 1) * shape.stride + shape.kernel_w
        groups.append(pieces_of(first, last, width, shape.channels))
    columns = (outputs - 1) * shape.stride + shape.kernel_w
    slack = max(shape.run, WORD) - shape.run
    size = shape.kernel_h * columns * shape.channels + slack
    return Joined(outputs, columns, tuple(groups), size, slack)
