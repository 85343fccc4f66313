"""Thumb machine code -> what a timing model asks of an instruction: its kind, its registers, its words.

Encodings: Armv7-M and Armv8-M Architecture Reference Manuals (DDI0403, part A5; DDI0553, part C2). Helium and
the low-overhead loops of Armv8.1-M are not read: no core with a timing table has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "alu",  # data processing without the shifter
    "shift",  # shifts, shifted operands, extension, bit fields, saturation
    "simd",  # parallel addition, PKH, SEL, REV, CLZ, saturating addition
    "mul",
    "mla",  # with accumulation, dual 16-bit ones included
    "mull",  # 64-bit result
    "mlal",  # 64-bit accumulation
    "div",
    "load",
    "load_pair",
    "load_many",
    "store",
    "store_pair",
    "store_many",
    "branch",
    "call",
    "branch_register",
    "branch_table",
    "it",
    "other",  # hints, barriers, special registers
    "vfp",  # addition, multiplication, conversion, comparison
    "vfp_mac",
    "vfp_div",  # and square root
    "vfp_move",  # between the register files
    "vfp_move_pair",
    "vfp_load",
    "vfp_load_many",
    "vfp_store",
    "vfp_store_many",
]
SP, PC = 13, 15
_S0 = 16  # bit of the register s0 in a mask; r0 to r15 are bits 0 to 15


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        kind: what it is to a timing model.
        reads: mask of the registers that it needs early: operands, addresses.
        late: mask of those that it needs late: accumulators, stored data.
        writes: mask of its results; a base register that a load or store updates is not among them.
        words: of memory that it moves, for pairs and lists.
    """

    kind: Kind
    reads: int = 0
    late: int = 0
    writes: int = 0
    words: int = 1


def decode(first: int, second: int) -> Instruction:
    """Reads an instruction of one halfword (`second` is 0) or two."""
    top = first >> 11
    if top < 0b11101:
        return _narrow(first)
    if top == 0b11101:
        return _memory_or_shifted(first, second)
    if top == 0b11110:
        return _control(first, second) if second & 0x8000 else _immediate(first, second)
    return _wide(first, second)


def _r(*numbers: int) -> int:
    mask = 0
    for n in numbers:
        mask |= 1 << n
    return mask & ~(1 << PC)


def _narrow(first: int) -> Instruction:
    low, mid, high, wide = first & 7, first >> 3 & 7, first >> 6 & 7, first >> 8 & 7
    nibble = first >> 12
    if nibble < 4:
        op = first >> 11
        if op < 3:
            return Instruction("alu" if first >> 6 == 0 else "shift", _r(mid), 0, _r(low))
        if op == 3:
            return Instruction("alu", _r(mid) if first & 0x400 else _r(mid, high), 0, _r(low))
        return Instruction("alu", 0 if op == 4 else _r(wide), 0, 0 if op == 5 else _r(wide))
    if nibble == 4:
        return _narrow_registers(first)
    if nibble == 5:
        return _access(first >> 9 & 7 >= 3, low, _r(mid, high))
    if nibble in (6, 7, 8):
        return _access(bool(first & 0x800), low, _r(mid))
    if nibble == 9:
        return _access(bool(first & 0x800), wide, _r(SP))
    if nibble == 10:
        return Instruction("alu", _r(SP) if first & 0x800 else 0, 0, _r(wide))
    if nibble == 11:
        return _narrow_misc(first)
    if nibble == 12:
        return _many(bool(first & 0x800), wide, first & 0xFF)
    if nibble == 13:
        return Instruction("branch" if first >> 8 & 15 < 14 else "other")
    return Instruction("branch")


