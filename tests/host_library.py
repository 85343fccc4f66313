"""Generated C as a shared library, called in this process: the quickest way to run a kernel.

The pool, or each of its two arrays, lies between guard bytes, and undefined behaviour traps. Streamed inputs and outputs go through
callbacks that insist on the order SPEC.md promises.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vmcu.ir.cproject import Port
from vmcu.pipeline import Compiled

GUARD_BYTES = 64
GUARD = 0x5A
FLAGS = [
    "-std=c99",
    "-O1",
    "-g",
    "-fsanitize=undefined",
    "-fsanitize-undefined-trap-on-error",
    "-shared",
    "-fPIC",
]


class GaveUp(Exception):
    """A function of the model returned a status that is not 0."""


ROWS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)


class HostModel:
    """A compiled model in this process."""

    def __init__(self, compiled: Compiled, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            pytest.skip("no host C compiler")
        self.compiled = compiled
        project = compiled.project
        for name, text in project.files.items():
            (folder / name).write_text(text)
        library = folder / f"{project.name}.so"
        command = [compiler, *FLAGS, *project.sources, "-o", library.name]
        subprocess.run(command, cwd=folder, check=True)
        self._library = ctypes.CDLL(str(library))
        split = project.split_bytes or project.pool_bytes
        self._arrays = [_Array(split)]
        if project.split_bytes:
            self._arrays.append(_Array(project.pool_bytes - split))
        self.calls: list[tuple[str, int]] = []  # (port, row) of the last run's callbacks
        self._call("init")

    def run(self, given: Mapping[str, np.ndarray], calls: int | None = None) -> dict[str, np.ndarray]:
        """One inference on tensors as they lie in memory; returns output tensors by name.

        Args:
            calls: of the callbacks, after which the next one gives up.
        """
        graph, project = self.compiled.graph, self.compiled.project
        self.calls = []
        callbacks: list[object] = []
        for port, interface in zip(project.inputs, graph.inputs, strict=True):
            data = np.frombuffer(given[interface.tensor].tobytes(), np.int8)
            if port.streamed:
                callbacks += [self._reader(port, data, calls), None]
            else:
                self._bytes(port)[:] = data
        received: dict[str, bytearray] = {}
        for port in (p for p in project.outputs if p.streamed):
            received[port.name] = bytearray()
            callbacks += [self._writer(port, received[port.name], calls), None]
        self._call("run_rows" if callbacks else "run", *callbacks)
        outputs = {}
        for port, interface in zip(project.outputs, graph.outputs, strict=True):
            tensor = graph.tensors[interface.tensor]
            data = bytes(received[port.name]) if port.streamed else self._bytes(port).tobytes()
            dtype = np.int8 if tensor.elem_bytes == 1 else np.int32
            outputs[interface.tensor] = np.frombuffer(data, dtype).reshape(tensor.shape)
        for array in self._arrays:
            assert (array.guards() == GUARD).all(), "bytes outside the pool were written"
        return outputs

    def reset(self) -> None:
        """Forgets the states."""
        self._call("reset")

    def _reader(self, port: Port, data: np.ndarray, calls: int | None) -> object:
        last = -1

        def read(_: object, row: int, count: int, to: int) -> int:
            nonlocal last
            # An exception would be lost on its way through C; a status is not.
            if len(self.calls) == calls or row <= last or (row + count) * port.row_bytes > port.size_bytes:
                return 7
            last = row + count - 1
            self.calls.append((port.name, row))
            part = data[row * port.row_bytes : (row + count) * port.row_bytes]
            ctypes.memmove(to, part.tobytes(), part.size)
            return 0

        return ROWS(read)

    def _writer(self, port: Port, received: bytearray, calls: int | None) -> object:
        def write(_: object, row: int, count: int, start: int) -> int:
            if len(self.calls) == calls or len(received) != row * port.row_bytes:
                return -1
            self.calls.append((port.name, row))
            received.extend(ctypes.string_at(start, count * port.row_bytes))
            return 0

        return ROWS(write)

    def _call(self, what: str, *arguments: object) -> None:
        function = getattr(self._library, f"{self.compiled.project.name}_{what}")
        addresses = [array.bytes.ctypes.data for array in self._arrays]
        parts = (ctypes.c_void_p * len(addresses))(*addresses)  # struct <name>_pool
        pool = ctypes.cast(parts, ctypes.c_void_p) if len(addresses) > 1 else ctypes.c_void_p(addresses[0])
        status = function(pool, *arguments)
        if status:
            raise GaveUp(status)

    def bytes_at(self, address: int, count: int) -> np.ndarray:
        """A view of bytes of the pool, none of which lies across its two arrays."""
        first = self._arrays[0].bytes
        if address < len(first):
            return first[address : address + count]
        return self._arrays[1].bytes[address - len(first) :][:count]

    def _bytes(self, port: Port) -> np.ndarray:
        """Where an input or output lies."""
        return self.bytes_at(port.offset_bytes, port.size_bytes)


class _Array:
    """Bytes between guards."""

    def __init__(self, count: int) -> None:
        self._memory = np.full(count + 2 * GUARD_BYTES + 16, GUARD, np.uint8).view(np.int8)
        self._start = GUARD_BYTES + (-(self._memory.ctypes.data + GUARD_BYTES)) % 16
        self.bytes = self._memory[self._start : self._start + count]

    def guards(self) -> np.ndarray:
        """What nobody may write."""
        behind = self._start + len(self.bytes)
        return np.concatenate([self._memory[: self._start], self._memory[behind:]]).view(np.uint8)
