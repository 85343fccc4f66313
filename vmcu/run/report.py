"""What an engine found out: the last artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunReport:
    """Results and exact costs of a run.

    Attributes:
        engine: "qemu", "unicorn" or "host".
        version: of the engine.
        outputs: per inference, per output port, its bytes.
        instructions: per inference, executed by `<name>_run` from its entry to its return; None on
            the host and in a build with hooks, whose code is not the model's alone.
        init_instructions: the same of `<name>_init`.
        stack_painted_bytes: most stack any call was seen to use; None where `instructions` is.
        trace: (step, row) -> bytes of the first inference, in a build with `trace` hooks.
        profile: instructions per step of the first inference, with the calls of the hook itself and
            their arguments; None but in a build with `profile` hooks.
        cycles: per inference, estimated by the model of the core (`vmcu/cycles`); None where `instructions`
            is, and from engines that do not tell which instructions were executed (QEMU).
        profile_cycles: the same of `profile`.
        profile_leaves: per step, how often execution left the straight line (branches, calls, returns): what
            flash without a cache makes wait; None where `profile_cycles` is.
        leaves: the same per inference; None where `cycles` is.
        step_instructions, step_cycles, step_leaves: per step of the first inference of a plain build, from the entry of
            its function to that of the next one's, whatever runs between them included: they add up to the whole.
            None from engines that do not see functions (QEMU).
        step_stack_bytes: most stack the function and its callees were seen to use; None where `step_instructions` is.
    """

    engine: str
    version: str
    outputs: tuple[tuple[bytes, ...], ...]
    instructions: tuple[int, ...] | None
    init_instructions: int | None
    stack_painted_bytes: int | None
    trace: Mapping[tuple[int, int], bytes]
    profile: tuple[int, ...] | None
    cycles: tuple[int, ...] | None = None
    profile_cycles: tuple[int, ...] | None = None
    profile_leaves: tuple[int, ...] | None = None
    leaves: tuple[int, ...] | None = None
    step_instructions: tuple[int, ...] | None = None
    step_cycles: tuple[int, ...] | None = None
    step_leaves: tuple[int, ...] | None = None
    step_stack_bytes: tuple[int, ...] | None = None
