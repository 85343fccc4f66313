"""What a plan computes, a third way: the printed program runs on symbols instead of numbers.

`sound` says what is meant: which rows each task needs, how large they are, what the caller gives and expects.
`changed` says what runs: the addresses, the order, and which rows the printed C takes. A symbol stands for one
byte of one row of one tensor, or of an unfinished sum; a kernel that finds exactly the bytes it needs makes
the bytes of its output, any other makes rubbish. Rubbish that nobody needs does no harm, so this is the exact
question "does the program still compute the same?", where the checker asks for more: that nobody reads rubbish.

Beyond results, a plan has promises to keep (SPEC.md, section 4): the caller's arrays are in one piece and do
not overlap, states lie in the part of the pool that is kept, no task runs twice, streamed rows are asked for
in ascending order, whatever is not made of bytes is aligned, and nothing lies in two arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmcu.memory.tables import ReadTable, Tables

Slot = tuple[int, int] | None  # (tensor, row); None is padding
RUBBISH = -1
SCRATCH_ALIGN = 4


class Wrong(Exception):
    """The program does not compute what is meant, or breaks a promise."""


def runs_right(sound: Tables, changed: Tables) -> bool:
    """Does `changed` compute what `sound` means?"""
    try:
        _Run(sound, changed).run()
    except Wrong:
        return False
    return True


def slots_of(read: ReadTable, row: int, count: int) -> list[int]:
    """The row pointers of one input in kernel order, -1 for padding, as the C finds them."""
    if read.kind == "every":
        return list(range(count))
    if read.kind == "table":
        if not 0 <= row < len(read.rows) or not all(-1 <= r < count for r in read.rows[row]):
            raise Wrong
        return list(read.rows[row])
    y, x = divmod(row, read.tiles_out) if read.kind == "patch" else (row, 0)
    tiles = read.tiles if read.kind == "patch" else 1
    first = x - read.left if tiles == read.tiles_out else 0
    found = []
    for tap in range(read.kernel):
        r = y * read.stride - read.pad + tap * read.dilation
        if read.rows:
            if not 0 <= y < len(read.rows) or len(read.rows[y]) != read.kernel:
                raise Wrong
            r = read.rows[y][tap]
            if not -1 <= r < count // tiles:
                raise Wrong
        for tile in range(first, first + read.count) if read.kind == "patch" else (0,):
            inside = 0 <= r < count // tiles and 0 <= tile < tiles
            found.append(r * tiles + tile if inside else -1)
    return found


class _Run:
    def __init__(self, sound: Tables, changed: Tables) -> None:
        self.sound, self.changed = sound, changed
        self.pool: NDArray[np.int64] = np.full(max(changed.pool_bytes, 0), RUBBISH, np.int64)
        sizes = [len(t.addresses) * t.row_bytes for t in sound.tensors]
        self.first_symbol = [int(s) for s in np.cumsum([0, *sizes])]
        self.sums: dict[tuple[int, int], int] = {}
        self.done: dict[int, set[int]] = {}

    def run(self) -> None:
        sound, changed = self.sound, self.changed
        states = [current for current, _ in sound.states]
        if not 0 <= changed.state_bytes <= changed.pool_bytes:
            raise Wrong
        split = changed.split_bytes
        if split and (split % SCRATCH_ALIGN or not changed.state_bytes <= split < changed.pool_bytes):
            raise Wrong
        for index in (*sound.inputs, *states):
            place = self._array(index)
            if np.any(self.pool[place] != RUBBISH):
                raise Wrong
            self.pool[place] = np.concatenate(self._rows(index))
        for part in changed.order:
            for row in range(part.first, part.end):
                self._task(part.step, row)
        for index in sound.outputs:
            if np.any(self.pool[self._array(index)] != np.concatenate(self._rows(index))):
                raise Wrong
        for current, following in sound.states:
            place = self._array(current)
            if place.stop > changed.state_bytes:
                raise Wrong
            if np.any(self.pool[place] != np.concatenate(self._rows(following))):
                raise Wrong

    def _task(self, number: int, row: int) -> None:
        if not 0 <= number < len(self.sound.steps):
            raise Wrong
        means, runs = self.sound.steps[number], self.changed.steps[number]
        done = self.done.setdefault(number, set())
        counted = means.reads[0].tensor if means.accumulates else means.output
        tasks = len(self.sound.tensors[counted].addresses)
        if not 0 <= row < tasks or row in done or (not means.reads and any(r > row for r in done)):
            raise Wrong
        done.add(row)
        needs, finds = self._slots(self.sound, number, row), self._slots(self.changed, number, row)
        right = len(finds) >= len(needs)
        scratch = slice(0, 0)
        if means.scratch_bytes:
            scratch = self._span(runs.scratch_address, means.scratch_bytes, SCRATCH_ALIGN)
            self.pool[scratch] = RUBBISH
        places = []
        for need, find in zip(needs, finds, strict=False):
            if need is None or find is None:
                right = right and need is find
                continue
            places.append(self._row_span(find, like=need[0]))
            right = right and bool(np.all(self.pool[places[-1]] == self._symbols(*need)))
        out = self._row_span((means.output, 0 if runs.accumulates else row), like=means.output)
        if means.accumulates and row > 0:
            right = right and bool(np.all(self.pool[out] == self._sum(number, row - 1)))
        moves = means.moves_rows and places == [out]
        right = right and (moves or not any(_overlap(out, place) for place in places))
        right = right and not _overlap(out, scratch)
        if not right:
            self.pool[out] = RUBBISH
        elif means.accumulates:
            last = row == tasks - 1
            self.pool[out] = self._symbols(means.output, 0) if last else self._sum(number, row)
        else:
            self.pool[out] = self._symbols(means.output, row)

    def _slots(self, tables: Tables, number: int, row: int) -> list[Slot]:
        found: list[Slot] = []
        for read in tables.steps[number].reads:
            rows = slots_of(read, row, len(tables.tensors[read.tensor].addresses))
            found += [(read.tensor, r) if r >= 0 else None for r in rows]
        return found

    def _symbols(self, index: int, row: int) -> NDArray[np.int64]:
        """The bytes that row `row` of a tensor is meant to hold: its owner's."""
        owner, owner_row = self.sound.tensors[index].owners[row]
        size = self.sound.tensors[index].row_bytes
        return np.arange(size) + (self.first_symbol[owner] + owner_row * size)

    def _rows(self, index: int) -> list[NDArray[np.int64]]:
        return [self._symbols(index, row) for row in range(len(self.sound.tensors[index].addresses))]

    def _sum(self, number: int, row: int) -> NDArray[np.int64]:
        """The bytes of an accumulator that lacks the rows after `row`."""
        widest = max(t.row_bytes for t in self.sound.tensors)
        start = self.sums.setdefault((number, row), self.first_symbol[-1] + len(self.sums) * widest)
        return np.arange(self.sound.tensors[self.sound.steps[number].output].row_bytes) + start

    def _span(self, address: int, size: int, align: int) -> slice:
        if address < 0 or address + size > self.changed.pool_bytes or address % align:
            raise Wrong
        if address < self.changed.split_bytes < address + size:  # in two arrays, and behind the end of one
            raise Wrong
        return slice(address, address + size)

    def _row_span(self, slot: tuple[int, int], like: int) -> slice:
        """Where the C looks for a row, and as much of it as the kernel takes for a row of `like`."""
        table = self.changed.tensors[slot[0]]
        if slot[1] >= len(table.addresses):
            raise Wrong
        return self._span(
            table.addresses[slot[1]], self.sound.tensors[like].row_bytes, self.sound.tensors[like].elem_bytes
        )

    def _array(self, index: int) -> slice:
        """What the caller, or the next run, sees: all rows of `sound`, from the first address of `changed`."""
        means, runs = self.sound.tensors[index], self.changed.tensors[index]
        rows = len(means.addresses)
        if [*runs.addresses[:rows]] != [runs.addresses[0] + r * means.row_bytes for r in range(rows)]:
            raise Wrong
        return self._span(runs.addresses[0], rows * means.row_bytes, means.elem_bytes)


def _overlap(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)
