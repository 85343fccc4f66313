"""Kernels that keep code and tables within a size: leaner ones (`Kernel.leaner`) where they save most bytes per instruction.

Code is known only after a build, and differs by compiler; here it is estimated. Machine code of programs is counted, C around it
is taken from measurements. A leaner kernel needs no more working memory, so neither order nor pool change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

from vmcu.codegen.calls import count_calls, fold
from vmcu.ir.quantized import Isa, QuantizedGraph, Tensor
from vmcu.kernels.small.assembly import Thumb1
from vmcu.memory.tables import ranges
from vmcu.ops.base import Kernel, QOp, Window
from vmcu.schedule.schedule import Schedule

LIMIT_BYTES = 40 * 1024
SMALL_BYTES = 24 * 1024  # where flash is what is asked for
ABOUT_AS_GOOD = (
    0.8  # of the bytes per instruction of the best exchange: such others are made at the same time
)
INSTRUCTION_BYTES = 3.8  # of programs; those that reach only low registers take half of the four
THUMB1_BYTES = 2  # but for what loads far constants, which programs do not
AROUND_BYTES: Mapping[str, tuple[int, int]] = {
    "window_dsp": (780, 500),
    "window_dsp plain two": (460, 260),  # no window reaches beyond the row, two pixels at a time
    "window_dsp plain": (260, 145),
    "window_dsp joined": (680, 300),  # tiles put side by side
    "window_dsp listed": (430, 320),  # taps of windows over tiles listed
    "copied_dsp": (460, 370),
    "slide_dsp": (220, 165),
    "slide_dsp beside": (360, 290),  # in a tile, with neighbours
    "pairs_dsp": (350, 270),
    "narrow_dsp": (600, 220),
    "pixel_dsp": (280, 210),
    "pixel_tiles_dsp": (340, 230),
    "sum_dsp": (170, 140),
    "planes_dsp": (390, 215),
    "vector_dsp": (90, 80),
    "accumulate_dsp": (140, 110),
    "taps_dsp": (670, 300),
    "pixels_mve": (230, 150),
    "windows_mve": (425, 330),
    "taps_mve": (455, 330),
    "lanes_mve": (555, 330),
    "depthwise_mve": (285, 220),
    "sum_mve": (125, 100),
    "average_pool_mve": (255, 200),
    "product_small": (290, 165),
    "taps_small": (420, 260),
    "depthwise_small": (220, 150),
    "add_small": (120, 90),
    "sum_rows": (1000, 90),
    "finish": (330, 85),
    "reduce": (760, 130),
    "softmax": (1600, 550),
    "average_pool": (380, 240),
}
"""C of a step at -O3 and at -Os, with its kernel's: the mean over the shared models, of the compiler that takes more."""
OTHER_AROUND_BYTES = (250, 160)
SMALL_C_SLOWER: Mapping[Isa, float] = {"armv7e-m": 0.016}
"""Instructions that -Os adds, as a share of all, where that is worth it. With Helium it is 0.1 to 0.2: the programs take so few."""
RUN_BYTES, CALL_BYTES = 100, 16  # of the functions that call the steps, and per call
HELIUM_RUN_BYTES, THUMB1_CALL_BYTES = 700, 22
FIRMWARE_BYTES = 2500  # vectors, start and console of what vmcu builds itself, about
ADDRESS_BYTES = 2  # of a segment that does not lie evenly spaced


def room_in_flash(graph: QuantizedGraph, flash_bytes: int) -> int:
    """What so much flash leaves for code and tables, beside the model's own parameters and a firmware's start."""
    own = (_plain_bytes(_Same(op), graph.ins(op), graph.tensors[op.output]) for op in graph.ops)
    return flash_bytes - sum(own) - FIRMWARE_BYTES


