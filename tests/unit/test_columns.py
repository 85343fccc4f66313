"""Windows over tiles of columns: every tap of every kernel lands on the pixel the definition names."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import Access, Patch, Window, segments_of
from vmcu.ops.columns import Columns, same_tiles

ROWS = Window(kernel=2, stride=1, pad=1, dilation=1)
CASES = 800


def image(cols: int, tiles: int = 1, name: str = "x") -> Tensor:
    return Tensor(name, 3, cols, 2, 1.0, 0, tiles=tiles)


def random_case(rng: Random) -> tuple[Columns, Tensor, Tensor] | None:
    """A window over an image, either of them in tiles where that is allowed."""
    columns = Columns(rng.randint(1, 7), rng.randint(1, 3), rng.randint(0, 6), rng.randint(1, 3))
    tiles, width, right = rng.randint(2, 5), rng.randint(1, 4), rng.randint(0, 6)
    how = rng.choice(["both", "input", "output", "none"])
    reach = (columns.kernel - 1) * columns.dilation + 1
    if how == "both":
        return columns, image(tiles * width * columns.stride, tiles), image(tiles * width, tiles, "y")
    cols = tiles * width if how == "input" else rng.randint(1, 20)
    made = (cols + columns.pad + right - reach) // columns.stride + 1
    if made < 1 or (how == "output" and made % tiles):
        return None
    x = image(cols, tiles if how == "input" else 1)
    return columns, x, image(made, tiles if how == "output" else 1, "y")


def landing(columns: Columns, access: Access, x: Tensor, out: Tensor, segment: int, col: int) -> list[object]:
    """Where the C looks for each tap of one pixel: (row, column), or None for padding."""
    words = columns.context(x, out)
    tiles, tile_cols = int(str(words["tiles"])), int(str(words["tile_cols"]))
    first = eval(
        str(words["first"]), {"row": segment, "col": col}
    )  # the same in C: nothing is negative before %
    segments = segments_of(access, segment, x.segments)
    assert len(segments) == ROWS.kernel * tiles
    found: list[object] = []
    for ky in range(ROWS.kernel):
        for kx in range(columns.kernel):
            at, tile = first + kx * columns.dilation, 0
            if words["padded_cols"] and not 0 <= at < x.cols:
                found.append(None)
                continue
            while tiles > 1 and at >= tile_cols:
                at, tile = at - tile_cols, tile + 1
            assert tile < tiles and 0 <= at < tile_cols
            segment_in = segments[ky * tiles + tile]
            if segment_in < 0:
                found.append(None)
            else:
                found.append((segment_in // x.tiles, segment_in % x.tiles * tile_cols + at))
    return found


def by_definition(columns: Columns, x: Tensor, out: Tensor, segment: int, col: int) -> list[object]:
    row, pixel = segment // out.tiles, segment % out.tiles * out.segment_cols + col
    found: list[object] = []
    for ky in range(ROWS.kernel):
        for kx in range(columns.kernel):
            y = row * ROWS.stride - ROWS.pad + ky * ROWS.dilation
            at = pixel * columns.stride - columns.pad + kx * columns.dilation
            found.append((y, at) if 0 <= y < x.rows and 0 <= at < x.cols else None)
    return found


def test_every_tap_lands_where_the_definition_says() -> None:
    rng, seen = Random(0), Counter[str]()
    while seen.total() < CASES:
        case = random_case(rng)
        if case is None:
            continue
        columns, x, out = case
        assert columns.allow_tiles(x, out)
        seen[f"{x.tiles > 1}, {out.tiles > 1}"] += 1
        access = columns.access(ROWS, x, out)
        for segment in range(out.segments):
            for col in range(out.segment_cols):
                expected = by_definition(columns, x, out, segment, col)
                assert landing(columns, access, x, out, segment, col) == expected, (
                    columns,
                    x,
                    out,
                    segment,
                    col,
                )
    assert len(seen) == 4 and min(seen.values()) > CASES // 20


def test_no_neighbour_is_read_in_vain() -> None:
    """The first and the last tile of a patch hold a column that some pixel of the output tile reads."""
    rng, halos = Random(1), 0
    for _ in range(CASES):
        columns = Columns(rng.randint(1, 7), rng.randint(1, 3), rng.randint(0, 6), rng.randint(1, 3))
        width = rng.randint(1, 4)
        x, out = image(4 * width * columns.stride, 4), image(4 * width, 4, "y")
        access = columns.access(ROWS, x, out)
        assert isinstance(access, Patch) and access.count >= access.left + 1
        taps = {
            (c * columns.stride - columns.pad + k * columns.dilation) // x.segment_cols
            for c in range(width)
            for k in range(columns.kernel)
        }
        assert access.left == max(0, -min(taps)) and access.count - access.left - 1 == max(0, *taps)
        halos += access.count > 1
    assert halos > CASES // 2


def test_whole_rows_have_no_patch() -> None:
    columns = Columns(3, 1, 1, 1)
    assert columns.access(ROWS, image(8), image(8)) == ROWS
    assert columns.access(ROWS, image(8, 2), image(8)) == Patch(ROWS, 2, 1, 0, 2)
    assert columns.access(ROWS, image(8), image(8, 2)) == Patch(ROWS, 1, 2, 0, 1)
    assert columns.access(ROWS, image(8, 2), image(8, 2)) == Patch(ROWS, 2, 2, 1, 3)


@pytest.mark.parametrize(
    ("stride", "x", "out", "allowed"),
    [
        (1, image(8, 2), image(8, 2), True),
        (2, image(8, 2), image(4, 2), True),
        (1, image(8, 2), image(6, 2), False),  # tiles of 4 columns do not lie over tiles of 3
        (2, image(9, 3), image(3, 3), False),
        (1, image(8, 2), image(8, 4), False),
        (1, image(8, 4), image(7), True),
        (3, image(7), image(4, 2), True),
        (1, image(8), image(3), True),
    ],
)
def test_tiles_have_to_lie_over_each_other(stride: int, x: Tensor, out: Tensor, allowed: bool) -> None:
    assert Columns(3, stride, 1, 1).allow_tiles(x, out) is allowed


def test_same_tiles() -> None:
    assert same_tiles(image(8, 2), image(6, 2)) and not same_tiles(image(8, 2), image(8))
