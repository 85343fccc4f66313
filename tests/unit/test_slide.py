"""The loop of a sliding depthwise kernel never leaves a tile."""

from __future__ import annotations

import pytest

from vmcu.kernels.dsp.rescale import Rescale
from vmcu.kernels.dsp.sliding import Slide


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("tile_cols", [1, 2, 3, 7, 14, 28])
@pytest.mark.parametrize("columns", [14, 28, 56])
def test_the_loop_stays_in_a_tile(stride: int, tile_cols: int, columns: int) -> None:
    """Above all where tiles are single columns, every other of which begins no output."""
    tiles = max(1, columns // tile_cols)
    rescale = Rescale("onnx", 0, 5, -128, 127)
    g = Slide(stride, -1, tiles, tile_cols, tiles * tile_cols // stride, 8, 0, rescale)
    first, turns = g.loop
    loop = range(first, first + turns * g.period)
    assert len({c // tile_cols for c in loop}) <= 1
    assert all(g.is_inner(c) for c in loop)
    assert not turns or (first - g.start) % stride == 0
