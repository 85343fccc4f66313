"""Neighbours and first fit against what they say, block by block; and what the search makes of them."""

from __future__ import annotations

from random import Random

import pytest

from vmcu.memory.blocks import Block, neighbours
from vmcu.memory.place import is_easily_placed, place_blocks
from vmcu.memory.puzzle import FEW, Puzzle


def random_blocks(seed: int, count: int, parts: int = 3) -> list[Block]:
    """Rows, tensors of several rows, and working memory that comes and goes; times from 0 on."""
    random = Random(seed)
    found = []
    for n in range(count):
        kind, born = random.randrange(6), random.randrange(count)
        if kind == 0:  # working memory
            size, lives, at = random.randrange(1, 40), [], born
            for _ in range(random.randint(1, parts)):
                lives.append((0, size, at, at + random.randrange(3)))
                at = lives[-1][3] + random.randint(2, 5)
            found.append(Block(n, (), tuple(lives), 4))
        elif kind == 1:  # several rows in one piece
            height = random.randint(2, parts)
            size = random.randrange(1, 40)
            rows = [(r * size, size, born + r, born + r + random.randrange(9)) for r in range(height)]
            found.append(Block(f"t{n}", tuple(range(height)), tuple(rows)))
        else:
            size = random.randrange(1, 60)
            found.append(Block(f"t{n % 7}", (n,), ((0, size, born, born + random.randrange(9)),)))
    return found


def overlap(a: Block, at_a: int, b: Block, at_b: int) -> bool:
    """Do parts that are alive together share bytes?"""
    return any(
        p[2] <= q[3]
        and q[2] <= p[3]
        and at_a + p[0] < at_b + q[0] + q[1]
        and at_b + q[0] < at_a + p[0] + p[1]
        for p in a.parts
        for q in b.parts
    )


def bound_of(blocks: list[Block]) -> int:
    """Most bytes alive at one time."""
    end = max(b.died for b in blocks)
    return max(
        sum(s for b in blocks for _, s, first, last in b.parts if first <= t <= last) for t in range(end + 1)
    )


@pytest.mark.parametrize("seed", range(12))
def test_neighbours_forbid_exactly_what_overlaps(seed: int) -> None:
    blocks = random_blocks(seed, 30)
    for i, (others, lows, highs) in enumerate(neighbours(blocks)):
        forbidden: dict[int, list[tuple[int, int]]] = {}
        for j, low, high in zip(others.tolist(), lows.tolist(), highs.tolist(), strict=True):
            forbidden.setdefault(j, []).append((low, high))
        for j, other in enumerate(blocks):
            if j == i:
                continue
            for distance in range(-130, 131):
                stated = any(low < distance < high for low, high in forbidden.get(j, ()))
                assert stated == overlap(blocks[i], 1000 + distance, other, 1000), (i, j, distance)


@pytest.mark.parametrize("seed", range(6))
def test_many_neighbours_are_met_as_few_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy and plain Python find the same addresses, from both sides."""
    random = Random(seed)
    blocks = random_blocks(seed, 120)
    bound = bound_of(blocks)
    order = random.sample(range(len(blocks)), len(blocks))
    high = [random.random() < 0.5 for _ in blocks]
    found = []
    for most in (0, 10 * FEW):
        monkeypatch.setattr("vmcu.memory.puzzle.FEW", most)
        fit = Puzzle(blocks, bound).refit(order, high, None, lambda: 1 << 20)
        assert fit is not None
        found.append(fit.addresses)
    assert found[0] == found[1]


@pytest.mark.parametrize("wall", [None, 120])
@pytest.mark.parametrize("seed", range(6))
def test_placements_are_sound(seed: int, wall: int | None) -> None:
    blocks = random_blocks(seed, 150)
    bound = bound_of(blocks)
    quick, found = (place_blocks(blocks, bound, search, wall) for search in (False, True))
    assert bound <= found.end <= quick.end
    for placement in (quick, found):
        for i, a in enumerate(blocks):
            assert placement.addresses[i] % a.align == 0
            assert placement.addresses[i] + a.size <= placement.end
            assert wall is None or not placement.addresses[i] < wall < placement.addresses[i] + a.size
            for j in range(i):
                assert not overlap(a, placement.addresses[i], blocks[j], placement.addresses[j])
    assert is_easily_placed(blocks, bound, quick.end, wall)
    assert not is_easily_placed(blocks, bound, quick.end - 1, wall)
