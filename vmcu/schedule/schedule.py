"""QuantizedGraph -> Schedule: a total order of tasks, each of which computes one segment (row)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import Kernel, QOp
from vmcu.schedule.aliases import Segment, find_aliases
from vmcu.schedule.flow import Flow, make_flow
from vmcu.schedule.stream import WEIGHTS, Order, Stages, good_stages, live_at_boundary, stream_stage


@dataclass(frozen=True, slots=True)
class Task:
    """Task `row` of `steps[step]`: computes that row of its output, or accumulates that row of its input.

    Attributes:
        reads: segments it needs, aliases resolved, without repetition.
    """

    step: int
    row: int
    reads: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which operators run and in which order their rows are computed.

    Attributes:
        graph: what is computed.
        steps: the operators that compute something, topologically ordered.
        tasks: the order; rows that nobody needs are left out.
        aliases: tensors that are rows of other tensors: per row the segment it is.
        stages: runs of steps (first, end) that are streamed together.
        kernels: of the steps; the ones with the least scratch, until `planning.kernels` has chosen.
        small_c: the C around the kernels is compiled for size.
    """

    graph: QuantizedGraph
    steps: tuple[QOp, ...]
    tasks: tuple[Task, ...]
    aliases: Mapping[str, tuple[Segment, ...]]
    stages: tuple[tuple[int, int], ...]
    kernels: tuple[Kernel, ...]
    small_c: bool = False

    @property
    def is_complete(self) -> bool:
        """Else steps that nobody needs are gone, and stages of the graph are numbered otherwise."""
        return self.stages[-1][1] == len(self.graph.ops) - len(self.aliases)


def layer_by_layer(graph: QuantizedGraph) -> Schedule:
    """Every row of an operator before the first row of the next, but that rows are handed out when they are made."""
    aliases = find_aliases(graph)
    flow = make_flow(graph, aliases)
    starts = [s for s, hands_out in enumerate(flow.hands_out) if not hands_out or s == 0]
    return _schedule(graph, flow, aliases, tuple(zip(starts, [*starts[1:], len(flow.steps)], strict=True)))


def streamed(graph: QuantizedGraph, limit: float = inf, weights: Sequence[float] = WEIGHTS) -> list[Schedule]:
    """Streamed schedules that need little memory, none more than `limit`; see `stream.good_stages`."""
    aliases = find_aliases(graph)
    flow = make_flow(graph, aliases)
    stores = {s.next for s in graph.states}
    stores_from = next((i for i, op in enumerate(flow.steps) if op.output in stores), len(flow.steps))
    return [
        _schedule(graph, flow, aliases, stages) for stages in good_stages(flow, stores_from, limit, weights)
    ]


def staged(graph: QuantizedGraph, stages: Stages, abreast: bool = False) -> Schedule:
    """Streamed in given stages (first step, end) over all operators that compute something.

    Args:
        abreast: several ends of a stage advance in proportion.
    """
    aliases = find_aliases(graph)
    return _schedule(graph, make_flow(graph, aliases, abreast), aliases, stages)


def _schedule(
    graph: QuantizedGraph, flow: Flow, aliases: Mapping[str, tuple[Segment, ...]], stages: Stages
) -> Schedule:
    order: Order = []
    for first, end in stages:
        stage = stream_stage(flow, first, end, live_at_boundary(flow, first))
        assert stage is not None
        order += stage.order
    # Steps of which nobody needs a row disappear, and the others close up.
    used = sorted({flow.step_of[t] for t in order})
    number = {s: n for n, s in enumerate(used)}
    tasks = tuple(
        Task(number[s], t - flow.starts[s], tuple(flow.segments[i] for i in flow.reads[t]))
        for t, s in ((t, flow.step_of[t]) for t in order)
    )
    left = [tuple(bisect_left(used, edge) for edge in stage) for stage in stages]
    steps = tuple(flow.steps[s] for s in used)
    return Schedule(
        graph,
        steps,
        tasks,
        MappingProxyType(dict(aliases)),
        tuple((first, end) for first, end in left if end > first),
        tuple(graph.kernels(op)[-1] for op in steps),
    )
