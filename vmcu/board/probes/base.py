"""The interface of a probe, and what is written through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serial.tools import list_ports

from vmcu.errors import Exit, VmcuError, fail
from vmcu.targets import Target
from vmcu.toolchain.elf import read_elf

_HEX_BYTES = 16


@dataclass(frozen=True, slots=True)
class Image:
    """A program as a chip stores it.

    Attributes:
        elf: the file it comes from.
        segments: (address, content), by address, without overlap.
        vectors: address of the vector table: initial stack pointer and first instruction.
    """

    elf: Path
    segments: tuple[tuple[int, bytes], ...]
    vectors: int

    @property
    def size_bytes(self) -> int:
        """Of what is written."""
        return sum(len(data) for _, data in self.segments)

    def word(self, address: int) -> int:
        """A little-endian word of it."""
        for start, data in self.segments:
            if start <= address and address + 4 <= start + len(data):
                return int.from_bytes(data[address - start : address - start + 4], "little")
        raise KeyError(address)

    def binary(self) -> tuple[int, bytes]:
        """Its first address, and all bytes from there; gaps read as erased flash."""
        start = self.segments[0][0]
        content = bytearray()
        for address, data in self.segments:
            content += b"\xff" * (address - start - len(content)) + data
        return start, bytes(content)

    def hex(self) -> str:
        """As Intel HEX."""
        lines, high = [], -1
        for start, data in self.segments:
            at = 0
            while at < len(data):
                address = start + at
                count = min(_HEX_BYTES, len(data) - at, 0x10000 - (address & 0xFFFF))
                if address >> 16 != high:
                    high = address >> 16
                    lines.append(_record(4, 0, high.to_bytes(2, "big")))
                lines.append(_record(0, address & 0xFFFF, data[at : at + count]))
                at += count
        return "\n".join([*lines, ":00000001FF"]) + "\n"


@dataclass(frozen=True, slots=True)
class Found:
    """A probe that is plugged in: how the user names it, and what it is."""

    uid: str
    text: str


class Connection(Protocol):
    """A probe with a chip behind it; its core is halted until `start`."""

    text: str

    def read_word(self, address: int) -> int | None:
        """A word of the chip's memory; None where this probe cannot read."""

    def write(self, image: Image) -> None:
        """Erases what has to be and writes."""

    def verify(self, image: Image) -> bool:
        """Reads back and compares; False where this probe cannot.

        Raises:
            VmcuError: (TOOL) it differs.
        """

    def start(self, image: Image) -> None:
        """Resets the chip and lets it run."""

    def close(self) -> None:
        """Lets go of the probe, whatever has happened."""


class Probe(Protocol):
    """A kind of probe, or of program that drives one."""

    via: str

    def missing(self, target: Target) -> str | None:
        """What has to be there first, as a remedy; None: it can be tried."""

    def find(self, target: Target) -> Sequence[Found]:
        """What is plugged in and could lead to the board."""

    def open(self, target: Target, uid: str) -> Connection:
        """Connects to the chip.

        Raises:
            VmcuError: (TOOL) it does not answer.
        """


def read_image(elf: Path) -> Image:
    """The content of a linked program.

    Raises:
        VmcuError: (TOOL) it is no program.
    """
    parsed = read_elf(elf)
    segments = tuple(sorted(parsed.segments(stored=True)))
    vectors = next((s.address for s in parsed.sections if s.name == ".vectors"), None)
    if not segments or vectors is None:
        raise fail("has no vector table: it is no firmware", elf.name, "build it with vmcu", Exit.TOOL)
    return Image(elf, segments, vectors)


def differs(text: str, address: int) -> VmcuError:
    """What was read back is not what was written."""
    what = f"what was read back differs at {address:#010x}"
    return fail(what, text, "flash again; is the flash protected, or the supply weak?", Exit.TOOL)


def first_difference(address: int, written: bytes, read: bytes) -> int | None:
    """The address of the first byte that is not what it should be."""
    if written == read:
        return None
    pairs = zip(written, read, strict=False)
    return address + next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(written), len(read)))


def usb_probes(target: Target) -> list[Found]:
    """Probes on the board itself, by the USB number of the serial port that they bring along."""
    wanted = set(target.probe.usb) if target.probe else set()
    return [
        Found(str(p.serial_number), f"{p.description} at {p.device}")
        for p in list_ports.comports()
        if p.vid is not None and f"{p.vid:04x}:{p.pid:04x}" in wanted and p.serial_number
    ]


def _record(kind: int, address: int, data: bytes) -> str:
    body = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return f":{body.hex().upper()}{-sum(body) & 0xFF:02X}"
