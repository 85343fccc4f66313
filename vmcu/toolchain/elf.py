"""Reads what vmcu needs from little-endian 32-bit ELF files: sections, symbols, segments.

Our own few lines, because the base installation has no ELF library.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from vmcu.errors import Exit, fail

SHT_SYMTAB, SHT_NOBITS, SHT_REL = 2, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_FUNC = 2
_PT_LOAD = 1


@dataclass(frozen=True, slots=True)
class Section:
    """A section header. `size_bytes` counts also where the file holds nothing (`.bss`)."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size_bytes: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol. `address` has the Thumb bit where `kind` is `STT_FUNC`; `section` is an index."""

    name: str
    address: int
    size_bytes: int
    kind: int
    section: int


@dataclass(frozen=True, slots=True)
class Elf:
    """One ELF file, read whole."""

    data: bytes
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def content(self, section: Section) -> bytes:
        """The bytes of a section; zeros where the file holds none."""
        if section.kind == SHT_NOBITS:
            return bytes(section.size_bytes)
        return self.data[section.offset : section.offset + section.size_bytes]

    def size_bytes(self, with_flags: int, without_flags: int) -> int:
        """Bytes of all allocated sections that have all of one set of flags and none of another."""
        return sum(
            s.size_bytes
            for s in self.sections
            if s.flags & SHF_ALLOC and s.flags & with_flags == with_flags and not s.flags & without_flags
        )

    def segments(self, *, stored: bool = False) -> tuple[tuple[int, bytes], ...]:
        """(address in memory, content) of what a loader copies.

        Args:
            stored: the addresses where a chip keeps it while it is off: variables with a value lie in flash then.
        """
        offset, size, count = (_u32(self.data, 28), *struct.unpack_from("<HH", self.data, 42))
        found = []
        for i in range(count):
            kind, at, address, load, length = struct.unpack_from("<5I", self.data, offset + i * size)
            if kind == _PT_LOAD and length:
                found.append((load if stored else address, self.data[at : at + length]))
        return tuple(found)

    def function_at(self, address: int) -> str:
        """`name+0x12` of the function that holds an address, or the address itself."""
        for s in self.symbols:
            start = s.address & ~1
            if s.kind == STT_FUNC and start <= address < start + s.size_bytes:
                return s.name if address == start else f"{s.name}+{address - start:#x}"
        return f"{address:#010x}"


def read_elf(path: Path) -> Elf:
    """Reads an object file or a program.

    Raises:
        VmcuError: (TOOL) the file is no 32-bit little-endian ELF.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise fail("is no 32-bit little-endian ELF file", path.name, "check the compiler", Exit.TOOL)
    offset, size, count, names = (_u32(data, 32), *struct.unpack_from("<3H", data, 46))
    raw = [struct.unpack_from("<10I", data, offset + i * size) for i in range(count)]
    text = raw[names][4]
    sections = tuple(
        Section(_string(data, text + r[0]), r[1], r[2], r[3], r[4], r[5], r[6], r[7]) for r in raw
    )
    symbols: list[Symbol] = []
    for table in sections:
        if table.kind == SHT_SYMTAB:
            base = sections[table.link].offset
            for at in range(table.offset, table.offset + table.size_bytes, 16):
                name, value, length, info, _, section = struct.unpack_from("<IIIBBH", data, at)
                symbols.append(Symbol(_string(data, base + name), value, length, info & 15, section))
    return Elf(data, sections, tuple(symbols))


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
