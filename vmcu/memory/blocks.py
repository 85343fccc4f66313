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
