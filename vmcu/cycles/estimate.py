"""How often each instruction of a program was executed -> estimated cycles. Pure.

Everything follows from two exact counts per instruction: how often it was executed, and how often execution went on
elsewhere than behind it. Their difference is how often the next instruction in memory followed directly, which is what
pairs (a load after a load) need; how an emulator cuts code into blocks does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmcu.cycles.decode import Instruction, decode
from vmcu.cycles.timing import Issue, Timing
from vmcu.toolchain.thumb import Code

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Program:
    """The instructions of a program, in the order of their addresses.

    Attributes:
        begins, ends: addresses of each and of what lies behind it.
        instructions: what they are.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    instructions: tuple[Instruction, ...]


def decode_program(code: Code) -> Program:
    """Reads all code of a program."""
    found = [
        (at, at + (4 if first >> 11 >= 0b11101 else 2), decode(first, second))
        for address, data in sorted(code.chunks)
        for at, first, second in code.instructions(address, address + len(data))
    ]
    begins, ends = (np.array([f[i] for f in found], np.int64) for i in (0, 1))
    return Program(begins, ends, tuple(f[2] for f in found))


def estimate_cycles(program: Program, executed: Counts, taken: Counts, timing: Timing) -> int:
    """Cycles of a run.

    Args:
        executed: per instruction of the program, how often it was executed.
        taken: per instruction, how often something else than its neighbour came next.
        timing: of the core.
    """
    follows = np.zeros_like(executed)  # how often each came directly after its neighbour in memory
    neighbours = program.begins[1:] == program.ends[:-1]
    follows[1:] = np.where(neighbours, executed[:-1] - taken[:-1], 0)
    used = np.flatnonzero(executed)
    leaves = sum(
        timing.taken_by.get(program.instructions[i].kind, timing.taken) * int(taken[i]) for i in used
    )
    if timing.issue is not None:
        return leaves + _in_pairs(program, executed, follows, used, timing, timing.issue)
    total = leaves
    for i in used:
        one = program.instructions[i]
        fixed, per_word = timing.cycles.get(one.kind, (1, 0))
        total += (fixed + per_word * one.words) * int(executed[i])
        if follows[i]:
            total += _after(program.instructions[i - 1], one, timing) * int(follows[i])
    return total


def count_leaves(executed: Counts, taken: Counts) -> int:
    """How often execution went on elsewhere than behind an instruction: fetches that no prefetcher foresees.

    Args:
        executed, taken: as for `estimate_cycles`.
    """
    return int(taken[executed > 0].sum())


def _after(before: Instruction, one: Instruction, timing: Timing) -> int:
    """Cycles more of an instruction because of the one directly before it."""
    depends = before.writes & one.reads
    if timing.pipelines_loads and before.kind == one.kind == "load":
        return 0 if depends else -1
    if before.kind in ("vfp", "vfp_mac", "vfp_div") and before.writes & (one.reads | one.late):
        return timing.stalls_vfp
    return 0


def _in_pairs(
    program: Program, executed: Counts, follows: Counts, used: NDArray[np.intp], timing: Timing, issue: Issue
) -> int:
    """Cuts what was executed into straight runs, whose instructions were all executed equally often."""
    total, run = 0, [int(used[0])] if used.size else []
    for i in map(int, used[1:]):
        if i == run[-1] + 1 and follows[i] == executed[i] == executed[i - 1]:
            run.append(i)
            continue
        total += int(executed[run[0]]) * run_cycles([program.instructions[k] for k in run], timing, issue)
        run = [i]
    if run:
        total += int(executed[run[0]]) * run_cycles([program.instructions[k] for k in run], timing, issue)
    return total


def run_cycles(run: Sequence[Instruction], timing: Timing, issue: Issue) -> int:
    """Cycles in which a straight run is issued, in order, two at a time where the rules allow it."""
    ready: dict[int, int] = {}  # register -> first cycle in which it can be read
    now, group = 0, list[Instruction]()
    for one in run:
        wanted = max([0, *(ready.get(r, 0) for r in _bits(one.reads))])
        wanted = max([wanted, *(ready.get(r, 0) - 1 for r in _bits(one.late))])
        if wanted > now or not _joins(group, one, issue):
            now, group = max(wanted, now + 1 if group else now), []
        group.append(one)
        fixed, per_word = timing.cycles.get(one.kind, (1, 0))
        busy = fixed + per_word * one.words
        for r in _bits(one.writes):
            ready[r] = now + max(busy, issue.latency.get(one.kind, 1))
        if busy > 1:
            now, group = now + busy, []
    return now + (1 if group else 0)


def _joins(group: Sequence[Instruction], one: Instruction, issue: Issue) -> bool:
    if not group:
        return True
    before = group[0]
    if len(group) > 1 or {before.kind, one.kind} & issue.alone or one.kind in issue.first:
        return False
    if before.kind in ("branch", "call", "branch_register"):
        return False
    if {before.kind, one.kind} <= issue.shared:
        return False
    if _unit(before.kind) == _unit(one.kind):
        return issue.units.get(one.kind, 1) > 1
    return True


def _unit(kind: str) -> str:
    """Multiplications have one unit, whatever their width, and so have branches and floating-point arithmetic."""
    if kind in ("mul", "mla", "mull", "mlal"):
        return "mul"
    if kind in ("branch", "call", "branch_register"):
        return "branch"
    return "vfp" if kind in ("vfp", "vfp_mac") else kind


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        found.append((mask & -mask).bit_length() - 1)
        mask &= mask - 1
    return found
