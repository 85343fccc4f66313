"""The bound with holes against the least of all placements there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest

from vmcu.memory.blocks import Block
from vmcu.memory.bound import with_holes

TIMES = 7


def random_blocks(rng: Random) -> list[Block]:
    """One or two tensors in one piece, whose rows go one by one in any order, and rows that come and go."""
    blocks = []
    for n in range(rng.choice((1, 1, 1, 2))):
        size = rng.randint(1, 3)
        first = rng.choice((0, 0, 2))
        parts = [(r * size, size, first, rng.randint(first, TIMES - 1)) for r in range(rng.randint(2, 5))]
        blocks.append(Block(f"whole{n}", tuple(range(len(parts))), tuple(parts), rng.choice((1, 1, 2))))
    for n in range(rng.randint(1, 4)):
        born = rng.randint(0, TIMES - 1)
        died = rng.randint(born, TIMES - 1)
        blocks.append(Block(f"row{n}", (0,), ((0, rng.randint(1, 5), born, died),)))
    if rng.random() < 0.3:
        blocks.append(Block(7, (), ((0, 2, 1, 1), (0, 2, 4, 5)), 2))
    return blocks


def live_bytes(blocks: Sequence[Block]) -> list[int]:
    """Before time 0, at each time, and after the last."""
    return [
        sum(size for b in blocks for _, size, born, died in b.parts if born <= t <= died)
        for t in range(-1, TIMES + 1)
    ]


def bytes_of(block: Block, address: int) -> frozenset[tuple[int, int]]:
    """(time, address) of every byte."""
    return frozenset(
        (t, address + offset + n)
        for offset, size, born, died in block.parts
        for t in range(born, died + 1)
        for n in range(size)
    )


def placeable(blocks: Sequence[Block], limit: int) -> bool:
    """Every block at every address."""
    places = [
        [bytes_of(b, address) for address in range(0, limit - b.size + 1, b.align)]
        for b in sorted(blocks, key=lambda b: -b.size)
    ]

    def extend(n: int, taken: frozenset[tuple[int, int]]) -> bool:
        return n == len(places) or any(
            extend(n + 1, taken | place) for place in places[n] if not taken & place
        )

    return extend(0, frozenset())


def optimum(blocks: Sequence[Block]) -> int:
    limit = max(live_bytes(blocks))
    while not placeable(blocks, limit):
        limit += 1
    return limit


def above_live(seeds: int) -> Iterator[tuple[int, int]]:
    """Bound and optimum where the bound counts holes."""
    for seed in range(seeds):
        blocks = random_blocks(Random(seed))
        live = live_bytes(blocks)
        if (bound := with_holes(blocks, live)) > max(live):
            yield bound, optimum(blocks)


@pytest.mark.parametrize("group", range(20))
def test_no_placement_is_below(group: int) -> None:
    for seed in range(group * 30, group * 30 + 30):
        blocks = random_blocks(Random(seed))
        live = live_bytes(blocks)
        assert max(live) <= with_holes(blocks, live) <= optimum(blocks)


def test_holes_are_found_and_are_often_all() -> None:
    found = list(above_live(1500))
    assert len(found) > 60
    assert all(bound <= best for bound, best in found)
    assert sum(bound == best for bound, best in found) > len(found) / 2


def test_a_hole_holds_the_most_that_fits() -> None:
    """Rows of 10 bytes, the middle one gone: of 4, 4, 4 and 7 bytes it holds 8."""
    image = Block("image", (0, 1, 2), ((0, 10, 0, 2), (10, 10, 0, 0), (20, 10, 0, 2)))
    rows = [Block(f"r{n}", (0,), ((0, size, 1, 2),)) for n, size in enumerate((4, 4, 4, 7))]
    blocks = [image, *rows]
    assert max(live_bytes(blocks)) == 39
    assert with_holes(blocks, live_bytes(blocks)) == 41


def test_bytes_before_the_blocks_count_on() -> None:
    image = Block("image", (0, 1, 2), ((0, 4, 0, 1), (4, 4, 0, 0), (8, 4, 0, 1)))
    row = Block("row", (0,), ((0, 5, 1, 1),))
    live = [100 + n for n in live_bytes([image, row])]
    assert with_holes([image, row], live) == 117


def test_nothing_alive() -> None:
    assert with_holes([], [0, 0]) == 0
