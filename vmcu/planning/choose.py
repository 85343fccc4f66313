"""QuantizedGraph -> MemoryPlan: lists schedules, and chooses one for a wish.

Two figures of a candidate decide. Its pool is known only once it is placed, which takes time; its lower bound and
its estimated instructions (`vmcu/planning/cost.py`) are known before. So every choice goes through the candidates in an order
that needs few of them placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Literal

from vmcu.errors import internal
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import MemoryPlan, is_easily_placed, lower_bound, make_plan
from vmcu.planning.cost import DEFAULT_COMPILER, DEFAULT_CORE, estimate, executed_macs
from vmcu.planning.flash import LIMIT_BYTES, SMALL_BYTES, estimate_flash, room_in_flash, within_flash
from vmcu.planning.kernels import kernel_choices
from vmcu.planning.repeating import repeated
from vmcu.planning.stripping import is_stripped, recomputed, stripped
from vmcu.planning.tiling import in_fewer_stages, tiled
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, layer_by_layer, streamed
from vmcu.targets import load_target

Optimise = Literal["ram", "balanced", "speed", "size"]
CLOSE_ENOUGH = 1.003  # pool / lower bound at which no better placement is searched for
MOST_PLACED = 3  # candidates that are placed for the smallest pool, those of the least lower bounds
MOST_SEARCHED = 2  # candidates whose placement is searched for the smallest pool
MOST_TILED = 3  # schedules with tiles wherever they lower the bound
HARDER_TO_PLACE = 1.04  # lower bound with tiles / with strips up to which tiles may end up smaller
HOPEFUL = 1.04  # quick pool / least quick pool at which a better placement of another order of tasks is searched for
WORTH_TRYING = 1.02  # the same of other kernels
NEARLY_AS_SMALL = 0.01  # of the smallest pool: what "ram" adds at most, and ten times less than it saves of the instructions
WORTHWHILE = 0.04  # of the instructions: saving less is worth no byte
FEW = 500  # tasks up to which a better placement is searched for any other kernels
QUICK = 2000  # tasks up to which a better placement is searched for the sake of less than ten times `NEARLY_AS_SMALL`
BALANCED = 1.05  # estimated instructions / the least of a plan that fits, up to which "balanced" saves RAM
SLOWER_FOR_FLASH: Mapping[Optimise, tuple[float, float]] = {
    "ram": (1.25, 1.1),
    "balanced": (1.25, 1.1),
    "speed": (1.15, 1.03),
    "size": (inf, inf),
}
"""Instructions that leaner kernels may take where flash exceeds the usual limit, as a multiple: to keep it, and where it is
out of reach."""
STACK_ALLOWANCE_BYTES = 1024
"""RAM kept for stack and variables before a build has told their size. The most that any measured network takes is
716 bytes (`python -m bench.paper`: mcunet-in3 with a streamed image)."""


def _streamed_sums(graph: QuantizedGraph, listed: Sequence[Schedule], most: float) -> Iterable[Schedule]:
    rows = by_rows(graph)
    return streamed(rows) if rows.ops != graph.ops else ()


def _stripped(graph: QuantizedGraph, listed: Sequence[Schedule], most: float) -> Iterable[Schedule]:
    return stripped(by_rows(graph), listed)


def _tiled(graph: QuantizedGraph, listed: Sequence[Schedule], most: float) -> Iterable[Schedule]:
    in_strips = [lower_bound(s) * HARDER_TO_PLACE for s in listed if is_stripped(s)]
    bounds = [lower_bound(s) for s in listed if not is_stripped(s)]
    rows, bound = by_rows(graph), int(min(bounds + in_strips))
    found = tiled(rows, bound)[:MOST_TILED]
    return found + [part for least in found[:1] for part in in_fewer_stages(rows, least, bound)]


Generator = Callable[[QuantizedGraph, Sequence[Schedule], float], Iterable[Schedule]]
GENERATORS: tuple[tuple[str, Generator], ...] = (
    ("layer by layer", lambda graph, listed, most: [layer_by_layer(graph)]),
    ("streamed", lambda graph, listed, most: streamed(graph)),
    ("streamed, sums by rows", _streamed_sums),
    ("streamed, strips of columns", _stripped),
    ("streamed, tiles of columns", _tiled),
    ("streamed, rows computed again", lambda graph, listed, most: repeated(by_rows(graph), listed, most)),
    ("streamed, strips computed again", lambda graph, listed, most: recomputed(by_rows(graph), listed, most)),
)
"""All there is to choose from: what a family of schedules is called, and the function that lists them, given the
schedules of the families before it, and the multiple of the network's multiply-accumulates that is allowed."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A schedule; what is dear to find out is found out when it is asked for, once.

    Attributes:
        name: of the generator.
        schedule: the order of tasks.
        core, compiler: whose instructions are estimated.
        split_bytes: of the first of two arrays that the pool may take; 0: it is one.
        flash_bytes: that code and tables were to keep within.
    """

    name: str
    schedule: Schedule
    core: str = DEFAULT_CORE
    compiler: str = DEFAULT_COMPILER
    split_bytes: int = 0
    flash_bytes: int = LIMIT_BYTES

    @cached_property
    def exceeds_flash(self) -> bool:
        """Do code and tables take more, as estimated?"""
        return estimate_flash(self.schedule) > self.flash_bytes

    @cached_property
    def instructions(self) -> int:
        """Estimated instructions of one inference."""
        return estimate(self.schedule, self.core, self.compiler)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates that are executed."""
        return executed_macs(self.schedule)

    @cached_property
    def bound_bytes(self) -> int:
        """No placement is smaller."""
        return lower_bound(self.schedule)

    @cached_property
    def quick_plan(self) -> MemoryPlan:
        """A placement without search."""
        return make_plan(self.schedule, False, self.split_bytes)

    @cached_property
    def plan(self) -> MemoryPlan:
        """Its placement."""
        quick = self.quick_plan
        if quick.pool_bytes == quick.lower_bound_bytes:
            return quick
        found = make_plan(self.schedule, split_bytes=self.split_bytes)
        return min(found, quick, key=lambda plan: plan.pool_bytes)

    @property
    def pool_bytes(self) -> int:
        """Of its placement."""
        return self.plan.pool_bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice and what there was to choose from.

    Attributes:
        optimise: the wish.
        chosen: one of `candidates`.
        candidates: all.
        allow_recompute: see `list_candidates`.
    """

    optimise: Optimise
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    allow_recompute: float = 1.0

    @property
    def network(self) -> QuantizedGraph:
        """As it was given: a schedule's graph may have strips, or rows that are computed again."""
        return self.candidates[0].schedule.graph


