"""A place to run a model: a core as an emulated machine has it, or a board with its chip's limits."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.ir.quantized import Isa


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the emulated machine has memory.

    Attributes:
        vectors_origin: address the core takes its vector table from.
        flash_origin, flash_bytes: code and constants.
        ram_origin, ram_bytes: everything else.
    """

    vectors_origin: int
    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int


@dataclass(frozen=True, slots=True)
class Qemu:
    """How QEMU emulates the core.

    Attributes:
        machine: QEMU's name of it.
        icount_shift: virtual time of one instruction is 2^icount_shift ns.
        counter: kind of the counting peripheral, see `firmware/port/counter.h`.
        counter_base: its address.
        ticks_per_instruction: numerator and denominator; more than 2, so that two readings, each
            cut to a whole tick, still name one count.
    """

    machine: str
    icount_shift: int
    counter: str
    counter_base: int
    ticks_per_instruction: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """A core or a board.

    Attributes:
        name: as the user types it.
        description: one line.
        core: the core's name (`name` itself for a core).
        isa: whose instructions kernels may use.
        flash_bytes, ram_bytes: what a firmware may use: the chip's, or the emulated machine's.
        clock_hz: of a board at its fastest; a core alone has none.
        gcc_flags, zig_flags: select the core in each compiler.
        memory: of the machine that runs it.
        qemu: None where QEMU has no machine for it.
        unicorn_cpu: CPU model of Unicorn; None where it has none.
        source: where the figures come from.
    """

    name: str
    description: str
    core: str
    isa: Isa
    flash_bytes: int
    ram_bytes: int
    clock_hz: int | None
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    memory: Memory
    qemu: Qemu | None
    unicorn_cpu: str | None
    source: str
