"""A place to run a model: a core as an emulated machine has it, or a board with its chip's memory, clock and start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmcu.ir.quantized import Isa

RegionKind = Literal["internal", "external"]
CycleCounter = Literal["dwt", "systick", "fpgaio"]
Boot = Literal["second_stage", "image_definition"]
BESIDE_POOL_BYTES = 64  # kept in the first region of a split pool, for the canaries of vmcu's own firmware


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
class Region:
    """One piece of a chip's memory, uniform in speed and without a hole.

    Attributes:
        name: the data sheet's, e.g. "DTCM".
        origin: its first address.
        size_bytes: its length.
        wait_states: cycles more than one for an access at the target's `clock_hz` that no cache serves.
        kind: "external": beside the chip, behind a bus that the user's firmware has to set up.
    """

    name: str
    origin: int
    size_bytes: int
    wait_states: int
    kind: RegionKind = "internal"

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.origin + self.size_bytes


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
class RegisterStep:
    """One access to a register (32 bits) while a board starts.

    Attributes:
        kind: "write": the whole register becomes `value`. "modify": its bits of `mask` become those of `value`.
            "wait": until its bits of `mask` are those of `value`.
        address, mask, value: as `kind` says; `mask` of a write is 0xffffffff, `value` has no bit outside `mask`.
    """

    kind: Literal["write", "modify", "wait"]
    address: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What vmcu's firmware does to a board before it talks.

    Attributes:
        clock_hz: of the core, after `start`.
        counter: what counts cycles.
        start: clocks, power, pins; in order.
        external: names of external regions that are usable after `start`; others take the user's own firmware.
        boot: what the chip's boot ROM wants, `firmware/board/boot_<boot>.S`; None: it starts at the vector table.
    """

    clock_hz: int
    counter: CycleCounter
    start: tuple[RegisterStep, ...]
    boot: Boot | None = None
    external: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Console:
    """The serial line that vmcu's firmware talks on.

    Attributes:
        driver: `firmware/board/console_<driver>.c`.
        base: address of the peripheral.
        clock_hz: what its baud rate is divided from, after `Setup.start`.
        baud: bits a second; 8 data bits, no parity, one stop bit.
    """

    driver: str
    base: int
    clock_hz: int
    baud: int


