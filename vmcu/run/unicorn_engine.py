"""The Unicorn engine: calls the model's functions in the linked program, without its startup code.

Counts are exact and equal QEMU's for the same program. Only here it is known which instructions were executed, so
only here cycles are estimated.
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vmcu.cycles import TIMINGS, count_leaves, decode_program, estimate_cycles
from vmcu.errors import VmcuError, internal
from vmcu.run.counter import Counter, Laps
from vmcu.run.process import too_slow
from vmcu.run.records import COST, END, INIT, OUTPUT, PROFILE, TRACE, Record, failure, fault, report_of
from vmcu.run.report import RunReport
from vmcu.targets import Target
from vmcu.toolchain.app import RECEIVED, STREAM, run_symbol
from vmcu.toolchain.elf import Elf, read_elf
from vmcu.toolchain.firmware import Firmware
from vmcu.toolchain.stack import HOOK
from vmcu.toolchain.thumb import code_of

Priced = tuple[int, int]  # estimated cycles, and how often execution left the straight line
_PAGE_BYTES = 0x1000
_PAINT = 0xDEADBEEF
_PAINT_BYTES = 0x8000
_MODEL_ERROR = 13  # VMCU_EXIT_STATUS


def has_unicorn() -> bool:
    """Is the Python package installed?"""
    return importlib.util.find_spec("unicorn") is not None


def unicorn_version() -> str:
    """The version of the Python package."""
    return f"Unicorn {importlib.import_module('unicorn').__version__}"


def run_unicorn(
    firmware: Firmware, inferences: Sequence[Sequence[bytes]], reset_between: bool, limit_seconds: float
) -> RunReport:
    """Runs a firmware in Unicorn.

    Raises:
        VmcuError: (TOOL) it takes too long; (BUG) the firmware faults or returns an error.
    """
    if firmware.target is None or firmware.target.unicorn_cpu is None:
        raise internal("Unicorn does not emulate this firmware's core", firmware.project.name)
    project, elf = firmware.project, read_elf(firmware.elf)
    count = len(project.steps)
    watched = count if firmware.hooks == "none" else 0
    machine = _Machine(
        elf, firmware.target, firmware.target.unicorn_cpu, limit_seconds, watched, project.split_bytes
    )
    pool, records, cycles = machine.address("vmcu_pool"), list[Record](), list[Priced | None]()
    records.append(Record(INIT, 0, 0, machine.call(f"{project.name}_init", pool)))
    for i, inference in enumerate(inferences):
        if reset_between and i:
            machine.call(f"{project.name}_reset", pool)
        at = 0
        for port, data in zip(project.inputs, inference, strict=True):
            machine.write(
                machine.address(STREAM) + at if port.streamed else machine.byte(port.offset_bytes), data
            )
            at += port.size_bytes if port.streamed else 0
        machine.watch(("steps" if machine.sees_steps else firmware.hooks) if i == 0 else "none")
        before = machine.laps()
        records.append(Record(COST, i, 0, machine.call(run_symbol(project), pool)))
        machine.end_step()
        cycles.append(machine.price(machine.laps() - before))
        at = 0
        for k, port in enumerate(project.outputs):
            where = machine.address(RECEIVED) + at if port.streamed else machine.byte(port.offset_bytes)
            records.append(Record(OUTPUT, k, i, machine.read(where, port.size_bytes)))
            at += port.size_bytes if port.streamed else 0
    step_cycles: list[Priced | None] = []
    steps = [machine.profile.get(i, 0) for i in range(count)]
    if firmware.hooks == "profile":
        records.append(Record(PROFILE, 0, 0, struct.pack(f"<{count}Q", *steps)))
    if firmware.hooks == "profile" or machine.sees_steps:
        laps = (machine.step_laps.get(i) for i in range(count))
        step_cycles = [machine.price(lap) if lap else (0, 0) for lap in laps]
    records += [*machine.trace, Record(END, 0, 0, b"")]
    report = report_of(firmware, len(inferences), "unicorn", unicorn_version(), records)
    whole, leaves = _all_known(cycles) if firmware.hooks == "none" else (None, None)
    by_step, step_leaves = _all_known(step_cycles)
    report = replace(report, cycles=whole, leaves=leaves)
    if firmware.hooks == "profile":
        return replace(report, profile_cycles=by_step, profile_leaves=step_leaves)
    if not machine.sees_steps:
        return report
    return replace(
        report,
        step_instructions=tuple(steps),
        step_cycles=by_step,
        step_leaves=step_leaves,
        step_stack_bytes=tuple(machine.step_stack.get(i, 0) for i in range(count)),
    )


def _all_known(
    values: Sequence[Priced | None],
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Cycles and leaves; None and None where some are unknown."""
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None, None
    return tuple(v[0] for v in known), tuple(v[1] for v in known)