def _narrow_registers(first: int) -> Instruction:
    low, mid = first & 7, first >> 3 & 7
    if first & 0x800:
        return _access(True, first >> 8 & 7, 0)
    if first & 0x400:
        rm, rd, op = first >> 3 & 15, first >> 4 & 8 | low, first >> 8 & 3
        if op == 3:
            return Instruction("branch_register", _r(rm))
        return Instruction("alu", _r(rm) if op == 2 else _r(rd, rm), 0, 0 if op == 1 else _r(rd))
    op = first >> 6 & 15
    kind: Kind = "mul" if op == 13 else "shift" if op in (2, 3, 4, 7) else "alu"
    reads = _r(mid) if op in (9, 15) else _r(low, mid)
    return Instruction(kind, reads, 0, 0 if op in (8, 10, 11) else _r(low))


def _narrow_misc(first: int) -> Instruction:
    op = first >> 8 & 15
    if op == 0:
        return Instruction("alu", _r(SP), 0, _r(SP))
    if op in (1, 3, 9, 11):
        return Instruction("branch", _r(first & 7))
    if op in (2, 10):
        return Instruction("shift" if op == 2 else "simd", _r(first >> 3 & 7), 0, _r(first & 7))
    if op in (4, 5):
        return _many(False, SP, first & 0xFF | (first & 0x100) << 6)
    if op in (12, 13):
        return _many(True, SP, first & 0xFF | (first & 0x100) << 7)
    return Instruction("it" if op == 15 and first & 15 else "other")


def _access(is_load: bool, rt: int, address: int) -> Instruction:
    return Instruction("load", address, 0, _r(rt)) if is_load else Instruction("store", address, _r(rt))


def _many(is_load: bool, rn: int, registers: int) -> Instruction:
    words, mask = registers.bit_count(), registers & ~(1 << PC)
    if is_load:
        return Instruction("load_many", _r(rn), 0, mask, words)
    return Instruction("store_many", _r(rn), mask, 0, words)


def _memory_or_shifted(first: int, second: int) -> Instruction:
    rn, rt, rd, rm = first & 15, second >> 12, second >> 8 & 15, second & 15
    if first & 0x400:
        return _vfp(first, second)
    if first & 0x200:
        op, shifted = first >> 5 & 15, bool(second & 0x70F0)
        kind: Kind = "simd" if op == 6 else "shift" if shifted else "alu"
        return Instruction(kind, _r(rn, rm), 0, _result(first, op, rd))
    if not first & 0x40:
        return _many(bool(first & 0x10), rn, second)
    if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
        return Instruction("branch_table", _r(rn, rm))
    if first & 0x120:
        if first & 0x10:
            return Instruction("load_pair", _r(rn), 0, _r(rt, rd), 2)
        return Instruction("store_pair", _r(rn), _r(rt, rd), 0, 2)
    if first & 0x10:  # exclusive
        return Instruction("load", _r(rn), 0, _r(rt))
    return Instruction("store", _r(rn), _r(rt), _r(rd))


def _result(first: int, op: int, rd: int) -> int:
    """Mask of Rd; comparisons (op with S and Rd = 15) have none."""
    return 0 if first & 0x10 and rd == PC and op in (0, 4, 8, 13) else _r(rd)


def _control(first: int, second: int) -> Instruction:
    if second & 0xD000 == 0xD000:
        return Instruction("call")
    if second & 0x1000 or first >> 6 & 15 < 14:
        return Instruction("branch")
    return Instruction("other")


def _immediate(first: int, second: int) -> Instruction:
    rn, rd, op = first & 15, second >> 8 & 15, first >> 4 & 31
    if not first & 0x200:
        return Instruction("alu", _r(rn), 0, _result(first, first >> 5 & 15, rd))
    if op == 4:  # MOVW
        return Instruction("alu", 0, 0, _r(rd))
    if op in (0, 10, 12):  # ADDW, SUBW, MOVT
        return Instruction("alu", _r(rd) if op == 12 else _r(rn), 0, _r(rd))
    return Instruction("shift", _r(rn, rd) if op == 22 else _r(rn), 0, _r(rd))


