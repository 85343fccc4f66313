"""A pool over two regions of RAM that do not touch, where it fits in none, or where the user names two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vmcu.errors import Exit, fail
from vmcu.fit import Limits
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import first_placed
from vmcu.pipeline import Compiled
from vmcu.targets import Target, place_ram

Compile = Callable[[int | None, int], Compiled]
"""RAM there is for pool, stack and variables, and `MemoryPlan.split_bytes` -> a compiled model."""


def compile_for(
    target: Target | None, limits: Limits, graph: QuantizedGraph, compile_: Compile
) -> tuple[Compiled, Target | None]:
    """Compiles for a target's memory: in one piece where that fits, else over the first two pieces that take it.

    Args:
        target: None: only the user's limits count.
        limits: the user's.
        graph: what is compiled.
        compile_: does it.

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
    if target.pool_region is not None or place_ram(target, made.plan.pool_bytes, 0):
        return made, target
    for first, second in target.pairs():
        chosen = replace(target, pool_region=f"{first.name},{second.name}")
        ram = limits.ram(chosen)
        if made.plan.lower_bound_bytes > chosen.ram_bytes or first_placed(graph) > chosen.split_bytes:
            continue
        found = compile_(ram, chosen.split_bytes)
        within = limits.ram_bytes is None or found.plan.pool_bytes <= limits.ram_bytes
        if within and place_ram(chosen, found.plan.pool_bytes, 0):
            return found, chosen
    return made, target
