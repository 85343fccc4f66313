"""A pool over two regions of RAM that do not touch, where it fits in none, or where the user names two.

Each way to cut the pool needs placements of its own, which take seconds. So pairs that cannot do are left out by what is known
before, plans of one cut are placed once, and the first pair that takes the pool is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vmcu.errors import Exit, fail
from vmcu.fit import Limits
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import first_placed
from vmcu.pipeline import Compiled, compile_choice
from vmcu.planning.choose import STACK_ALLOWANCE_BYTES, Candidate, Choice, choose
from vmcu.targets import Target, place_ram, ram_capacity

Compile = Callable[[int | None, int], Compiled]
"""RAM there is for pool, stack and variables, and `MemoryPlan.split_bytes` -> a compiled model."""
Rest = Callable[[Compiled], int | None]
"""Bytes of stack and variables of a model, which takes a build; None where nobody can tell."""

AMPLE_BYTES = (
    4 * STACK_ALLOWANCE_BYTES
)  # of stack and variables: where there is room for it, nothing is built to know more
HOPELESS = 1.1  # smallest pool / room, above which other candidates are not placed


def compile_for(
    target: Target | None,
    limits: Limits,
    graph: QuantizedGraph,
    compile_: Compile,
    rest: Rest = lambda made: None,
) -> tuple[Compiled, Target | None]:
    """Compiles for a target's memory: in one piece where that fits, else over the first two pieces that take it.

    Args:
        target: None: only the user's limits count.
        limits: the user's.
        graph: what is compiled.
        compile_: does it.
        rest: what has to fit beside the pool; by default nothing is known of it, and it counts as nothing.

    Returns:
        The model, and the target with the regions chosen; where two do not suffice either, the plan in one piece.

    Raises:
        VmcuError: (DOES_NOT_FIT) the user's first region does not take the states, which must be one array.
    """
    if target is None or target.pool_pair():
        if target is not None and first_placed(graph) > target.split_bytes:
            what = f"{first_placed(graph):,} bytes of states lie in the pool's first {target.split_bytes:,} bytes"
            fix = "name the larger region first"
            raise fail(what, f"--pool-region {target.pool_region}", fix, Exit.DOES_NOT_FIT)
        return compile_(limits.ram(target), target.split_bytes if target else 0), target
    made = compile_(limits.ram(target), 0)
    if target.pool_region is not None or not target.pairs() or _fits(made, target, rest):
        return made, target
    if made.choice is None or made.plan.lower_bound_bytes > sum(r.size_bytes for r in target.ram):
        return made, target
    known = rest(made)  # the build of another plan has about as much
    cuts: dict[int, _Cut] = {}
    for first, second in target.pairs():
        chosen = replace(target, pool_region=f"{first.name},{second.name}")
        size = chosen.split_bytes
        if first_placed(graph) > size or not _is_hopeful(made, chosen, known or 0):
            continue
        if size not in cuts:
            cuts[size] = _Cut(made.choice, made.project.name, size)
        found = cuts[size].within(
            _room(chosen, limits, known or 0), _room(chosen, limits, known or STACK_ALLOWANCE_BYTES)
        )
        if found and _fits(found, chosen, rest):
            return found, chosen
    return made, target


def _fits(made: Compiled, target: Target, rest: Rest) -> bool:
    """Is there a place for the pool, and for stack and variables as far as they are known?"""
    pool = made.plan.pool_bytes
    if place_ram(target, pool, AMPLE_BYTES):
        return True
    if not place_ram(target, pool, 0):
        return False
    bytes_ = rest(made)
    return bytes_ is None or place_ram(target, pool, bytes_) is not None


def _room(target: Target, limits: Limits, rest_bytes: int) -> int:
    """For the pool, beside so much stack and variables."""
    there = ram_capacity(target, rest_bytes)
    return (there if limits.ram_bytes is None else min(there, limits.ram_bytes)) - rest_bytes


def _is_hopeful(made: Compiled, chosen: Target, rest_bytes: int) -> bool:
    """Could two regions do, by what no placement changes: the fewest bytes of any schedule, and arrays of the caller's.

    An input or output that is no stream is one array in one of the regions.
    """
    assert made.choice is not None
    second = chosen.pool_pair()
    assert second is not None
    longest = max(
        (p.size_bytes for p in (*made.project.inputs, *made.project.outputs) if not p.streamed), default=0
    )
    least = min(c.bound_bytes for c in made.choice.candidates)
    return longest <= max(chosen.split_bytes, second[1].size_bytes) and bool(
        place_ram(chosen, least, rest_bytes)
    )


@dataclass
class _Cut:
    """The candidates of a choice with their pools cut at some byte; each is placed once."""

    choice: Choice
    name: str
    split_bytes: int
    candidates: tuple[Candidate, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = tuple(replace(c, split_bytes=self.split_bytes) for c in self.choice.candidates)

    def within(self, room: int, comfortable: int) -> Compiled | None:
        """The plan for the wish whose pool does not exceed `comfortable` or, where there is none, `room`; None: not even that."""
        if choose(self.candidates).pool_bytes > room * HOPELESS:
            return None
        chosen = choose(self.candidates, self.choice.optimise, comfortable)
        if chosen.pool_bytes > room:
            return None
        return compile_choice(replace(self.choice, chosen=chosen, candidates=self.candidates), self.name)
