"""MemoryPlan -> what is alive when the pool is fullest: the answer to "what holds it up?"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from vmcu.memory.plan import MemoryPlan, make_blocks, segment_lifetimes


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of one tensor, or the scratch of a step, alive at the peak.

    Attributes:
        name: of the tensor (untrusted), or "scratch".
        rows: numbers of the rows, or of those that tiles of belong to, ascending; none of scratch.
        all_rows: how many the tensor has.
        size_bytes: of the rows together.
    """

    name: str
    rows: tuple[int, ...]
    all_rows: int
    size_bytes: int

    def text(self) -> str:
        """As in "conv_1 rows 3 to 5 of 28"; whole tensors by their name alone."""
        if len(self.rows) in (0, self.all_rows):
            return self.name
        return f"{self.name} {row_text(self.rows)} of {self.all_rows}"


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment at which most bytes are alive.

    Attributes:
        task: its number; -1 is before the first task, the number of tasks after the last.
        step: of the task; None before and after.
        live_bytes: alive then.
        held: largest first.
    """

    task: int
    step: int | None
    live_bytes: int
    held: tuple[Held, ...]


def find_peak(plan: MemoryPlan) -> Peak:
    """The first moment with the most live bytes, and who holds them."""
    schedule = plan.schedule
    graph, tasks = schedule.graph, schedule.tasks
    lifetimes = segment_lifetimes(schedule)
    spans = [
        (born, died, (name, row), graph.tensors[name].segment_bytes)
        for (name, row), (born, died) in lifetimes.items()
    ]
    for block in make_blocks(schedule, lifetimes, False):
        if isinstance(block.key, int):
            spans += [(born, died, ("scratch", 0), size) for _, size, born, died in block.parts]
    change = [0] * (len(tasks) + 3)
    for born, died, _, size in spans:
        change[born + 1] += size
        change[died + 2] -= size
    totals = list(accumulate(change))
    task = totals.index(max(totals)) - 1
    rows: dict[str, set[int]] = {}
    sizes: dict[str, int] = {}
    for born, died, (name, row), size in spans:
        if born <= task <= died:
            tiles = graph.tensors[name].tiles if name in graph.tensors else 1
            rows.setdefault(name, set()).add(row // tiles)
            sizes[name] = sizes.get(name, 0) + size
    held = [
        Held(name, tuple(sorted(rows[name])), graph.tensors[name].rows, sizes[name])
        if name in graph.tensors
        else Held(name, (), 0, sizes[name])
        for name in rows
    ]
    held.sort(key=lambda h: (-h.size_bytes, h.name))
    step = tasks[task].step if 0 <= task < len(tasks) else None
    return Peak(task, step, totals[task + 1], tuple(held))


def row_text(rows: Iterable[int]) -> str:
    """Runs of rows in words: "row 3", "rows 3 to 5", "rows 0, 3 to 5"."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs]
    many = len(runs) > 1 or runs[0][0] != runs[0][1]
    return f"row{'s' * many} {', '.join(words)}"
