"""Programs with Helium's vectors and loops: `assembly.py` for Armv8.1-M, printed the same two ways.

The C twin of an instruction is a function of `firmware/runtime/vmcu_mve.h`. A vector is sixteen bytes, whatever its lanes. The
predicate is one number, `active`: the first that many bytes of a vector are in it, which is all VCTP and tail-predicated
loops can say.

Loops that count are those of the architecture (DLS, LE): they occupy lr, so a program has either them or lr as a number,
where a loop is running.

Source of the instructions: Armv8-M Architecture Reference Manual, section C2.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from vmcu.kernels.assembly import WORDS, Kind, Program, Reg, _Line, wrap
from vmcu.ops.base import PLACEHOLDER, Function

STRING_CHARS = 3400  # of 4095 that C99 guarantees; what may not be parted comes on top
SAVED_VECTORS = 64  # bytes: d8-d15, which are q4-q7
Lanes = Literal[8, 16, 32]


@dataclass(frozen=True, slots=True)
class Vec:
    """A vector register.

    Attributes:
        number: of q0..q7.
    """

    number: int

    @property
    def name(self) -> str:
        """In both texts."""
        return f"q{self.number}"


class Helium(Program):
    """A function under construction.

    Args:
        stem, purpose, params: as of `Program`.
        saves: it uses q4 to q7.
    """

    def __init__(
        self, stem: str, purpose: Sequence[str], params: Sequence[tuple[str, str]], saves: bool = True
    ) -> None:
        super().__init__(stem, purpose, params)
        self._saves = saves
        self._active = "16"
        self._mask: list[tuple[str, str]] | None = None

    def vec(self, number: int) -> Vec:
        """q0..q7."""
        assert number < 4 or self._saves
        return Vec(number)

    # ---- predicates and loops --------------------------------------------------------------------

    def only_first(self, count: int, lanes: Lanes, spare: Reg) -> None:
        """From here on `masked` instructions work on the first `count` lanes."""
        self.move(spare, count)
        self._add(f"vctp.{lanes} {spare.asm}", f"active = {count * lanes // 8};")

    def only_left(self, count: Reg, lanes: Lanes) -> None:
        """The same with min(count, number of lanes), from a register."""
        n = 128 // lanes
        limited = f"({count.name} < {n} ? {count.name} : {n})"
        self._add(f"vctp.{lanes} {count.asm}", f"active = {limited} * {lanes // 8};")

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Up to four loads and stores of the active bytes alone; a load sets the others to zero."""
        assert self._mask is None
        self._mask = []
        self._active = "active"
        yield
        lines, self._mask, self._active = self._mask, None, "16"
        assert 1 <= len(lines) <= 4
        self._add(f"vpst{'t' * (len(lines) - 1)}", "")
        for asm, c in lines:
            op, rest = asm.split(".", 1)
            self._add(f"{op}t.{rest}", c)

    def _vector(self, asm: str, c: str) -> None:
        if self._mask is not None:
            self._mask.append((asm, c))
        else:
            self._add(asm, c)

    @contextmanager
    def times(self, name: str, count: Reg) -> Iterator[None]:
        """Its body `count` times, at least once."""
        self._labels += 1
        label = self._labels
        self._add(f"dls lr, {count.asm}", f"loops = {count.name};")
        self._loop_open(f"{label}:", name)
        yield
        self._add(f"le lr, {label}b", "")
        self._loop_close("} while (--loops > 0);")

    @contextmanager
    def unless_zero(self, number: Reg) -> Iterator[None]:
        """Its body, where a low register is not 0. It counts as executed."""
        self._labels += 1
        label = self._labels
        self._add(f"cbz {number.asm}, {label}f", f"if ({number.name} != 0) {{")
        yield
        self._line(f"{label}:", "}")

    @contextmanager
    def bytes_of(self, name: str, count: Reg, lanes: Lanes) -> Iterator[None]:
        """Its body for all vectors of `count` lanes, at least one; vector instructions are masked in the last."""
        self._labels += 1
        label = self._labels
        n = 128 // lanes
        self._add(f"dlstp.{lanes} lr, {count.asm}", f"loops = {count.name};")
        self._loop_open(f"{label}:", name)
        self._c_only(f"active = (loops < {n} ? loops : {n}) * {lanes // 8};")
        self._active = "active"
        yield
        self._active = "16"
        self._add(f"letp lr, {label}b", "")
        self._loop_close(f"}} while ((loops -= {n}) > 0);")

    # ---- vector memory ---------------------------------------------------------------------------

    def load_bytes(self, to: Vec, base: Reg, offset: int = 0, step: int = 0) -> None:
        """to = 16 bytes at base + offset; base += step (then the offset is 0)."""
        self._loads("vldrb.u8", "vmcu_vldrb", to, base, offset, step)

    def load_words(self, to: Vec, base: Reg, offset: int = 0, step: int = 0) -> None:
        """to = four words at base + offset, aligned to 4 bytes."""
        self._loads("vldrw.u32", "vmcu_vldrb", to, base, offset, step)

    def widen_bytes(self, to: Vec, base: Reg, lanes: Lanes, offset: int = 0, step: int = 0) -> None:
        """to = signed bytes at base + offset as lanes of 16 or 32 bits."""
        self._loads(f"vldrb.s{lanes}", f"vmcu_vldrb_s{lanes}", to, base, offset, step)

    def _loads(self, op: str, call: str, to: Vec, base: Reg, offset: int, step: int) -> None:
        at = f"{base.name} + {offset}" if offset else base.name
        move = f" {base.name} += {step};" if step else ""
        self._vector(
            f"{op} {to.name}, {_at(base, offset, step)}", f"{to.name} = {call}({at}, {self._active});{move}"
        )

    def gather_scaled(self, to: Vec, base: Reg, indices: Vec) -> None:
        """to = words at base + 4 * each index, aligned to 4 bytes; to is another vector."""
        assert to != indices
        self._add(
            f"vldrw.u32 {to.name}, [{base.asm}, {indices.name}, uxtw #2]",
            f"{to.name} = vmcu_gather({base.name}, vmcu_vshl({indices.name}, 2));",
        )

    def gather_table(self, to: Vec, base: Reg, indices: Vec) -> None:
        """to = the bytes at base + each byte of `indices`, which is unsigned; to is another vector."""
        assert to != indices
        c = f"{to.name} = vmcu_vldrb_table({base.name}, {indices.name}, {self._active});"
        self._vector(f"vldrb.u8 {to.name}, [{base.asm}, {indices.name}]", c)

    def store_lanes(self, q: Vec, base: Reg, lanes: Lanes, step: int = 0, offset: int = 0) -> None:
        """The lowest byte of every lane to base; base += step."""
        at = f"{base.name} + {offset}" if offset else base.name
        move = f" {base.name} += {step};" if step else ""
        c = f"vmcu_vstrb_{lanes}({at}, {q.name}, {self._active});{move}"
        self._vector(f"vstrb.{lanes} {q.name}, {_at(base, offset, step)}", c)

    def store_whole(self, q: Vec, base: Reg, step: int) -> None:
        """Halfwords to base, aligned to 2 bytes; base += step."""
        c = f"vmcu_vstrb_8({base.name}, {q.name}, {self._active}); {base.name} += {step};"
        self._vector(f"vstrh.16 {q.name}, {_at(base, 0, step)}", c)

    def scatter_lanes(self, q: Vec, base: Reg, offsets: Vec) -> None:
        """The lowest byte of each word of q to base + its offset."""
        c = f"vmcu_scatter({base.name}, {offsets.name}, {q.name}, {self._active});"
        self._vector(f"vstrb.32 {q.name}, [{base.asm}, {offsets.name}]", c)

    def interleave(self, base: Reg) -> None:
        """The bytes of q0..q3 in turn to base, which moves on by 64."""
        for i in range(3):
            self._add(f"vst4{i}.8 {{q0, q1, q2, q3}}, [{base.asm}]", "")
        c = f"vmcu_vst4({base.name}, q0, q1, q2, q3); {base.name} += 64;"
        self._add(f"vst43.8 {{q0, q1, q2, q3}}, [{base.asm}]!", c)

    # ---- vector arithmetic -----------------------------------------------------------------------

    def dot_bytes(self, acc: Reg, a: Vec, b: Vec, fresh: bool) -> None:
        """acc (fresh: 0) + the sum of a * b over all signed bytes. acc has an even number."""
        assert acc.number % 2 == 0 or acc.number == 13
        if fresh:
            self._add(
                f"vmladav.s8 {acc.asm}, {a.name}, {b.name}", f"{acc.name} = vmcu_vmladav({a.name}, {b.name});"
            )
        else:
            c = f"{acc.name} = vmcu_add({acc.name}, vmcu_vmladav({a.name}, {b.name}));"
            self._add(f"vmladava.s8 {acc.asm}, {a.name}, {b.name}", c)

    def collect(self, to: Vec, words: Sequence[Reg]) -> None:
        """to = four words from registers."""
        a, b, c, d = words
        self._add(f"vmov {to.name}[2], {to.name}[0], {a.asm}, {c.asm}", "")
        self._add(
            f"vmov {to.name}[3], {to.name}[1], {b.asm}, {d.asm}",
            f"{to.name} = vmcu_words({a.name}, {b.name}, {c.name}, {d.name});",
        )

    def spread(self, to: Vec, value: Reg, lanes: Lanes) -> None:
        """All lanes = the lowest bits of a register."""
        self._add(f"vdup.{lanes} {to.name}, {value.asm}", f"{to.name} = vmcu_dup{lanes}({value.name});")

    def add_vec(self, to: Vec, a: Vec, b: Vec | Reg, lanes: Lanes = 32) -> None:
        """to = a + b, modulo the lane; b may be one number for all lanes."""
        self._lanewise(f"vadd.i{lanes}", f"vadd{lanes}", to, a, b)

    def sub_vec(self, to: Vec, a: Vec, b: Vec | Reg, lanes: Lanes = 32) -> None:
        """to = a - b, modulo the lane."""
        self._lanewise(f"vsub.i{lanes}", f"vsub{lanes}", to, a, b)

    def mul_vec(self, to: Vec, a: Vec, b: Vec | Reg, lanes: Lanes = 32) -> None:
        """to = a * b, modulo the lane."""
        self._lanewise(f"vmul.i{lanes}", f"vmul{lanes}", to, a, b)

    def mla_vec(self, acc: Vec, a: Vec, b: Reg) -> None:
        """Words: acc += a * b, modulo 2^32."""
        c = f"{acc.name} = vmcu_vadd32({acc.name}, vmcu_vmul32({a.name}, vmcu_dup32({b.name})));"
        self._add(f"vmla.s32 {acc.name}, {a.name}, {b.asm}", c)

    def shift_right_vec(self, to: Vec, a: Vec, by: int) -> None:
        """Words: to = a / 2^by, rounded down; by in 1..31."""
        self._add(f"vshr.s32 {to.name}, {a.name}, #{by}", f"{to.name} = vmcu_vshr({a.name}, {by});")

    def high_product(self, to: Vec, a: Vec, b: Vec) -> None:
        """Words: to = a * b / 2^32, rounded down."""
        self._lanewise("vmulh.s32", "vmulh", to, a, b)

    def doubling_high_product(self, to: Vec, a: Vec, b: Vec | Reg) -> None:
        """Words: to = a * b / 2^31 to the nearest, ties up, saturated."""
        self._lanewise("vqrdmulh.s32", "vqrdmulh", to, a, b)

    def shift_rounded(self, to: Vec, a: Vec, by: Vec) -> None:
        """Words: to = a / 2^-by to the nearest, ties up; by: the lowest bytes, -31..0."""
        self._lanewise("vrshl.s32", "vrshl", to, a, by)

    def shift_rounded_all(self, q: Vec, by: Reg) -> None:
        """Words: q = q / 2^-by to the nearest, ties up; by: the lowest byte, -31..0."""
        self._add(f"vrshl.s32 {q.name}, {by.asm}", f"{q.name} = vmcu_vrshl({q.name}, vmcu_dup32({by.name}));")

    def shift_right_rounded(self, to: Vec, a: Vec, by: int) -> None:
        """Words: to = a / 2^by to the nearest, ties up; by in 1..31."""
        self._add(
            f"vrshr.s32 {to.name}, {a.name}, #{by}", f"{to.name} = vmcu_vrshl({a.name}, vmcu_dup32({-by}));"
        )

    def shift_left_vec(self, to: Vec, a: Vec, by: int) -> None:
        """Words: to = a * 2^by, modulo 2^32."""
        self._add(f"vshl.i32 {to.name}, {a.name}, #{by}", f"{to.name} = vmcu_vshl({a.name}, {by});")

    def copy_vec(self, to: Vec, a: Vec) -> None:
        """to = a."""
        self._add(f"vmov {to.name}, {a.name}", f"{to.name} = {a.name};")

    def move_up(self, q: Vec, into: Reg) -> None:
        """Every word of q moves to the lane above, the lowest from `into`, which becomes what falls out."""
        self._add(f"vshlc {q.name}, {into.asm}, #32", f"{q.name} = vmcu_vshlc32({q.name}, &{into.name});")

    def sign_vec(self, to: Vec, a: Vec) -> None:
        """Words: to = -1 where a is negative, else 0."""
        self.shift_right_vec(to, a, 31)

    def narrow(self, to: Vec, a: Vec, top: bool, right: int = 0) -> None:
        """The bottom (top) halves of to's words = a's words, saturated; right in 1..16: divided by 2^right, ties up."""
        half = "t" if top else "b"
        if right:
            c = f"{to.name} = vmcu_narrow({to.name}, vmcu_vrshl({a.name}, vmcu_dup32({-right})), {int(top)});"
            self._add(f"vqrshrn{half}.s32 {to.name}, {a.name}, #{right}", c)
        else:
            c = f"{to.name} = vmcu_narrow({to.name}, {a.name}, {int(top)});"
            self._add(f"vqmovn{half}.s32 {to.name}, {a.name}", c)

    def narrow_halves(self, to: Vec, a: Vec, top: bool = False) -> None:
        """The lowest (top: highest) bytes of to's halfwords = a's halfwords, saturated."""
        c = f"{to.name} = vmcu_narrow_halves({to.name}, {a.name}, {int(top)});"
        self._add(f"vqmovn{'t' if top else 'b'}.s16 {to.name}, {a.name}", c)

    def long_product(self, to: Vec, a: Vec, b: Vec, top: bool) -> None:
        """Halfwords: to = product of the lowest (top: highest) bytes of a's and b's halfwords."""
        c = f"{to.name} = vmcu_vmull({a.name}, {b.name}, {int(top)});"
        self._add(f"vmull{'t' if top else 'b'}.s8 {to.name}, {a.name}, {b.name}", c)

    def lengthen(self, to: Vec, a: Vec, top: bool) -> None:
        """Words: to = the bottom (top) halves of a's words, with their signs."""
        c = f"{to.name} = vmcu_vmovl({a.name}, {int(top)});"
        self._add(f"vmovl{'t' if top else 'b'}.s16 {to.name}, {a.name}", c)

    def clear(self, to: Vec) -> None:
        """to = 0."""
        self._add(f"vmov.i32 {to.name}, #0", f"{to.name} = vmcu_dup32(0);")

    def at_least_vec(self, to: Vec, a: Vec, low: Vec, lanes: Lanes) -> None:
        """to = max(a, low), signed."""
        self._lanewise(f"vmax.s{lanes}", f"vmax{lanes}", to, a, low)

    def at_most_vec(self, to: Vec, a: Vec, high: Vec, lanes: Lanes) -> None:
        """to = min(a, high), signed."""
        self._lanewise(f"vmin.s{lanes}", f"vmin{lanes}", to, a, high)

    def _lanewise(self, op: str, call: str, to: Vec, a: Vec, b: Vec | Reg) -> None:
        if isinstance(b, Reg):
            width = "".join(c for c in op.split(".")[1] if c.isdigit())
            asm, c = b.asm, f"vmcu_dup{width}({b.name})"
        else:
            asm = c = b.name
        self._add(f"{op} {to.name}, {a.name}, {asm}", f"{to.name} = vmcu_{call}({a.name}, {c});")

    # ---- more of the general registers -----------------------------------------------------------

    def back(self, pointer: Reg, by: int) -> None:
        """pointer -= by, up to 4095."""
        self._add(
            f"sub{'w' if by > 255 else ''} {pointer.asm}, {pointer.asm}, #{by}", f"{pointer.name} -= {by};"
        )

    def row_at(self, pointer: Reg, rows: Reg, number: int) -> None:
        """pointer = what rows[number] points to."""
        self._add(
            f"ldr {pointer.asm}, [{rows.asm}, #{4 * number}]", f"{pointer.name} = {rows.name}[{number}];"
        )

    def behind(self, to: Reg, base: Reg, by: Reg) -> None:
        """to = base - by, pointers; to and by may share a register."""
        self._add(f"sub {to.asm}, {base.asm}, {by.asm}", f"{to.name} = {base.name} - {by.name};")

    def add_number(self, to: Reg, value: int) -> None:
        """to += value, 0..4095, modulo 2^32."""
        self._add(
            f"add{'w' if value > 255 else ''} {to.asm}, {to.asm}, #{value}",
            f"{to.name} = vmcu_add({to.name}, {value});",
        )

    def address(self, to: Reg, other: Reg) -> None:
        """to = other, pointers."""
        self._add(f"mov {to.asm}, {other.asm}", f"{to.name} = {other.name};")

    # ---- results ---------------------------------------------------------------------------------

    def count(self, trips: dict[str, int]) -> int:  # type: ignore[override]
        """Instructions of one call, from how often each loop's body runs in all."""
        return super().count(trips) + (2 if self._saves else 0)

    def function(self) -> Function:
        """The finished text."""
        params = [
            f"{kind}{'' if kind.endswith('*') else ' '}{name}{'s' if kind == WORDS else ''}_"
            for name, kind in self._params
        ]
        rows = [f"/* {self._purpose[0]}", *(f" * {line}" for line in self._purpose[1:])]
        rows[-1] += " */"
        rows += ["#if defined(VMCU_HELIUM)", f"VMCU_NAKED static void {PLACEHOLDER}("]
        rows += [*wrap([f"{p} VMCU_UNUSED" for p in params]), "{", *self._statements(), "}", "#else"]
        rows += [f"static void {PLACEHOLDER}(", *wrap(params), "{"]
        rows += [f"    {line}" for line in self._c()]
        rows += ["}", "#endif"]
        return Function(self._stem, "\n".join(rows) + "\n")

    def _statements(self) -> list[str]:
        """Inline assembly, in statements that are no longer than the strings every compiler takes."""
        rows: list[str] = []
        room, together, repeating = 0, 0, False
        for line in self._assembly():
            room -= len(line) + 1
            if room < 0 and together == 0 and not repeating:
                rows += ["    );"] if rows else []
                rows += ["    __asm__("]
                room = STRING_CHARS - len(line) - 1
            rows += [f'        "{line}\\n"']
            # What a predicate or condition covers, or a repetition, stays in its statement.
            word = line.split()[0]
            together = max(together - 1, 0)
            if word.startswith(("vpst", "it")):
                together = len(word.removeprefix("vps").removeprefix("i"))
            repeating = word == ".rept" or (repeating and word != ".endr")
        return [*rows, "    );"]

    def _assembly(self) -> list[str]:
        lines = super()._assembly()
        if self._saves:
            return [lines[0], "vpush {d8-d15}", *lines[1:-2], "vpop {d8-d15}", *lines[-2:]]
        return lines

    def _c(self) -> list[str]:
        lines = super()._c()
        text = " ".join(line.c for line in self._lines)
        used = [n for n in range(8) if re.search(rf"\bq{n}\b", text)]
        own = [f"vmcu_q {', '.join(f'q{n} = {{{{0}}}}' for n in used)};"] if used else []
        own += [f"int32_t {word};" for word in ("loops", "active") if word in text]
        at = next(i for i, line in enumerate(lines) if not _declares(line))
        unused = [
            f"(void){n}_;" for n, kind in self._params if not re.search(rf"\b{n}_\b", text) and kind != WORDS
        ]
        ignored = [f"(void){r.name};" for r in self._regs.values() if _only_set(r.name, text)]
        return [*lines[:at], *own, *unused, *lines[at:], *ignored]

    def _slot(self, param: str) -> int:
        return super()._slot(param) + (SAVED_VECTORS if self._saves else 0)

    def _loop_open(self, label: str, name: str) -> None:
        self._line(label, "do {")
        self._loops.append(name)

    def _loop_close(self, c: str) -> None:
        self._loops.pop()
        self._line("", c)

    def _c_only(self, c: str) -> None:
        self._line("", c)

    def _line(self, asm: str, c: str) -> None:
        self._lines.append(_Line(asm, c))


def _only_set(name: str, text: str) -> bool:
    """Loaded with others, but never read."""
    return 0 < len(re.findall(rf"\b{name}\b", text)) == len(re.findall(rf"\b{name} = ", text))


def _declares(line: str) -> bool:
    return any(
        line.startswith(kind.split("*")[0].rstrip() + " ") for kind in (*get_args(Kind), "const int8_t *")
    )


def _at(base: Reg, offset: int, step: int) -> str:
    assert not (offset and step)
    if step:
        return f"[{base.asm}], #{step}"
    return f"[{base.asm}, #{offset}]" if offset else f"[{base.asm}]"
