"""What a schedule has to respect, as numbers: tasks, the segments they read and the one they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import QOp
from vmcu.ops.rearrange import Rearrange
from vmcu.schedule.aliases import Segment, segments_read

NEVER = -1
ALWAYS = 1 << 30


@dataclass(frozen=True, slots=True)
class Flow:
    """The graph as segments and tasks.

    Attributes:
        steps: operators that compute something, topologically ordered.
        segments: by number.
        sizes: bytes of each segment.
        scratch: bytes of each step's working memory, with the kernels that need least.
        reads: step -> task -> segments it reads (an accumulator among them after the first task).
        writes: step -> task -> the segment it writes.
        needed: step -> task -> does anything depend on it?
        previous: step -> task -> the last task before it that is needed, or -1.
        sources: step -> task -> tasks (step, task) that make what it reads.
        maker: segment -> (step, its last task that writes it); (-1, -1) where it is given.
        readers: segment -> (step, number of its needed tasks that read it), ascending.
        last_step: segment -> last step that reads it; `ALWAYS` for states and outputs that are not streamed, `NEVER`
            if none.
        in_order: step -> have its tasks to run in ascending order?
        tiled: step -> does it write tiles of columns?
        hands_out: step -> does it hand rows to the caller?
        at_once: segment -> tasks (step, task) that are to follow as soon as it is made: they hand it to the caller, or copy
            a part of it.
        abreast: in a stage with several ends, have they to advance in proportion?
    """

    steps: tuple[QOp, ...]
    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]
    scratch: tuple[int, ...]
    reads: tuple[tuple[tuple[int, ...], ...], ...]
    writes: tuple[tuple[int, ...], ...]
    needed: tuple[tuple[bool, ...], ...]
    previous: tuple[tuple[int, ...], ...]
    sources: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    maker: tuple[tuple[int, int], ...]
    readers: tuple[tuple[tuple[int, int], ...], ...]
    last_step: tuple[int, ...]
    in_order: tuple[bool, ...]
    tiled: tuple[bool, ...]
    hands_out: tuple[bool, ...]
    at_once: tuple[tuple[tuple[int, int], ...], ...]
    abreast: bool


def make_flow(
    graph: QuantizedGraph, aliases: Mapping[str, tuple[Segment, ...]], abreast: bool = False
) -> Flow:
    """Numbers everything; drops nothing."""
    steps = tuple(op for op in graph.ops if op.output not in aliases)
    stored = {s.next: s.current for s in graph.states}
    names = [*graph.given(), *(op.output for op in steps if op.output not in stored)]
    segments = tuple((name, r) for name in names for r in range(graph.tensors[name].segments))
    number = {segment: i for i, segment in enumerate(segments)}
    maker = [(NEVER, NEVER)] * len(segments)
    reads, writes = [], []
    for s, op in enumerate(steps):
        ins, out = graph.ins(op), graph.tensors[op.output]
        task_reads, task_writes = [], []
        target = stored.get(op.output, op.output)
        for task in range(op.tasks(ins, out)):
            found = [number[segment] for segment in segments_read(graph, op, task, aliases)]
            written = number[target, 0 if op.accumulates else task]
            if op.accumulates and task:
                found.append(written)
            task_reads.append(tuple(dict.fromkeys(found)))
            task_writes.append(written)
            if op.output not in stored:
                maker[written] = (s, task)
        reads.append(tuple(task_reads))
        writes.append(tuple(task_writes))
    last = [NEVER] * len(segments)
    for s, tasks in enumerate(reads):
        for task_read in tasks:
            for segment in task_read:
                last[segment] = s
    kept = {p.tensor for p in graph.outputs if not p.streamed} | {s.current for s in graph.states}
    for i, (name, _) in enumerate(segments):
        if name in kept:
            last[i] = ALWAYS
    effects = [op.is_output or bool(isinstance(op, Rearrange) and op.pinned) for op in steps]
    needed = _needed(reads, writes, maker, last, effects)
    hands_out = tuple(op.is_output for op in steps)
    return Flow(
        steps,
        segments,
        tuple(graph.tensors[name].segment_bytes for name, _ in segments),
        tuple(graph.kernels(op)[-1].scratch_bytes for op in steps),
        tuple(reads),
        tuple(writes),
        needed,
        tuple(_previous(tasks) for tasks in needed),
        tuple(tuple(_sources(s, read, maker) for read in tasks) for s, tasks in enumerate(reads)),
        tuple(maker),
        _readers(reads, needed, len(segments)),
        tuple(last),
        tuple(op.in_order for op in steps),
        tuple(graph.tensors[op.output].tiles > 1 for op in steps),
        hands_out,
        _at_once(reads, [op.at_once for op in steps], needed, len(segments)),
        abreast,
    )


def _sources(step: int, read: tuple[int, ...], maker: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What makes the segments that a task of `step` reads, in the order of its reads."""
    return tuple(dict.fromkeys(maker[g] for g in read if maker[g][0] not in (NEVER, step)))


def _previous(needed: tuple[bool, ...]) -> tuple[int, ...]:
    return tuple(accumulate((t if n else -1 for t, n in enumerate(needed[:-1])), max, initial=-1))


def _readers(
    reads: list[tuple[tuple[int, ...], ...]], needed: tuple[tuple[bool, ...], ...], segments: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    found: list[dict[int, int]] = [{} for _ in range(segments)]
    for s, tasks in enumerate(reads):
        for read, wanted in zip(tasks, needed[s], strict=True):
            for segment in read if wanted else ():
                found[segment][s] = found[segment].get(s, 0) + 1
    return tuple(tuple(counts.items()) for counts in found)


def _at_once(
    reads: list[tuple[tuple[int, ...], ...]],
    at_once: list[bool],
    needed: tuple[tuple[bool, ...], ...],
    segments: int,
) -> tuple[tuple[tuple[int, int], ...], ...]:
    found: list[list[tuple[int, int]]] = [[] for _ in range(segments)]
    for s in (s for s, wanted in enumerate(at_once) if wanted):
        for task, read in enumerate(reads[s]):
            for segment in read if needed[s][task] else ():
                found[segment].append((s, task))
    return tuple(tuple(tasks) for tasks in found)


def _needed(
    reads: list[tuple[tuple[int, ...], ...]],
    writes: list[tuple[int, ...]],
    maker: list[tuple[int, int]],
    last: list[int],
    effects: list[bool],
) -> tuple[tuple[bool, ...], ...]:
    """Tasks that an output or a state depends on; a row that a stride skips is computed for nobody."""
    needed = [[False] * len(w) for w in writes]
    wanted = [last_step == ALWAYS for last_step in last]
    for s in reversed(range(len(writes))):
        for t in reversed(range(len(writes[s]))):
            segment = writes[s][t]
            if effects[s] or wanted[segment]:
                needed[s][t] = True
                for read in reads[s][t]:
                    wanted[read] = True
    return tuple(tuple(n) for n in needed)
