"""A RAM budget to the byte: what stack and variables take is known only once a plan is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vmcu.errors import Exit, VmcuError
from vmcu.pipeline import Compiled, compile_choice
from vmcu.planning.choose import Candidate, choose
from vmcu.toolchain import Firmware


def settle(
    compiled: Compiled, ram_bytes: int, build: Callable[[Compiled], Firmware]
) -> tuple[Compiled, Firmware | None]:
    """Builds plans in the order of the wish until one fits; usually that is the first, and no other is built.

    Args:
        compiled: chosen with an allowance for stack and variables, which no longer counts.
        ram_bytes: for pool, stack and variables.
        build: makes the firmware of a plan.

    Returns:
        The plan to use and its firmware. Where none fits: the smallest, and None where the linker refused it.
    """
    choice = compiled.choice
    if choice is None:
        raise ValueError("there is nothing to choose from")
    left = list(choice.candidates)
    smallest = choose(choice.candidates, "ram", ram_bytes)
    failed: dict[Candidate, tuple[Compiled, Firmware | None]] = {}
    while left:
        chosen = choose(left, choice.optimise, ram_bytes)
        if chosen.pool_bytes > ram_bytes:
            break
        current = compiled
        if chosen is not choice.chosen:
            current = compile_choice(replace(choice, chosen=chosen), compiled.project.name)
        firmware = _build(current, build)
        if firmware and firmware.ram_bytes <= ram_bytes:
            return current, firmware
        failed[chosen] = (current, firmware)
        left.remove(chosen)
    if smallest in failed:
        return failed[smallest]
    current = compile_choice(replace(choice, chosen=smallest), compiled.project.name)
    return current, _build(current, build)


def _build(compiled: Compiled, build: Callable[[Compiled], Firmware]) -> Firmware | None:
    try:
        return build(compiled)
    except VmcuError as error:
        if error.code is Exit.DOES_NOT_FIT:
            return None
        raise
