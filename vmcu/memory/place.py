"""Placement: addresses for blocks with known lifetimes, close to the lower bound.

Dynamic storage allocation with known lifetimes is NP-hard. What lives while the pool is fullest, the core, is hardest to place,
and often a small part: it is searched alone first, and the others are placed around it. Two searches, one after the other,
try orders in which blocks take the first address that fits:

* by tensor: each tensor has a priority, and a side of the pool from which its rows look for a place.
  Short-lived rows from one side and long-lived rows from the other leave the free bytes in one piece.
* by block: whoever sticks out of the pool that is wanted is moved forward in the order ("squeaky wheel").

Deterministic: work is bounded by counting, not by time, and randomness is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from random import Random

from vmcu.memory.blocks import Block
from vmcu.memory.puzzle import Fit, Puzzle, make_puzzle

FINE = 1.025  # end / lower bound above which it is searched longer
LONGER = 2.5  # by that factor
PATIENCE = 100  # evaluations without any gain after which the longer search ends
MANY = 20  # evaluations that are worth annealing, and leave time to try all orders
SHARES = (0.9, 0.975)  # of the lower bound: blocks that live while more is alive are the core, and its core
MOST_OF_ALL = 0.75  # share of all blocks up to which the core is searched alone
SURROUNDED = 2  # orders in which the others take their places around it
SQUEAKS = 8  # times each is corrected
TINY = 1e-300  # in place of a random number that is zero


@dataclass(frozen=True, slots=True)
class Placement:
    """Addresses of blocks, in the order the blocks were given, and the end of the highest."""

    addresses: tuple[int, ...]
    end: int


def place_blocks(
    blocks: Sequence[Block], bound: int, search: bool = True, wall: int | None = None
) -> Placement:
    """Addresses for all blocks.

    Args:
        blocks: what to place.
        bound: lower bound of the end; reaching it ends the search.
        search: False: only the simple orders are tried, in a fraction of the time.
        wall: an address that no block may lie across.
    """
    puzzle = make_puzzle(tuple(blocks), bound, wall)
    best = _search(puzzle, SHARES) if search else puzzle.starts[0]
    return Placement(tuple(best.addresses[: len(blocks)]), best.end)


def is_easily_placed(blocks: Sequence[Block], bound: int, limit: int, wall: int | None = None) -> bool:
    """Does any of the simple orders (of very many blocks: of a few) end at `limit` or below?

    Each is given up as soon as it does not.
    """
    puzzle = make_puzzle(tuple(blocks), bound, wall)
    orders = puzzle.few_orders
    if puzzle.evaluations >= MANY:
        orders = [*orders, *(order for order in puzzle.orders if order not in orders)]
    return any(puzzle.refit(order, puzzle.low, None, lambda: limit) for order in orders)


def _search(puzzle: Puzzle, shares: Sequence[float]) -> Fit:
    """The core first, by the same search; then all others around it, until they need no more than the core."""
    best, target = puzzle.starts[0], puzzle.bound
    if best.end > target and shares:
        core = [i for i, most in enumerate(puzzle.tightest) if most > shares[0] * puzzle.bound]
        if len(core) > MOST_OF_ALL * len(puzzle.blocks):
            return _search(puzzle, shares[1:])
        inner = _search(Puzzle([puzzle.blocks[i] for i in core], puzzle.bound, puzzle.wall), shares[1:])
        target = inner.end
        best = min(best, _surround(puzzle, core, inner), key=lambda fit: fit.end)
    for improve in (_search_tensors, _search_blocks, _search_longer):
        if best.end <= target:
            break
        if improve is _search_tensors and puzzle.evaluations < MANY:
            continue
        best = min(best, improve(puzzle, best), key=lambda fit: fit.end)
    return best


def _surround(puzzle: Puzzle, core: Sequence[int], inner: Fit) -> Fit:
    """The core as it is; the others take what is left, and who sticks out of the core takes first next time."""
    first, high, placed = [core[i] for i in inner.order], list(puzzle.low), set(core)
    for i, from_above in zip(core, inner.high, strict=True):
        high[i] = from_above
    found: list[Fit] = []
    for order in puzzle.orders[:SURROUNDED]:
        rest = [i for i in order if i not in placed]
        fit: Fit | None = None
        for _ in range(SQUEAKS):
            fit = puzzle.refit([*first, *rest], high, fit, lambda: inf)
            assert fit is not None
            found.append(fit)
            if fit.end <= inner.end:
                return fit
            inside = {i: fit.addresses[i] + puzzle.sizes[i] <= inner.end for i in rest}
            rest.sort(key=inside.__getitem__)
    return min(found, key=lambda fit: fit.end)


def _search_tensors(puzzle: Puzzle, best: Fit) -> Fit:
    """Anneals priorities and sides of tensors."""
    random = Random(1)
    names = list(dict.fromkeys(b.key for b in puzzle.blocks))
    number = {name: n for n, name in enumerate(names)}
    tensor = [number[b.key] for b in puzzle.blocks]

    def evaluate(
        priority: Sequence[int],
        side: Sequence[bool],
        base: Sequence[int],
        like: Fit | None = None,
        limit: Callable[[], float] = lambda: inf,
    ) -> Fit | None:
        first = [priority[t] for t in tensor]
        return puzzle.refit(sorted(base, key=first.__getitem__), [side[t] for t in tensor], like, limit)

    below, both = [False] * len(names), [n % 2 == 1 for n in range(len(names))]
    starts = [(start, below, start.order) for start in puzzle.starts]
    for _, _, base in starts[: puzzle.restarts]:
        start = evaluate([0] * len(names), both, base)
        assert start is not None
        starts.append((start, both, base))
    starts.sort(key=lambda s: s[0].end)
    for current, side, base in starts[: puzzle.restarts]:
        priority, heat = [0] * len(names), 0.01 * puzzle.bound
        guilty = _sticking_out(puzzle, current, tensor)
        for _ in range(puzzle.evaluations // puzzle.restarts):
            if best.end <= puzzle.bound:
                return best
            chosen = (
                random.choice(guilty) if guilty and random.random() < 0.6 else random.randrange(len(names))
            )
            new_priority, new_side = list(priority), list(side)
            kind = random.random()
            if kind < 0.45:
                new_side[chosen] = not new_side[chosen]
            else:
                new_priority[chosen] -= random.choice((1, 1, 2, 3)) if kind < 0.8 else -random.choice((1, 2))
            if random.random() < 0.3:
                other = random.randrange(len(names))
                new_side[other] = not new_side[other]
            worst = _Threshold(random, current.end, heat)
            found = evaluate(new_priority, new_side, base, current, worst)
            if found is not None:
                priority, side, current = new_priority, new_side, found
                guilty = _sticking_out(puzzle, current, tensor)
                best = min(best, found, key=lambda p: p.end)
            heat = max(heat * 0.985, puzzle.bound * 0.0005)
    return best


@dataclass(frozen=True, slots=True)
class _Threshold:
    """The worst end that annealing accepts this time; drawn when asked for."""

    random: Random
    end: int
    heat: float

    def __call__(self) -> float:
        return self.end - self.heat * log(self.random.random() or TINY)


def _sticking_out(puzzle: Puzzle, fit: Fit, tensor: Sequence[int]) -> list[int]:
    """Tensors with a block above the bound."""
    ends = zip(tensor, fit.addresses[: len(tensor)], puzzle.sizes, strict=True)
    return sorted({t for t, address, size in ends if address + size > puzzle.bound})


def _search_blocks(puzzle: Puzzle, best: Fit) -> Fit:
    """Moves single blocks forward in the order, from the two most promising starts."""
    random = Random(2)
    starts = puzzle.starts[:2]
    for start in starts:
        found = _move_blocks(puzzle, start, puzzle.evaluations // len(starts), random)
        best = min(best, found, key=lambda fit: fit.end)
    return best


def _search_longer(puzzle: Puzzle, best: Fit) -> Fit:
    """Goes on with the best there is, where that is still far from the lower bound."""
    if best.end <= puzzle.bound * FINE:
        return best
    return _move_blocks(puzzle, best, int(puzzle.evaluations * LONGER), Random(3), PATIENCE)


def _move_blocks(
    puzzle: Puzzle, current: Fit, evaluations: int, random: Random, patience: float = inf
) -> Fit:
    """Moves blocks that stick out, and some others, forward; keeps what is not worse.

    Args:
        patience: evaluations without any gain after which it ends.
    """
    count, gained = len(puzzle.blocks), 0
    for n in range(evaluations):
        if current.end <= puzzle.bound or n - gained > patience:
            break
        limit = max(puzzle.bound, current.end - random.choice((1, 200, 500, 1000)))
        guilty = [i for i in range(count) if current.addresses[i] + puzzle.sizes[i] > limit]
        trial = list(current.order)
        for _ in range(random.choice((1, 1, 2, 4))):
            chosen = random.choice(guilty) if guilty and random.random() < 0.8 else random.randrange(count)
            position = trial.index(chosen)
            trial.insert(random.randrange(position + 1), trial.pop(position))
        found = puzzle.refit(trial, current.high, current, lambda: -inf)
        if found is not None:
            gained = n if found.end < current.end else gained
            current = found
    return current
