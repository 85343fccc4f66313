"""Generated C as a shared library, called in this process: the quickest way to run a kernel.

The pool lies between guard bytes, and undefined behaviour traps.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

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
        size = project.pool_bytes + 2 * GUARD_BYTES + 16
        memory = np.full(size, GUARD, np.uint8).view(np.int8)
        start = GUARD_BYTES + (-(memory.ctypes.data + GUARD_BYTES)) % 16
        self._memory = memory
        self._pool = memory[start : start + project.pool_bytes]
        self._start = start
        self._call("init")

    def run(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference on tensors as they lie in memory; returns output tensors by name."""
        graph, project = self.compiled.graph, self.compiled.project
        for port, interface in zip(project.inputs, graph.inputs, strict=True):
            data = np.frombuffer(given[interface.tensor].tobytes(), np.int8)
            self._pool[port.offset_bytes : port.offset_bytes + port.size_bytes] = data
        self._call("run")
        outputs = {}
        for port, interface in zip(project.outputs, graph.outputs, strict=True):
            tensor = graph.tensors[interface.tensor]
            data = self._pool[port.offset_bytes : port.offset_bytes + port.size_bytes].tobytes()
            dtype = np.int8 if tensor.elem_bytes == 1 else np.int32
            outputs[interface.tensor] = np.frombuffer(data, dtype).reshape(tensor.shape)
        guards = np.concatenate(
            [self._memory[: self._start], self._memory[self._start + project.pool_bytes :]]
        )
        assert (guards.view(np.uint8) == GUARD).all(), "bytes outside the pool were written"
        return outputs

    def reset(self) -> None:
        """Forgets the states."""
        self._call("reset")

    def _call(self, what: str) -> None:
        function = getattr(self._library, f"{self.compiled.project.name}_{what}")
        assert function(ctypes.c_void_p(self._pool.ctypes.data)) == 0
