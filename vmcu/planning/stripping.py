"""QuantizedGraph -> Schedule: the first stage in strips of columns, where a resident image holds up the peak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import live_bytes, lower_bound
from vmcu.ops.copy_columns import CopyColumns
from vmcu.planning.cost import executed_macs
from vmcu.schedule.schedule import Schedule, staged
from vmcu.schedule.stream import Stages
from vmcu.schedule.strips import Strips, chain, cut_strips

MOST_STRIPS = 8  # one after the other
MOST_ABREAST = 4  # parts of a strip that advance together
FINER = 7  # tiles of a strip of the image, at most
MOST = 2  # schedules: the one with the larger lower bound may have the smaller pool
WORTH_IT = 0.9  # lower bound / least so far from which the copies, and the tasks to place, pay


def stripped(graph: QuantizedGraph, listed: Sequence[Schedule]) -> list[Schedule]:
    """The schedules in strips with the least lower bounds, if those are clearly below all others."""
    return _least(graph, listed, WORTH_IT, None)[-MOST:]


def recomputed(graph: QuantizedGraph, listed: Sequence[Schedule], most: float) -> list[Schedule]:
    """The same with columns that are computed again instead of kept, as patch-based tools do.

    Args:
        most: multiply-accumulates it may execute, as a multiple of the network's.
    """
    return _least(graph, listed, 1.0, most)[-1:] if most > 1 else []


def _least(
    graph: QuantizedGraph, listed: Sequence[Schedule], worth_it: float, most: float | None
) -> list[Schedule]:
    """Each with a lower bound below the one before it."""
    rows = [s for s in listed if s.graph.ops == graph.ops and len(s.stages) < len(s.steps)]
    convolutions = chain(graph)
    found: list[Schedule] = []
    least = min(map(lower_bound, listed)) * worth_it
    for count, later in _later_stages(rows, convolutions, least):
        for edges, abreast, strips in _patterns(graph, count):
            again = most is not None
            tiles = _finer(graph, strips) if again else strips
            cut = cut_strips(graph, count, edges, abreast, tiles, recompute=again)
            if cut is None or not _fits_into_holes(graph, cut, count, strips):
                continue
            together = cut.stages[-1][1]
            shift = together + 1 - count
            moved = tuple((first + shift, end + shift) for first, end in later)
            schedule = staged(cut.graph, (*cut.stages, (together, together + 1), *moved), abreast=True)
            if most is not None and executed_macs(schedule) > graph.macs * most:
                continue
            if lower_bound(schedule) < least:
                found.append(schedule)
                least = lower_bound(schedule)
    return found


def is_stripped(schedule: Schedule) -> bool:
    """Does it work in strips?"""
    return any(isinstance(op, CopyColumns) for op in schedule.steps)


def _finer(graph: QuantizedGraph, strips: int) -> int:
    """Tiles of the image where strips overlap: the tile that two strips read is kept as a whole."""
    columns = graph.tensors[graph.ops[0].inputs[0]].cols
    return next(n for n in range(FINER * strips, 0, -strips) if columns % n == 0)


def _later_stages(rows: Iterable[Schedule], convolutions: int, limit: float) -> Iterator[tuple[int, Stages]]:
    """The first stage of which the image is the trouble, and the stages after it that need least."""
    best: dict[int, tuple[int, Stages]] = {}
    for schedule in rows:
        count = schedule.stages[0][1]
        live = live_bytes(schedule)
        starts = next((t for t, task in enumerate(schedule.tasks) if task.step >= count), len(live))
        peak, later = max(live[starts:], default=0), schedule.stages[1:]
        if 1 < count <= convolutions and schedule.is_complete and peak < limit:
            best[count] = min(best.get(count, (peak, later)), (peak, later))
    for count, (_, later) in best.items():
        yield count, later


def _patterns(graph: QuantizedGraph, count: int) -> Iterator[tuple[list[int], int, int]]:
    """Edges of strips of the last convolution's output, how many go abreast, and strips."""
    last, image = graph.tensors[graph.ops[count - 1].output], graph.tensors[graph.ops[0].inputs[0]]
    for strips in range(2, MOST_STRIPS + 1):
        if last.cols % strips or image.cols % strips:
            continue
        width = last.cols // strips
        for abreast in range(1, min(MOST_ABREAST, width // 2) + 1):
            inside = [-(-width * n // abreast) for n in range(abreast)]
            yield [s * width + e for s in range(strips) for e in inside] + [last.cols], abreast, strips


def _fits_into_holes(graph: QuantizedGraph, cut: Strips, count: int, strips: int) -> bool:
    """Is there room for what the first strip leaves behind where the image was?

    An image loses a strip's part of each row, which is a hole between what is left of it. Rows of the result, and
    columns kept for the next strip, have to lie in such holes, or they pile up beside the image.
    """
    image, last = graph.tensors[graph.ops[0].inputs[0]], graph.tensors[graph.ops[count - 1].output]
    left = [cut.graph.tensors[name] for name in cut.left_behind]
    sizes = [t.row_bytes for t in left for _ in range(max(1, t.rows // last.rows))]
    holes = [image.row_bytes // strips] * (image.rows // last.rows)
    for size in sorted(sizes, reverse=True):
        fitting = next((n for n, hole in enumerate(holes) if hole >= size), None)
        if fitting is None:
            return False
        holes[fitting] -= size
    return True