def within_flash(
    schedule: Schedule, slower: float = inf, limit_bytes: int = LIMIT_BYTES, otherwise: float = inf
) -> Schedule:
    """The schedule with kernels whose code and tables do not exceed a size, as far as there are such.

    Args:
        slower: instructions that they may take, as a multiple of those of the schedule's kernels.
        otherwise: the same where the size is out of reach.
    """
    sizes = _Sizes(schedule)
    if sizes.total <= limit_bytes:
        return schedule
    leaner = [kernel.leaner for kernel in schedule.kernels]
    first = sizes.instructions
    done: list[_Move] = []
    while sizes.total > limit_bytes:
        worth: list[tuple[float, _Move]] = []
        for move in _moves(sizes, leaner):
            saved, dearer = -sizes.change(move), sizes.dearer(move)
            if saved > 0 and sizes.instructions + dearer <= first * slower:
                worth.append((saved / max(dearer, 1), move))
        if not worth:
            break
        worth.sort(key=lambda found: -found[0])
        touched: set[int] = set()  # steps whose moves have to be looked at again
        for value, move in worth:
            if value < ABOUT_AS_GOOD * worth[0][0] or sizes.total <= limit_bytes:
                break
            steps = move.steps or range(len(schedule.steps))
            if touched.isdisjoint(steps) and sizes.instructions + sizes.dearer(move) <= first * slower:
                touched.update(steps)
                done.append(sizes.apply(move))
    kept = sizes.total <= limit_bytes
    for back in reversed(done):  # what is too dear, or what later ones have made needless
        needless = sizes.total + sizes.change(back) <= limit_bytes
        if sizes.dearer(back) < 0 and (needless if kept else sizes.instructions > first * otherwise):
            sizes.apply(back)
    return replace(schedule, kernels=tuple(sizes.kernels), small_c=sizes.small_c)


def estimate_flash(schedule: Schedule) -> int:
    """Bytes of code and of the tables beside the model's own parameters, about."""
    return round(_Sizes(schedule).total)


@dataclass(frozen=True, slots=True)
class _Move:
    """Steps and the kernels they get, and how the C around all kernels is compiled."""

    steps: tuple[int, ...]
    kernels: tuple[Kernel, ...]
    small_c: bool


def _moves(sizes: _Sizes, leaner: Sequence[tuple[Kernel, ...]]) -> Iterable[_Move]:
    """Every step on its own, and all that share a routine together."""
    if sizes.may_shrink and not sizes.small_c:
        yield _Move((), (), True)
    shared: dict[tuple[str, ...], list[int]] = {}
    for i, kernel in enumerate(sizes.kernels):
        if leaner[i]:
            shared.setdefault((kernel.template, *(f.text for f in kernel.functions.values())), []).append(i)
    for steps in shared.values():
        groups = dict.fromkeys([*((s,) for s in steps), tuple(steps)])
        for n in range(min(len(leaner[s]) for s in steps)):
            for group in groups:
                yield _Move(group, tuple(leaner[s][n] for s in group), sizes.small_c)


class _Sizes:
    """What the chosen kernels take.

    Attributes:
        kernels: of the steps.
        small_c: the C around them is compiled for size.
        may_shrink: it may be, because nothing that multiplies is left to the compiler.
        total: bytes.
        instructions: of the kernels that know theirs.
    """

    def __init__(self, schedule: Schedule) -> None:
        graph, steps = schedule.graph, schedule.steps
        self.kernels, self.small_c = list(schedule.kernels), schedule.small_c or graph.compact
        self._rows = Counter(task.step for task in schedule.tasks)
        self._plain = [_plain_bytes(_Same(op), graph.ins(op), graph.tensors[op.output]) for op in steps]
        self._used = Counter(f.text for kernel in self.kernels for f in kernel.functions.values())
        self._slower = SMALL_C_SLOWER.get(graph.isa)
        self.may_shrink = self._slower is not None and all(
            k.instructions is not None or not op.macs(graph.ins(op), graph.tensors[op.output])
            for op, k in zip(steps, self.kernels, strict=True)
        )
        self.instructions = float(
            sum((k.instructions or 0) * self._rows[i] for i, k in enumerate(self.kernels))
        )
        call = THUMB1_CALL_BYTES if graph.isa == "armv6-m" else CALL_BYTES
        run = HELIUM_RUN_BYTES if graph.isa == "armv8.1-m" else RUN_BYTES
        self.total = float(run + call * _calls(schedule) + _table_bytes(schedule))
        self._known: dict[tuple[int, int], tuple[Kernel, int, int]] = {}
        self.total += sum(map(function_bytes, self._used))
        self.total += sum(self._own(i, kernel, self.small_c) for i, kernel in enumerate(self.kernels))

    def _own(self, step: int, kernel: Kernel, small_c: bool) -> int:
        """Tables of a kernel and the C around it."""
        known = self._known.get((step, id(kernel)))
        if known is None:
            tables = max(_constant_bytes(_Same(kernel)) - self._plain[step], 0)
            known = kernel, tables + _around_bytes(kernel, False), tables + _around_bytes(kernel, True)
            self._known[step, id(kernel)] = known  # with the kernel, so that nothing else gets its id
        return known[2] if small_c else known[1]

    def change(self, move: _Move) -> float:
        """Bytes more."""
        more, users = 0.0, dict[str, int]()
        if move.small_c != self.small_c:
            for step, kernel in enumerate(self.kernels):
                more += self._own(step, kernel, move.small_c) - self._own(step, kernel, self.small_c)
        for step, kernel in zip(move.steps, move.kernels, strict=True):
            before = self.kernels[step]
            more += self._own(step, kernel, move.small_c) - self._own(step, before, move.small_c)
            for f in kernel.functions.values():
                users[f.text] = users.get(f.text, 0) + 1
            for f in before.functions.values():
                users[f.text] = users.get(f.text, 0) - 1
        for text, count in users.items():
            used = self._used.get(text, 0)
            if (used + count > 0) != (used > 0):
                more += function_bytes(text) * (1 if count > 0 else -1)
        return more

    def dearer(self, move: _Move) -> float:
        """Instructions more."""
        more = self.instructions * (self._slower or 0) * (move.small_c - self.small_c)
        for step, kernel in zip(move.steps, move.kernels, strict=True):
            more += ((kernel.instructions or 0) - (self.kernels[step].instructions or 0)) * self._rows[step]
        return more

    def apply(self, move: _Move) -> _Move:
        """Makes a move; returns the way back."""
        back = _Move(move.steps, tuple(self.kernels[s] for s in move.steps), self.small_c)
        self.total, self.instructions = (
            self.total + self.change(move),
            self.instructions + self.dearer(move),
        )
        self.small_c = move.small_c
        for step, kernel in zip(move.steps, move.kernels, strict=True):
            self._used.update(f.text for f in kernel.functions.values())
            self._used.subtract(f.text for f in self.kernels[step].functions.values())
            self.kernels[step] = kernel
        return back


