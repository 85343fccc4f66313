"""Finds, reads and validates the target files: an unknown or missing key is an error that names its file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from vmcu.errors import fail
from vmcu.ir.quantized import Isa
from vmcu.resources import folder
from vmcu.targets import parts
from vmcu.targets.table import Table
from vmcu.targets.target import Memory, Qemu, Region, Target

_COUNTERS = ("fpgaio",)


def list_targets(paths: Sequence[Path] = ()) -> tuple[Target, ...]:
    """Every target there is, cores first, by name.

    Args:
        paths: folders of the user's own boards.

    Raises:
        VmcuError: (INPUT) a folder is missing, a file is not valid, or a name is taken.
    """
    return tuple(_read(path) for path in _files(paths).values())


def load_target(name: str, paths: Sequence[Path] = ()) -> Target:
    """The target `name`.

    Args:
        paths: folders of the user's own boards.

    Raises:
        VmcuError: (INPUT) no such target, or its file is not valid.
    """
    files = _files(paths)
    if name not in files:
        close = difflib.get_close_matches(name.lower(), files, 1, 0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise fail("is no target vmcu knows", f"target '{name[:80]}'", f"{hint}known: {', '.join(files)}")
    return _read(files[name])


def emulated(target: Target) -> Target:
    """The target whose memory and console the emulator has: the board itself, or its core."""
    return target if target.machine is not None else load_target(target.core)


def read_board(path: Path) -> Target:
    """The board described by one file; its core is one of vmcu's.

    Raises:
        VmcuError: (INPUT) unknown, missing or mistyped key; not TOML.
    """
    table = Table.read(path)
    name = table.text("core")
    cores = {p.stem: p for p in _in(folder("targets") / "cores")}
    if name not in cores:
        raise table.error(f"is none of {', '.join(cores)}", "core")
    return _board(table, path.stem, read_core(cores[name]))


def read_core(path: Path) -> Target:
    """The core described by one file.

    Raises:
        VmcuError: (INPUT) unknown, missing or mistyped key; not TOML.
    """
    return _core(Table.read(path), path.stem)


def _board(table: Table, name: str, core: Target) -> Target:
    board = Target(
        name,
        table.text("description"),
        core.name,
        core.isa,
        parts.regions(table, "ram"),
        parts.regions(table, "flash"),
        table.above_zero("clock_hz"),
        core.gcc_flags,
        core.zig_flags,
        core.memory,
        core.qemu,
        core.unicorn_cpu,
        table.text("source"),
        _machine(table.table("qemu")) if table.has("qemu") else None,
        parts.setup(table.table("firmware")) if table.has("firmware") else None,
        parts.console(table.table("console")) if table.has("console") else None,
        parts.probe(table.table("probe")) if table.has("probe") else None,
        parts.power(table.table("power")) if table.has("power") else None,
        parts.meter(table.table("meter")) if table.has("meter") else None,
    )
    if all(r.kind == "external" for r in board.ram):
        raise table.error("one region at least must be internal: the stack goes there", "ram")
    kinds = {r.name: r.kind for r in (*board.ram, *board.flash)}
    for name in board.firmware.external if board.firmware else ():
        if kinds.get(name) != "external":
            raise table.error(f"'{name}' is no external region", "firmware, external")
    table.end()
    _check_console(table, board)
    return board


def _core(table: Table, name: str) -> Target:
    flags, memory = table.table("flags"), _memory(table.table("memory"))
    qemu = _qemu(table.table("qemu")) if table.has("qemu") else None
    target = Target(
        name,
        table.text("description"),
        name,
        _isa(table),
        (Region("RAM", memory.ram_origin, memory.ram_bytes, 0),),
        (Region("FLASH", memory.flash_origin, memory.flash_bytes, 0),),
        None,
        flags.texts("gcc"),
        flags.texts("zig"),
        memory,
        qemu,
        _unicorn(table.table("unicorn")) if table.has("unicorn") else None,
        table.text("source"),
        qemu.machine if qemu else None,
        parts.setup(table.table("firmware")) if table.has("firmware") else None,
        parts.console(table.table("console")) if table.has("console") else None,
    )
    flags.end()
    table.end()
    _check_console(table, target)
    return target


def _check_console(table: Table, target: Target) -> None:
    """Firmware without a console could not be talked to, a console without firmware is nobody's."""
    if (target.firmware is None) != (target.console is None):
        raise table.error("one without the other", "firmware, console")


def _isa(table: Table) -> Isa:
    return cast(Isa, table.one_of("isa", get_args(Isa)))


def _memory(table: Table) -> Memory:
    memory = Memory(
        table.number("vectors_origin"),
        table.number("flash_origin"),
        table.number("flash_bytes"),
        table.number("ram_origin"),
        table.number("ram_bytes"),
    )
    table.end()
    return memory


def _qemu(table: Table) -> Qemu:
    counter, ratio = table.one_of("counter", _COUNTERS), table.numbers("ticks_per_instruction")
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


def _machine(table: Table) -> str:
    machine = table.text("machine")
    table.end()
    return machine


def _unicorn(table: Table) -> str:
    cpu = table.text("cpu")
    table.end()
    return cpu


def _read(path: Path) -> Target:
    is_core = path.parent == folder("targets") / "cores"
    return read_core(path) if is_core else read_board(path)


def _files(paths: Sequence[Path]) -> dict[str, Path]:
    root = folder("targets")
    found = {p.stem: p for kind in ("cores", "boards") for p in _in(root / kind)}
    for path in paths:
        if not path.is_dir():
            raise fail("is no folder", f"--target-path '{path}'", "name a folder with .toml files of boards")
        for file in _in(path):
            if file.stem in found:
                what = f"the name '{file.stem}' is taken"
                raise fail(what, f"{path.name}/{file.name}", "give the file another name")
            found[file.stem] = file
    return found


def _in(path: Path) -> list[Path]:
    """Its TOML files by name, with numbers by their value."""

    def order(file: Path) -> list[str]:
        return [part.zfill(8) if part.isdigit() else part for part in re.split(r"(\d+)", file.stem)]

    return sorted(path.glob("*.toml"), key=order)
