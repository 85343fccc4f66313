"""Finds the compilers: a Cortex-M one and one for the machine vmcu runs on."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Literal

from vmcu.errors import Exit, fail

GET_GCC = "install Arm GCC (Debian: apt install gcc-arm-none-eabi)"
GET_ZIG = "pip install ziglang"
GET_HOST = f"install gcc or clang (Debian: apt install gcc), or {GET_ZIG}"


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler.

    Attributes:
        name: "gcc" or "zig" (which is clang).
        version: as it says itself.
        command: what to run, before any option.
    """

    name: Literal["gcc", "zig"]
    version: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return self.version


def find_compiler(choice: Literal["auto", "gcc", "zig"] = "auto") -> Compiler:
    """The Cortex-M compiler of the user's choice; `auto` prefers `arm-none-eabi-gcc`.

    Raises:
        VmcuError: (TOOL) it is not installed; says how to get it.
    """
    gcc = shutil.which("arm-none-eabi-gcc") if choice != "zig" else None
    if gcc:
        return Compiler("gcc", f"arm-none-eabi-gcc {_gcc_version(gcc)}", (gcc,))
    if choice != "gcc" and (zig := _zig()):
        return zig
    what = {
        "auto": "no Cortex-M compiler found",
        "gcc": "arm-none-eabi-gcc not found",
        "zig": "ziglang not found",
    }
    fix = {"auto": f"{GET_ZIG}, or {GET_GCC}", "gcc": GET_GCC, "zig": GET_ZIG}
    raise fail(what[choice], "compiler", fix[choice], Exit.TOOL)


def find_host_compiler() -> Compiler:
    """A compiler for this machine: cc, gcc or clang, else ziglang.

    Raises:
        VmcuError: (TOOL) none is installed.
    """
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return Compiler("gcc", f"{name} {_gcc_version(path)}", (path,))
    if zig := _zig():
        return zig
    raise fail("no C compiler for this machine found", "compiler", GET_HOST, Exit.TOOL)


def _zig() -> Compiler | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    command = (sys.executable, "-m", "ziglang")
    text = _output((*command, "cc", "--version"))
    clang = re.search(r"clang version (\S+)", text)
    version = f"ziglang {_output((*command, 'version')).strip()}" + (f" (clang {clang[1]})" if clang else "")
    return Compiler("zig", version, (*command, "cc"))


def _gcc_version(path: str) -> str:
    lines = _output((path, "--version")).splitlines()
    numbers = re.findall(r"\b\d+\.\d+\.\d+\b", lines[0]) if lines else []
    return numbers[-1] if numbers else "of unknown version"


@cache
def _output(command: tuple[str, ...]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as e:
        raise fail(f"does not run: {e}", " ".join(command[:3]), "reinstall it", Exit.TOOL) from e
