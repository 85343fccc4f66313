"""A lower bound of the pool that also counts bytes nobody can use.

Live bytes are one bound. But a tensor in one piece, say an image cut into tiles, has holes where parts of it are gone, and
they stay where they are: what is alive then fits into a hole of 20 bytes only if it has 20 bytes at most. So at any time as
many bytes of each hole are lost as no choice of what is alive can fill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from vmcu.memory.blocks import Block, Numbers

MOST_TIMES = 256  # at which holes are looked at: the fullest
MOST_HOLE = 1 << 16  # bytes; larger holes count as filled


def with_holes(blocks: Sequence[Block], live: Sequence[int]) -> int:
    """No placement of `blocks` is smaller, whatever their order.

    Every part that lies within the span of another block's parts lies in one of its holes as a whole, and no hole holds more than
    the most that some of the parts alive at that time add up to. Holes of one block at a time are counted, since those of two may be the
    same bytes. Alignment, walls, and that no part can fill two holes only make the true optimum larger.

    Args:
        live: bytes alive before the first task, during each, and after the last; at least those of the blocks.
    """
    bound = max(live)
    parts = np.array([(n, *part) for n, b in enumerate(blocks) for part in b.parts], np.int64).reshape(-1, 5)
    owner, _, size, born, died = parts.T
    for n, block in enumerate(blocks):
        if len({offset for offset, *_ in block.parts}) == 1:  # one part, or the same bytes now and then
            continue
        own = parts[owner == n]
        own = own[np.argsort(own[:, 1], kind="stable")]
        for time in sorted(range(len(live)), key=lambda t: -live[t])[:MOST_TIMES]:
            holes = _holes(own[(own[:, 3] < time) & (own[:, 4] >= time - 1)])
            if live[time] + sum(holes) > bound:
                others = size[(owner != n) & (born < time) & (died >= time - 1)]
                bound = max(bound, live[time] + _lost(holes, others.tolist()))
    return bound


def _holes(parts: Numbers) -> list[int]:
    """Bytes of each hole between parts, in the order of their offsets."""
    ends = np.maximum.accumulate(parts[:, 1] + parts[:, 2])
    between = parts[1:, 1] - ends[:-1]
    return [hole for hole in between.tolist() if 0 < hole <= MOST_HOLE]


def _lost(holes: Sequence[int], sizes: Iterable[int]) -> int:
    """Bytes of the holes that no choice of pieces of these sizes fills, each hole for itself."""
    largest = max(holes)
    within = (1 << (largest + 1)) - 1
    sums = 1  # bit n: some pieces have n bytes together
    for size, count in Counter(s for s in sizes if 0 < s <= largest).items():
        left, power = min(count, largest // size), 1
        while left:  # 1, 2, 4... of them, and the rest, make any number
            some = min(power, left)
            sums |= (sums << size * some) & within
            left, power = left - some, power * 2
    return sum(hole - ((sums & ((1 << (hole + 1)) - 1)).bit_length() - 1) for hole in holes)
