"""First fit: each block, in some order, at the first address that no neighbour forbids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from math import inf

import numpy as np
from numpy.typing import NDArray

from vmcu.memory.blocks import Block, Intervals, Numbers, neighbours

SEARCH_WORK = 13_000_000  # neighbours looked at, per search: about a second
RESTARTS = 4  # orders to start from, at most
SHORTEST = 10  # evaluations of a search that are worth a start of its own
MOST_EVALUATIONS = 500  # per search, however small the network is
FEW = 48  # neighbours up to which plain Python is faster than NumPy
TIGHT = (0.5, 0.8, 0.9, 0.95, 0.99)  # shares of the lower bound: what lives at such times goes first
PERIOD = 50  # tasks; lives that differ by less count as equally long
LONG = (1 / 200, 1 / 50)  # shares of all tasks: a life longer than that is long
SHORT_PERIOD = 20  # tasks; short lives that differ by less count as equally long
NOWHERE = 1 << 29  # address of what is not yet placed: above every pool
HALF = 32  # bits of a packed number
LOW_HALF = (1 << HALF) - 1
TWICE = (1 << HALF) + 1  # packs the same number twice
FAR_BELOW = 1 << 29  # makes packed numbers positive; a multiple of every alignment


@dataclass(frozen=True, slots=True)
class Fit:
    """A placement (with the wall, if there is one) and how it came about; `ends` are those after each block of the order."""

    order: Sequence[int]
    high: Sequence[bool]
    addresses: list[int]
    ends: list[int]

    @property
    def end(self) -> int:
        """Of the highest block."""
        return self.ends[-1] if self.ends else 0


class Puzzle:
    """Blocks, who is alive together, and first fit; `wall`: an address that no block may lie across."""

    def __init__(self, blocks: Sequence[Block], bound: int, wall: int | None = None) -> None:
        self.blocks, self.bound, self.wall = blocks, bound, wall
        self.near = neighbours(blocks)
        # A wall is one more block behind the others, of no bytes, that lives for ever and has its place.
        self.fixed = [] if wall is None else [wall]
        if self.fixed:
            self.near = [_with(near, len(blocks), b.size) for near, b in zip(self.near, blocks, strict=True)]
        self.few = [
            list(zip(*(column.tolist() for column in near), strict=True)) if len(near[0]) <= FEW else None
            for near in self.near
        ]
        self.packed = [(others, _packed(low, up), _packed(up, low)) for others, low, up in self.near]
        self.sizes = [b.size for b in blocks]
        self.aligns = [b.align for b in blocks]
        self.low = [False] * len(blocks)
        effort = sum(_effort(len(near[0])) for near in self.near) + 1
        self.evaluations = max(4, min(MOST_EVALUATIONS, SEARCH_WORK // effort))
        self.restarts = max(1, min(RESTARTS, self.evaluations // SHORTEST))
        self.most_orders = max(3, SEARCH_WORK * 2 // effort)

    @cached_property
    def orders(self) -> list[list[int]]:
        """Orders worth starting from, the most promising first; few where there are very many blocks."""
        size, count, tightest = self.sizes, range(len(self.blocks)), self.tightest
        born, died = [b.born for b in self.blocks], [b.died for b in self.blocks]
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
        found += [order for share in TIGHT for order in self._tight_first(share)]
        return found[: self.most_orders]

    @cached_property
    def few_orders(self) -> list[list[int]]:
        """A few of them, which are rarely all bad."""
        return [order for share in TIGHT[:2] for order in self._tight_first(share)][: self.most_orders]

    def _tight_first(self, share: float) -> list[list[int]]:
        """What lives while more than a share of the lower bound is alive, then the others."""
        size, count = self.sizes, range(len(self.blocks))
        born, died = [b.born for b in self.blocks], [b.died for b in self.blocks]
        loose = [most < share * self.bound for most in self.tightest]
        return [
            sorted(count, key=lambda i: (loose[i], born[i], -size[i])),
            sorted(count, key=lambda i: (loose[i], -size[i], born[i])),
            sorted(count, key=lambda i: (loose[i], (born[i] - died[i]) // PERIOD, born[i])),
        ]

    @cached_property
    def tightest(self) -> list[int]:
        """Per block the most bytes alive at any time of its life."""
        born, died = [b.born for b in self.blocks], [b.died for b in self.blocks]
        start, end = min(born, default=0), max(died, default=0)
        change = np.zeros(end - start + 2, np.int64)
        for block in self.blocks:
            for _, size, first, last in block.parts:
                change[first - start] += size
                change[last - start + 1] -= size
        live = change.cumsum()
        return [int(live[b - start : d - start + 1].max()) for b, d in zip(born, died, strict=True)]

    @cached_property
    def starts(self) -> list[Fit]:
        """The best `restarts` of the orders worth starting from, all blocks from below; the best first."""
        found: list[Fit] = []

        def worst() -> float:
            return found[-1].end if len(found) == self.restarts else inf

        for order in self.orders:
            if (fit := self.refit(order, self.low, None, worst)) is not None:
                found.append(fit)
                found.sort(key=lambda fit: fit.end)
                del found[self.restarts :]
        return found

    def refit(
        self, order: Sequence[int], high: Sequence[bool], like: Fit | None, limit: Callable[[], float]
    ) -> Fit | None:
        """Each block in order at the first address, from its side, that no placed neighbour forbids.

        Args:
            order: all blocks.
            high: which blocks look from the lower bound downwards; where nothing is free below it they
                look upwards like the others.
            like: an earlier result: what is placed as there is copied.
            limit: asked once, as soon as the end exceeds that of `like` (if there is one): None is returned where
                the end exceeds this limit.
        """
        addresses = [-1] * len(self.blocks) + self.fixed
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
        placed *= TWICE
        for i in islice(order, same, None):
            size = self.sizes[i]
            few = self.few[i]
            if few is None:
                address = self._far_fit(i, high[i], placed)
            else:
                address = self._near_fit(
                    i, high[i], [(a + low, a + up) for j, low, up in few if (a := addresses[j]) >= 0]
                )
            placed[i] = address * TWICE
            addresses[i] = address
            if address + size > end:
                end = address + size
                if end > stop:
                    if not asked:
                        stop, asked = limit(), True
                    if end > stop:
                        return None
            ends.append(end)
        return Fit(order, high, addresses, ends)

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

    def _far_fit(self, i: int, high: bool, both: Numbers) -> int:
        """The same for many neighbours at once; `both` has every address twice in a word, see `_packed`."""
        align, (others, by_low, by_up) = self.aligns[i], self.packed[i]
        at = both.take(others)
        # Sorted along the way, the address that precedes an interval is the extreme of those before it; it
        # stands where the next interval does not touch it. Intervals nowhere touch none.
        seen = np.empty(len(at) + 1, np.int64)
        if high:
            at_up = at + by_up
            at_up.sort()
            at_up = at_up[::-1]
            seen[0] = self.bound - self.sizes[i] + FAR_BELOW << HALF
            np.left_shift(at_up, HALF, out=seen[1:])
            np.minimum.accumulate(seen, out=seen)
            if align > 1:
                seen -= seen % (align << HALF)
            if (address := _first(seen, at_up <= (seen[:-1] | LOW_HALF))) >= 0:
                return address
        at += by_low
        at.sort()
        seen[0] = FAR_BELOW << HALF
        np.left_shift(at, HALF, out=seen[1:])
        np.maximum.accumulate(seen, out=seen)
        if align > 1:
            seen += -seen % (align << HALF)
        return _first(seen, at >= seen[:-1])


def _packed(first: Numbers, second: Numbers) -> Numbers:
    """Two numbers in a word, so that words sort by the first; an address is added to both at once.

    Shifted to the left the second stands where the first was, and can be compared with that of other words.
    """
    return (first + FAR_BELOW << HALF) + second + FAR_BELOW


def _first(addresses: Numbers, free: NDArray[np.bool_]) -> int:
    """The first address that is free, or the last; packed as the first of two numbers."""
    at = free.argmax()
    return (int(addresses[at if free[at] else -1]) >> HALF) - FAR_BELOW


@lru_cache(maxsize=4)
def make_puzzle(blocks: tuple[Block, ...], bound: int, wall: int | None = None) -> Puzzle:
    """Kept for the search that may follow quick placements."""
    return Puzzle(blocks, bound, wall)


def _with(near: Intervals, wall: int, size: int) -> Intervals:
    """The neighbours of a block of `size` bytes and block `wall`, which has none."""
    others, lows, highs = near
    return np.append(others, wall), np.append(lows, -size), np.append(highs, 0)


def _effort(neighbours: int) -> int:
    """Of placing one block, in neighbours looked at one by one."""
    return 20 + neighbours if neighbours <= FEW else 130 + neighbours // 4


def _upper(interval: tuple[int, int]) -> int:
    return interval[1]
