"""Exact instruction counts in Unicorn, by basic blocks: a block that is entered runs to its end.

The callback is C where a compiler for this machine is found, because it runs millions of times.
"""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import tempfile
from array import array
from functools import cache
from pathlib import Path
from typing import Any

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
    )


class Counter:
    """Counts the instructions of a program as an engine executes them.

    Attributes:
        is_native: the callback is C; known once it is attached.
    """

    def __init__(self, elf: Elf, skipped: int, native: bool = True) -> None:
        """`skipped`: address of an instruction that is stopped at, and so never executed."""
        self._start, self._before = _count_table(elf, skipped)
        self._count = _Count(0, self._start, self._before.buffer_info()[0])
        self._wants_native = native
        self.is_native = False

    @property
    def instructions(self) -> int:
        """Since the counter was made."""
        return int(self._count.instructions)

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
        self._count.instructions += self._before[first + (size >> 1)] - self._before[first]


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