class _Machine:
    """A core with memory and a program in it, of which functions can be called."""

    def __init__(
        self, elf: Elf, target: Target, cpu: str, limit_seconds: float, steps: int, split_bytes: int
    ) -> None:
        """`steps`: of whose functions the entries can be watched; 0: none. `split_bytes`: of the pool's first array."""
        unicorn: Any = importlib.import_module("unicorn")  # untyped, and an optional package
        self._deadline = time.monotonic() + limit_seconds
        self._limit_seconds = limit_seconds
        self._elf, self._split_bytes = elf, split_bytes
        self._symbols = {s.name: s.address for s in elf.symbols}
        self._error = unicorn.UcError
        self._registers = unicorn.arm_const
        # Not UC_MODE_MCLASS, which would replace the CPU model by a Cortex-M33.
        model = getattr(self._registers, f"UC_CPU_ARM_{cpu.upper().replace('-', '_')}")
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB, model)
        memory = target.memory
        self._uc.mem_map(memory.vectors_origin, _PAGE_BYTES)
        self._uc.mem_map(memory.flash_origin, memory.flash_bytes)
        self._uc.mem_map(memory.ram_origin, memory.ram_bytes)
        for address, data in elf.segments():
            self._uc.mem_write(address, data)
        self._stack_top = memory.ram_origin + memory.ram_bytes
        self._home = memory.vectors_origin + _PAGE_BYTES - 4  # where a called function returns to
        self._hook = self._symbols.get(HOOK, 0) & ~1
        self._uc.ctl_exits_enabled(True)
        self._uc.ctl_set_exits([self._home, self._hook] if self._hook else [self._home])
        entries = [self._symbols.get(f"step_{i}", 0) & ~1 for i in range(steps)]
        self.sees_steps = steps > 0 and 0 not in entries
        self._step = -1  # that runs
        for i, entry in enumerate(entries if self.sees_steps else ()):
            # In front of the counter's hook, so that what it has counted ran before the step.
            self._uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_step, i, begin=entry, end=entry)
        self._counter = Counter(elf, self._hook)
        self._counter.attach(unicorn, self._uc)
        self._timing = TIMINGS.get(target.core)
        self._program = decode_program(code_of(elf)) if self._timing else None
        self._lap = 0  # counter at the last hook
        self._last = self._counter.laps()  # the same in detail
        self._watching = "none"
        self.trace: list[Record] = []
        self.profile: dict[int, int] = {}
        self.step_laps: dict[int, Laps] = {}
        self.step_stack: dict[int, int] = {}
        self._running = -1  # step whose stack is looked for
        self._entered = self._lowest = (
            self._stack_top
        )  # the stack pointer of the step that runs; what was found before

    def address(self, name: str) -> int:
        return self._symbols[name]

    def byte(self, offset: int) -> int:
        """Where a byte of the pool lies."""
        pool = self.address("vmcu_pool")
        if not self._split_bytes:
            return pool + offset
        first, second = struct.unpack("<II", self.read(pool, 8))
        where: int = first + offset if offset < self._split_bytes else second + offset - self._split_bytes
        return where

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        self._uc.mem_write(address, data)

    def watch(self, hooks: str) -> None:
        """What to do when the model's hook is reached."""
        self._watching = hooks

    def laps(self) -> Laps:
        """Where execution went so far."""
        return self._counter.laps()

    def price(self, laps: Laps) -> Priced | None:
        """Estimated cycles and leaves; None for a core without a table."""
        if self._timing is None or self._program is None:
            return None
        counts = laps.of(self._program)
        return estimate_cycles(self._program, *counts, self._timing), count_leaves(*counts)

    def call(self, name: str, argument: int) -> bytes:
        """Calls a function; its cost, as the payload of a COST record."""
        r = self._registers
        self._paint(self._stack_top - _PAINT_BYTES, self._stack_top)
        self._running, self._entered, self._lowest = -1, self._stack_top, self._stack_top
        self._uc.reg_write(r.UC_ARM_REG_SP, self._stack_top)
        self._uc.reg_write(r.UC_ARM_REG_R0, argument)
        self._uc.reg_write(r.UC_ARM_REG_LR, self._home | 1)
        start = self._lap = self._counter.instructions
        self._last = self._counter.laps()
        at = self._go(self._symbols[name] & ~1)
        while at == self._hook:
            self._on_hook()
            at = self._go(self._uc.reg_read(r.UC_ARM_REG_LR) & ~1)
        status = int(self._uc.reg_read(r.UC_ARM_REG_R0))
        cost = struct.pack("<QII", self._counter.instructions - start, self._stack_used(), status)
        if status:
            raise failure(_MODEL_ERROR, "", "unicorn", None, [Record(COST, 0, 0, cost)])
        return cost

    def _go(self, address: int) -> int:
        """Runs from an address to the next exit, and returns that."""
        r, left = self._registers, self._deadline - time.monotonic()
        if left <= 0:
            raise too_slow("unicorn", self._limit_seconds)
        try:
            self._uc.emu_start(address | 1, 0, timeout=int(left * 1e6))
        except self._error as e:
            raise self._fault(str(e)) from e
        self._counter.stop()
        at = int(self._uc.reg_read(r.UC_ARM_REG_PC)) & ~1
        if at not in (self._home, self._hook):
            raise too_slow("unicorn", self._limit_seconds)
        return at

    def _fault(self, detail: str) -> VmcuError:
        r = self._registers
        pc, lr = self._uc.reg_read(r.UC_ARM_REG_PC), self._uc.reg_read(r.UC_ARM_REG_LR)
        return fault(self._elf, "unicorn", pc, lr, detail)

    def _on_hook(self) -> None:
        r = self._registers
        step, row, out, size = (self._uc.reg_read(r.UC_ARM_REG_R0 + i) for i in range(4))
        if self._watching == "trace":
            self.trace.append(Record(TRACE, step, row, self.read(out, size)))
        elif self._watching == "profile":
            self._credit(step)
        self._lap = self._counter.instructions

    def _on_step(self, uc: object, address: int, size: int, step: int) -> None:
        """A step's function is entered, always by a call."""
        if self._watching == "steps":
            self._counter.stop()
            if self._step >= 0:  # else what runs before the first step becomes part of it
                self._credit(self._step)
            self._step = step
            self._mark_stack()

    def end_step(self) -> None:
        """The inference is over."""
        if self._step >= 0:
            self._credit(self._step)
            self._note_stack()
            self._step = -1

    def _credit(self, step: int) -> None:
        """What has run since the last time belongs to this step."""
        self.profile[step] = self.profile.get(step, 0) + self._counter.instructions - self._lap
        laps = self._counter.laps()
        lap = laps - self._last
        self.step_laps[step] = self.step_laps[step] + lap if step in self.step_laps else lap
        self._lap, self._last = self._counter.instructions, laps

    def _mark_stack(self) -> None:
        """A step's function has been entered: the stack below it is painted anew, after a look at what the last one left."""
        self._note_stack()
        pointer = int(self._uc.reg_read(self._registers.UC_ARM_REG_SP))
        self._paint(self._lowest_changed(), pointer)
        self._entered, self._running = pointer, self._step

    def _note_stack(self) -> None:
        lowest = self._lowest_changed()
        self._lowest = min(self._lowest, lowest)
        if self._running >= 0:
            self.step_stack[self._running] = max(
                self.step_stack.get(self._running, 0), self._entered - lowest
            )

    def _paint(self, start: int, end: int) -> None:
        self._uc.mem_write(start, _PAINT.to_bytes(4, "little") * max(0, (end - start) // 4))

    def _lowest_changed(self) -> int:
        """Address of the lowest word of the stack that is not painted."""
        words = np.frombuffer(self.read(self._stack_top - _PAINT_BYTES, _PAINT_BYTES), "<u4")
        changed = np.flatnonzero(words != _PAINT)
        return self._stack_top - _PAINT_BYTES + 4 * int(changed[0]) if changed.size else self._stack_top

    def _stack_used(self) -> int:
        """Bytes from the lowest word that was ever changed up."""
        return self._stack_top - min(self._lowest, self._lowest_changed())
