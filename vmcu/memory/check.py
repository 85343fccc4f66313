"""The independent checker: simulates the printed tables on a pool whose every byte is tagged.

It shares no code with the planner and trusts none of its objects: every rule below is written from
the meaning of the tables alone. It runs on every compile; a wrong plan cannot leave the tool.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import VmcuError, internal
from vmcu.memory.tables import ReadTable, Tables, TensorTable

SCRATCH_ALIGN_BYTES = 4
NOBODY = -1
UNFINISHED = -2  # minus the number of a tensor: its row 0 lacks some rows of the sum


def check(tables: Tables) -> int:
    """Checks a plan.

    Returns:
        The number of tasks simulated.

    Raises:
        VmcuError: (BUG) the first violation: an address outside the pool or not aligned, a read of a byte
            that holds something else, a task missing, repeated or out of range, a streamed row asked for
            too late, a port that is not one array, a state that is not where the next run looks for it,
            bytes on both sides of where the pool is split, a row of
            a streamed output that the caller receives wrong, twice, out of order or never, tables that
            contradict themselves.
    """
    return _Simulation(tables).run()


class _Simulation:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.pool: NDArray[np.int64] = np.full(tables.pool_bytes, NOBODY, np.int64)
        starts = np.cumsum([0] + [len(t.addresses) for t in tables.tensors])
        self.first_tag = [int(s) for s in starts]  # tag of (tensor, row) = first_tag[tensor] + row
        self.handed = [0] * len(tables.handed)  # rows that the caller has received

    def run(self) -> int:
        t = self.tables
        self._structure()
        for index in (*t.inputs, *t.outputs, *(c for c, _ in t.states)):
            self._contiguous(index)
        for index in (*t.inputs, *(c for c, _ in t.states)):
            for row in range(len(t.tensors[index].addresses)):
                self._write(index, row, f"given tensor {t.tensors[index].name!r}", fresh=True)
        for current, _ in t.states:
            table = t.tensors[current]
            if max(table.addresses) + table.row_bytes > t.state_bytes:
                self._wrong("a state lies outside the persistent part of the pool", table)
        produced = [[False] * self._task_count(number) for number in range(len(t.steps))]
        tasks = 0
        for part in t.order:
            if not 0 <= part.step < len(t.steps):
                raise internal(f"step {part.step} does not exist", "plan")
            for row in range(part.first, part.end):
                done = produced[part.step]
                if not 0 <= row < len(done) or done[row]:
                    self._wrong(f"row {row} is out of range or computed twice", self._output(part.step))
                if t.steps[part.step].accumulates and not all(done[:row]):
                    self._wrong(f"row {row} is added before row {done.index(False)}", self._output(part.step))
                if not t.steps[part.step].reads and any(done[row:]):  # the caller delivers in ascending order
                    self._wrong(f"row {row} is asked for after a later one", self._output(part.step))
                done[row] = True
                self._task(part.step, row)
                tasks += 1
        for number, done in enumerate(produced):
            # A row that no task reads may be left out; what is read without being computed was found above.
            if t.steps[number].accumulates and any(done) and not all(done):
                self._wrong(f"row {done.index(False)} is never added", self._output(number))
        for index, count in zip(t.handed, self.handed, strict=True):
            if count < len(t.tensors[index].addresses):
                self._wrong(f"row {count} is never handed to the caller", t.tensors[index])
        for index in t.outputs:
            for row in range(len(t.tensors[index].addresses)):
                self._read(index, row, "the caller")
        for current, following in t.states:
            if t.tensors[current].addresses != t.tensors[following].addresses:
                self._wrong("the next state lies elsewhere than the current one", t.tensors[current])
            for row in range(len(t.tensors[following].addresses)):
                self._read(following, row, "the next run")
        return tasks

    def _structure(self) -> None:
        """Tables that contradict themselves would be read in two ways; tags are only as good as their owners."""
        t = self.tables
        steps = [index for step in t.steps for index in (step.output, *(read.tensor for read in step.reads))]
        ports = [*t.inputs, *t.outputs, *(index for pair in t.states for index in pair)]
        for index in (*steps, *ports):
            if not 0 <= index < len(t.tensors):
                raise internal(f"tensor {index} does not exist", "plan")
        if not 0 <= t.state_bytes <= t.pool_bytes:
            raise internal(f"{t.state_bytes} bytes of states in a pool of {t.pool_bytes}", "plan")
        if t.split_bytes and not 0 < t.split_bytes < t.pool_bytes:
            raise internal(f"a pool of {t.pool_bytes} bytes is split at {t.split_bytes}", "plan")
        if t.split_bytes % SCRATCH_ALIGN_BYTES:
            raise internal(f"the second array begins with the odd byte {t.split_bytes}", "plan")
        if t.split_bytes and t.state_bytes > t.split_bytes:
            raise internal(f"{t.state_bytes} bytes of states in a first array of {t.split_bytes}", "plan")
        for table in t.tensors:
            if table.rows < 1 or not len(table.addresses) == len(table.owners) == table.rows:
                self._wrong("its addresses or owners are more or fewer than its rows", table)
            for owner, row in table.owners:
                if not (0 <= owner < len(t.tensors) and 0 <= row < len(t.tensors[owner].owners)):
                    self._wrong(f"row {row} of tensor {owner}, its owner, does not exist", table)
                if t.tensors[owner].owners[row] != (owner, row):
                    self._wrong(f"row {row} of tensor {owner} owns others, but not itself", table)
        written = [s.output for s in t.steps if s.port is None]
        for index in (*t.inputs, *(i for pair in t.states for i in pair), *written):
            if any(owner != (index, row) for row, owner in enumerate(t.tensors[index].owners)):
                self._wrong("it is written, but a row belongs to another", t.tensors[index])

    def _task(self, number: int, row: int) -> None:
        step = self.tables.steps[number]
        reader = f"step {number} row {row}"
        if step.port is not None:
            self._hand(step.port, step.output, row)
            return
        if step.scratch_bytes:
            self._scribble(step.scratch_address, step.scratch_bytes, reader)
        sources = [(read.tensor, source) for read in step.reads for source in self._rows(read, row)]
        for tensor, source in sources:
            self._read(tensor, source, reader)
        written = 0 if step.accumulates else row
        if step.accumulates and row > 0:
            self._read(step.output, 0, reader, UNFINISHED - step.output)
        self._write(step.output, written, reader)
        if step.accumulates and row < self._task_count(number) - 1:
            self.pool[self._span(step.output, 0)] = UNFINISHED - step.output
        # A kernel writes while it reads: the output must not lie on its own inputs or scratch, but for a
        # row that moves onto itself.
        if not (step.moves_rows and [self._span(*s) for s in sources] == [self._span(step.output, written)]):
            for tensor, source in sources:
                self._read(tensor, source, f"{reader} while it writes")
        if step.scratch_bytes:
            end = step.scratch_address + step.scratch_bytes
            if np.any(self.pool[step.scratch_address : end] != NOBODY):
                self._wrong(f"{reader} writes into its own scratch", self._output(number))

    def _hand(self, port: int, index: int, row: int) -> None:
        if not (0 <= port < len(self.handed) and self.tables.handed[port] == index):
            self._wrong(f"streamed output {port} is another tensor", self.tables.tensors[index])
        if row != self.handed[port]:
            what = f"the caller receives row {row} where row {self.handed[port]} is due"
            self._wrong(what, self.tables.tensors[index])
        self._read(index, row, "the caller")
        self.handed[port] += 1

    def _task_count(self, number: int) -> int:
        step = self.tables.steps[number]
        counted = step.reads[0].tensor if step.accumulates else step.output
        return len(self.tables.tensors[counted].addresses)

    def _rows(self, read: ReadTable, row: int) -> list[int]:
        """Rows of the input, padding left out, from the words of `ReadTable`."""
        count = len(self.tables.tensors[read.tensor].addresses)
        if read.kind == "every":
            return list(range(count))
        if read.kind == "window":
            wanted = [row * read.stride - read.pad + tap * read.dilation for tap in range(read.kernel)]
            return [r for r in wanted if 0 <= r < count]
        if read.kind == "patch" and min(read.tiles, read.tiles_out) > 0 and count % read.tiles == 0:
            down, across = row // read.tiles_out, row % read.tiles_out
            start = across - read.left if read.tiles == read.tiles_out else 0
            rows = [down * read.stride - read.pad + tap * read.dilation for tap in range(read.kernel)]
            if read.rows:
                rows = list(read.rows[down]) if 0 <= down < len(read.rows) else []
                if len(rows) != read.kernel or any(not -1 <= r < count // read.tiles for r in rows):
                    raise self._not_in_table(read, row)
            return [
                r * read.tiles + tile
                for r in rows
                if 0 <= r < count // read.tiles
                for tile in range(start, start + read.count)
                if 0 <= tile < read.tiles
            ]
        if read.kind == "table" and 0 <= row < len(read.rows):
            wanted = [r for r in read.rows[row] if r != -1]
            if all(0 <= r < count for r in wanted):
                return wanted
        raise self._not_in_table(read, row)

    def _not_in_table(self, read: ReadTable, row: int) -> VmcuError:
        return internal(f"row {row} is not in the access table", self.tables.tensors[read.tensor].name)

    def _tag(self, index: int, row: int) -> int:
        owner, owner_row = self.tables.tensors[index].owners[row]
        return self.first_tag[owner] + owner_row

    def _span(self, index: int, row: int) -> slice:
        table = self.tables.tensors[index]
        start = table.addresses[row]
        if start < 0 or table.row_bytes <= 0 or start + table.row_bytes > self.tables.pool_bytes:
            self._wrong(f"row {row} at {start} is outside the pool of {self.tables.pool_bytes} bytes", table)
        if start % table.elem_bytes:
            self._wrong(f"row {row} at {start} is not aligned to {table.elem_bytes} bytes", table)
        if start < self.tables.split_bytes < start + table.row_bytes:
            self._wrong(f"row {row} at {start} lies across the split at {self.tables.split_bytes}", table)
        return slice(start, start + table.row_bytes)

    def _write(self, index: int, row: int, writer: str, fresh: bool = False) -> None:
        span = self._span(index, row)
        if fresh and np.any(self.pool[span] != NOBODY):
            self._wrong(f"{writer} row {row} overlaps another given tensor", self.tables.tensors[index])
        self.pool[span] = self._tag(index, row)

    def _read(self, index: int, row: int, reader: str, tag: int | None = None) -> None:
        found = self.pool[self._span(index, row)]
        tag = self._tag(index, row) if tag is None else tag
        if np.any(found != tag):
            where = int(np.argmax(found != tag))
            self._wrong(
                f"{reader} reads row {row}, but byte {where} of it holds {self._name(int(found[where]))}",
                self.tables.tensors[index],
            )

    def _scribble(self, address: int, size: int, reader: str) -> None:
        if address < 0 or address + size > self.tables.pool_bytes:
            raise internal("scratch is outside the pool", reader)
        if address % SCRATCH_ALIGN_BYTES:
            raise internal(f"scratch at {address} is not aligned to {SCRATCH_ALIGN_BYTES} bytes", reader)
        if address < self.tables.split_bytes < address + size:
            raise internal(f"scratch lies across the split at {self.tables.split_bytes}", reader)
        self.pool[address : address + size] = NOBODY

    def _contiguous(self, index: int) -> None:
        table = self.tables.tensors[index]
        expected = [table.addresses[0] + row * table.row_bytes for row in range(len(table.addresses))]
        if list(table.addresses) != expected:
            self._wrong("the caller sees it as one array, but its rows are scattered", table)
        if expected[0] < self.tables.split_bytes < expected[-1] + table.row_bytes:
            self._wrong("the caller sees it as one array, but it lies across the split", table)

    def _name(self, tag: int) -> str:
        if tag == NOBODY:
            return "nothing written"
        if tag <= UNFINISHED:
            return f"an unfinished row 0 of {self.tables.tensors[UNFINISHED - tag].name!r}"
        index = max(i for i, first in enumerate(self.first_tag) if first <= tag)
        return f"row {tag - self.first_tag[index]} of {self.tables.tensors[index].name!r}"

    def _output(self, step: int) -> TensorTable:
        return self.tables.tensors[self.tables.steps[step].output]

    def _wrong(self, what: str, table: TensorTable) -> None:
        raise internal(f"wrong memory plan: {what}", f"tensor {table.name!r}")
