"""Straight-line programs with loops in Thumb-2 and DSP instructions, printed twice: as assembly and as C.

Compilers spill and shuffle where a loop needs all fourteen registers, each in its own way. Such loops are written here
instruction by instruction, with registers chosen by hand, so that every compiler gives the same count. The same list of
instructions is also printed as C, one statement each, with the functions of `firmware/runtime/vmcu_dsp.h`: that is
what the host runs under its sanitizers, and a core without these instructions. An instruction is therefore one method with its
two texts side by side; nothing else in vmcu writes assembly.

A program is a leaf function. Its parameters lie on the stack (the first four are pushed there) and serve as its variables
in memory: `get` and `put` move them from and to registers.

Source of the instructions: Armv7-M Architecture Reference Manual, section A7.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from vmcu.ops.base import PLACEHOLDER, Function

Kind = Literal["int32_t", "const int8_t *", "int8_t *", "const int8_t *const *"]
Size = Literal["word", "half", "byte"]
REGISTERS = ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")
PUSHED_BYTES = 4 * 13  # r0-r11 and lr
WORDS = "const int32_t *"
LINE_CHARS = 100
PART_CHARS = 4000  # of a string; C99 compilers need not take more than 4095


@dataclass(frozen=True, slots=True)
class Reg:
    """A variable in a register; two variables may share one, one after the other.

    Attributes:
        name: in the C text.
        number: index into `REGISTERS`.
        kind: C type.
    """

    name: str
    number: int
    kind: Kind

    @property
    def asm(self) -> str:
        """Its name in assembly."""
        return REGISTERS[self.number]


@dataclass(frozen=True, slots=True)
class Routine:
    """A function and what a call of it executes.

    Attributes:
        function: its text.
        instructions: of one call.
    """

    function: Function
    instructions: int


@dataclass(frozen=True, slots=True)
class _Line:
    asm: str
    c: str
    loop: str | None = None  # the innermost it is in
    times: int = 1  # in one run of that loop's body


class Program:
    """A function under construction.

    Args:
        stem: start of its C name.
        purpose: comment above it.
        params: (name, C type) of the parameters.

    Attributes:
        guard: C macro that is defined where the assembly may run.
        entry, leave: its first and last instructions.
        saved: bytes that `entry` pushes below the first four parameters.
        syntax: directives before the text, and again where it continues.
    """

    guard: ClassVar[str] = "VMCU_THUMB2_DSP"
    entry: ClassVar[tuple[str, ...]] = ("push {r0-r11, lr}",)
    leave: ClassVar[tuple[str, ...]] = ("add sp, #16", "pop {r4-r11, pc}")
    saved: ClassVar[int] = 0
    syntax: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stem: str, purpose: Sequence[str], params: Sequence[tuple[str, str]]) -> None:
        self._stem, self._purpose, self._params = stem, tuple(purpose), tuple(params)
        self._lines: list[_Line] = []
        self._regs: dict[str, Reg] = {}
        self._loops: list[str | None] = [None]
        self._times = 1
        self._labels = 0

    # ---- registers -------------------------------------------------------------------------------

    def number(self, name: str, register: int) -> Reg:
        """A 32-bit number."""
        return self._reg(name, register, "int32_t")

    def numbers(self, stem: str, registers: Sequence[int]) -> tuple[Reg, ...]:
        """Several of them: stem0, stem1, ..."""
        return tuple(self.number(f"{stem}{i}", n) for i, n in enumerate(registers))

    def source(self, name: str, number: int) -> Reg:
        """A pointer to bytes that are read."""
        return self._reg(name, number, "const int8_t *")

    def target(self, name: str, number: int) -> Reg:
        """A pointer to bytes that are written."""
        return self._reg(name, number, "int8_t *")

    def rows(self, name: str, number: int) -> Reg:
        """A pointer to pointers to bytes that are read."""
        return self._reg(name, number, "const int8_t *const *")

    def _reg(self, name: str, number: int, kind: Kind) -> Reg:
        reg = self._regs.setdefault(name, Reg(name, number, kind))
        assert reg == Reg(name, number, kind), f"{name} has another register or type"
        return reg

    # ---- memory ----------------------------------------------------------------------------------

    def get(self, reg: Reg, param: str) -> None:
        """reg = param."""
        self._add(f"ldr {reg.asm}, [sp, #{self._slot(param)}]", f"{reg.name} = {param}_;")

    def get_pair(self, a: Reg, b: Reg, first: str, second: str) -> None:
        """a, b = two params, one behind the other."""
        assert self._slot(second) == self._slot(first) + 4
        text = f"{a.name} = {first}_; {b.name} = {second}_;"
        self._add(f"ldrd {a.asm}, {b.asm}, [sp, #{self._slot(first)}]", text)

    def put(self, param: str, reg: Reg) -> None:
        """param = reg."""
        self._add(f"str {reg.asm}, [sp, #{self._slot(param)}]", f"{param}_ = {reg.name};")

    def load(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """reg = the word at base + offset, of any alignment; base += step (then the offset is 0)."""
        self._add(f"ldr {reg.asm}, {_address(base, offset, step)}", *_reads(base, offset, step, [reg]))

    def load_byte(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """reg = the signed byte at base + offset; base += step (then the offset is 0)."""
        at = f"{base.name}[{offset}]" if offset else f"*{base.name}"
        move = f" {base.name} += {step};" if step else ""
        self._add(f"ldrsb {reg.asm}, {_address(base, offset, step)}", f"{reg.name} = {at};{move}")

    def load_half(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """reg = the two bytes at base + offset, of any alignment, and zeros above; base += step (then the offset is 0)."""
        at = f"{base.name} + {offset}" if offset else base.name
        move = f" {base.name} += {step};" if step else ""
        self._add(
            f"ldrh {reg.asm}, {_address(base, offset, step)}", f"{reg.name} = vmcu_load_half({at});{move}"
        )

    def load_from(
        self,
        regs: Sequence[Reg],
        bases: Sequence[Reg],
        nears: Sequence[str],
        origins: Sequence[str],
        size: Size,
    ) -> None:
        """Loads as far from `nears` as each base has gone from its origin; one or two at a time.

        Args:
            nears: parameters, one behind the other. In assembly they are distances from the origins (VMCU_FROM), so that no
                pointer has to be moved along; in C they are the pointers.
            origins: parameters that the bases started from.
            size: words, two bytes and zeros above, or signed bytes.
        """
        slot = self._slot(nears[0])
        assert [self._slot(near) for near in nears] == [slot + 4 * i for i in range(len(nears))]
        op = "ldrd" if len(regs) == 2 else "ldr"
        self._add(f"{op} {', '.join(r.asm for r in regs)}, [sp, #{slot}]", "")
        load = {"word": "ldr", "half": "ldrh", "byte": "ldrsb"}[size]
        for reg, base, near, origin in zip(regs, bases, nears, origins, strict=True):
            at = f"{near}_ + ({base.name} - {origin}_)"
            value = {"word": f"vmcu_load({at})", "half": f"vmcu_load_half({at})", "byte": f"*({at})"}[size]
            self._add(f"{load} {reg.asm}, [{base.asm}, {reg.asm}]", f"{reg.name} = {value};")

    def load_at(self, reg: Reg, base: Reg, index: Reg) -> None:
        """reg = the word at base + index, of any alignment."""
        self._add(
            f"ldr {reg.asm}, [{base.asm}, {index.asm}]",
            f"{reg.name} = vmcu_load({base.name} + {index.name});",
        )

    def load_pair(self, a: Reg, b: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """a, b = two words at base + offset, aligned to 4 bytes; base += step (then the offset is 0)."""
        self._add(
            f"ldrd {a.asm}, {b.asm}, {_address(base, offset, step)}", *_reads(base, offset, step, [a, b])
        )

    def row_at(self, pointer: Reg, rows: Reg, index: int) -> None:
        """pointer = what rows[index] is."""
        self._add(
            f"ldr {pointer.asm}, {_address(rows, 4 * index, 0)}", f"{pointer.name} = {rows.name}[{index}];"
        )

    def next_row(self, pointer: Reg, rows: Reg) -> None:
        """pointer = what rows points to; rows moves to the next."""
        self._add(f"ldr {pointer.asm}, [{rows.asm}], #4", f"{pointer.name} = *{rows.name}++;")

    def load_all(self, regs: Sequence[Reg], base: Reg) -> None:
        """Consecutive words, aligned to 4 bytes, into registers of ascending numbers; base moves behind them."""
        assert [r.number for r in regs] == sorted({r.number for r in regs})
        names = ", ".join(r.asm for r in regs)
        self._add(f"ldm {base.asm}!, {{{names}}}", *_reads(base, 0, 4 * len(regs), regs))

    def store(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """The word at base + offset = reg, aligned to 4 bytes."""
        self._store("str", "vmcu_store", reg, base, offset, step)

    def store_pair(self, a: Reg, b: Reg, base: Reg, step: int) -> None:
        """Two words at base, aligned to 4 bytes; base += step."""
        c = f"vmcu_store({base.name}, {a.name}); vmcu_store({base.name} + 4, {b.name}); {base.name} += {step};"
        self._add(f"strd {a.asm}, {b.asm}, [{base.asm}], #{step}", c)

    def store_byte(self, reg: Reg, base: Reg, offset: int = 0, step: int = 0) -> None:
        """The byte at base + offset = reg's lowest; base += step (then the offset is 0)."""
        self._store("strb", "vmcu_store_byte", reg, base, offset, step)

    def _store(self, op: str, call: str, reg: Reg, base: Reg, offset: int, step: int) -> None:
        at = base.name if not offset else f"{base.name} + {offset}"
        move = f" {base.name} += {step};" if step else ""
        self._add(f"{op} {reg.asm}, {_address(base, offset, step)}", f"{call}({at}, {reg.name});{move}")

    # ---- arithmetic; all of it modulo 2^32 -------------------------------------------------------

    def move(self, to: Reg, value: Reg | int) -> None:
        """to = value (a register, or -256..65535)."""
        if isinstance(value, Reg):
            self._add(f"mov {to.asm}, {value.asm}", f"{to.name} = {value.name};")
        else:
            op = "mov" if -256 <= value < 256 else "movw"
            self._add(f"{op} {to.asm}, #{value}", f"{to.name} = {value};")

    def advance(self, pointer: Reg, by: Reg | int) -> None:
        """pointer += by."""
        if by == 0:
            return
        if isinstance(by, int) and by < 0:
            op = "subw" if by < -255 else "sub"
            self._add(f"{op} {pointer.asm}, {pointer.asm}, #{-by}", f"{pointer.name} -= {-by};")
            return
        text = (by.asm, by.name) if isinstance(by, Reg) else (f"#{by}", str(by))
        op = "addw" if isinstance(by, int) and by > 255 else "add"
        self._add(f"{op} {pointer.asm}, {pointer.asm}, {text[0]}", f"{pointer.name} += {text[1]};")

    def point_same(self, to: Reg, pointer: Reg) -> None:
        """to = pointer."""
        self._add(f"mov {to.asm}, {pointer.asm}", f"{to.name} = {pointer.name};")

    def point(self, to: Reg, base: Reg, by: Reg | int) -> None:
        """to = base + by, pointers."""
        text = (by.asm, by.name) if isinstance(by, Reg) else (f"#{by}", str(by))
        op = "addw" if isinstance(by, int) and by > 255 else "add"
        self._add(f"{op} {to.asm}, {base.asm}, {text[0]}", f"{to.name} = {base.name} + {text[1]};")

    def far_point(self, to: Reg, base: Reg, by: int, spare: Reg) -> None:
        """to = base + by, pointers; by in 0..65535, beyond 4095 through `spare`."""
        if by > 4095:
            self.move(spare, by)
            self.point(to, base, spare)
        else:
            self.point(to, base, by)

    def add_number(self, to: Reg, value: int) -> None:
        """to += value, 0..255."""
        self._add(f"add {to.asm}, {to.asm}, #{value}", f"{to.name} = vmcu_add({to.name}, {value});")

    def add(self, to: Reg, a: Reg, b: Reg, asr: int = 0) -> None:
        """to = a + (b >> asr)."""
        shift = (f", asr #{asr}", f"{b.name} >> {asr}") if asr else ("", b.name)
        self._add(f"add {to.asm}, {a.asm}, {b.asm}{shift[0]}", f"{to.name} = vmcu_add({a.name}, {shift[1]});")

    def add_left(self, to: Reg, a: Reg, b: Reg, lsl: int, negative: bool = False) -> None:
        """to = a + (b << lsl), or a - (b << lsl)."""
        op = "sub" if negative else "add"
        c = f"{to.name} = vmcu_{op}({a.name}, vmcu_shl({b.name}, {lsl}));"
        self._add(f"{op} {to.asm}, {a.asm}, {b.asm}, lsl #{lsl}", c)

    def sub_shifted(self, to: Reg, a: Reg, b: Reg, asr: int) -> None:
        """to = a - (b >> asr)."""
        self._add(
            f"sub {to.asm}, {a.asm}, {b.asm}, asr #{asr}",
            f"{to.name} = vmcu_sub({a.name}, {b.name} >> {asr});",
        )

    def sub(self, to: Reg, a: Reg, b: Reg) -> None:
        """to = a - b."""
        self._add(f"sub {to.asm}, {a.asm}, {b.asm}", f"{to.name} = vmcu_sub({a.name}, {b.name});")

    def shift_right(self, to: Reg, a: Reg, by: Reg | int) -> None:
        """to = a >> by, keeping the sign; by in 1..31, or the lowest byte of a register, 0..31."""
        text = (by.asm, f"({by.name} & 255)") if isinstance(by, Reg) else (f"#{by}", str(by))
        self._add(f"asr {to.asm}, {a.asm}, {text[0]}", f"{to.name} = {a.name} >> {text[1]};")

    def shift_left(self, to: Reg, a: Reg, by: Reg | int) -> None:
        """to = a * 2^by; by in 1..31, or the lowest byte of a register, 0..31."""
        text = (by.asm, f"{by.name} & 255") if isinstance(by, Reg) else (f"#{by}", str(by))
        self._add(f"lsl {to.asm}, {a.asm}, {text[0]}", f"{to.name} = vmcu_shl({a.name}, {text[1]});")

    def widen(self, to: Reg, a: Reg, upper: bool = False) -> None:
        """to = bytes 0 and 2 of a (upper: 1 and 3) as two signed halfwords."""
        ror = (", ror #8", ", 8") if upper else ("", ", 0")
        self._add(f"sxtb16 {to.asm}, {a.asm}{ror[0]}", f"{to.name} = vmcu_sxtb16({a.name}{ror[1]});")

    def signed_byte(self, to: Reg, a: Reg, number: int) -> None:
        """to = byte 0 to 3 of a, with its sign."""
        ror = f", ror #{8 * number}" if number else ""
        self._add(f"sxtb {to.asm}, {a.asm}{ror}", f"{to.name} = vmcu_sxtb({a.name}, {8 * number});")

    def lows(self, to: Reg, a: Reg, b: Reg) -> None:
        """to = low halfword of a, and above it that of b."""
        self._add(f"pkhbt {to.asm}, {a.asm}, {b.asm}, lsl #16", f"{to.name} = vmcu_lows({a.name}, {b.name});")

    def highs(self, to: Reg, a: Reg, b: Reg) -> None:
        """to = high halfword of a, and above it that of b."""
        self._add(
            f"pkhtb {to.asm}, {b.asm}, {a.asm}, asr #16", f"{to.name} = vmcu_highs({a.name}, {b.name});"
        )

    def add_halves(self, to: Reg, a: Reg, b: Reg) -> None:
        """to = a + b, both halfwords on their own."""
        self._add(f"sadd16 {to.asm}, {a.asm}, {b.asm}", f"{to.name} = vmcu_sadd16({a.name}, {b.name});")

    def dot(self, acc: Reg, a: Reg, b: Reg, start: Reg | None = None) -> None:
        """acc = start + a.low * b.low + a.high * b.high; without a start, acc is one."""
        start = start or acc
        self._add(
            f"smlad {acc.asm}, {a.asm}, {b.asm}, {start.asm}",
            f"{acc.name} = vmcu_smlad({a.name}, {b.name}, {start.name});",
        )

    def mla(self, acc: Reg, a: Reg, b: Reg, halves: Literal["bb", "bt", "tb", "tt"]) -> None:
        """acc += half of a * half of b (b: bottom, t: top)."""
        c = f"{acc.name} = vmcu_smla{halves}({a.name}, {b.name}, {acc.name});"
        self._add(f"smla{halves} {acc.asm}, {a.asm}, {b.asm}, {acc.asm}", c)

    def mla_words(self, to: Reg, a: Reg, b: Reg, c: Reg) -> None:
        """to = a * b + c."""
        text = f"{to.name} = vmcu_muladd({a.name}, {b.name}, {c.name});"
        self._add(f"mla {to.asm}, {a.asm}, {b.asm}, {c.asm}", text)

    def high_mul(self, to: Reg, a: Reg, b: Reg) -> None:
        """to = a * b / 2^32, rounded down."""
        self._add(f"smmul {to.asm}, {a.asm}, {b.asm}", f"{to.name} = vmcu_smmul({a.name}, {b.name});")

    def high_mla(self, to: Reg, a: Reg, b: Reg, c: Reg, rounded: bool = False) -> None:
        """to = c + a * b / 2^32, rounded down (rounded: to the nearest, ties up)."""
        r = "r" if rounded else ""
        text = f"{to.name} = vmcu_smmla{r}({a.name}, {b.name}, {c.name});"
        self._add(f"smmla{r} {to.asm}, {a.asm}, {b.asm}, {c.asm}", text)

    def long_mla(self, low: Reg, high: Reg, a: Reg, b: Reg) -> None:
        """high:low += a * b, 64 bits."""
        c = f"vmcu_mla64(&{low.name}, &{high.name}, {a.name}, {b.name});"
        self._add(f"smlal {low.asm}, {high.asm}, {a.asm}, {b.asm}", c)

    def funnel(self, to: Reg, low: Reg, high: Reg, right: int) -> None:
        """to = lower word of high:low >> right; right in 1..31. Two instructions; `to` is not `high`."""
        self._add(f"lsr {to.asm}, {low.asm}, #{right}", f"{to.name} = vmcu_lsr({low.name}, {right});")
        left = 32 - right
        self._add(
            f"orr {to.asm}, {to.asm}, {high.asm}, lsl #{left}", f"{to.name} |= vmcu_shl({high.name}, {left});"
        )

    def saturate(self, to: Reg, a: Reg, shift: int = 0) -> None:
        """to = a >> shift, limited to -128..127."""
        asr = f", asr #{shift}" if shift else ""
        self._add(f"ssat {to.asm}, #8, {a.asm}{asr}", f"{to.name} = vmcu_ssat8({a.name}, {shift});")

    def at_least(self, reg: Reg, low: int) -> None:
        """reg = max(reg, low)."""
        self._limit(reg, low, "lt", "<")

    def at_most(self, reg: Reg, high: int) -> None:
        """reg = min(reg, high)."""
        self._limit(reg, high, "gt", ">")

    def _limit(self, reg: Reg, value: int, condition: str, sign: str) -> None:
        self._add(f"cmp {reg.asm}, #{value}", "")
        self._add(f"it {condition}", "")
        self._add(
            f"mov{condition} {reg.asm}, #{value}",
            f"{reg.name} = {reg.name} {sign} {value} ? {value} : {reg.name};",
        )

    # ---- loops -----------------------------------------------------------------------------------

    @contextmanager
    def until(self, name: str, pointer: Reg, end: str | Reg, spare: Reg | None = None) -> Iterator[None]:
        """Repeats its body until `pointer` is `end`, a register, or a parameter that goes through `spare`.

        Args:
            name: of the loop, for `count`.
        """
        self._labels += 1
        label = self._labels
        self._lines.append(_Line(f"{label}:", "do {"))
        self._loops.append(name)
        yield
        if isinstance(end, str):
            assert spare is not None
            self._add(f"ldr {spare.asm}, [sp, #{self._slot(end)}]", "")
            self._add(f"cmp {pointer.asm}, {spare.asm}", "")
            stop = f"{end}_"
        else:
            self._add(f"cmp {pointer.asm}, {end.asm}", "")
            stop = end.name
        self._add(f"bne {label}b", "")
        self._loops.pop()
        self._lines.append(_Line("", f"}} while ({pointer.name} != {stop});"))

    @contextmanager
    def repeat(self, times: int) -> Iterator[None]:
        """Its body `times` times, without a loop in the machine code."""
        assert self._times == 1
        if times == 1:
            yield
            return
        self._lines.append(_Line(f".rept {times}", f"for (rept = 0; rept < {times}; rept++) {{"))
        self._times = times
        yield
        self._times = 1
        self._lines.append(_Line(".endr", "}"))

    # ---- results ---------------------------------------------------------------------------------

    def count(self, trips: Mapping[str, int]) -> int:
        """Instructions of one call, from how often each loop's body runs in all."""
        total = len(self.entry) + len(self.leave)
        for line in self._lines:
            if line.asm and not line.asm.endswith(":") and not line.asm.startswith("."):
                total += line.times * (trips[line.loop] if line.loop else 1)
        return total

    def function(self) -> Function:
        """The finished text."""
        params = [
            f"{kind}{'' if kind.endswith('*') else ' '}{name}{'s' if kind == WORDS else ''}_"
            for name, kind in self._params
        ]
        rows = [f"/* {self._purpose[0]}", *(f" * {line}" for line in self._purpose[1:])]
        rows[-1] += " */"
        rows += [f"#if defined({self.guard})", f"VMCU_NAKED static void {PLACEHOLDER}("]
        rows += [*wrap([f"{p} VMCU_UNUSED" for p in params]), "{"]
        for part in _parts(self._assembly(), self.syntax):
            rows += ["    __asm__(", *(f'        "{line}\\n"' for line in part), "    );"]
        rows += ["}", "#else", f"static void {PLACEHOLDER}(", *wrap(params), "{"]
        rows += [f"    {line}" for line in self._c()]
        rows += ["}", "#endif"]
        return Function(self._stem, "\n".join(rows) + "\n")

    def _assembly(self) -> list[str]:
        return [*self.entry, *(line.asm for line in self._lines if line.asm), *self.leave]

    def _c(self) -> list[str]:
        lines = []
        used = set(re.findall(r"\w+", " ".join(line.c for line in self._lines)))
        for name, kind in self._params:
            if kind == WORDS:
                lines.append(f"const int8_t *{name}_ = (const int8_t *)(const void *){name}s_;")
        for kind in get_args(Kind):
            stem = kind if "*" not in kind else kind[: kind.index("*")].rstrip()
            stars = kind.removeprefix(stem).lstrip()
            names = [stars + r.name for r in self._regs.values() if r.kind == kind and r.name in used]
            lines += [f"{stem} {', '.join(names[i : i + 8])};" for i in range(0, len(names), 8)]
        if "rept" in used:
            lines.append("int32_t rept;")
        lines += [f"(void){name}_;" for name, _ in self._params if f"{name}_" not in used]
        depth = 0
        for line in self._lines:
            if line.c.startswith("}"):
                depth -= 1
            if line.c:
                lines.append("    " * depth + line.c)
            if line.c.endswith("{"):
                depth += 1
        # What is loaded with others, and for nobody.
        read = set(re.findall(r"\w+", re.sub(r"\w+ = ", "", " ".join(line.c for line in self._lines))))
        idle = [r.name for r in self._regs.values() if r.name in used and r.name not in read]
        return [*lines, *(f"(void){name};" for name in idle)]

    def _slot(self, param: str) -> int:
        index = [name for name, _ in self._params].index(param)
        return 4 * index + self.saved if index < 4 else PUSHED_BYTES + 4 * (index - 4)

    def _add(self, asm: str, c: str) -> None:
        self._lines.append(_Line(asm, c, self._loops[-1], self._times))


