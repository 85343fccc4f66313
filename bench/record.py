"""Results that are kept: one JSON file of rows by name, and what has changed since.

A row carries the versions of its compiler and engine, and nothing of the day or the machine: the same sources give the
same file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmcu.errors import VmcuError
from vmcu.run.unicorn_engine import has_unicorn
from vmcu.targets import Target
from vmcu.toolchain import find_compiler

FOLDER = Path(__file__).parent / "results"
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
COMPILERS = ("gcc", "zig")
VERSIONS = ("compiler", "engine")
Rows = Mapping[str, Mapping[str, Any]]


def add_options(parser: argparse.ArgumentParser, cores: tuple[str, ...], path: Path) -> None:
    """What the benchmarks with kept results have in common."""
    parser.add_argument(
        "--core", action="append", choices=CORES, help=f"may be repeated; default: {', '.join(cores)}"
    )
    parser.add_argument(
        "--compiler", action="append", choices=COMPILERS, help="may be repeated; default: both"
    )
    parser.add_argument(
        "--numerics", choices=["onnx", "tflm"], default="tflm", help="rounding; default: as the peers'"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured to a file")
    parser.add_argument(
        "--compare", action="store_true", help=f"print what differs from {path.name}, which is kept"
    )
    parser.add_argument("--update", action="store_true", help=f"put what was measured into {path.name}")


def finish(options: argparse.Namespace, rows: Rows, path: Path) -> None:
    """Does what the options say with the rows that were measured."""
    if options.json:
        options.json.write_text(text_of(rows), encoding="utf-8")
    kept = read(path)
    if options.compare:
        print()
        print("\n".join(differences(kept, rows)) or f"Nothing differs from {path.name}.")
    if options.update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of({**kept, **rows}), encoding="utf-8")


def read(path: Path) -> Rows:
    """The rows of a file, none where there is no file."""
    rows: Rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return rows


def text_of(rows: Rows) -> str:
    """A line per row, so that a change reads as one."""
    lines = [f" {json.dumps(key)}: {json.dumps(rows[key])}" for key in sorted(rows)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def differences(old: Rows, new: Rows) -> list[str]:
    """Every figure of `new` that is another one in `old`; rows that were not measured are not looked at."""
    found = []
    for key, row in new.items():
        if key not in old:
            found.append(f"{key}: new")
            continue
        for name, value in row.items():
            before = old[key].get(name)
            if before == value:
                continue
            change = ""
            if isinstance(value, int | float) and isinstance(before, int | float) and before:
                change = f" ({value / before - 1:+.1%})"
            found.append(f"{key}: {name} {_shown(before)} -> {_shown(value)}{change}")
    return found


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def compilers(chosen: list[str] | None) -> list[str]:
    """Those asked for that are installed; the others are named on stderr."""
    found = []
    for name in chosen or COMPILERS:
        try:
            find_compiler(name)  # type: ignore[arg-type]
            found.append(name)
        except VmcuError as error:
            print(f"left out: {error.problems[0].what}", file=sys.stderr)
    return found


def engine_for(target: Target) -> str:
    """Unicorn where it knows the core: it starts at once and counts every instruction by itself."""
    return "unicorn" if target.unicorn_cpu is not None and has_unicorn() else "auto"


def shown(value: float | None, digits: int = 0) -> str:
    """A number of a table, a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(ours: int | None, theirs: float | None) -> str:
    """Ours in units of theirs."""
    return "-" if not ours or not theirs else f"{ours / theirs:.2f}"
