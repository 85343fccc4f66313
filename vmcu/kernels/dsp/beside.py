"""Pixels in the neighbours of a tile, which kernels reach by their distance from a pixel of the tile (`Program.load_from`)."""

from __future__ import annotations

from collections.abc import Sequence

ROWS = 3  # of a window


def near(column: int, row: int) -> str:
    """Name of the parameter for a pixel."""
    return f"near{row}_{column}"


def nears(columns: Sequence[int]) -> list[tuple[int, int]]:
    """(column, row) of these parameters, in order: what is loaded together lies together."""
    return [*((c, row) for c in columns for row in (0, 1)), *((c, 2) for c in columns)]


def arguments(
    columns: Sequence[int], start: int, own: int, tiles: int, tile_cols: int, channels: int
) -> tuple[list[str], list[dict[str, str]]]:
    """C expressions of the first pixels of a tile in three rows, and of pixels beside it, each with that of its row.

    Args:
        columns: beside it, counted from column `start` of the first of the tiles.
        own: the tile's place among the `tiles` of a row.
    """
    first = [f"in[{row * tiles + own}]" for row in range(ROWS)]
    found = []
    for column, row in nears(columns):
        tile, at = divmod(start + column, tile_cols)
        found.append({"pixel": f"in[{row * tiles + tile}] + {at * channels}", "own": first[row]})
    return first, found
