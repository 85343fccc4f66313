"""Exact instruction counts in Unicorn, by basic blocks: a block that is entered runs to its end.

Counted are all instructions together, and how often each halfword of code was executed and left. The callback is C
where a compiler for this machine is found, because it runs millions of times.
"""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import tempfile
from array import array
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.cycles import Program
from vmcu.errors import VmcuError
from vmcu.resources import folder
from vmcu.toolchain.compilers import find_host_compiler
from vmcu.toolchain.elf import Elf
from vmcu.toolchain.thumb import code_of


class _Count(ctypes.Structure):
    """`struct vmcu_count` of `firmware/engine/count.c`."""

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("start", ctypes.c_uint64),
        ("before", ctypes.c_void_p),
        ("entered", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("end", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Laps:
    """Where execution went, per halfword of code from an address on.

    Attributes:
        start: address of the first.
        entered: blocks that begin there less blocks that end in front of it: the running sum counts executions.
        left: blocks that end in front of it, after which something else came.
    """

    start: int
    entered: NDArray[np.int64]
    left: NDArray[np.int64]

    def __sub__(self, other: Laps) -> Laps:
        return Laps(self.start, self.entered - other.entered, self.left - other.left)

    def __add__(self, other: Laps) -> Laps:
        return Laps(self.start, self.entered + other.entered, self.left + other.left)

    def of(self, program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How often each instruction was executed, and how often it was not its neighbour that came next."""
        executed = np.cumsum(self.entered)
        return (
            executed[(program.begins - self.start) >> 1],
            self.left[(program.ends - self.start) >> 1],
        )


class Counter:
    """Counts the instructions of a program as an engine executes them.

    Attributes:
        is_native: the callback is C; known once it is attached.
    """

    def __init__(self, elf: Elf, skipped: int, native: bool = True) -> None:
        """`skipped`: address of an instruction that is stopped at, and so never executed."""
        self._start, self._before = _count_table(elf, skipped)
        self._entered = np.zeros(len(self._before), np.int64)
        self._left = np.zeros(len(self._before), np.int64)
        self._count = _Count(
            0,
            self._start,
            self._before.buffer_info()[0],
            self._entered.ctypes.data,
            self._left.ctypes.data,
            -1,
        )
        self._wants_native = native
        self.is_native = False

    @property
    def instructions(self) -> int:
        """Since the counter was made."""
        return int(self._count.instructions)

    def laps(self) -> Laps:
        """Since the counter was made."""
        return Laps(self._start, self._entered.copy(), self._left.copy())

    def stop(self) -> None:
        """The engine has stopped: where it goes on is not where the last block led to."""
        if self._count.end >= 0:
            self._left[self._count.end] += 1
        self._count.end = -1

    def attach(self, unicorn: Any, uc: Any) -> None:
        """Counts from now on; `unicorn` is the module, `uc` its engine."""
        callback, library = _native_callback(), _unicorn_library()
        self.is_native = self._wants_native and callback is not None and library is not None
        if not self.is_native:
            uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
            return
        self._handle = ctypes.c_size_t()
        function, user = ctypes.cast(callback, ctypes.c_void_p), ctypes.byref(self._count)
        every = (1, 0)  # begin > end: at any address
        status = library.uc_hook_add(
            uc._uch, ctypes.byref(self._handle), unicorn.UC_HOOK_BLOCK, function, user, *every
        )
        if status != 0:
            raise unicorn.UcError(status)

    def _on_block(self, uc: object, address: int, size: int, data: object) -> None:
        first = (address - self._start) >> 1
        end = first + (size >> 1)
        self._count.instructions += self._before[end] - self._before[first]
        self._entered[first] += 1
        self._entered[end] -= 1
        if self._count.end not in (-1, first):
            self._left[self._count.end] += 1
        self._count.end = end


@cache
def _native_callback() -> Any:
    """The C callback, or None where no compiler for this machine works."""
    with tempfile.TemporaryDirectory(prefix="vmcu-") as work:
        library = Path(work, "count.so")
        source = folder("firmware") / "engine" / "count.c"
        try:
            command = (
                *find_host_compiler().command,
                "-O2",
                "-shared",
                "-fPIC",
                str(source),
                "-o",
                str(library),
            )
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            return ctypes.CDLL(str(library)).vmcu_count_block
        except (VmcuError, OSError, subprocess.SubprocessError, AttributeError):
            return None


def _unicorn_library() -> Any:
    """Unicorn's C library, which its Python package does not export; None where it is not found."""
    try:
        return importlib.import_module("unicorn.unicorn_py3.unicorn").uclib
    except (ImportError, AttributeError):
        return None


def _count_table(elf: Elf, skipped: int) -> tuple[int, array[int]]:
    """Where code starts, and for each halfword of it the number of instructions before it."""
    code = code_of(elf)
    start = min(a for a, _ in code.chunks)
    end = max(a + len(data) for a, data in code.chunks)
    begins = bytearray((end - start) // 2 + 1)
    for address, data in code.chunks:
        for at, _, _ in code.instructions(address, address + len(data)):
            begins[(at - start) >> 1] = at != skipped
    before = array("I", [0])
    for one in begins:
        before.append(before[-1] + one)
    return start, before
