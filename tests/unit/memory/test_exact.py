"""The exact solver against all orders there are."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from vmcu.memory.blocks import Block
from vmcu.memory.exact import fits, is_smallest
from vmcu.memory.place import Placement, place_blocks


def random_blocks(rng: Random) -> list[Block]:
    blocks = []
    for n in range(rng.randint(1, 6)):
        born = rng.randint(0, 7)
        align = rng.choice((1, 1, 1, 4))
        blocks.append(Block(f"t{n}", (0,), ((0, rng.randint(1, 9), born, born + rng.randint(0, 4)),), align))
    return blocks


def alive_together(a: Block, b: Block) -> bool:
    return a.born <= b.died and b.born <= a.died


def brute_force(blocks: list[Block], wall: int = 0) -> int:
    """First fit in every order: one of them is the order of addresses of a best placement."""
    best = wall + sum(b.size + 3 for b in blocks)
    for order in permutations(range(len(blocks))):
        placed: dict[int, int] = {}
        for i in order:
            address = 0
            while address < wall < address + blocks[i].size or any(
                alive_together(blocks[i], blocks[j])
                and address < a + blocks[j].size
                and a < address + blocks[i].size
                for j, a in placed.items()
            ):
                address += blocks[i].align
            placed[i] = address
        best = min(best, max(a + blocks[i].size for i, a in placed.items()))
    return best


def is_valid(blocks: list[Block], found: Placement, limit: int) -> bool:
    for i, (a, address) in enumerate(zip(blocks, found.addresses, strict=True)):
        if address % a.align or address + a.size > limit:
            return False
        for b, other in list(zip(blocks, found.addresses, strict=True))[:i]:
            if alive_together(a, b) and address < other + b.size and other < address + a.size:
                return False
    return True


def live(blocks: list[Block]) -> list[int]:
    return [sum(b.size for b in blocks if b.born <= t <= b.died) for t in range(-1, 14)]


@pytest.mark.parametrize("seed", range(150))
def test_as_good_as_all_orders(seed: int) -> None:
    blocks = random_blocks(Random(seed))
    best = brute_force(blocks)
    found = fits(blocks, best, 100_000)
    assert isinstance(found, Placement) and is_valid(blocks, found, best) and found.end == best
    assert fits(blocks, best - 1, 100_000) is False


@pytest.mark.parametrize("seed", range(150))
def test_what_is_called_smallest_is(seed: int) -> None:
    blocks = random_blocks(Random(seed))
    best = brute_force(blocks)
    assert is_smallest(blocks, live(blocks), best)  # few blocks: all of them are looked at
    assert not is_smallest(blocks, live(blocks), best + 1)


@pytest.mark.parametrize("seed", range(150))
def test_walls(seed: int) -> None:
    """No block across: as good as all orders, by branch and bound; sound and no better by first fit."""
    rng = Random(seed)
    blocks = random_blocks(rng)
    wall = rng.randint(1, 5) * 4
    best = brute_force(blocks, wall)
    found = fits(blocks, best, 100_000, wall)
    assert isinstance(found, Placement) and found.end == best
    assert fits(blocks, best - 1, 100_000, wall) is False
    assert is_smallest(blocks, live(blocks), best, wall)
    assert not is_smallest(blocks, live(blocks), best + 1, wall)
    searched = place_blocks(blocks, max(live(blocks)), wall=wall)
    assert best <= searched.end
    for one in (found, searched):
        assert is_valid(blocks, one, one.end)
        assert not any(a < wall < a + b.size for a, b in zip(one.addresses, blocks, strict=True))


def test_gaps_can_be_necessary() -> None:
    """Somewhere the optimum is above the bytes alive, and that is proven."""
    above = [s for s in range(400) if brute_force(b := random_blocks(Random(s))) > max(live(b))]
    assert len(above) > 5


def test_a_search_gives_up() -> None:
    rng = Random(1)
    blocks = [
        Block(f"t{n}", (0,), ((0, rng.randint(3, 90), n // 2, n // 2 + rng.randint(2, 9)),))
        for n in range(40)
    ]
    bound = max(sum(b.size for b in blocks if b.born <= t <= b.died) for t in range(30))
    assert fits(blocks, bound - 1) is False  # by counting alone
    assert fits(blocks, place_blocks(blocks, bound).end - 1, 1) in (None, False)
    assert fits(blocks, bound * 3) is not None


def test_a_resident_image_counts_with_what_outlives_the_peak() -> None:
    image = Block("x", (0, 1), ((0, 8, -1, 2), (8, 8, -1, 9)))
    others = [Block("a", (0,), ((0, 8, 3, 6),)), Block("b", (0,), ((0, 8, 3, 6),))]
    blocks = [image, *others]
    alive = [16, 16, 16, 16, 24, 24, 24, 24, 8, 8, 8]
    assert is_smallest(blocks, alive, 24)
    assert not is_smallest(blocks, alive, 25)
