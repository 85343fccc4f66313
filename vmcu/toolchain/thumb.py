"""Reads just enough Thumb machine code to draw a call graph and to bound a stack frame.

Encodings: Armv8-M Architecture Reference Manual, part C2. Needed because neither compiler reports
calls in the linked program, nor the stack of library functions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from vmcu.toolchain.elf import SHF_EXECINSTR, STT_FUNC, Elf


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a linked program.

    Attributes:
        name, address, size_bytes: of its symbol, without the Thumb bit.
        targets: addresses outside of it that it calls or jumps to, and its own if it calls itself.
        indirect: it calls through a pointer.
        pushed_bytes: all pushes and stack subtractions in its body added up, which is at least its
            frame; None if it moves the stack pointer by a register.
    """

    name: str
    address: int
    size_bytes: int
    targets: frozenset[int]
    indirect: bool
    pushed_bytes: int | None


@dataclass(frozen=True, slots=True)
class Code:
    """The executable sections of a program, and where in them there is data."""

    chunks: tuple[tuple[int, bytes], ...]
    marks: tuple[tuple[int, bool], ...]  # from this address on: is it code?

    def instructions(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(address, first halfword, second halfword or 0) of every instruction in [start, end)."""
        base, data = next(c for c in self.chunks if c[0] <= start < c[0] + len(c[1]))
        at = start
        while at < end:
            if not self._is_code(at):
                at += 2
                continue
            first = int.from_bytes(data[at - base : at - base + 2], "little")
            wide = first >> 11 in (0b11101, 0b11110, 0b11111)
            second = int.from_bytes(data[at - base + 2 : at - base + 4], "little") if wide else 0
            yield at, first, second
            at += 4 if wide else 2

    def _is_code(self, address: int) -> bool:
        i = bisect_right(self.marks, (address, True)) - 1
        return i < 0 or self.marks[i][1]


def code_of(elf: Elf) -> Code:
    """Code and data of a program, by the mapping symbols `$t` and `$d` (Arm ELF ABI, 4.5.5)."""
    marks = {
        s.address & ~1: s.name.startswith("$t")
        for s in elf.symbols
        if s.name[:3] in ("$t", "$t.", "$d", "$d.")
    }
    chunks = tuple(
        (s.address, elf.content(s)) for s in elf.sections if s.flags & SHF_EXECINSTR and s.size_bytes
    )
    return Code(chunks, tuple(sorted(marks.items())))


def functions_of(elf: Elf) -> dict[int, Function]:
    """Every function of a linked program, by address."""
    code = code_of(elf)
    names = {s.address & ~1: s for s in elf.symbols if s.kind == STT_FUNC and s.section}
    starts = sorted(names)
    found: dict[int, Function] = {}
    for start, following in zip_longest(starts, starts[1:]):
        size = names[start].size_bytes
        if not size:  # assembly in libgcc: up to the next function
            limit = next(a + len(data) for a, data in code.chunks if a <= start < a + len(data))
            size = min(limit, following or limit) - start
        found[start] = _function(code, names[start].name, start, size)
    return found


def _function(code: Code, name: str, start: int, size: int) -> Function:
    targets: set[int] = set()
    indirect, pushed = False, 0
    known = True
    for at, first, second in code.instructions(start, start + size):
        target = _branch(at, first, second)
        is_call = second & 0xD000 == 0xD000
        if target is not None and (not start <= target < start + size or (is_call and target == start)):
            targets.add(target)
        indirect = indirect or _is_indirect(first, second)
        moved = _pushed(first, second)
        known = known and moved is not None
        pushed += moved or 0
    return Function(name, start, size, frozenset(targets), indirect, pushed if known else None)


def _branch(at: int, first: int, second: int) -> int | None:
    """Target of B or BL (T1 to T4), else None."""
    if first & 0xF800 == 0xE000:
        return at + 4 + _signed((first & 0x7FF) << 1, 12)
    if first & 0xF000 == 0xD000 and first >> 8 & 15 < 14:
        return at + 4 + _signed((first & 0xFF) << 1, 9)
    if first & 0xF800 != 0xF000 or not second & 0x8000:
        return None
    sign, j1, j2, low = first >> 10 & 1, second >> 13 & 1, second >> 11 & 1, second & 0x7FF
    if second & 0x1000:  # BL and B.W
        i1, i2 = 1 - (j1 ^ sign), 1 - (j2 ^ sign)
        bits = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | low << 1
        return at + 4 + _signed(bits, 25)
    if not second & 0x4000 and first >> 6 & 15 < 14:  # B<c>.W
        bits = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3F) << 12 | low << 1
        return at + 4 + _signed(bits, 21)
    return None


def _is_indirect(first: int, second: int) -> bool:
    """BLX Rm, BX Rm but for LR, LDR PC from a literal."""
    if first & 0xFF87 == 0x4780:
        return True
    if first & 0xFF87 == 0x4700:
        return first >> 3 & 15 != 14
    return first & 0xFF7F == 0xF85F and second >> 12 == 15


def _pushed(first: int, second: int) -> int | None:
    """Bytes by which an instruction moves the stack down; None if only a register knows."""
    if first & 0xFE00 == 0xB400:  # PUSH
        return 4 * (first & 0x1FF).bit_count()
    if first & 0xFF80 == 0xB080:  # SUB SP, #imm
        return 4 * (first & 0x7F)
    if first == 0xE92D:  # PUSH.W
        return 4 * second.bit_count()
    if first == 0xF84D and second & 0xF00 == 0xD00:  # STR Rt, [SP, #-imm]!
        return second & 0xFF
    if first == 0xE96D:  # STRD Rt, Rt2, [SP, #-imm]!
        return 4 * (second & 0xFF)
    if first & 0xFFBF == 0xED2D:  # VPUSH
        return 4 * (second & 0xFF)
    if first & 0xFBFF in (0xF1AD, 0xF2AD) and second >> 8 & 15 == 13:  # SUB.W, SUBW SP, SP, #imm
        bits = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
        return bits if first & 0x200 else _expand(bits)
    moves_by_register = first & 0xFF87 == 0x4485 or (first & 0xFFEF == 0xEBAD and second >> 8 & 15 == 13)
    return None if moves_by_register else 0


def _expand(bits: int) -> int:
    """ThumbExpandImm of the 12-bit immediate."""
    low = bits & 0xFF
    if bits >> 10 == 0:
        return (low, low | low << 16, low << 8 | low << 24, low * 0x01010101)[bits >> 8 & 3]
    value, rotation = 0x80 | bits & 0x7F, bits >> 7
    return (value >> rotation | value << (32 - rotation)) & 0xFFFFFFFF


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
