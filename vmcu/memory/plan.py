"""Schedule -> MemoryPlan: an address for every segment, so that segments alive together never overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.memory import place
from vmcu.memory.blocks import Block
from vmcu.memory.bound import with_holes
from vmcu.memory.exact import improve, is_smallest
from vmcu.memory.place import Placement, place_blocks
from vmcu.schedule.aliases import Segment
from vmcu.schedule.schedule import Schedule


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where everything lies in the pool.

    Attributes:
        schedule: the order this plan is valid for.
        addresses: tensor -> address of each row (bytes from the pool's start); aliases included.
        scratch: step -> address of its working memory, where it has any.
        scratch_lives: step -> when it is kept: (first task, last task) of one or more of its tasks.
        scratch_bytes: the largest working memory of a step.
        state_bytes: leading part of the pool that persists between runs.
        pool_bytes: end of the highest segment.
        lower_bound_bytes: most bytes alive at one time, with those of holes that nothing alive fills; no placement of this
            schedule can do better.
        live_bytes: alive during each task.
        split_bytes: the pool's leading bytes are one array, the others another one, and nothing lies across;
            0: it is one array.
    """

    schedule: Schedule
    addresses: Mapping[str, tuple[int, ...]]
    scratch: Mapping[int, int]
    scratch_lives: Mapping[int, tuple[tuple[int, int], ...]]
    scratch_bytes: int
    state_bytes: int
    pool_bytes: int
    lower_bound_bytes: int
    live_bytes: tuple[int, ...]
    split_bytes: int = 0


def make_plan(schedule: Schedule, search: bool = True, split_bytes: int = 0) -> MemoryPlan:
    """Places a schedule.

    Layer by layer, tensors stay in one piece where that reaches the lower bound: their rows are then
    evenly spaced and need no table. Otherwise each row finds its own place.

    Args:
        search: False: quick, with a larger pool perhaps.
        split_bytes: where the first of two arrays ends, a multiple of 4, not below the states; 0: there is one.
    """
    lifetimes = segment_lifetimes(schedule)
    live = _live_bytes(schedule, lifetimes)
    state = _state_bytes(schedule.graph)
    wall = _wall(split_bytes, state)
    found: list[MemoryPlan] = []
    streams = any(
        sum(not op.is_output for op in schedule.steps[first:end]) > 1 for first, end in schedule.stages
    )
    for whole in (False,) if streams else (True, False):
        blocks = make_blocks(schedule, lifetimes, whole)
        least = with_holes(blocks, live)
        placement = place_blocks(blocks, max(live) - _base(state), search, wall)
        if search:
            placement = improve(blocks, placement, least - _base(state), wall)
        found.append(_assemble(schedule, blocks, placement, live, least, state, split_bytes))
        if found[-1].pool_bytes == found[-1].lower_bound_bytes:
            break
    return min(found, key=lambda plan: plan.pool_bytes)


def is_easily_placed(schedule: Schedule, pool_bytes: int, split_bytes: int = 0) -> bool:
    """Would `make_plan` without search need no more than `pool_bytes`? Found out sooner where the answer is no.

    Of a very large network only a few attempts are made.
    """
    lifetimes = segment_lifetimes(schedule)
    blocks, live = make_blocks(schedule, lifetimes, False), _live_bytes(schedule, lifetimes)
    state = _state_bytes(schedule.graph)
    base = _base(state)
    return place.is_easily_placed(blocks, max(live) - base, pool_bytes - base, _wall(split_bytes, state))


def is_proven(plan: MemoryPlan) -> bool:
    """Is it proven that no placement of its schedule is smaller?"""
    if plan.pool_bytes == plan.lower_bound_bytes:
        return True
    lifetimes = segment_lifetimes(plan.schedule)
    blocks = make_blocks(plan.schedule, lifetimes, False)
    base = _base(plan.state_bytes)
    live = [total - base for total in _live_bytes(plan.schedule, lifetimes)]
    return is_smallest(blocks, live, plan.pool_bytes - base, _wall(plan.split_bytes, plan.state_bytes))


def lower_bound(schedule: Schedule) -> int:
    """Most bytes alive at one time: no placement of this schedule can do better. `with_holes` may know more."""
    return max(_live_bytes(schedule, segment_lifetimes(schedule)))


def live_bytes(schedule: Schedule) -> tuple[int, ...]:
    """Bytes alive during each task."""
    return tuple(_live_bytes(schedule, segment_lifetimes(schedule))[1 : len(schedule.tasks) + 1])


def _live_bytes(schedule: Schedule, lifetimes: Mapping[Segment, tuple[int, int]]) -> list[int]:
    """Alive before the first task, during each, and after the last."""
    states = {s.current for s in schedule.graph.states}
    sizes = {name: tensor.segment_bytes for name, tensor in schedule.graph.tensors.items()}
    change = [0] * (len(schedule.tasks) + 3)
    for (name, _), (born, died) in lifetimes.items():
        if name not in states:
            change[born + 1] += sizes[name]
            change[died + 2] -= sizes[name]
    for step, lives in scratch_lives(schedule).items():
        for born, died in lives:
            change[born + 1] += schedule.kernels[step].scratch_bytes
            change[died + 2] -= schedule.kernels[step].scratch_bytes
    base = _base(_state_bytes(schedule.graph))
    return [base + total for total in accumulate(change)]