def _wide(first: int, second: int) -> Instruction:
    rn, rt, rd, rm = first & 15, second >> 12, second >> 8 & 15, second & 15
    group = first >> 8 & 7
    if group < 2:
        is_load, is_word = bool(first & 0x10), first >> 5 & 3 == 2
        by_register = not first & 0x80 and rn != PC and not second & 0xFC0
        if is_load and rt == PC and not is_word:
            return Instruction("other")  # PLD, PLI
        return _access(is_load, rt, _r(rn, rm) if by_register else _r(rn))
    if group == 2:
        op = first >> 4 & 15
        return Instruction("shift" if op < 8 else "simd", _r(rn, rm), 0, _r(rd))
    if group == 3:
        return _multiply(first, second)
    return _vfp(first, second)


def _multiply(first: int, second: int) -> Instruction:
    rn, ra, rd, rm = first & 15, second >> 12, second >> 8 & 15, second & 15
    op = first >> 4 & 7
    if not first & 0x80:
        return Instruction("mul" if ra == PC else "mla", _r(rn, rm), _r(ra), _r(rd))
    if op in (1, 3):
        return Instruction("div", _r(rn, rm), 0, _r(rd))
    if op < 4:
        return Instruction("mull", _r(rn, rm), 0, _r(ra, rd))
    return Instruction("mlal", _r(rn, rm), _r(ra, rd), _r(ra, rd))


def _vfp(first: int, second: int) -> Instruction:
    if second >> 8 & 14 != 10:
        return Instruction("other")
    double = bool(second & 0x100)
    d = _s(second >> 12, first >> 6 & 1, double)
    n = _s(first & 15, second >> 7 & 1, double)
    m = _s(second & 15, second >> 5 & 1, double)
    rt = second >> 12
    if first >> 9 == 0b1110110:
        return _vfp_memory(first, second, d, m)
    if first & 0xFFE0 == 0xEEE0 and second & 0x10:  # VMRS, VMSR
        return Instruction("vfp_move", 0, 0, _r(rt)) if first & 0x10 else Instruction("vfp_move", _r(rt))
    if first >> 8 == 0xEE and second & 0x10:
        if first & 0x10:
            return Instruction("vfp_move", n, 0, _r(rt))
        return Instruction("vfp_move", _r(rt), 0, n)
    if first >> 8 == 0xFE:
        return Instruction("vfp", m if first & 0xB0 == 0xB0 else n | m, 0, d)
    op = first >> 4 & 11
    if op in (0, 1, 9, 10):
        return Instruction("vfp_mac", n | m, d, d)
    if op == 11:
        kind: Kind = "vfp_div" if first & 15 == 1 and second >> 6 & 3 == 3 else "vfp"
        compares = first & 14 == 4
        has_m = second & 0x40 and first & 15 != 5  # not: a constant, a comparison with zero
        reads = (m if has_m else 0) | (d if compares else 0)
        return Instruction(kind, reads, 0, 0 if compares else d)
    return Instruction("vfp_div" if op == 8 else "vfp", n | m, 0, d)


def _vfp_memory(first: int, second: int, d: int, m: int) -> Instruction:
    rn, rt = first & 15, second >> 12
    is_load = bool(first & 0x10)
    if first & 0xFFE0 == 0xEC40:
        core, pair = _r(rt, rn), m if second & 0x100 else m | m << 1
        if is_load:
            return Instruction("vfp_move_pair", pair, 0, core)
        return Instruction("vfp_move_pair", core, 0, pair)
    if first & 0x120 == 0x100:
        words = 2 if second & 0x100 else 1
        if is_load:
            return Instruction("vfp_load", _r(rn), 0, d, words)
        return Instruction("vfp_store", _r(rn), d, 0, words)
    words = second & 0xFF
    lowest = (d & -d).bit_length() - 1
    registers = ((1 << words) - 1) << lowest
    if is_load:
        return Instruction("vfp_load_many", _r(rn), 0, registers, words)
    return Instruction("vfp_store_many", _r(rn), registers, 0, words)


def _s(field: int, bit: int, double: bool) -> int:
    """Mask of a register: s(2 * field + bit), or d(16 * bit + field) as two of them."""
    if double:
        return 3 << (_S0 + 2 * (16 * bit + field))
    return 1 << (_S0 + 2 * field + bit)