def _around_bytes(kernel: Kernel, small_c: bool) -> int:
    name = kernel.template
    if kernel.context.get("joined"):
        name += " joined"
    elif kernel.context.get("listed"):
        name += " listed"
    elif name == "slide_dsp" and kernel.context["nears"]:
        name += " beside"
    elif kernel.context.get("apart") is False:
        name += " plain two" if kernel.context["two"] else " plain"
    return AROUND_BYTES.get(name, OTHER_AROUND_BYTES)[small_c]


@lru_cache(maxsize=4096)
def function_bytes(text: str) -> float:
    """Machine code of a program, about."""
    assembly, times, count = text.partition("#else")[0], 1, 0
    for line in re.findall(r'"(.*?)\\n"', assembly):
        word = line.strip()
        if word.startswith(".rept"):
            times = int(word.split()[1])
        elif word.startswith(".endr"):
            times = 1
        elif word and not word.startswith(".") and not word.endswith(":"):
            count += times
    return (THUMB1_BYTES if Thumb1.guard in text else INSTRUCTION_BYTES) * count


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A thing, equal to itself alone: schedules by the dozen share operators and kernels."""

    thing: QOp | Kernel

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


@lru_cache(maxsize=8192)
def _constant_bytes(same: _Same) -> int:
    """Of a kernel's arrays."""
    assert isinstance(same.thing, Kernel)
    return sum(c.values.nbytes for c in same.thing.constants)


@lru_cache(maxsize=2048)
def _plain_bytes(same: _Same, ins: tuple[Tensor, ...], out: Tensor) -> int:
    """Of the model's own parameters."""
    assert isinstance(same.thing, QOp)
    return sum(c.values.nbytes for c in same.thing.kernel(ins, out).constants if c.role == "weights")


def _calls(schedule: Schedule) -> int:
    """Calls of steps that are spelled out."""
    found = ranges([(task.step, task.row) for task in schedule.tasks])
    return count_calls(fold(found))


def _table_bytes(schedule: Schedule) -> int:
    """Addresses of rows and rows of padding, at most."""
    graph, total = schedule.graph, 0
    fixed = {*graph.given(), *(i.tensor for i in graph.outputs)}
    pads: dict[int, int] = {}
    layers = len(schedule.stages) == len(schedule.steps)
    for op, kernel in zip(schedule.steps, schedule.kernels, strict=True):
        out, ins = graph.tensors[op.output], graph.ins(op)
        if op.output not in fixed and out.segments > 2 and not layers:
            total += ADDRESS_BYTES * out.segments
        for tensor, access in zip(ins, op.access(ins, out), strict=True):
            if not isinstance(access, Window) or access.pad or kernel.pad_pixel:
                value = kernel.pad_value or 0
                pads[value] = max(pads.get(value, 0), tensor.segment_cols * tensor.channels)
    return total + sum(pads.values())
