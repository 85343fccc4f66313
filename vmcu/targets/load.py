"""Reads and validates the target files: an unknown or missing key is an error that names its file."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import cast, get_args

from vmcu.errors import VmcuError, fail
from vmcu.ir.quantized import Isa
from vmcu.resources import folder
from vmcu.targets.target import Memory, Qemu, Target

_COUNTERS = ("fpgaio",)


def list_targets() -> tuple[Target, ...]:
    """Every target there is, cores first, by name."""
    return tuple(load_target(name) for name in _files())


def load_target(name: str) -> Target:
    """The target `name`.

    Raises:
        VmcuError: (INPUT) no such target, or its file is not valid.
    """
    files = _files()
    if name not in files:
        close = difflib.get_close_matches(name.lower(), files, 1, 0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise fail("is no target vmcu knows", f"target '{name[:80]}'", f"{hint}known: {', '.join(files)}")
    return read_target(files[name])


def read_target(path: Path) -> Target:
    """The target described by one file; a board's core file is read from `../cores`.

    Raises:
        VmcuError: (INPUT) unknown, missing or mistyped key; not TOML.
    """
    table = _Table.read(path)
    if not table.has("core"):
        return _core(table, path.stem)
    core_file = path.parent.parent / "cores" / f"{table.text('core')}.toml"
    if not core_file.is_file():
        raise table.error("names no core there is", "core")
    core = read_target(core_file)
    board = Target(
        path.stem,
        table.text("description"),
        core.name,
        core.isa,
        table.number("flash_bytes"),
        table.number("ram_bytes"),
        table.number("clock_hz"),
        core.gcc_flags,
        core.zig_flags,
        core.memory,
        core.qemu,
        core.unicorn_cpu,
        table.text("source"),
    )
    table.end()
    return board


def _core(table: _Table, name: str) -> Target:
    flags, memory = table.table("flags"), _memory(table.table("memory"))
    target = Target(
        name,
        table.text("description"),
        name,
        _isa(table),
        memory.flash_bytes,
        memory.ram_bytes,
        None,
        flags.texts("gcc"),
        flags.texts("zig"),
        memory,
        _qemu(table.table("qemu")) if table.has("qemu") else None,
        _unicorn(table.table("unicorn")) if table.has("unicorn") else None,
        table.text("source"),
    )
    flags.end()
    table.end()
    return target


def _isa(table: _Table) -> Isa:
    name = table.text("isa")
    for isa in get_args(Isa):
        if name == isa:
            return cast(Isa, isa)
    raise table.error(f"must be one of {', '.join(get_args(Isa))}", "isa")


def _memory(table: _Table) -> Memory:
    memory = Memory(
        table.number("vectors_origin"),
        table.number("flash_origin"),
        table.number("flash_bytes"),
        table.number("ram_origin"),
        table.number("ram_bytes"),
    )
    table.end()
    return memory


def _qemu(table: _Table) -> Qemu:
    counter, ratio = table.text("counter"), table.numbers("ticks_per_instruction")
    if counter not in _COUNTERS:
        raise table.error(f"must be one of {', '.join(_COUNTERS)}", "counter")
    if len(ratio) != 2 or ratio[1] == 0 or ratio[0] <= 2 * ratio[1]:
        raise table.error("must be [numerator, denominator] of more than 2", "ticks_per_instruction")
    qemu = Qemu(
        table.text("machine"),
        table.number("icount_shift"),
        counter,
        table.number("counter_base"),
        (ratio[0], ratio[1]),
    )
    table.end()
    return qemu


def _unicorn(table: _Table) -> str:
    cpu = table.text("cpu")
    table.end()
    return cpu


def _files() -> dict[str, Path]:
    root = folder("targets")
    return {
        p.stem: p for kind in ("cores", "boards") for p in sorted((root / kind).glob("*.toml"), key=_order)
    }


def _order(path: Path) -> list[str]:
    """By name, with numbers by their value."""
    return [part.zfill(8) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


class _Table:
    """A TOML table of which every key must be asked for."""

    def __init__(self, values: dict[str, object], where: str) -> None:
        self._values = dict(values)
        self._where = where
        self._left = set(values)

    @classmethod
    def read(cls, path: Path) -> _Table:
        where = f"{path.parent.name}/{path.name}"
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")), where)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise fail(f"is not TOML: {e}", where, "correct the file") from e

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self.error("must be a text", key)
        return value

    def number(self, key: str) -> int:
        return self._number(self._take(key), key)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.error("must be a list of texts", key)
        return tuple(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        value = self._take(key)
        if not isinstance(value, list):
            raise self.error("must be a list of numbers", key)
        return tuple(self._number(v, key) for v in value)

    def table(self, key: str) -> _Table:
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.error("must be a table", key)
        return _Table(value, f"{self._where} [{key}]")

    def end(self) -> None:
        if self._left:
            raise self.error("is not a key vmcu knows", ", ".join(sorted(self._left)))

    def error(self, what: str, key: str) -> VmcuError:
        return fail(what, f"{self._where}: '{key}'", "correct the file; targets/ in vmcu has examples")

    def _take(self, key: str) -> object:
        if key not in self._values:
            raise self.error("is missing", key)
        self._left.discard(key)
        return self._values[key]

    def _number(self, value: object, key: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise self.error("must be a whole number of 0 to 2^32 - 1", key)
        return value
