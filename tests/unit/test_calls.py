"""Loops found in lists of calls: what they spell out is the list again."""

from __future__ import annotations

import numpy as np
import pytest

from vmcu.codegen.calls import Items, count_calls, fold
from vmcu.memory.tables import Range


def spelled(items: Items, values: dict[str, int] | None = None) -> list[Range]:
    """Runs the loops."""
    known = values or {}
    name = "kj"[len(known) : len(known) + 1]
    found: list[Range] = []
    for item in items:
        if item["count"]:
            for value in range(int(str(item["count"]))):
                found += spelled(item["body"], {**known, name: value})  # type: ignore[arg-type]
        else:
            first, end = (
                eval(str(item[key]), {}, known) for key in ("first", "end")
            )  # expressions of k and j
            found.append(Range(int(str(item["step"])), first, end))
    return found


def rows_in_tiles() -> list[Range]:
    """Rows of eight tiles: three steps a tile, each a tile behind the one before, rows 10 tiles apart in the first."""
    return [
        Range(step, row * (10 if step == 0 else 8) + tile, row * (10 if step == 0 else 8) + tile + 1)
        for row in range(6)
        for tile in range(8)
        for step in range(3)
    ]


def test_tiles_are_loops_in_loops() -> None:
    calls = rows_in_tiles()
    items = fold(calls)
    assert spelled(items) == calls
    assert count_calls(items) == 3
    assert [line["first"] for line in items[0]["body"][0]["body"]] == [  # type: ignore[index]
        "k * 10 + j",
        "k * 8 + j",
        "k * 8 + j",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_any_list(seed: int) -> None:
    """Lists with repetitions of repetitions, and disturbances."""
    rng = np.random.default_rng(seed)
    calls: list[Range] = []
    for _ in range(int(rng.integers(1, 5))):
        body = [(int(rng.integers(4)), int(rng.integers(9))) for _ in range(int(rng.integers(1, 4)))]
        outer, inner = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        big, small = int(rng.integers(-3, 20)), int(rng.integers(3))
        for k in range(outer):
            for j in range(inner):
                calls += [Range(s, at + k * big + j * small, at + k * big + j * small + 1) for s, at in body]
        if rng.integers(2):
            calls.insert(int(rng.integers(len(calls))), Range(7, int(rng.integers(5)), 9))
    items = fold(calls)
    assert spelled(items) == calls
    assert count_calls(items) <= len(calls)
