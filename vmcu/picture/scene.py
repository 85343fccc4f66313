"""MemoryPlan -> Scene: what lies where and when, in bytes and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from vmcu.memory.plan import MemoryPlan, segment_lifetimes
from vmcu.picture.render import shorten

Role = Literal["tensor", "input", "output", "state", "scratch"]


@dataclass(frozen=True, slots=True)
class Box:
    """Neighbouring rows of one tensor that are born and die together, or the scratch of a step.

    Attributes:
        first, end: rows first <= row < end; of a scratch 0 and 1.
        address: bytes from the start of the pool.
        size: bytes.
        born, died: tasks, both included; -1 is before the first, the number of tasks after the last.
    """

    first: int
    end: int
    address: int
    size: int
    born: int
    died: int


@dataclass(frozen=True, slots=True)
class Item:
    """A tensor or a scratch.

    Attributes:
        name: shortened, otherwise as in the model (untrusted).
        role: what it is to the caller.
        rows, row_bytes: of the tensor; of its tiles where its rows are cut into tiles of columns.
        tiles: of a row.
        maker: step that computes it; None where it is given.
        boxes: its rows.
    """

    name: str
    role: Role
    rows: int
    row_bytes: int
    tiles: int
    maker: int | None
    boxes: tuple[Box, ...]

    @property
    def unit(self) -> str:
        """What a box is one of, or several."""
        return "row" if self.tiles == 1 else "tile"


@dataclass(frozen=True, slots=True)
class Step:
    """One operator.

    Attributes:
        kind, name: of the operator; the name is shortened and untrusted.
        shape: of the output: rows, columns, channels.
        macs: multiply-accumulates.
        peak_bytes: most bytes alive during one of its tasks.
    """

    kind: str
    name: str
    shape: tuple[int, int, int]
    macs: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps first <= step < end, streamed together during tasks start <= task < stop."""

    first: int
    end: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A plan, ready to be drawn.

    Attributes:
        model: name (untrusted, shortened).
        items: in order of birth.
        tasks: (step, row) of each.
        live: bytes alive before the first task, during each, and after the last.
        base: bytes that states take at the start of the pool.
        edges: pairs of items, one computed from the other.
        split_bytes: where a pool of two arrays has its second one; 0: it is one.
    """

    model: str
    pool_bytes: int
    bound_bytes: int
    base: int
    items: tuple[Item, ...]
    steps: tuple[Step, ...]
    stages: tuple[Stage, ...]
    tasks: tuple[tuple[int, int], ...]
    live: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    split_bytes: int = 0

    @property
    def peak(self) -> int:
        """First task with most bytes alive; -1 is before the first."""
        return self.live.index(max(self.live)) - 1

    def alive(self, task: int) -> list[tuple[Item, list[Box]]]:
        """Items alive during `task`, the largest first, with the boxes that are."""
        found = [(i, [b for b in i.boxes if b.born <= task <= b.died]) for i in self.items]
        return sorted([(i, b) for i, b in found if b], key=lambda pair: -sum(box.size for box in pair[1]))


def make_scene(plan: MemoryPlan) -> Scene:
    """Everything a picture of `plan` shows."""
    schedule, graph = plan.schedule, plan.schedule.graph
    maker = {op.output: i for i, op in enumerate(schedule.steps)}
    rows_of: dict[str, list[int]] = {}
    lifetimes = segment_lifetimes(schedule)
    for name, row in lifetimes:
        rows_of.setdefault(name, []).append(row)
    roles = _roles(plan)
    found: list[tuple[str, Item]] = []
    for name, rows in rows_of.items():
        tensor = graph.tensors[name]
        boxes = [
            Box(r, r + 1, plan.addresses[name][r], tensor.segment_bytes, *lifetimes[name, r])
            for r in sorted(rows)
        ]
        role = roles.get(name, "tensor")
        made_by = None if role == "state" else maker.get(name)
        found.append(
            (
                name,
                Item(
                    shorten(name),
                    role,
                    tensor.segments,
                    tensor.segment_bytes,
                    tensor.tiles,
                    made_by,
                    _merge(boxes),
                ),
            )
        )
    for step, address in plan.scratch.items():
        op = schedule.steps[step]
        size = schedule.kernels[step].scratch_bytes
        name = f"working memory of {op.kind}"
        lives = tuple(Box(0, 1, address, size, *life) for life in plan.scratch_lives[step])
        found.append(("", Item(name, "scratch", 1, size, 1, step, lives)))
    found.sort(key=lambda pair: (min(b.born for b in pair[1].boxes), pair[1].maker or 0))
    items = tuple(item for _, item in found)
    number = {name: n for n, (name, _) in enumerate(found) if name}
    base = -(-plan.state_bytes // 4) * 4
    return Scene(
        shorten(graph.name),
        plan.pool_bytes,
        plan.lower_bound_bytes,
        base,
        items,
        _steps(plan),
        _stages(plan),
        tuple((t.step, t.row) for t in schedule.tasks),
        _live(items, base, len(schedule.tasks)),
        _edges(plan, number),
        plan.split_bytes,
    )


def _roles(plan: MemoryPlan) -> Mapping[str, Role]:
    graph = plan.schedule.graph
    roles: dict[str, Role] = {port.tensor: "output" for port in graph.outputs}
    roles |= {port.tensor: "input" for port in graph.inputs}
    return roles | {state.current: "state" for state in graph.states}


def _merge(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Rows that lie in a line and live equally long become one box."""
    merged: list[Box] = []
    for box in boxes:
        last = merged[-1] if merged else None
        if (
            last
            and (last.born, last.died) == (box.born, box.died)
            and (last.end, last.address + last.size) == (box.first, box.address)
        ):
            merged[-1] = Box(last.first, box.end, last.address, last.size + box.size, box.born, box.died)
        else:
            merged.append(box)
    return tuple(merged)


def _steps(plan: MemoryPlan) -> tuple[Step, ...]:
    graph = plan.schedule.graph
    peak: dict[int, int] = {}
    for task, live in zip(plan.schedule.tasks, plan.live_bytes, strict=True):
        peak[task.step] = max(peak.get(task.step, 0), live)
    found = []
    for i, op in enumerate(plan.schedule.steps):
        out = graph.tensors[op.output]
        found.append(Step(op.kind, shorten(op.name), out.shape, op.macs(graph.ins(op), out), peak[i]))
    return tuple(found)


def _stages(plan: MemoryPlan) -> tuple[Stage, ...]:
    stage_of = {s: n for n, (first, end) in enumerate(plan.schedule.stages) for s in range(first, end)}
    tasks: dict[int, list[int]] = {}
    for t, task in enumerate(plan.schedule.tasks):
        tasks.setdefault(stage_of[task.step], []).append(t)
    return tuple(
        Stage(*plan.schedule.stages[n], found[0], found[-1] + 1) for n, found in sorted(tasks.items())
    )


def _live(items: Sequence[Item], base: int, tasks: int) -> tuple[int, ...]:
    change = [0] * (tasks + 3)
    for item in items:
        if item.role != "state":
            for box in item.boxes:
                change[box.born + 1] += box.size
                change[box.died + 2] -= box.size
    return tuple(base + total for total in accumulate(change[:-1]))


def _edges(plan: MemoryPlan, number: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    found: dict[tuple[int, int], None] = {}
    for task in plan.schedule.tasks:
        output = plan.schedule.steps[task.step].output
        for name, _ in task.reads:
            if output in number and name in number:
                found[number[name], number[output]] = None
    return tuple(found)
