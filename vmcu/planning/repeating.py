"""QuantizedGraph -> Schedule: rows that hold up the peak are computed again for each band of rows that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import inf

from vmcu.ir.layout import row_major
from vmcu.ir.quantized import Interface, QuantizedGraph
from vmcu.memory.plan import live_bytes, lower_bound
from vmcu.ops.base import QOp
from vmcu.schedule.again import compute_again, repeatable
from vmcu.schedule.aliases import Segment
from vmcu.schedule.flow import make_flow
from vmcu.schedule.schedule import Schedule, staged
from vmcu.schedule.stream import stream_stage
from vmcu.schedule.tiles import tile_columns

BANDS = (8, 4, 2, 1)  # rows of a window's output for which its input is computed afresh
MOST_TILES = 64  # per row
MOST_PER_BAND = 2  # schedules


def repeated(graph: QuantizedGraph, listed: Sequence[Schedule], most: float) -> list[Schedule]:
    """Schedules with a lower bound below all of `listed`.

    Placement reaches more or less of a bound, and wide bands cost less than narrow ones: so there are some of each.

    Args:
        most: multiply-accumulates they may execute, as a multiple of the network's.
    """
    whole = [s for s in listed if s.graph.ops == graph.ops and s.is_complete]
    if most <= 1 or not whole:
        return []
    base, least = min(whole, key=lower_bound), min(map(lower_bound, listed))
    found = [s for band in BANDS for s in _lowered(base, band, graph.macs * most)]
    return [s for s in found if lower_bound(s) < least]


def _steps(graph: QuantizedGraph, aliases: Mapping[str, tuple[Segment, ...]]) -> list[QOp]:
    return [op for op in graph.ops if op.output not in aliases]


def _lowered(schedule: Schedule, band: int, macs: float) -> list[Schedule]:
    """The stage of the peak is changed, then that of the peak there is then, until nothing helps: the best of the last."""
    found: list[Schedule] = []
    while True:
        least = lower_bound(schedule)
        better = [
            s for g in _better(schedule, band, macs) if lower_bound(s := staged(g, schedule.stages)) < least
        ]
        if not better:
            return found
        found, schedule = better, better[0]


def _better(schedule: Schedule, band: int, macs: float) -> list[QuantizedGraph]:
    """Graphs that lower the peak, the best first; between equals that with fewer tiles."""
    live = live_bytes(schedule)
    step_of = [task.step for task in schedule.tasks]
    at_peak = step_of[live.index(max(live))]
    (stage,) = (range(first, end) for first, end in schedule.stages if first <= at_peak < end)
    elsewhere = max((n for n, step in zip(live, step_of, strict=True) if step not in stage), default=0)
    now = _peak(schedule.graph, schedule.aliases, stage)
    floor = now - max(live) + elsewhere

    def peak(graph: QuantizedGraph, tiles: int) -> float:
        return _peak(_cut(graph, schedule, stage, tiles), schedule.aliases, stage, now - 1)

    changed = [g for g in _again(schedule, stage, band) if g.macs <= macs]
    if not changed:
        return []
    counts = _tile_counts(schedule, stage)
    # Finer tiles are rarely worse.
    graph = min(changed, key=lambda g: (max(peak(g, counts[-1]), floor), g.macs))
    found = sorted((max(n, floor), tiles) for tiles in counts if (n := peak(graph, tiles)) < now)
    return [_cut(graph, schedule, stage, tiles) for _, tiles in found[:MOST_PER_BAND]]


def _again(schedule: Schedule, stage: range, band: int) -> Iterator[QuantizedGraph]:
    """Each tensor of a stage that can be is computed again, or all of them."""
    ops = [schedule.steps[s] for s in stage]
    inside = {op.output for op in ops} & {name for op in ops for name in op.inputs}
    names = [name for name in repeatable(schedule.graph) if name in inside]
    for count in {1, len(names)} - {0}:
        for some in combinations(names, count):
            graph = schedule.graph
            for name in reversed(some):
                graph = compute_again(graph, name, band)
            yield graph


def _tile_counts(schedule: Schedule, stage: range) -> list[int]:
    widths = {schedule.graph.tensors[name].cols for s in stage for name in _touched(schedule.steps[s])}
    return [n for n in range(1, MOST_TILES + 1) if any(width % n == 0 for width in widths)]


def _cut(graph: QuantizedGraph, schedule: Schedule, stage: range, tiles: int) -> QuantizedGraph:
    """All rows of a stage in so many tiles, where they can be."""
    steps = _steps(graph, schedule.aliases)
    return tile_columns(graph, {name for s in stage for name in _touched(steps[s])}, tiles)


def _touched(op: QOp) -> tuple[str, ...]:
    return (*op.inputs, op.output)


def _peak(
    graph: QuantizedGraph, aliases: Mapping[str, tuple[Segment, ...]], stage: range, limit: float = inf
) -> float:
    """Most bytes alive in a stage, but for tensors that only wait for later ones: the stage as a network of its own.

    Args:
        limit: infinite is returned where there are more.
    """
    steps = _steps(graph, aliases)
    ops = [steps[s] for s in stage]
    made = {op.output for op in ops}
    read = {owner for op in ops for name in op.inputs for owner in _owners(name, aliases)}
    later = {owner for op in steps[stage.stop :] for name in op.inputs for owner in _owners(name, aliases)}
    later |= {p.tensor for p in graph.outputs if not p.streamed}
    part = replace(
        graph,
        ops=tuple(ops),
        inputs=tuple(_port(graph, name) for name in sorted(read - made)),
        outputs=tuple(_port(graph, name) for name in sorted((read | made) & later)),
    )
    flow = make_flow(part, aliases)
    before = sum(graph.tensors[name].size_bytes for name in read - made)
    found = stream_stage(flow, 0, len(ops), before, limit)
    return found.peak if found else inf


def _port(graph: QuantizedGraph, name: str) -> Interface:
    return Interface(name, name, row_major(graph.tensors[name].shape), "int8")


def _owners(name: str, aliases: Mapping[str, tuple[Segment, ...]]) -> set[str]:
    return {owner for owner, _ in aliases[name]} if name in aliases else {name}
