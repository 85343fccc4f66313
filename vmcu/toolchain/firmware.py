"""A built program: the artefact between the tool chain and an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmcu.ir.cproject import CProject
from vmcu.targets import Target
from vmcu.toolchain.compilers import Compiler

Hooks = Literal["none", "trace", "profile"]


@dataclass(frozen=True, slots=True)
class Firmware:
    """A program that runs a model over a file of inputs.

    Attributes:
        elf: the program.
        project: what was compiled.
        target: None for a program of the machine vmcu runs on.
        compiler: which built it.
        code_bytes: machine code of the project's own objects.
        library_bytes: code of the compiler's library and memory functions that the model calls.
        rodata_bytes: constants of the project's own objects.
        static_bytes: variables of the project's own objects.
        stack_bytes: worst case of init, run and reset, from the compiler's frames; 0 on the host.
        hooks: what happens after each task.
        optimise: the optimisation option.
        step_stack_bytes: per step, the worst case of its function and what that calls; what called it (run and
            its stage) comes on top. Empty on the host.
    """

    elf: Path
    project: CProject
    target: Target | None
    compiler: Compiler
    code_bytes: int
    library_bytes: int
    rodata_bytes: int
    static_bytes: int
    stack_bytes: int
    hooks: Hooks
    optimise: str
    step_stack_bytes: tuple[int, ...] = ()

    @property
    def flash_bytes(self) -> int:
        """Code, library and constants (variables with a value take flash too: vmcu makes none)."""
        return self.code_bytes + self.library_bytes + self.rodata_bytes

    @property
    def ram_bytes(self) -> int:
        """Pool, variables and stack."""
        return self.project.pool_bytes + self.static_bytes + self.stack_bytes
