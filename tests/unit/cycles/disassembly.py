"""What GNU objdump says of machine code, in the terms of `vmcu.cycles.decode`: an independent opinion."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OBJDUMP = shutil.which("arm-none-eabi-objdump")
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+((?:[0-9a-f]{4} ?){1,2})\s*\t([a-z0-9.]+)\s*([^;@<]*)")
_CONDITION = "(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
_KINDS = (
    (r"it[te]{0,3}", "it"),
    (r"bl", "call"),
    (rf"(bx|blx){_CONDITION}", "branch_register"),
    (r"tb[bh]", "branch_table"),
    (rf"b{_CONDITION}|cbn?z", "branch"),
    (r"vldm.*|vpop", "vfp_load_many"),
    (r"vstm.*|vpush", "vfp_store_many"),
    (r"vldr", "vfp_load"),
    (r"vstr", "vfp_store"),
    (r"vdiv.*|vsqrt.*", "vfp_div"),
    (r"v(n?ml[as]|fn?m[as]).*", "vfp_mac"),
    (r"vmrs|vmsr", "vfp_move"),
    (r"v(n?mul|add|sub|abs|neg|cmpe?|cvt[a-z]?|sel\w\w|maxnm|minnm|rint[a-z])\..*", "vfp"),
    (r"ldrd", "load_pair"),
    (r"strd", "store_pair"),
    (r"(ldm|pop).*", "load_many"),
    (r"(stm|push).*", "store_many"),
    (r"ldr.*", "load"),
    (r"str.*", "store"),
    (r"[su]div", "div"),
    (r"(ml[as]|smla([bt][bt]|w[bt]|d|dx)|smls(d|dx)|smm(la|ls)r?|usada8)", "mla"),
    (r"(muls?|smul([bt][bt]|w[bt])|smu[as]dx?|smmulr?|usad8)", "mul"),
    (r"(smlal.*|umlal|umaal|smlsld.*)", "mlal"),
    (r"[su]mull", "mull"),
    (r"(lsl|lsr|asr|ror|rrx)s?", "shift"),
    (r"([su]xta?[bh]|[su]xta?b16|[su]bfx|bfi|bfc|[su]sat(16)?)", "shift"),
    (r"(rev(16|sh)?|rbit|clz|sel|pkh(bt|tb)|(u?q|[su]h?)(add|sub|asx|sax)(8|16)?|qd?(add|sub))", "simd"),
    (r"(nop|msr|mrs|cps.*|dmb|dsb|isb|udf|bkpt|wf[ei]|svc|yield|pld|sev|cpsi[de])", "other"),
    (r"(add|sub|adc|sbc|rsb|and|orr|orn|eor|bic|mvn|mov|movw|movt|addw|subw|cmp|cmn|tst|teq|adr|neg)s?", "alu"),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One instruction: where, its halfwords, what it is and its operands."""

    address: int
    first: int
    second: int
    mnemonic: str
    operands: str

    @property
    def is_copy_to_itself(self) -> bool:
        """`mov r8, r8`, which objdump calls a nop."""
        return self.first == 0x46C0

    @property
    def kind(self) -> str:
        """As `decode` calls it."""
        name = re.sub(r"\.(w|n)$", "", self.mnemonic)
        if name.startswith("vmov"):
            return self._move()
        for pattern, kind in _KINDS:
            bare = re.fullmatch(rf"({pattern}){_CONDITION}(\..*)?", name)
            if re.fullmatch(pattern, name) or bare:
                if kind == "alu" and re.search(r"\b(lsl|lsr|asr|ror) #|rrx", self.operands):
                    return "shift"
                return kind
        raise ValueError(f"{self.mnemonic} {self.operands}")

    def _move(self) -> str:
        core = len(re.findall(r"\b(r\d+|sl|fp|ip|sp|lr)\b", self.operands))
        return ("vfp", "vfp_move", "vfp_move_pair")[core]


def disassemble(path: Path) -> Iterator[Line]:
    """Every instruction of a program."""
    text = subprocess.run((OBJDUMP or "", "-d", str(path)), capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        if (found := _LINE.match(line)) and not found[3].startswith("."):
            halves = [int(h, 16) for h in found[2].split()]
            yield Line(
                int(found[1], 16), halves[0], halves[1] if len(halves) > 1 else 0, found[3], found[4].strip()
            )


_NAMES = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}


def registers(operands: str) -> int:
    """Mask of the registers that are named, as `decode` numbers them, but for the PC."""
    mask = 0
    for low, high in re.findall(r"\b((?:[rsd]\d+|sl|fp|ip|sp|lr|pc)\b)(?:-(\w+))?", operands):
        first = _bits(low)
        mask |= first
        if high:
            last = _bits(high)
            mask |= ((1 << last.bit_length()) - 1) & ~(first - 1)
    return mask & ~(1 << 15)


def _bits(name: str) -> int:
    if name in _NAMES:
        return 1 << _NAMES[name]
    number = int(name[1:])
    return {"r": 1 << number, "s": 1 << (16 + number), "d": 3 << (16 + 2 * number)}[name[0]]