def _parts(lines: Sequence[str], syntax: Sequence[str]) -> list[list[str]]:
    """The lines in pieces that a string of C99 can hold, cut outside repetitions, and not behind an IT."""
    units: list[list[str]] = []
    for line in lines:
        repeats = units and units[-1][0].startswith(".rept") and units[-1][-1] != ".endr"
        if repeats or (units and units[-1][-1].startswith("it ")):
            units[-1].append(line)
        else:
            units.append([line])
    parts = [list(syntax)]
    for unit in units:
        if sum(len(line) + 1 for line in (*parts[-1], *unit)) > PART_CHARS:
            parts.append(list(syntax))
        parts[-1] += unit
    return [part for part in parts if len(part) > len(syntax)]


def wrap(params: Sequence[str]) -> list[str]:
    """The lines of a parameter list behind its opening bracket."""
    lines = ["    "]
    for i, param in enumerate(params):
        word = param + (")" if i == len(params) - 1 else ", ")
        if len(lines[-1]) + len(word) > LINE_CHARS:
            lines[-1] = lines[-1].rstrip()
            lines.append("    ")
        lines[-1] += word
    return lines


def _address(base: Reg, offset: int, step: int) -> str:
    assert not (offset and step)
    if step:
        return f"[{base.asm}], #{step}"
    return f"[{base.asm}, #{offset}]" if offset else f"[{base.asm}]"


def _reads(base: Reg, offset: int, step: int, regs: Sequence[Reg]) -> tuple[str]:
    parts = []
    for i, reg in enumerate(regs):
        at = offset + 4 * i
        where = base.name if not at else f"{base.name} + {at}"
        value = f"vmcu_load({where})" if reg.kind == "int32_t" else None
        assert value is not None
        parts.append(f"{reg.name} = {value};")
    if step:
        parts.append(f"{base.name} += {step};")
    return (" ".join(parts),)
