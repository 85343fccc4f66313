"""Turns a C project into a program: compilers, linker, sizes, worst-case stack."""

from __future__ import annotations

from vmcu.toolchain.build import build, build_host
from vmcu.toolchain.compilers import Compiler, find_compiler, find_host_compiler
from vmcu.toolchain.firmware import Firmware, Hooks

__all__ = ["Compiler", "Firmware", "Hooks", "build", "build_host", "find_compiler", "find_host_compiler"]
