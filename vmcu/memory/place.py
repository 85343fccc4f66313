"""Placement: addresses for blocks with known lifetimes, close to the lower bound.

Dynamic storage allocation with known lifetimes is NP-hard. Two searches, one after the other, try orders
in which blocks take the first address that fits:

* by tensor: each tensor has a priority, and a side of the pool from which its rows look for a place.
  Short-lived rows from one side and long-lived rows from the other leave the free bytes in one piece.
* by block: whoever sticks out of the pool that is wanted is moved forward in the order ("squeaky wheel").

Deterministic: work is bounded by counting, not by time, and randomness is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from math import inf, log
from random import Random

import numpy as np
from numpy.typing import NDArray

SEARCH_WORK = 13_000_000  # neighbours looked at, per search: about a second
FINE = 1.025  # end / lower bound above which it is searched longer
LONGER = 2.5  # by that factor
RESTARTS = 4
MOST_EVALUATIONS = 500  # per search, however small the network is
FEW = 48  # neighbours up to which plain Python is faster than NumPy
TIGHT = (0.5, 0.8, 0.9, 0.95, 0.99)  # shares of the lower bound: what lives at such times goes first
PERIOD = 50  # tasks; lives that differ by less count as equally long
LONG = (1 / 200, 1 / 50)  # shares of all tasks: a life longer than that is long
SHORT_PERIOD = 20  # tasks; short lives that differ by less count as equally long
NOWHERE = 1 << 48  # address of what is not yet placed
TINY = 1e-300  # in place of a random number that is zero


@dataclass(frozen=True, slots=True)
class Block:
    """Memory placed as one piece: parts at fixed offsets, each with its own lifetime.

    Attributes:
        key: tensor name, or step number of a scratch.
        rows: the tensor's rows in it (empty for scratch).
        parts: (offset, size, first task, last task), bytes and task numbers, both ends included.
        align: of the block's address.
    """

    key: str | int
    rows: tuple[int, ...]
    parts: tuple[tuple[int, int, int, int], ...]
    align: int = 1

    @property
    def size(self) -> int:
        """Bytes from its first to its last."""
        return max(offset + size for offset, size, _, _ in self.parts)

    @property
    def born(self) -> int:
        """First task of any part."""
        return min(p[2] for p in self.parts)

    @property
    def died(self) -> int:
        """Last task of any part."""
        return max(p[3] for p in self.parts)


Numbers = NDArray[np.int64]
Intervals = tuple[Numbers, Numbers, Numbers]  # others, lows, highs


@dataclass(frozen=True, slots=True)
class Placement:
    """Addresses of blocks, in the order the blocks were given, and the end of the highest."""

    addresses: tuple[int, ...]
    end: int


def place_blocks(blocks: Sequence[Block], bound: int, search: bool = True) -> Placement:
    """Addresses for all blocks.

    Args:
        blocks: what to place.
        bound: lower bound of the end; reaching it ends the search.
        search: False: only the simple orders are tried, in a fraction of the time.
    """
    puzzle = _puzzle(tuple(blocks), bound)
    best = puzzle.starts[0]
    for improve in (_search_tensors, _search_blocks, _search_longer) if search else ():
        if best.end <= bound:
            break
        best = min(best, improve(puzzle, best), key=lambda fit: fit.end)
    return best.placement()


def neighbours(blocks: Sequence[Block]) -> list[Intervals]:
    """Pairs alive together: block `i` may not start strictly between `low` and `high` after block `other`.

    Returns:
        Per block its others, lows and highs, int64.
    """
    count = len(blocks)
    born = np.array([b.born for b in blocks], np.int64)
    died = np.array([b.died for b in blocks], np.int64)
    size = np.array([b.size for b in blocks], np.int64)
    several = np.array([len(b.parts) > 1 for b in blocks], bool)
    parts = [np.array(b.parts, np.int64) for b in blocks]
    steady = several & np.array([len({part[:2] for part in b.parts}) == 1 for b in blocks], bool)
    found: list[Intervals] = []
    by_birth = np.argsort(born, kind="stable")
    sorted_births = born[by_birth]
    for i in range(count):
        candidates = by_birth[: np.searchsorted(sorted_births, died[i], side="right")]
        alive = candidates[(died[candidates] >= born[i]) & (candidates != i)]
        complex_ = alive[several[alive] & ~steady[alive] | (several[i] & ~steady[i])]
        simple = np.setdiff1d(alive, complex_, assume_unique=True)
        if steady[i]:  # working memory: the same bytes now and then
            simple = simple[_meet(parts[i], born[simple], died[simple]) | steady[simple]]
        apart = [j for j in simple[steady[simple]].tolist() if not _any_meet(parts[i], parts[j])]
        simple = np.setdiff1d(simple, apart, assume_unique=True)
        others, lows, highs = [simple], [-np.full(len(simple), size[i])], [size[simple]]
        for j in complex_.tolist():
            low, high = _forbidden(parts[i], parts[j])
            others.append(np.full(len(low), j))
            lows.append(low)
            highs.append(high)
        found.append((np.concatenate(others), np.concatenate(lows), np.concatenate(highs)))
    return found


def _meet(parts: Numbers, born: Numbers, died: Numbers) -> NDArray[np.bool_]:
    """Is any of the parts, in the order of time, alive together with each of some lives?"""
    following = np.searchsorted(parts[:, 3], born)
    return np.asarray(parts[np.minimum(following, len(parts) - 1), 2] <= died) & (following < len(parts))


def _any_meet(a: Numbers, b: Numbers) -> bool:
    """Are two blocks, their parts in the order of time, ever alive together?"""
    return bool(_meet(a, b[:, 2], b[:, 3]).any())


def _forbidden(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """Open intervals of (address of a) - (address of b) in which parts alive together overlap: lows and highs.

    Shapes: parts of two blocks, (n, 4).
    """
    together = (a[:, None, 2] <= b[None, :, 3]) & (b[None, :, 2] <= a[:, None, 3])
    in_a, in_b = (a[n] if k == 0 else b[n] for k, n in enumerate(np.nonzero(together)))
    lows, highs = in_b[:, 0] - in_a[:, 0] - in_a[:, 1], in_b[:, 0] + in_b[:, 1] - in_a[:, 0]
    order = np.lexsort((highs, lows))
    lows, ends = lows[order], np.maximum.accumulate(highs[order])
    # What does not reach into any interval before it begins a new one; each ends where the next begins.
    begins = np.flatnonzero(np.concatenate(([True], lows[1:] >= ends[:-1]))) if len(lows) else order
    return lows[begins], ends[np.append(begins[1:], len(lows)) - 1]


@dataclass(frozen=True, slots=True)
class _Fit:
    """A placement and how it came about; `ends` are the ends after each block of the order."""

    order: Sequence[int]
    high: Sequence[bool]
    addresses: list[int]
    ends: list[int]

    @property
    def end(self) -> int:
        """Of the highest block."""
        return self.ends[-1] if self.ends else 0

    def placement(self) -> Placement:
        """The result."""
        return Placement(tuple(self.addresses), self.end)


class _Puzzle:
    """Blocks, who is alive together, and first fit."""

    def __init__(self, blocks: Sequence[Block], bound: int) -> None:
        self.blocks, self.bound = blocks, bound
        self.near = neighbours(blocks)
        self.few = [
            list(zip(*(column.tolist() for column in near), strict=True)) if len(near[0]) <= FEW else None
            for near in self.near
        ]
        self.sizes = [b.size for b in blocks]
        self.aligns = [b.align for b in blocks]
        self.low = [False] * len(blocks)
        effort = sum(_effort(len(near[0])) for near in self.near) + 1
        self.evaluations = max(4, min(MOST_EVALUATIONS, SEARCH_WORK // effort))
        self.most_orders = max(3, SEARCH_WORK * 2 // effort)

    def orders(self) -> list[list[int]]:
        """Orders worth starting from, the most promising first; few where there are very many blocks."""
        size, count = self.sizes, range(len(self.blocks))
        born, died = [b.born for b in self.blocks], [b.died for b in self.blocks]
        tightest = self._tightest(born, died)
        loose = [most < TIGHT[0] * self.bound for most in tightest]
        life = [d - b for b, d in zip(born, died, strict=True)]
        all_tasks = max(died, default=0)
        found = [
            sorted(count, key=lambda i: (born[i], -size[i])),
            sorted(count, key=lambda i: (loose[i], -size[i], born[i])),
        ]
        for share in LONG:  # what stays in the order of time, then the shorter the later
            stays = [n > all_tasks * share for n in life]
            found.append(
                sorted(
                    count,
                    key=lambda i: (not stays[i], 0 if stays[i] else -(life[i] // SHORT_PERIOD), born[i]),
                )
            )
        found += [
            sorted(count, key=lambda i: (-size[i], born[i])),
            sorted(count, key=lambda i: (-size[i] * (died[i] - born[i] + 1), born[i])),
            sorted(count, key=lambda i: (born[i] - died[i], -size[i])),
            sorted(count, key=lambda i: (-died[i], -size[i])),
        ]
        for share in TIGHT:
            loose = [most < share * self.bound for most in tightest]
            found += [
                sorted(count, key=lambda i: (loose[i], born[i], -size[i])),
                sorted(count, key=lambda i: (loose[i], -size[i], born[i])),
                sorted(count, key=lambda i: (loose[i], (born[i] - died[i]) // PERIOD, born[i])),
            ]
        return found[: self.most_orders]

    def _tightest(self, born: Sequence[int], died: Sequence[int]) -> list[int]:
        """Per block the most bytes alive at any time of its life."""
        start, end = min(born, default=0), max(died, default=0)
        change = np.zeros(end - start + 2, np.int64)
        for block in self.blocks:
            for _, size, first, last in block.parts:
                change[first - start] += size
                change[last - start + 1] -= size
        live = change.cumsum()
        return [int(live[b - start : d - start + 1].max()) for b, d in zip(born, died, strict=True)]

    @cached_property
    def starts(self) -> list[_Fit]:
        """The best `RESTARTS` of the orders worth starting from, all blocks from below; the best first."""
        found: list[_Fit] = []

        def worst() -> float:
            return found[-1].end if len(found) == RESTARTS else inf

        for order in self.orders():
            if (fit := self.refit(order, self.low, None, worst)) is not None:
                found.append(fit)
                found.sort(key=lambda fit: fit.end)
                del found[RESTARTS:]
        return found

    def refit(
        self, order: Sequence[int], high: Sequence[bool], like: _Fit | None, limit: Callable[[], float]
    ) -> _Fit | None:
        """Each block in order at the first address, from its side, that no placed neighbour forbids.

        Args:
            order: all blocks.
            high: which blocks look from the lower bound downwards; where nothing is free below it they
                look upwards like the others.
            like: an earlier result: what is placed as there is copied.
            limit: asked once, as soon as the end exceeds that of `like` (if there is one): None is returned where
                the end exceeds this limit.
        """
        addresses = [-1] * len(self.blocks)
        ends: list[int] = []
        end = same = 0
        stop: float = -1
        if like is not None:
            stop = like.end
            for i, j in zip(order, like.order, strict=True):
                if i != j or high[i] != like.high[i]:
                    break
                addresses[i] = like.addresses[i]
                same += 1
            ends = like.ends[:same]
            end = ends[-1] if ends else 0
        asked = False
        placed = np.array(addresses, np.int64)
        placed[placed < 0] = NOWHERE
        for i in islice(order, same, None):
            size = self.sizes[i]
            few = self.few[i]
            if few is None:
                address = self._far_fit(i, high[i], placed)
            else:
                address = self._near_fit(
                    i, high[i], [(a + low, a + up) for j, low, up in few if (a := addresses[j]) >= 0]
                )
            placed[i] = address
            addresses[i] = address
            if address + size > end:
                end = address + size
                if end > stop:
                    if not asked:
                        stop, asked = limit(), True
                    if end > stop:
                        return None
            ends.append(end)
        return _Fit(order, high, addresses, ends)

    def _near_fit(self, i: int, high: bool, forbidden: list[tuple[int, int]]) -> int:
        """The first address for block `i` from its side outside all of the open intervals."""
        align = self.aligns[i]
        if high:
            address = (self.bound - self.sizes[i]) // align * align
            forbidden.sort(key=_upper, reverse=True)
            for low, up in forbidden:
                if up <= address:
                    break
                if low < address:
                    address = low // align * align
            if address >= 0:
                return address
        address = 0
        forbidden.sort()
        for low, up in forbidden:
            if low >= address:
                break
            if up > address:
                address = -(-up // align) * align
        return address

    def _far_fit(self, i: int, high: bool, addresses: Numbers) -> int:
        """The same for many neighbours at once; `addresses` are `NOWHERE` for those not yet placed."""
        others, lows, ups = self.near[i]
        at = addresses[others]
        low, up, align = at + lows, at + ups, self.aligns[i]
        # Sorted along the way, the address that precedes an interval is the extreme of those before it; it
        # stands where the next interval does not touch it. Intervals nowhere touch none.
        seen = np.empty(len(at) + 1, np.int64)
        if high:
            seen[0] = (self.bound - self.sizes[i]) // align * align
            order = (-up).argsort(kind="stable")
            seen[1:] = low[order] // align * align
            np.minimum.accumulate(seen, out=seen)
            if (address := _first(seen, up[order] <= seen[:-1])) >= 0:
                return address
        order = low.argsort(kind="stable")
        seen[0] = 0
        seen[1:] = up[order] if align == 1 else -(-up[order] // align) * align
        np.maximum.accumulate(seen, out=seen)
        return _first(seen, low[order] >= seen[:-1])


def _first(addresses: Numbers, free: NDArray[np.bool_]) -> int:
    """The first address that is free, or the last."""
    at = int(free.argmax())
    return int(addresses[at if free[at] else -1])


@lru_cache(maxsize=4)
def _puzzle(blocks: tuple[Block, ...], bound: int) -> _Puzzle:
    """Kept for the search that may follow quick placements."""
    return _Puzzle(blocks, bound)


def _effort(neighbours: int) -> int:
    """Of placing one block, in neighbours looked at one by one."""
    return 20 + neighbours if neighbours <= FEW else 130 + neighbours // 4


def _upper(interval: tuple[int, int]) -> int:
    return interval[1]


def _search_tensors(puzzle: _Puzzle, best: _Fit) -> _Fit:
    """Anneals priorities and sides of tensors."""
    random = Random(1)
    names = list(dict.fromkeys(b.key for b in puzzle.blocks))
    number = {name: n for n, name in enumerate(names)}
    tensor = [number[b.key] for b in puzzle.blocks]

    def evaluate(
        priority: Sequence[int],
        side: Sequence[bool],
        base: Sequence[int],
        like: _Fit | None = None,
        limit: Callable[[], float] = lambda: inf,
    ) -> _Fit | None:
        first = [priority[t] for t in tensor]
        return puzzle.refit(sorted(base, key=first.__getitem__), [side[t] for t in tensor], like, limit)

    below, both = [False] * len(names), [n % 2 == 1 for n in range(len(names))]
    starts = [(start, below, start.order) for start in puzzle.starts]
    for _, _, base in starts[:RESTARTS]:
        start = evaluate([0] * len(names), both, base)
        assert start is not None
        starts.append((start, both, base))
    starts.sort(key=lambda s: s[0].end)
    for current, side, base in starts[:RESTARTS]:
        priority, heat = [0] * len(names), 0.01 * puzzle.bound
        guilty = _sticking_out(puzzle, current, tensor)
        for _ in range(puzzle.evaluations // RESTARTS):
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


def _sticking_out(puzzle: _Puzzle, fit: _Fit, tensor: Sequence[int]) -> list[int]:
    """Tensors with a block above the bound."""
    ends = zip(tensor, fit.addresses, puzzle.sizes, strict=True)
    return sorted({t for t, address, size in ends if address + size > puzzle.bound})


def _search_blocks(puzzle: _Puzzle, best: _Fit) -> _Fit:
    """Moves single blocks forward in the order, from the two most promising starts."""
    random = Random(2)
    for start in puzzle.starts[:2]:
        best = min(best, _move_blocks(puzzle, start, puzzle.evaluations // 2, random), key=lambda f: f.end)
    return best


def _search_longer(puzzle: _Puzzle, best: _Fit) -> _Fit:
    """Goes on with the best there is, where that is still far from the lower bound."""
    if best.end <= puzzle.bound * FINE:
        return best
    return _move_blocks(puzzle, best, int(puzzle.evaluations * LONGER), Random(3))


def _move_blocks(puzzle: _Puzzle, current: _Fit, evaluations: int, random: Random) -> _Fit:
    """Moves blocks that stick out, and some others, forward; keeps what is not worse."""
    count = len(puzzle.blocks)
    for _ in range(evaluations):
        if current.end <= puzzle.bound:
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
            current = found
    return current