@dataclass(frozen=True, slots=True)
class ChipId:
    """A register that tells one chip from another: `mask` of the word at `address` is `value`."""

    address: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What the programs that flash call the board; None where one does not know it, or the name is not certain.

    Attributes:
        pyocd: target type of pyOCD.
        openocd: configuration file of OpenOCD.
        probe_rs: chip of probe-rs.
        volume: label of the drive that takes an image by copying.
        usb: "vendor:product" of the board's own probe or serial port.
        chip_id: how to know that it is this chip.
        uf2: family of the UF2 file that the drive takes; None: it takes Intel HEX.
    """

    pyocd: str | None
    openocd: str | None
    probe_rs: str | None
    volume: str | None
    usb: tuple[str, ...]
    chip_id: ChipId | None
    uf2: int | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """What the whole chip takes at `Target.clock_hz`, running from flash: for estimates of energy.

    Attributes:
        run_milliamps, volts: typical, at 25 degrees Celsius.
        source: data sheet and table, with the conditions.
    """

    run_milliamps: float
    volts: float
    source: str


@dataclass(frozen=True, slots=True)
class Meter:
    """A pin that vmcu's own firmware raises while the model runs, for a power meter or an oscilloscope.

    Attributes:
        pin: the chip's name of it, and the board's.
        start: what makes it an output; in order, behind `Setup.start`.
        high, low: address and value of the write that raises and lowers it.
    """

    pin: str
    start: tuple[RegisterStep, ...]
    high: tuple[int, int]
    low: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """A core or a board.

    Attributes:
        name: as the user types it.
        description: one line.
        core: the core's name (`name` itself for a core).
        isa: whose instructions kernels may use.
        ram: regions that can hold a pool, the fastest first. A core has the emulated machine's.
        flash: the region of the vector table and of code first; the others can hold constants.
        clock_hz: of a board at its fastest; a core alone has none.
        gcc_flags, zig_flags: select the core in each compiler.
        memory: of the machine that runs it.
        qemu: None where QEMU has no machine for it.
        unicorn_cpu: CPU model of Unicorn; None where it has none.
        source: where the figures come from.
        machine: QEMU's name of the very board, with its memory and its console; None: it has only the core.
        firmware, console: of vmcu's own firmware; None: there is none for this board.
        probe, power: None where nothing is known.
        meter: None: no pin tells when the model runs.
        pool_region, weights_region: where the user wants them, "A,B" for a pool split over two regions; None: vmcu
            chooses (`targets.place`).
    """

    name: str
    description: str
    core: str
    isa: Isa
    ram: tuple[Region, ...]
    flash: tuple[Region, ...]
    clock_hz: int | None
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    memory: Memory
    qemu: Qemu | None
    unicorn_cpu: str | None
    source: str
    machine: str | None = None
    firmware: Setup | None = None
    console: Console | None = None
    probe: Probe | None = None
    power: Power | None = None
    meter: Meter | None = None
    pool_region: str | None = None
    weights_region: str | None = None

    @property
    def is_board(self) -> bool:
        """Is it a chip one can buy, rather than a core?"""
        return self.clock_hz is not None

    @property
    def ram_bytes(self) -> int:
        """The largest piece of RAM that the pool may go to, with stack and variables or without."""
        if pair := self.pool_pair():
            return self.split_bytes + pair[1].size_bytes
        return max((r.size_bytes for r in self.pool_regions()), default=0)

    @property
    def split_bytes(self) -> int:
        """Of the first array of a split pool; 0: it is not split."""
        pair = self.pool_pair()
        return max(8, (pair[0].size_bytes - BESIDE_POOL_BYTES) // 8 * 8) if pair else 0

    def pool_pair(self) -> tuple[Region, Region] | None:
        """The two regions of a split pool, that of its beginning first; None: it goes to one region."""
        named = {r.name: r for r in self.regions()}
        if self.pool_region is None or self.pool_region in named:
            return None
        first, _, second = self.pool_region.partition(",")
        return named[first], named[second]

    def pairs(self) -> tuple[tuple[Region, Region], ...]:
        """Pieces of internal RAM over which a pool may be split: no piece of `spans` has both.

        The fastest first, then the same pairs turned round: a small region may hold the pool's beginning and leave the larger one
        room for stack and variables.
        """
        spans = self.spans()
        found = [
            (a, b)
            for i, a in enumerate(spans)
            for b in spans[i + 1 :]
            if not any(s.origin <= min(a.origin, b.origin) and max(a.end, b.end) <= s.end for s in spans)
        ]
        return (*found, *((b, a) for a, b in found))

    @property
    def flash_bytes(self) -> int:
        """The region that holds code."""
        return self.flash[0].size_bytes

    def pool_regions(self) -> tuple[Region, ...]:
        """Where a pool in one piece may go, the best first: what the user named, else `spans`."""
        if self.pool_region is None:
            return self.spans()
        return tuple(r for r in self.regions() if r.name == self.pool_region)

    def regions(self) -> tuple[Region, ...]:
        """Every RAM that can be named: the regions, external ones too, then those of `joined`."""
        return (*self.ram, *self.joined())

    def spans(self) -> tuple[Region, ...]:
        """Pieces of internal RAM: the regions, the fastest first, then those of `joined`, the smallest first."""
        return (*(r for r in self.ram if r.kind == "internal"), *self.joined())

    def joined(self) -> tuple[Region, ...]:
        """Internal regions that begin where another one ends, as one piece: every run of two and more.

        It has the names of its parts with "+" between them, and the wait states of the slowest.
        """
        ordered = sorted((r for r in self.ram if r.kind == "internal"), key=lambda r: r.origin)
        found: list[Region] = []
        for first, piece in enumerate(ordered):
            for after in ordered[first + 1 :]:
                if after.origin != piece.end:
                    break
                slowest = max(piece.wait_states, after.wait_states)
                size = piece.size_bytes + after.size_bytes
                piece = Region(f"{piece.name}+{after.name}", piece.origin, size, slowest)
                found.append(piece)
        return tuple(sorted(found, key=lambda r: (r.size_bytes, r.origin)))
