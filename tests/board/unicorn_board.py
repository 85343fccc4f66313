"""A board in Unicorn: a firmware in its flash, memory, and registers that are recorded; for what QEMU does not emulate.

No peripheral is more than its registers' memory, with a few answers of a test's own. Nothing interrupts; SysTick and DWT count the
reads of them, so that whatever waits for time comes to an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from vmcu.board.firmware import BoardFirmware
from vmcu.targets import Target
from vmcu.toolchain.elf import read_elf

PAGE = 0x1000
SLICE = 20_000  # instructions between two looks at what the outside wants
PERIPHERALS, SYSTEM, SPAN = 0x4000_0000, 0xE000_0000, 0x1000_0000
SYST_CVR, DWT_CYCCNT, CPUID, AIRCR = 0xE000_E018, 0xE000_1004, 0xE000_ED00, 0xE000_ED0C
Read = Callable[[int], "int | None"]  # address -> the register's value, or None: what was last written


class UnicornBoard:
    """A core with a firmware.

    Attributes:
        writes: (address, value) of every word written to a peripheral or the system space, in order.
    """

    def __init__(self, firmware: BoardFirmware, read: Read = lambda address: None) -> None:
        unicorn: Any = import_module("unicorn")
        target = firmware.target
        registers = unicorn.arm_const
        assert target.unicorn_cpu is not None
        model = getattr(registers, f"UC_CPU_ARM_{target.unicorn_cpu.upper().replace('-', '_')}")
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB, model)
        self.registers = registers
        self.elf = read_elf(firmware.elf)
        self.writes: list[tuple[int, int]] = []
        self.on_write: Callable[[int, int], None] = lambda address, value: None
        self._read = read
        self._kept: dict[int, int] = {}
        self._looks = 0
        self._map(target)
        for address, data in self.elf.segments(stored=True):
            self.uc.mem_write(address, data)
        for start in (PERIPHERALS, SYSTEM):
            self.uc.mmio_map(
                start,
                SPAN,
                self._on_read,
                start,
                lambda uc, at, size, value, base: self._on_write(base + at, value),
                start,
            )

    def _map(self, target: Target) -> None:
        for region in (*target.ram, *target.flash):
            first = region.origin // PAGE * PAGE
            last = -(-region.end // PAGE) * PAGE
            self.uc.mem_map(first, last - first)

    def start(self, pc: int, sp: int) -> None:
        """Where the core begins; as a reset leaves it."""
        self.uc.reg_write(self.registers.UC_ARM_REG_SP, sp)
        self._pc = pc | 1

    def run(self, count: int = SLICE) -> None:
        """Some instructions."""
        self.uc.emu_start(self._pc, 0xFFFF_FFFE, count=count)
        self._pc = int(self.uc.reg_read(self.registers.UC_ARM_REG_PC)) | 1

    def run_until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Runs until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it is at {self.elf.function_at(self._pc & ~1)}"
            self.run()

    def read(self, address: int, size: int) -> bytes:
        """As a debugger does."""
        return bytes(self.uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """As a debugger does."""
        self.uc.mem_write(address, data)

    def symbol(self, name: str) -> int:
        return next(s.address for s in self.elf.symbols if s.name == name)

    def _on_read(self, uc: object, at: int, size: int, base: int) -> int:
        address = base + at
        if address in (SYST_CVR, DWT_CYCCNT):
            self._looks += 64
            return 0xFF_FFFF - self._looks % 0xFF_FFFF if address == SYST_CVR else self._looks & 0xFFFF_FFFF
        found = self._read(address)
        return self._kept.get(address, 0) if found is None else found

    def _on_write(self, address: int, value: int) -> None:
        self._kept[address] = value
        self.writes.append((address, value))
        self.on_write(address, value)