def list_candidates(
    graph: QuantizedGraph,
    core: str = DEFAULT_CORE,
    allow_recompute: float = 1.0,
    optimise: Optimise = "ram",
    compiler: str = DEFAULT_COMPILER,
    split_bytes: int = 0,
    flash_bytes: int | None = None,
) -> tuple[Candidate, ...]:
    """Every schedule of every generator, each with several choices of kernels, none of them placed.

    Code and tables are kept within `flash.LIMIT_BYTES`, for "size" `SMALL_BYTES`, as far as that is worth the instructions.

    Args:
        allow_recompute: multiply-accumulates that may be executed, as a multiple of the network's; at 1 nothing is
            computed twice.
        optimise: the wish; "size": only kernels that take least flash.
        compiler: "gcc" or "zig", whose instructions are estimated.
        split_bytes: of the first of two arrays that the pool may take; 0: it is one.
        flash_bytes: that there are, weights and all. If they leave less, so much is the limit, whatever it costs; for "speed" so
            much is the limit in any case.
    """
    graph = replace(graph, isa=load_target(core).isa, compact=optimise == "size")
    slower, otherwise = SLOWER_FOR_FLASH[optimise]
    limit = SMALL_BYTES if optimise == "size" else LIMIT_BYTES
    if flash_bytes is not None and optimise != "size":
        room = room_in_flash(graph, flash_bytes)
        if room < limit or optimise == "speed":
            limit, slower, otherwise = room, inf, inf
    listed: list[Schedule] = []
    found: list[Candidate] = []
    for name, generator in GENERATORS:
        made = list(generator(graph, listed, allow_recompute))
        found += [
            Candidate(name, within_flash(one, slower, limit, otherwise), core, compiler, split_bytes, limit)
            for schedule in made
            for one in kernel_choices(schedule)
        ]
        listed += made
    return tuple(found)


def choose(
    candidates: Sequence[Candidate], optimise: Optimise = "ram", pool_limit_bytes: int | None = None
) -> Candidate:
    """The candidate for a wish; the one with the smallest pool where none fits.

    Args:
        optimise: "ram": the smallest pool, between equals the fewest estimated instructions; up to 1 % more where that saves
            ten times the share of those. "speed": of those that keep their flash, if any do, the fewest estimated instructions,
            between equals the smallest lower bound. "balanced": the smallest pool among those with at most `BALANCED` times the estimated instructions that
            "speed" would take. "size": as "ram"; it is `list_candidates` that has compact kernels only.
        pool_limit_bytes: largest pool that fits.
    """
    if optimise in ("ram", "size"):
        smallest = _smallest(candidates)
        if pool_limit_bytes is None or smallest.pool_bytes <= pool_limit_bytes:
            return smallest
        return _fastest(candidates, pool_limit_bytes) or smallest
    fastest = _fastest(candidates, pool_limit_bytes)
    if fastest is None:
        return _smallest(candidates)
    if optimise == "speed":
        return fastest
    found = _smallest([c for c in candidates if c.instructions <= fastest.instructions * BALANCED])
    return found if found.pool_bytes <= fastest.pool_bytes else fastest


