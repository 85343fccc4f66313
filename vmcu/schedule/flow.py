"""What a schedule has to respect, as numbers: tasks, the segments they read and the one they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from vmcu.ir.quantized import QuantizedGraph
from vmcu.ops.base import QOp
from vmcu.ops.rearrange import Rearrange
from vmcu.schedule.aliases import Segment, segments_read

NEVER = -1
ALWAYS = 1 << 30


@dataclass(frozen=True, slots=True)
class Flow:
    """The graph as segments and tasks.

    Tasks are numbered step by step. The number behind the last is "no task": of step -1, needed, and always done.

    Attributes:
        steps: operators that compute something, topologically ordered.
        segments: by number.
        sizes: bytes of each segment.
        scratch: bytes of each step's working memory, with the kernels that need least.
        starts: step -> its first task; at the end the number of tasks.
        step_of: task -> its step.
        reads: task -> segments it reads (an accumulator among them after the first task).
        writes: task -> the segment it writes.
        needed: task -> does anything depend on it?
        previous: task -> the last task of its step before it that is needed, or no task.
        previous_in_order: the same for steps whose tasks have to ascend; no task for others.
        sources: task -> tasks of other steps that make what it reads.
        maker: segment -> the last task that writes it; no task where it is given.
        readers: segment -> (step, number of its needed tasks that read it), ascending.
        uses: segment -> number of needed tasks that read it.
        last_step: segment -> last step that reads it; `ALWAYS` for states and outputs that are not streamed, `NEVER`
            if none.
        tiles: step -> tiles in a row of its output.
        bands: step -> rows of its output that share what they read with each other alone; 0: there are none such.
        hands_out: step -> does it hand rows to the caller?
        at_once: segment -> tasks that are to follow as soon as it is made: they hand it to the caller, or copy a part of
            it.
        abreast: in a stage with several ends, have they to advance in proportion?
    """

    steps: tuple[QOp, ...]
    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]
    scratch: tuple[int, ...]
    starts: tuple[int, ...]
    step_of: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[int, ...]
    needed: tuple[bool, ...]
    previous: tuple[int, ...]
    previous_in_order: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    maker: tuple[int, ...]
    readers: tuple[tuple[tuple[int, int], ...], ...]
    uses: tuple[int, ...]
    last_step: tuple[int, ...]
    tiles: tuple[int, ...]
    bands: tuple[int, ...]
    hands_out: tuple[bool, ...]
    at_once: tuple[tuple[int, ...], ...]
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
    counts = [op.tasks(graph.ins(op), graph.tensors[op.output]) for op in steps]
    starts = (0, *accumulate(counts))
    nobody = starts[-1]
    maker = [nobody] * len(segments)
    reads: list[tuple[int, ...]] = []
    writes: list[int] = []
    for op in steps:
        target = stored.get(op.output, op.output)
        for task, wanted in enumerate(segments_read(graph, op, aliases)):
            found = [number[segment] for segment in wanted]
            written = number[target, 0 if op.accumulates else task]
            if op.accumulates and task:
                found.append(written)
            if op.output not in stored:
                maker[written] = len(writes)
            reads.append(tuple(dict.fromkeys(found)))
            writes.append(written)
    step_of = tuple(s for s, count in enumerate(counts) for _ in range(count))
    last = [NEVER] * len(segments)
    for s, read in zip(step_of, reads, strict=True):
        for segment in read:
            last[segment] = s
    kept = {p.tensor for p in graph.outputs if not p.streamed} | {s.current for s in graph.states}
    for i, (name, _) in enumerate(segments):
        if name in kept:
            last[i] = ALWAYS
    effects = [op.is_output or bool(isinstance(op, Rearrange) and op.pinned) for op in steps]
    needed = _needed(reads, writes, last, [effects[s] for s in step_of])
    previous = tuple(
        before
        for first, end in pairwise(starts)
        for before in accumulate(
            (t if needed[t] else nobody for t in range(first, end - 1)),
            lambda before, task: before if task == nobody else task,
            initial=nobody,
        )
        if end > first
    )
    readers = _readers(reads, step_of, needed, len(segments))
    return Flow(
        steps,
        segments,
        tuple(graph.tensors[name].segment_bytes for name, _ in segments),
        tuple(graph.kernels(op)[-1].scratch_bytes for op in steps),
        starts,
        (*step_of, NEVER),
        tuple(reads),
        tuple(writes),
        (*needed, True),
        previous,
        tuple(t if steps[s].in_order else nobody for s, t in zip(step_of, previous, strict=True)),
        tuple(
            tuple(dict.fromkeys(m for g in read if (m := maker[g]) != nobody and step_of[m] != s))
            for s, read in zip(step_of, reads, strict=True)
        ),
        tuple(maker),
        readers,
        tuple(sum(n for _, n in counts) for counts in readers),
        tuple(last),
        tuple(graph.tensors[op.output].tiles for op in steps),
        tuple(op.band for op in steps),
        tuple(op.is_output for op in steps),
        _at_once(reads, [steps[s].at_once for s in step_of], needed, len(segments)),
        abreast,
    )


def _readers(
    reads: Sequence[tuple[int, ...]], step_of: Sequence[int], needed: Sequence[bool], segments: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    found: list[dict[int, int]] = [{} for _ in range(segments)]
    for read, s, wanted in zip(reads, step_of, needed, strict=True):
        for segment in read if wanted else ():
            found[segment][s] = found[segment].get(s, 0) + 1
    return tuple(tuple(counts.items()) for counts in found)


def _at_once(
    reads: Sequence[tuple[int, ...]], at_once: Sequence[bool], needed: Sequence[bool], segments: int
) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in range(segments)]
    for task, read in enumerate(reads):
        for segment in read if at_once[task] and needed[task] else ():
            found[segment].append(task)
    return tuple(tuple(tasks) for tasks in found)


def _needed(
    reads: Sequence[tuple[int, ...]], writes: Sequence[int], last: Sequence[int], effects: Sequence[bool]
) -> tuple[bool, ...]:
    """Tasks that an output or a state depends on; a row that a stride skips is computed for nobody."""
    needed = [False] * len(writes)
    wanted = [last_step == ALWAYS for last_step in last]
    for task in reversed(range(len(writes))):
        if effects[task] or wanted[writes[task]]:
            needed[task] = True
            for read in reads[task]:
                wanted[read] = True
    return tuple(needed)
