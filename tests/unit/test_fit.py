"""Does it fit: against the chip, against the user's limits, before and after a build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from broken_plans import compiled

from vmcu.errors import Exit, VmcuError
from vmcu.fit import Limits, check_fit
from vmcu.targets import Region, Target, load_target
from vmcu.toolchain import Compiler, Firmware

ONE = compiled("branches")
POOL = ONE.project.pool_bytes
CONSTANTS = ONE.project.weights_bytes + ONE.project.tables_bytes
STACK, STATICS, CODE = 100, 8, 1000


def chip(ram: int, flash: int) -> Target:
    """A board with one region of each."""
    return replace(
        load_target("nucleo-f411re"),
        name="chip",
        ram=(Region("SRAM", 0x2000_0000, ram, 0),),
        flash=(Region("flash", 0x0800_0000, flash, 3),),
    )


FIRMWARE = Firmware(
    Path("x.elf"),
    ONE.project,
    chip(0, 0),
    Compiler("gcc", "1", ("gcc",)),
    CODE,
    0,
    CONSTANTS,
    STATICS,
    STACK,
    "none",
    "-O3",
)


def check(
    firmware: Firmware | None, target: Target | None, ram: int | None = None, flash: int | None = None
) -> str:
    """The messages, "" where all fits."""
    try:
        check_fit(ONE, target, firmware, Limits(ram, flash))
    except VmcuError as error:
        assert error.code is Exit.DOES_NOT_FIT
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("firmware", "ram", "flash"),
    [(None, POOL, CONSTANTS), (FIRMWARE, POOL + STACK + STATICS, CONSTANTS + CODE)],
)
def test_to_the_byte(firmware: Firmware | None, ram: int, flash: int) -> None:
    plenty = chip(10**6, 10**6)
    assert (
        check(firmware, chip(ram, flash))
        == check(firmware, plenty, ram, flash)
        == check(firmware, None, ram, flash)
        == ""
    )
    for target, limits in ((chip(ram - 1, 10**6), ()), (plenty, (ram - 1, None)), (None, (ram - 1, None))):
        text = check(firmware, target, *limits)
        assert (
            f"needs {ram:,} bytes of RAM (pool {POOL:,}" in text
            and f"1 more than the {ram - 1:,} there are" in text
        )
        assert "bytes of flash (" not in text
    for target, limits in (
        (chip(10**6, flash - 1), ()),
        (plenty, (None, flash - 1)),
        (None, (None, flash - 1)),
    ):
        text = check(firmware, target, *limits)
        assert (
            f"needs {flash:,} bytes of flash (weights and tables {CONSTANTS:,}" in text
            and "bytes of RAM (pool" not in text
        )


def test_all_parts_are_named() -> None:
    text = check(FIRMWARE, chip(10, 10))
    assert f"(pool {POOL} + stack 100 + statics 8)" in text
    assert f"(weights and tables {CONSTANTS} + code 1,000)" in text


def test_both_at_once() -> None:
    with pytest.raises(VmcuError) as error:
        check_fit(ONE, chip(1, 1), None, Limits())
    assert len(error.value.problems) == 2


def test_says_what_would_fit() -> None:
    """The smallest board that suffices; cores are no boards."""
    assert "take a larger board, nucleo-f411re (131,072 bytes" in check(None, chip(1, 1))
    huge = replace(ONE, project=replace(ONE.project, pool_bytes=300_000))
    with pytest.raises(VmcuError) as error:
        check_fit(huge, load_target("nucleo-f411re"), None, Limits())
    assert "take a larger board, nucleo-f767zi (524,288 bytes" in error.value.problems[0].fix
    huge = replace(ONE, project=replace(ONE.project, pool_bytes=10**9))
    with pytest.raises(VmcuError, match="use a smaller model or input: no known board has enough memory"):
        check_fit(huge, load_target("nucleo-f411re"), None, Limits())


def test_a_limit_of_the_user_is_no_fault_of_the_target() -> None:
    text = check(None, chip(10**6, 10**6), 10, None)
    assert (
        "--ram 10: needs" in text and f"allow at least --ram {POOL}" in text and "target 'chip'" not in text
    )


def test_the_smaller_of_target_and_limit_counts() -> None:
    assert "target 'chip'" in check(None, chip(20, 10**6), 10**6)
    assert "--ram 10" in check(None, chip(20, 10**6), 10)
    assert check(None, None) == ""