def _fastest(candidates: Iterable[Candidate], limit: int | None) -> Candidate | None:
    for candidate in sorted(candidates, key=lambda c: (c.exceeds_flash, c.instructions, c.bound_bytes)):
        if limit is None or (candidate.bound_bytes <= limit and candidate.pool_bytes <= limit):
            return candidate
    return None


def _smallest(candidates: Sequence[Candidate]) -> Candidate:
    """The smallest pool, as far as quick placements tell where to look for it; then what is faster in the same pool."""
    same: dict[int, list[Candidate]] = {}  # one order of tasks, the kernels that need least first
    for candidate in candidates:
        same.setdefault(id(candidate.schedule.tasks), []).append(candidate)
    least: float = inf
    placed: list[Candidate] = []
    for candidate in sorted((c[0] for c in same.values()), key=lambda c: (c.bound_bytes, c.instructions)):
        if candidate.bound_bytes < least and len(placed) < MOST_PLACED:
            placed.append(candidate)
            least = min(least, candidate.quick_plan.pool_bytes)
    placed.sort(key=lambda c: (c.quick_plan.pool_bytes, c.instructions))
    best, size = placed[0], placed[0].quick_plan.pool_bytes
    hopeful = [c for c in placed[:MOST_SEARCHED] if c.quick_plan.pool_bytes < size * HOPEFUL]
    for candidate in sorted(hopeful, key=lambda c: c.bound_bytes):
        if candidate.bound_bytes * CLOSE_ENOUGH < size and candidate.pool_bytes < size:
            best, size = candidate, candidate.pool_bytes
    for candidate in sorted(candidates, key=lambda c: c.instructions):
        saving = 1 - candidate.instructions / max(best.instructions, 1)
        if saving < WORTHWHILE and candidate.schedule.tasks is not best.schedule.tasks:
            continue
        more = min(saving / 10, NEARLY_AS_SMALL) if saving >= WORTHWHILE else 0
        tasks = len(candidate.schedule.tasks)
        hope = WORTH_TRYING if more == NEARLY_AS_SMALL or (more > 0 and tasks <= QUICK) else 1.0
        if tasks <= FEW:
            hope = HOPEFUL
        if candidate is best or _is_as_small(candidate, size * (1 + more), hope):
            return candidate
    raise internal("the best candidate is not among its own", best.name)


def _is_as_small(candidate: Candidate, size: float, hope: float) -> bool:
    """Does its pool not exceed `size`, as a quick placement tells, or else a better one where that exceeds it by less than `hope`?"""
    if candidate.bound_bytes > size:
        return False
    limit = int(size * hope)
    if not is_easily_placed(candidate.schedule, limit, candidate.split_bytes):
        return False
    return candidate.quick_plan.pool_bytes <= size or candidate.pool_bytes <= size


def wished(optimise: Optimise | None, ram_budget_bytes: int | None) -> Optimise:
    """What is meant where nothing is said: within a budget the fastest, else the smallest."""
    return optimise or ("ram" if ram_budget_bytes is None else "speed")


def make_best_plan(
    graph: QuantizedGraph,
    optimise: Optimise = "ram",
    ram_bytes: int | None = None,
    core: str = DEFAULT_CORE,
) -> MemoryPlan:
    """The plan for a wish.

    Args:
        optimise: see `choose`.
        ram_bytes: largest pool, for "speed" and "balanced".
        core: whose instructions are estimated.
    """
    return choose(list_candidates(graph, core, optimise=optimise), optimise, ram_bytes).plan


def best_plan(graph: QuantizedGraph) -> MemoryPlan:
    """The smallest pool there is."""
    return make_best_plan(graph)


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other beats in pool, estimated instructions and multiply-accumulates; smallest pool first.

    Places every candidate that may be one of them.
    """
    listed = list(candidates)
    hopeful = [
        c
        for c in listed
        if not any(
            other.quick_plan.pool_bytes < c.bound_bytes
            and other.instructions <= c.instructions
            and other.macs <= c.macs
            for other in listed
        )
    ]
    found: list[Candidate] = []
    for candidate in sorted(hopeful, key=lambda c: (c.pool_bytes, c.instructions, c.macs)):
        if not any(
            other.instructions <= candidate.instructions and other.macs <= candidate.macs for other in found
        ):
            found.append(candidate)
    return tuple(found)
