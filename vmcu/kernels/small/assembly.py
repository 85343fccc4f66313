"""What Cortex-M3 and Cortex-M0+ add to `vmcu/kernels/assembly.py`: loads of signed bytes, products of words.

Both classes offer the same methods as far as the two instruction sets go; `Thumb1` uses low registers (0 to 7) but where a
method says otherwise, and only its own methods and those of `Program` that its comment names.

Source of the instructions: Armv7-M Architecture Reference Manual, section A7.7; Armv6-M, section A6.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

from vmcu.kernels.assembly import Program, Reg, _Line

MOST_OFFSET = 4095  # of a load or store in Thumb-2
HALF = "0x80000000"


class Thumb2(Program):
    """A function in Thumb-2 without DSP."""

    guard: ClassVar[str] = "VMCU_THUMB2"

    def byte(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """reg = the signed byte at base + offset; base += step (then the offset is 0)."""
        address = f"[{base.asm}], #{step}" if step else f"[{base.asm}, #{offset}]"
        at = f"*{base.name}" if not offset else f"{base.name}[{offset}]"
        self._add(
            f"ldrsb {reg.asm}, {address}",
            f"{reg.name} = {at};" + (f" {base.name} += {step};" if step else ""),
        )

    def byte_at(self, reg: Reg, base: Reg, index: Reg) -> None:
        """reg = the signed byte at base + index."""
        self._add(f"ldrsb {reg.asm}, [{base.asm}, {index.asm}]", f"{reg.name} = {base.name}[{index.name}];")

    def multiply_add(self, acc: Reg, a: Reg, b: Reg) -> None:
        """acc += a * b."""
        self._add(
            f"mla {acc.asm}, {a.asm}, {b.asm}, {acc.asm}",
            f"{acc.name} = vmcu_mla({a.name}, {b.name}, {acc.name});",
        )

    def long_mla(self, low: Reg, high: Reg, a: Reg, b: Reg) -> None:
        """high * 2^32 + low += a * b."""
        c = f"vmcu_long_mla(&{low.name}, &{high.name}, {a.name}, {b.name});"
        self._add(f"smlal {low.asm}, {high.asm}, {a.asm}, {b.asm}", c)

    def unpack24(self, low: Reg, high: Reg, spare: Reg) -> None:
        """Of high * 2^32 + low: low = bits 0 to 23 minus 2^23, high = bits 24 to 55. Four instructions."""
        self._add(f"bic {spare.asm}, {low.asm}, #0xFF000000", "")
        self._add(f"lsr {low.asm}, {low.asm}, #24", "")
        self._add(f"orr {high.asm}, {low.asm}, {high.asm}, lsl #8", "")
        self._add(f"sub {low.asm}, {spare.asm}, #0x800000", f"vmcu_unpack24(&{low.name}, &{high.name});")

    def ends(self, to: Reg, word: Reg, mask: Reg, ror: int = 0) -> None:
        """to = bytes 0 and 3 of a word rotated right; mask is 0xFF0000FF."""
        shift = f", ror #{ror}" if ror else ""
        self._add(
            f"and {to.asm}, {mask.asm}, {word.asm}{shift}", f"{to.name} = vmcu_ends({word.name}, {ror});"
        )

    def ends_mask(self, to: Reg) -> None:
        """to = 0xFF0000FF."""
        self._add(f"mvn {to.asm}, #0xFF00", "")
        self._add(f"bic {to.asm}, {to.asm}, #0xFF0000", "")

    def unpack(self, low: Reg, high: Reg, spare: Reg) -> None:
        """Of high * 2^32 + low: low = bits 0 to 22 minus 2^22, high = bits 23 to 54. Four instructions."""
        self._add(f"ubfx {spare.asm}, {low.asm}, #0, #23", "")
        self._add(f"lsr {low.asm}, {low.asm}, #23", "")
        self._add(f"orr {high.asm}, {low.asm}, {high.asm}, lsl #9", "")
        self._add(f"sub {low.asm}, {spare.asm}, #0x400000", f"vmcu_unpack(&{low.name}, &{high.name});")

    def minus(self, x: Reg, value: int) -> None:
        """x -= value, -255..255; nothing for 0."""
        if value:
            op = "sub" if value > 0 else "add"
            self._add(f"{op} {x.asm}, {x.asm}, #{abs(value)}", f"{x.name} = vmcu_sub({x.name}, {value});")

    def shifted_left(self, x: Reg, by: int) -> None:
        """x <<= by."""
        self._add(f"lsl {x.asm}, {x.asm}, #{by}", f"{x.name} = vmcu_shl({x.name}, {by});")

    def add_shifted(self, to: Reg, a: Reg, b: Reg, by: int) -> None:
        """to = a + (b << by)."""
        c = f"{to.name} = vmcu_add({a.name}, vmcu_shl({b.name}, {by}));"
        self._add(f"add {to.asm}, {a.asm}, {b.asm}, lsl #{by}", c)

    def power(self, to: Reg, exponent: int) -> None:
        """to = 2^exponent, below 2^31."""
        self._add(f"mov {to.asm}, #{1 << exponent}", f"{to.name} = {1 << exponent};")

    def lowest(self, x: Reg, bits: int) -> None:
        """x = its lowest bits, up to 8."""
        mask = (1 << bits) - 1
        self._add(f"and {x.asm}, {x.asm}, #{mask}", f"{x.name} &= {mask};")

    def twice(self, x: Reg) -> None:
        """x = 2 * x."""
        self._add(f"lsl {x.asm}, {x.asm}, #1", f"{x.name} = vmcu_shl({x.name}, 1);")

    def upper(self, x: Reg, m: Reg, low: Reg) -> None:
        """x = x * m / 2^32, rounded down; `low` is lost."""
        self._add(
            f"smull {low.asm}, {x.asm}, {x.asm}, {m.asm}",
            f"{x.name} = vmcu_smlal({x.name}, {m.name}, 0, 0U);",
        )

    def add_upper_rounded(self, to: Reg, x: Reg, m: Reg, low: Reg) -> None:
        """to += x * m / 2^32, rounded to the nearest, ties up; `low` is lost. Two instructions."""
        self._add(f"mov {low.asm}, #{HALF}", "")
        c = f"{to.name} = vmcu_smlal({x.name}, {m.name}, {to.name}, {HALF}U);"
        self._add(f"smlal {low.asm}, {to.asm}, {x.asm}, {m.asm}", c)


class Thumb1(Program):
    """A function in Thumb-1. Of `Program` it uses get, put, load_all (its base is not among the registers) and store_byte with
    an offset below 32."""

    guard: ClassVar[str] = "VMCU_THUMB1"
    entry: ClassVar[tuple[str, ...]] = (
        "push {r0-r7, lr}",
        *(f"mov r{n - 4}, r{n}" for n in (8, 9, 10, 11)),
        "push {r4-r7}",
    )
    leave: ClassVar[tuple[str, ...]] = (
        "pop {r0-r3}",
        *(f"mov r{n + 8}, r{n}" for n in range(4)),
        "add sp, #16",
        "pop {r4-r7, pc}",
    )
    saved: ClassVar[int] = 16
    syntax: ClassVar[tuple[str, ...]] = (".syntax unified",)

    def copy(self, to: Reg, a: Reg) -> None:
        """to = a; any registers."""
        self._add(f"mov {to.asm}, {a.asm}", f"{to.name} = {a.name};")

    def constant(self, to: Reg, value: int) -> None:
        """to = value, -255..255. One instruction, or two."""
        self._add(f"movs {to.asm}, #{abs(value)}", f"{to.name} = {value};")
        if value < 0:
            self._add(f"negs {to.asm}, {to.asm}", "")

    def plus(self, to: Reg, a: Reg) -> None:
        """to += a; any registers."""
        self._add(f"add {to.asm}, {a.asm}", f"{to.name} = vmcu_add({to.name}, {a.name});")

    def plus_constant(self, to: Reg, value: int) -> None:
        """to += value; as many instructions as it takes."""
        left = abs(value)
        while left:
            part = min(left, 255)
            left -= part
            c = f"{to.name} = vmcu_add({to.name}, {value});" if not left else ""
            self._add(f"{'adds' if value > 0 else 'subs'} {to.asm}, #{part}", c)

    def forward(self, pointer: Reg, by: int) -> None:
        """pointer += by; as many instructions as it takes."""
        left = abs(by)
        while left:
            part = min(left, 255)
            left -= part
            c = f"{pointer.name} += {by};" if not left else ""
            self._add(f"{'adds' if by > 0 else 'subs'} {pointer.asm}, #{part}", c)

    def forward_by(self, pointer: Reg, by: Reg) -> None:
        """pointer += by; any registers."""
        self._add(f"add {pointer.asm}, {by.asm}", f"{pointer.name} += {by.name};")

    def row(self, pointer: Reg, rows: Reg) -> None:
        """pointer = what rows points to; rows moves to the next."""
        self._add(f"ldm {rows.asm}!, {{{pointer.asm}}}", f"{pointer.name} = *{rows.name}++;")

    def load_sums(self, to: Sequence[Reg], base: Reg, spare: Sequence[Reg], right: int = 0) -> None:
        """Consecutive words, >> right, into registers, high ones through the low ones `spare`; base moves behind them."""
        low = [r for r in to if r.number < 8]
        if low:
            self._load_shifted(low, base, right)
        for i in range(len(low), len(to), len(spare)):
            part = to[i : i + len(spare)]
            self._load_shifted(spare[: len(part)], base, right)
            for high, value in zip(part, spare, strict=False):
                self.copy(high, value)

    def _load_shifted(self, to: Sequence[Reg], base: Reg, right: int) -> None:
        self.load_all(to, base)
        for reg in to if right else ():
            self.right(reg, right)

    def byte(self, reg: Reg, base: Reg, index: Reg) -> None:
        """reg = the signed byte at base + index."""
        self._add(f"ldrsb {reg.asm}, [{base.asm}, {index.asm}]", f"{reg.name} = {base.name}[{index.name}];")

    def unsigned_byte(self, reg: Reg, base: Reg, offset: int) -> None:
        """reg = the byte at base + offset (below 32), not negative."""
        self._add(f"ldrb {reg.asm}, [{base.asm}, #{offset}]", f"{reg.name} = (uint8_t){base.name}[{offset}];")

    def multiply(self, to: Reg, a: Reg) -> None:
        """to *= a."""
        self._add(f"muls {to.asm}, {a.asm}, {to.asm}", f"{to.name} = vmcu_mul({to.name}, {a.name});")

    def left(self, reg: Reg, by: Reg | int) -> None:
        """reg <<= by; by in 1..31, or the lowest byte of a register, 0..31."""
        text = (by.asm, f"{by.name} & 255") if isinstance(by, Reg) else (f"{reg.asm}, #{by}", str(by))
        self._add(f"lsls {reg.asm}, {text[0]}", f"{reg.name} = vmcu_shl({reg.name}, {text[1]});")

    def right_unsigned(self, reg: Reg, by: int) -> None:
        """reg >>= by, zeros from above; by in 1..31."""
        self._add(f"lsrs {reg.asm}, {reg.asm}, #{by}", f"{reg.name} = vmcu_lsr({reg.name}, {by});")

    def minus(self, to: Reg, a: Reg) -> None:
        """to -= a."""
        self._add(f"subs {to.asm}, {to.asm}, {a.asm}", f"{to.name} = vmcu_sub({to.name}, {a.name});")

    def lower_half(self, to: Reg, a: Reg) -> None:
        """to = the lower halfword of a, with its sign."""
        self._add(f"sxth {to.asm}, {a.asm}", f"{to.name} = vmcu_low({a.name});")

    def store_at(self, reg: Reg, base: Reg, index: Reg) -> None:
        """The byte at base + index = reg's lowest."""
        self._add(
            f"strb {reg.asm}, [{base.asm}, {index.asm}]",
            f"vmcu_store_byte({base.name} + {index.name}, {reg.name});",
        )

    def negative_shifted(self, to: Reg, by: int) -> None:
        """to = -(to << by)."""
        self._add(f"lsls {to.asm}, {to.asm}, #{by}", "")
        self._add(f"negs {to.asm}, {to.asm}", f"{to.name} = vmcu_sub(0, vmcu_shl({to.name}, {by}));")

    def right(self, reg: Reg, by: Reg | int) -> None:
        """reg >>= by, keeping the sign."""
        if isinstance(by, Reg):
            self._add(f"asrs {reg.asm}, {by.asm}", f"{reg.name} >>= {by.name};")
        else:
            self._add(f"asrs {reg.asm}, {reg.asm}, #{by}", f"{reg.name} >>= {by};")

    def round_right(self, reg: Reg, by: int, more: Reg) -> None:
        """reg = reg / 2^by to the nearest, ties up, plus more."""
        self._add(f"asrs {reg.asm}, {reg.asm}, #{by}", "")
        self._add(f"adcs {reg.asm}, {more.asm}", f"{reg.name} = vmcu_asr_adc({reg.name}, {by}, {more.name});")

    def limit(self, reg: Reg, most: int, spare: Reg) -> None:
        """reg limited to 0..most; most is at most 255. Two instructions where nothing has to be done, six else."""
        self._add(f"cmp {reg.asm}, #{most}", "")
        self._add("bls 90f", "")
        rare = [
            f"asrs {reg.asm}, {reg.asm}, #31",
            f"movs {spare.asm}, #{most}",
            f"bics {spare.asm}, {reg.asm}",
            f"mov {reg.asm}, {spare.asm}",
        ]
        self._lines += [_Line(line, "", RARE) for line in rare]
        c = f"{reg.name} = {reg.name} < 0 ? 0 : ({reg.name} > {most} ? {most} : {reg.name});"
        self._lines.append(_Line("90:", c))

    @contextmanager
    def down_to_zero(self, name: str, index: Reg) -> Iterator[None]:
        """Repeats its body until `index` is 0; the body's last instruction changes it. At most 250 bytes."""
        self._labels += 1
        label = self._labels
        self._lines.append(_Line(f"{label}:", "do {"))
        self._loops.append(name)
        yield
        self._add(f"bne {label}b", "")
        self._loops.pop()
        self._lines.append(_Line("", f"}} while ({index.name} != 0);"))

    @contextmanager
    def until_far(self, name: str, pointer: Reg, end: str, spare: Reg) -> Iterator[None]:
        """Repeats its body, however long, until `pointer` (any register) is the parameter `end`."""
        self._labels += 1
        label = self._labels
        self._lines.append(_Line(f"{label}:", "do {"))
        self._loops.append(name)
        yield
        self._add(f"ldr {spare.asm}, [sp, #{self._slot(end)}]", "")
        self._add(f"cmp {pointer.asm}, {spare.asm}", "")
        self._add(f"beq {label + 50}f", "")
        self._add(f"b {label}b", "")
        self._loops.pop()
        self._lines.append(_Line(f"{label + 50}:", ""))
        self._lines.append(_Line("", f"}} while ({pointer.name} != {end}_);"))


RARE = "rare"  # a branch that is counted as not taken


def counted(program: Program, trips: Mapping[str, int]) -> int:
    """Instructions of one call, from how often each loop's body runs in all; saturation is taken as rare."""
    return program.count({RARE: 0, **trips})
