"""Branch and bound: is there a placement below a limit? Exact, for few blocks; bounded work, no randomness.

Blocks are placed in the order of their addresses. So whatever is placed next lies above all that is placed and alive with
it, and not below the last one: its address is known, and only the order is searched. Two rules keep that small. At each time all
that is not placed yet has to fit between what is placed and the limit. And a block is no next one if another would lie
wholly below it: that one could be moved there in any placement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmcu.memory.blocks import Block
from vmcu.memory.place import Placement

MOST_NODES = 20_000
MOST_BLOCKS = 48  # to place
MOST_PROVEN = 150  # to prove that others cannot be placed better
SPANS = (4, 12, 30)  # tasks on either side of the peak whose blocks are looked at


class _GaveUp(Exception):
    """Too much work."""


def fits(
    blocks: Sequence[Block], limit: int, most_nodes: int = MOST_NODES, wall: int | None = None
) -> Placement | bool | None:
    """A placement that ends at `limit` or below; False where there is none; None where that would take too long.

    Args:
        blocks: of one part each.
        wall: an address that no block may lie across.
    """
    if any(len(b.parts) > 1 for b in blocks):
        raise ValueError("blocks of several parts")
    try:
        found = _Search(blocks, limit, most_nodes, wall).run()
    except _GaveUp:
        return None
    if found is None:
        return False
    return Placement(tuple(found), max((a + b.size for a, b in zip(found, blocks, strict=True)), default=0))


def improve(blocks: Sequence[Block], found: Placement, bound: int, wall: int | None = None) -> Placement:
    """The least placement of few blocks, as far as the work allows; another is returned as it came."""
    if len(blocks) > MOST_BLOCKS or any(len(b.parts) > 1 for b in blocks):
        return found
    while found.end > bound:
        better = fits(blocks, found.end - 1, wall=wall)
        if not isinstance(better, Placement):
            break
        found = better
    return found


def is_smallest(blocks: Sequence[Block], live: Sequence[int], end: int, wall: int | None = None) -> bool:
    """Is it proven that no placement of all blocks ends below `end`?

    Fewer blocks, and shorter lives, never need more. So it is enough that those around the fullest time do not fit.

    Args:
        live: bytes alive before the first task, during each, and after the last.
    """
    if not blocks:
        return True
    peak = live.index(max(live)) - 1
    for span in SPANS:
        some = [c for b in blocks if (c := _clip(b, peak - span, peak + span)) is not None]
        if len(some) > MOST_PROVEN:
            return False
        if fits(some, end - 1, wall=wall) is False:
            return True
    return False


def _clip(block: Block, first: int, last: int) -> Block | None:
    """The part of a block that is alive at these times; of a block of several parts, those that outlive them all."""
    parts = [(o, s, max(b, first), min(d, last)) for o, s, b, d in block.parts if b <= last and d >= first]
    if len(block.parts) > 1:
        parts = [p for p in parts if (p[2], p[3]) == (first, last)]
        runs: list[tuple[int, int, int, int]] = []
        for offset, size, _, _ in sorted(parts):
            if runs and runs[-1][0] + runs[-1][1] == offset:
                runs[-1] = (runs[-1][0], runs[-1][1] + size, first, last)
            else:
                runs.append((offset, size, first, last))
        parts = [max(runs, key=lambda p: p[1])] if runs else []
        return Block(block.key, (), ((0, *parts[0][1:]),)) if parts else None
    return Block(block.key, block.rows, ((0, *parts[0][1:]),), block.align) if parts else None


@dataclass(slots=True)
class _Node:
    """What is placed: per time the end of the highest block, and the bytes that are still to come."""

    tops: list[int]
    rest: list[int]
    last: int
    left: list[int]


class _Search:
    def __init__(self, blocks: Sequence[Block], limit: int, most_nodes: int, wall: int | None) -> None:
        times = sorted({b.born for b in blocks})
        self.slots = [[n for n, t in enumerate(times) if b.born <= t <= b.died] for b in blocks]
        self.sizes = [b.size for b in blocks]
        self.aligns = [b.align for b in blocks]
        self.limit, self.nodes, self.times = limit, most_nodes, len(times)
        self.wall = limit if wall is None else wall

    def run(self) -> list[int] | None:
        """Addresses, or None."""
        rest = [0] * self.times
        for i, slots in enumerate(self.slots):
            for t in slots:
                rest[t] += self.sizes[i]
        addresses = [0] * len(self.sizes)
        node = _Node([0] * self.times, rest, 0, list(range(len(self.sizes))))
        return addresses if self._extend(node, addresses) else None

    def _extend(self, node: _Node, addresses: list[int]) -> bool:
        if not node.left:
            return True
        self.nodes -= 1
        if self.nodes < 0:
            raise _GaveUp
        if any(
            max(top, node.last) + rest > self.limit
            for top, rest in zip(node.tops, node.rest, strict=True)
            if rest
        ):
            return False
        lowest = {i: self._lowest(i, node) for i in node.left}
        below = min(a + self.sizes[i] for i, a in lowest.items())
        seen: set[tuple[int, int, tuple[int, ...]]] = set()
        for i in sorted(node.left, key=lambda i: (lowest[i], -self.sizes[i], i)):
            kind = (self.sizes[i], self.aligns[i], tuple(self.slots[i]))
            if lowest[i] >= below or lowest[i] + self.sizes[i] > self.limit or kind in seen:
                continue
            seen.add(kind)
            addresses[i] = lowest[i]
            tops, rest = list(node.tops), list(node.rest)
            for t in self.slots[i]:
                tops[t] = lowest[i] + self.sizes[i]
                rest[t] -= self.sizes[i]
            if self._extend(_Node(tops, rest, lowest[i], [j for j in node.left if j != i]), addresses):
                return True
        return False

    def _lowest(self, i: int, node: _Node) -> int:
        """The address block `i` takes if it is the next."""
        address = max(node.last, *(node.tops[t] for t in self.slots[i]))
        address = -(-address // self.aligns[i]) * self.aligns[i]
        return self.wall if address < self.wall < address + self.sizes[i] else address
