"""What is placed as one piece, and which pieces must not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Intervals = tuple[Numbers, Numbers, Numbers]  # others, lows, highs


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


def neighbours(blocks: Sequence[Block]) -> list[Intervals]:
    """Pairs alive together: block `i` may not start strictly between `low` and `high` after block `other`.

    Returns:
        Per block its others, lows and highs, int64.
    """
    born = np.array([b.born for b in blocks], np.int64)
    died = np.array([b.died for b in blocks], np.int64)
    size = np.array([b.size for b in blocks], np.int64)
    several = np.array([len(b.parts) > 1 for b in blocks], bool)
    parts = [np.array(b.parts, np.int64) for b in blocks]
    steady = several & np.array([len({part[:2] for part in b.parts}) == 1 for b in blocks], bool)
    varied = several & ~steady
    busy = _Busy(parts, steady)
    found: list[Intervals] = []
    by_birth = np.argsort(born, kind="stable")
    place_of = np.argsort(by_birth, kind="stable").tolist()
    deaths = died[by_birth]
    ends = np.searchsorted(born[by_birth], died, side="right").tolist()
    for i in range(len(blocks)):
        meets = deaths[: ends[i]] >= born[i]
        meets[place_of[i]] = False
        alive = by_birth[: ends[i]][meets]
        among = varied[alive]
        complex_, simple = (alive, alive[:0]) if varied[i] else (alive[among], alive[~among])
        if steady[i]:  # working memory: the same bytes now and then
            simple = simple[_meet(parts[i], born[simple], died[simple]) | steady[simple]]
            apart = [j for j in simple[steady[simple]].tolist() if not _any_meet(parts[i], parts[j])]
            simple = np.setdiff1d(simple, apart, assume_unique=True)
        elif len(simple):
            simple = simple[busy.may_meet(int(born[i]), int(died[i]))[simple]]
        others, lows, highs = [simple], [-np.full(len(simple), size[i])], [size[simple]]
        for j in complex_.tolist():
            low, high = _forbidden(parts[i], parts[j])
            others.append(np.full(len(low), j))
            lows.append(low)
            highs.append(high)
        if len(others) == 1:
            found.append((simple, lows[0], highs[0]))
        else:
            found.append((np.concatenate(others), np.concatenate(lows), np.concatenate(highs)))
    return found


class _Busy:
    """When blocks of several equal parts are alive."""

    def __init__(self, parts: Sequence[Numbers], steady: NDArray[np.bool_]) -> None:
        self._some = np.flatnonzero(steady)
        some = self._some.tolist()
        self._first = min((int(parts[j][0, 2]) for j in some), default=0)
        last = max((int(parts[j][-1, 3]) for j in some), default=0)
        # Per time and block, at how many times before it was alive.
        self._before = np.zeros((last - self._first + 2, len(some)), np.int32)
        for column, j in enumerate(some):
            for first, end in (parts[j][:, 2:] - self._first).tolist():
                self._before[first + 1 : end + 2, column] = 1
        np.cumsum(self._before, axis=0, out=self._before)
        self._answer = np.ones(len(parts), bool)

    def may_meet(self, born: int, died: int) -> NDArray[np.bool_]:
        """Per block, false only where it has several equal parts, none of which is alive at any of these times.

        The array is the same every time.
        """
        most = len(self._before) - 1
        start, end = (min(max(t - self._first, 0), most) for t in (born, died + 1))
        self._answer[self._some] = self._before[end] > self._before[start]
        return self._answer


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
    if not len(lows):
        return lows, highs
    order = np.lexsort((highs, lows))
    lows, ends = lows[order], np.maximum.accumulate(highs[order])
    # What does not reach into any interval before it begins a new one; each ends where the next begins.
    begins = np.flatnonzero(np.concatenate(([True], lows[1:] >= ends[:-1])))
    return lows[begins], ends[np.append(begins[1:], len(lows)) - 1]
