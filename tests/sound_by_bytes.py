"""What a sound plan is, a second time and by another way than the checker's simulation: byte by byte.

Every segment (row of a tensor) occupies its bytes from the moment it is written to its last reading. A plan
is sound where no byte is occupied twice at once, everything lies in the pool (in one of its arrays), and what is read where an alias
says is where its owner lies. Times are twice the number of the task, so that a row that moves onto itself can
begin half a task after it is read.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from vmcu.memory.tables import ReadTable, Tables

Segment = tuple[int, int]


def rows_of(read: ReadTable, row: int, count: int) -> set[int]:
    """Rows of an input that output row `row` reads."""
    if read.kind == "every":
        return set(range(count))
    if read.kind == "table":
        return set(read.rows[row]) - {-1}
    if read.kind == "patch":
        found = set()
        for source in range(count):
            y, x = divmod(source, read.tiles)
            out_y, out_x = divmod(row, read.tiles_out)
            from_top, rest = divmod(y - out_y * read.stride + read.pad, read.dilation)
            from_left = x - (out_x - read.left if read.tiles == read.tiles_out else 0)
            if rest == 0 and 0 <= from_top < read.kernel and 0 <= from_left < read.count:
                found.add(source)
        return found
    first = row * read.stride - read.pad
    return {first + k * read.dilation for k in range(read.kernel)} & set(range(count))


def is_sound(tables: Tables) -> bool:
    """Of tables whose schedule and accesses are right; only addresses may be wrong."""
    tensors, tasks = tables.tensors, [(r.step, row) for r in tables.order for row in range(r.first, r.end)]
    stored, given = {n for _, n in tables.states}, {*tables.inputs, *(c for c, _ in tables.states)}
    end = 2 * len(tasks) + 2
    born: dict[Segment, int] = {(t, r): 0 for t in given for r in range(len(tensors[t].addresses))}
    died: dict[Segment, int] = dict(born)
    occupied: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def read(tensor: int, row: int, time: int) -> bool:
        """False where the reader looks elsewhere than the owner lies."""
        owner, owner_row = tensors[tensor].owners[row]
        if (owner, owner_row) not in born:
            return False
        died[owner, owner_row] = max(died[owner, owner_row], time)
        return tensors[owner].addresses[owner_row] == tensors[tensor].addresses[row]

    for number, (index, row) in enumerate(tasks):
        step, time = tables.steps[index], 2 * number + 2
        if step.port is not None:
            if not read(step.output, row, time):
                return False
            continue
        places = []
        for access in step.reads:
            for source in rows_of(access, row, len(tensors[access.tensor].addresses)):
                if not read(access.tensor, source, time):
                    return False
                places.append((tensors[access.tensor].addresses[source], tensors[access.tensor].row_bytes))
        written = (step.output, 0 if step.accumulates else row)
        own = (tensors[step.output].addresses[written[1]], tensors[step.output].row_bytes)
        late = step.moves_rows and places == [own]
        born.setdefault(written, time + late)
        died[written] = time + late
        if _is_across(tables, step.scratch_address, step.scratch_bytes):
            return False
        for address in range(step.scratch_address, step.scratch_address + step.scratch_bytes):
            occupied[address].append((time, time))
    for tensor in (*tables.outputs, *stored):
        for row in range(len(tensors[tensor].addresses)):
            if not read(tensor, row, end):
                return False
    for tensor in (*tables.inputs, *tables.outputs, *(c for c, _ in tables.states)):
        table = tensors[tensor]
        if any(a != table.addresses[0] + r * table.row_bytes for r, a in enumerate(table.addresses)):
            return False
        if _is_across(tables, table.addresses[0], len(table.addresses) * table.row_bytes):
            return False
    for current, following in tables.states:
        table = tensors[current]
        if table.addresses != tensors[following].addresses:
            return False
        if max(table.addresses) + table.row_bytes > tables.state_bytes:
            return False
    for (tensor, row), time in born.items():
        if _is_across(tables, tensors[tensor].addresses[row], tensors[tensor].row_bytes):
            return False
        for address in range(
            tensors[tensor].addresses[row], tensors[tensor].addresses[row] + tensors[tensor].row_bytes
        ):
            occupied[address].append((time, died[tensor, row]))
    for address, spans in occupied.items():
        if not 0 <= address < tables.pool_bytes:
            return False
        spans.sort()
        if any(later[0] <= earlier[1] for earlier, later in pairwise(spans)):
            return False
    return True


def _is_across(tables: Tables, address: int, size: int) -> bool:
    """Would these bytes lie in both arrays of a split pool?"""
    return address < tables.split_bytes < address + size
