"""The generated C project: the last artefact before a compiler runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the model: one array inside the pool, or streamed.

    Attributes:
        name: the name in the model file (untrusted text).
        c_name: its C identifier, unique among the ports.
        offset_bytes: from the start of the pool; 0 where it is streamed.
        size_bytes: of the whole array.
        row_bytes: of one row.
        streamed: delivered or handed out row by row through a callback; not in the pool as an array.
    """

    name: str
    c_name: str
    offset_bytes: int
    size_bytes: int
    row_bytes: int = 0
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class CProject:
    """A self-contained C99 project, as text.

    The public C API is `int <name>_init(void *pool)`, `int <name>_run(void *pool)` and
    `int <name>_reset(void *pool)`, each returning 0 on success. Inputs are written to and outputs
    read from `pool + offset_bytes`. With streamed inputs or outputs, `<name>_run_rows` replaces `<name>_run`:
    after the pool it takes a callback and its context for each of them, inputs first, in port order.

    Attributes:
        name: C identifier: prefix of every public symbol, stem of the main files.
        files: path relative to the project -> text.
        sources: the `.c` files to compile.
        pool_bytes: RAM the caller provides (activations, scratch and state).
        pool_align: required alignment of the pool.
        state_bytes: leading part of the pool that persists between runs.
        inputs, outputs: in the order of the model file.
        steps: a label per step; `vmcu_task_done` reports the index into it.
        weights_bytes, tables_bytes: sizes of the constant arrays, by kind.
        optimise: the compiler's option that it was planned for.
        split_bytes: the pool's first bytes are one array, the others another, and `pool` points to a
            `struct <name>_pool` of both; 0: it is one array.
    """

    name: str
    files: Mapping[str, str]
    sources: tuple[str, ...]
    pool_bytes: int
    pool_align: int
    state_bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[str, ...]
    weights_bytes: int
    tables_bytes: int
    optimise: str = "-O3"
    split_bytes: int = 0

    @property
    def streams(self) -> bool:
        """Is any input or output streamed?"""
        return any(port.streamed for port in (*self.inputs, *self.outputs))