def segment_lifetimes(schedule: Schedule) -> dict[Segment, tuple[int, int]]:
    """Segment -> (task that produces it, last task that reads it).

    Given tensors start at -1, outputs that are not streamed end after the last task, states live throughout.
    What has been handed to the caller takes no memory and is left out.
    """
    graph, end = schedule.graph, len(schedule.tasks)
    life: dict[Segment, tuple[int, int]] = {
        (name, r): (-1, -1) for name in graph.given() for r in range(graph.tensors[name].segments)
    }
    for t, task in enumerate(schedule.tasks):
        op = schedule.steps[task.step]
        if not op.is_output:
            written = (op.output, 0 if op.accumulates else task.row)
            life[written] = (life.get(written, (t, t))[0], t)
        for segment in task.reads:
            life[segment] = (life[segment][0], t)
    for port in (p for p in graph.outputs if not p.streamed):
        for r in range(graph.tensors[port.tensor].segments):
            life[port.tensor, r] = (life[port.tensor, r][0], end)
    for state in graph.states:
        for r in range(graph.tensors[state.current].segments):
            life[state.current, r] = (-1, end)
            life.pop((state.next, r), None)  # lies in the memory of `current`
    return life


def make_blocks(schedule: Schedule, lifetimes: Mapping[Segment, tuple[int, int]], whole: bool) -> list[Block]:
    """Blocks to place: tensors in one piece (`whole`) or row by row; inputs and outputs always in one."""
    graph = schedule.graph
    contiguous = {i.tensor for i in (*graph.inputs, *graph.outputs) if not i.streamed}
    states = {s.current for s in graph.states}
    rows_of: dict[str, list[int]] = {}
    for name, row in lifetimes:
        if name not in states:
            rows_of.setdefault(name, []).append(row)
    blocks = []
    for name, rows in rows_of.items():
        tensor = graph.tensors[name]
        groups = [rows] if whole or name in contiguous else [[r] for r in rows]
        for group in groups:
            parts = tuple(
                ((r - group[0]) * tensor.segment_bytes, tensor.segment_bytes, *lifetimes[name, r])
                for r in group
            )
            blocks.append(Block(name, tuple(group), parts, tensor.elem_bytes))
    for step, lives in scratch_lives(schedule).items():
        size = schedule.kernels[step].scratch_bytes
        blocks.append(Block(step, (), tuple((0, size, *life) for life in lives), 4))
    return blocks


def scratch_lives(schedule: Schedule) -> dict[int, list[tuple[int, int]]]:
    """Step -> when it has working memory: (first, last) of its runs of tasks."""
    found: dict[int, list[tuple[int, int]]] = {}
    for t, task in enumerate(schedule.tasks):
        if schedule.kernels[task.step].scratch_bytes:
            known = found.setdefault(task.step, [])
            if known and known[-1][1] == t - 1:
                known[-1] = (known[-1][0], t)
            else:
                known.append((t, t))
    return found


def _base(state_bytes: int) -> int:
    """Where the placed part of the pool starts."""
    return -(-state_bytes // 4) * 4


def first_placed(graph: QuantizedGraph) -> int:
    """Bytes of all states, which come first in the pool, and of the gap behind them."""
    return _base(_state_bytes(graph))


def _state_bytes(graph: QuantizedGraph) -> int:
    return sum(graph.tensors[s.current].size_bytes for s in graph.states)


def _wall(split_bytes: int, state_bytes: int) -> int | None:
    """The end of the first of two arrays, as the placed part of the pool counts."""
    if not split_bytes:
        return None
    if split_bytes % 4 or split_bytes < _base(state_bytes):
        raise ValueError(f"{state_bytes} bytes of states in a first array of {split_bytes}")
    return split_bytes - _base(state_bytes)


def _assemble(
    schedule: Schedule,
    blocks: Sequence[Block],
    found: Placement,
    live: Sequence[int],
    least: int,
    state_bytes: int,
    split_bytes: int,
) -> MemoryPlan:
    graph, base = schedule.graph, _base(state_bytes)
    addresses: dict[str, tuple[int, ...]] = {}
    position = 0
    for state in graph.states:
        tensor = graph.tensors[state.current]
        rows = tuple(position + r * tensor.segment_bytes for r in range(tensor.segments))
        addresses[state.current] = addresses[state.next] = rows
        position += tensor.size_bytes
    scratch: dict[int, int] = {}
    kept: dict[int, tuple[tuple[int, int], ...]] = {}
    by_row: dict[str, dict[int, int]] = {}
    for block, address in zip(blocks, found.addresses, strict=True):
        if isinstance(block.key, int):
            scratch[block.key] = base + address
            kept[block.key] = tuple((born, died) for _, _, born, died in block.parts)
        else:
            for row, part in zip(block.rows, block.parts, strict=True):
                by_row.setdefault(block.key, {})[row] = base + address + part[0]
    for name, rows_at in by_row.items():
        addresses[name] = _all_rows(rows_at, graph.tensors[name])
    for name, tensor in graph.tensors.items():  # nobody needs these
        if name not in addresses and name not in schedule.aliases:
            addresses[name] = (0,) * tensor.segments
    for name, segments in schedule.aliases.items():
        addresses[name] = tuple(addresses[t][r] for t, r in segments)
    return MemoryPlan(
        schedule,
        MappingProxyType(addresses),
        MappingProxyType(scratch),
        MappingProxyType(kept),
        max((b.size for b in blocks if isinstance(b.key, int)), default=0),
        state_bytes,
        base + found.end,
        least,
        tuple(live[1 : len(schedule.tasks) + 1]),
        split_bytes if base + found.end > split_bytes else 0,
    )


def _all_rows(rows_at: Mapping[int, int], tensor: Tensor) -> tuple[int, ...]:
    """Addresses of all rows; a row that nobody computes or reads takes that of a neighbour."""
    found = []
    last = next(iter(rows_at.values()))
    for row in range(tensor.segments):
        last = rows_at.get(row, last)
        found.append(last)
    return tuple(found)
