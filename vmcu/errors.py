"""One error type for the whole tool; only `cli.py` formats it and exits.

Exit codes are part of the interface (documented in README): scripts and CI branch on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes."""

    OK = 0
    INPUT = 1  # the user's model, file or option
    USAGE = 2  # the command line itself (Click's own code)
    TOOL = 3  # an external tool failed or is missing
    MISMATCH = 4  # outputs differ from the reference, or figures grew above the limit
    DOES_NOT_FIT = 5  # the plan exceeds the memory there is
    BUG = 70  # ours


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: the symptom, one sentence.
        where: node, tensor, file or option it concerns.
        fix: what the user can do about it.
    """

    what: str
    where: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  fix: {self.fix}"


class VmcuError(Exception):
    """A failure the user can act on. Carries every problem found at once."""

    def __init__(self, code: Exit, problems: Sequence[Problem]) -> None:
        self.code = code
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[VmcuError], tuple[Exit, tuple[Problem, ...]]]:
        """So that it survives the way back from a worker process."""
        return type(self), (self.code, self.problems)


class Unsupported(Exception):
    """Raised where a node is lowered to integers; becomes a Problem that names the node."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)


def fail(what: str, where: str, fix: str, code: Exit = Exit.INPUT) -> VmcuError:
    """A `VmcuError` with one problem, to be raised by the caller."""
    return VmcuError(code, [Problem(what, where, fix)])


def internal(what: str, where: str) -> VmcuError:
    """An invariant of ours does not hold."""
    return fail(what, where, "this is a bug in vmcu: please report it with the model", Exit.BUG)
