"""Colours of tensors: a palette for every kind of eye, neighbours told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from vmcu.picture.scene import Scene

# After Paul Tol's "muted" scheme, safe for colour-blind readers; neighbours in the list differ in lightness.
LIGHT = ("#4b6ea8", "#8fc7de", "#2d8174", "#e0cd85", "#c4667a", "#8b9150", "#80508a", "#e3a27c", "#5f93c9")
DARK = ("#5475b0", "#86b7cc", "#328175", "#c4b065", "#b2596c", "#7f8545", "#8a5c95", "#cd8d68", "#3f5f92")
INKS = ("#ffffff", "#10161f")
COLUMNS, ROWS = 240, 160  # of the grid on which neighbours are counted
RELATED = 40  # weight of "one is computed from the other", in cells of the grid


@dataclass(frozen=True, slots=True)
class Colour:
    """A class of the style sheet, what it paints, and the ink that reads best on it."""

    name: str
    light: str
    dark: str
    light_ink: str
    dark_ink: str


def _ink(paint: str) -> str:
    """White or near black, whichever contrasts more."""
    lights = [_luminance(colour) + 0.05 for colour in (paint, *INKS)]
    white, black = lights[1] / lights[0], lights[0] / lights[2]
    return INKS[0] if white > black else INKS[1]


def _luminance(paint: str) -> float:
    """Source: WCAG 2.1, relative luminance."""
    parts = [int(paint[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


PALETTE = tuple(
    Colour(f"c{i}", light, dark, _ink(light), _ink(dark))
    for i, (light, dark) in enumerate(zip(LIGHT, DARK, strict=True))
)


def choose_colours(scene: Scene) -> tuple[int, ...]:
    """Index into `PALETTE` per item: those that touch in the map, or read each other, differ where possible."""
    near: list[dict[int, int]] = [{} for _ in scene.items]

    def add(a: int, b: int, weight: int) -> None:
        near[a][b] = near[a].get(b, 0) + weight
        near[b][a] = near[b].get(a, 0) + weight

    for a, b in scene.edges:
        if a != b:
            add(a, b, RELATED)
    for a, b in _touching(scene):
        add(a, b, 1)
    chosen: list[int] = []
    for i in range(len(scene.items)):
        chosen.append(_cheapest(near[i], chosen, after=chosen[-1] if chosen else -1))
    for _ in range(2):  # those coloured early did not know their later neighbours
        for i in range(len(chosen)):
            chosen[i] = _cheapest(near[i], chosen, after=chosen[i] - 1)
    return tuple(chosen)


def _cheapest(near: dict[int, int], chosen: list[int], after: int) -> int:
    """The colour that clashes least; among equals the next one after `after`."""
    count = len(PALETTE)
    cost = [0] * count
    for other, weight in near.items():
        if other < len(chosen):
            cost[chosen[other]] += weight
    return min(range(count), key=lambda c: (cost[c], (c - after - 1) % count))


def _touching(scene: Scene) -> Iterable[tuple[int, int]]:
    """Pairs of items in neighbouring cells of a grid laid over the map, once per pair of cells."""
    tasks = len(scene.tasks)
    columns = min(COLUMNS, tasks + 2)
    at = sorted({-1 + column * (tasks + 1) // max(1, columns - 1) for column in range(columns)})
    boxes = [(box, i) for i, item in enumerate(scene.items) for box in item.boxes]
    before: list[int] = [-1] * ROWS
    for task in at:
        cells = [-1] * ROWS
        for box, i in boxes:
            if box.born <= task <= box.died:
                low = box.address * ROWS // scene.pool_bytes
                high = -(-(box.address + box.size) * ROWS // scene.pool_bytes)
                cells[low:high] = [i] * (high - low)
        for pairs in (pairwise(cells), zip(before, cells, strict=True)):
            yield from ((a, b) for a, b in pairs if a != b and a >= 0 and b >= 0)
        before = cells
