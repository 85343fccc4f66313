"""What a board says when it took a fault, in the words of the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmcu.errors import VmcuError, internal
from vmcu.toolchain.elf import Elf

_NOBODY = 0xFFFFFFFF
_STACK_BITS = 1 << 4 | 1 << 12 | 1 << 20  # MSTKERR, STKERR, STKOF
_STEP = re.compile(r"step_(\d+)(?:\+|$)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One line `VMCU FAULT ...` of `firmware/board/fault.c`.

    Attributes:
        exception: number of the exception that was taken; 3 is HardFault.
        cfsr: its reasons, 0 on Armv6-M.
        address: that was accessed; None where the core does not know it.
        pc, lr: of the interrupted code; None where the stack could not hold them.
        is_overflow: the stack pointer was below the stack's limit.
        step, row: of the last task that ended; None before the first, and in a firmware without hooks.
        stack: words of it, the top first.
    """

    exception: int
    cfsr: int
    address: int | None
    pc: int | None
    lr: int | None
    is_overflow: bool
    step: int | None
    row: int | None
    stack: tuple[int, ...]


def read_fault(line: str) -> Fault | None:
    """The fault a line tells of; a line that was garbled on the way tells what is left."""
    if not line.startswith("VMCU FAULT"):
        return None
    fields = dict(re.findall(r"(\w+)=([0-9a-f]{8})\b", line))
    words = re.search(r"stack=([0-9a-f,]*)", line)

    def number(name: str) -> int | None:
        return int(fields[name], 16) if name in fields else None

    step, row = number("step"), number("row")
    return Fault(
        number("exception") or 0,
        number("cfsr") or 0,
        number("address"),
        number("pc"),
        number("lr"),
        (number("sp") or 0) < (number("limit") or 0) or bool((number("cfsr") or 0) & _STACK_BITS),
        None if step == _NOBODY else step,
        None if row == _NOBODY else row,
        tuple(int(w, 16) for w in re.findall(r"[0-9a-f]{8}", words[1] if words else "")),
    )


def explain_fault(fault: Fault, elf: Elf | None, steps: Sequence[str], board: str) -> VmcuError:
    """The error of a fault: where the program was, and in which layer.

    Args:
        elf: the program on the board, if this machine has it.
        steps: labels of the model's steps.
    """
    what = "the processor took a fault"
    if fault.is_overflow:
        what = "the stack overflowed"
    if fault.pc is not None:
        what += f" at {elf.function_at(fault.pc) if elf else f'{fault.pc:#010x}'}"
    if fault.address is not None:
        what += f", accessing {fault.address:#010x}"
    layer = _running(fault, elf)
    if layer is not None and layer < len(steps):
        what += f", in step {layer} ({steps[layer]})"
    elif fault.step is not None and fault.step < len(steps):
        what += f", after row {fault.row} of step {fault.step} ({steps[fault.step]})"
    detail = f"exception {fault.exception}, CFSR {fault.cfsr:#010x}"
    return internal(f"{what}: {detail}; the board has started again", f"board '{board}'")


def _running(fault: Fault, elf: Elf | None) -> int | None:
    """The step whose function is innermost on the stack."""
    if elf is None:
        return None
    for address in (fault.pc, fault.lr, *fault.stack):
        if address is not None and (found := _STEP.match(elf.function_at(address & ~1))):
            return int(found[1])
    return None
