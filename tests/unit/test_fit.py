"""Does it fit: against the chip, against the user's limits, before and after a build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from broken_plans import compiled

from vmcu.errors import Exit, VmcuError
from vmcu.fit import Limits, check_fit
from vmcu.pipeline import compile_graph, load
from vmcu.targets import Region, Target, load_target, with_regions
from vmcu.toolchain import Compiler, Firmware

MODELS = Path(__file__).parents[2] / "models"
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
    """The smallest board that suffices, of the same core; cores are no boards."""
    assert "take a larger board, nucleo-f411re (131,072 bytes" in check(None, chip(1, 1))
    huge = replace(ONE, project=replace(ONE.project, pool_bytes=300_000))
    with pytest.raises(VmcuError) as error:
        check_fit(huge, load_target("nucleo-f411re"), None, Limits())
    assert "take a larger board, nucleo-l4r5zi (655,360 bytes" in error.value.problems[0].fix
    with pytest.raises(VmcuError) as error:  # no M4 has that much in one piece
        check_fit(
            replace(ONE, project=replace(ONE.project, pool_bytes=700_000)),
            load_target("nucleo-f411re"),
            None,
            Limits(),
        )
    assert "take a larger board, nucleo-u575zi-q (786,432 bytes" in error.value.problems[0].fix
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


def regions(pool_region: str | None = None, weights_region: str | None = None) -> Target:
    """A fast RAM that takes the pool to the byte, a slow one for the rest, an external one; flash and external flash."""
    ram = (
        Region("FAST", 0x2000_0000, POOL, 0),
        Region("SLOW", 0x3000_0000, POOL + STACK + STATICS - 1, 1),
        Region("SDRAM", 0xC000_0000, 10**6, 9, "external"),
    )
    flash = (
        Region("flash", 0x0800_0000, CODE, 3),
        Region("QSPI", 0x9000_0000, CONSTANTS, 30, "external"),
    )
    return with_regions(replace(chip(1, 1), ram=ram, flash=flash), pool_region, weights_region)


def test_pool_and_stack_in_regions_of_their_own() -> None:
    assert check(FIRMWARE, regions()) == ""
    assert check(FIRMWARE, regions("FAST", "QSPI")) == ""
    assert check(FIRMWARE, regions("SLOW")) == "", "the stack lies in the fast one"
    assert check(FIRMWARE, regions("SDRAM")) == ""


def test_a_region_that_is_too_small() -> None:
    small = replace(regions(), ram=(Region("FAST", 0, 8, 0), *regions().ram[1:]))
    text = check(FIRMWARE, with_regions(small, "fast", None))
    assert "target 'chip', FAST: needs" in text
    assert f"more than the {8 + STACK + STATICS:,} there are" in text, (
        "8 for the pool; the rest has its place"
    )
    assert f"or --pool-region SLOW ({POOL + STACK + STATICS - 1:,} bytes)" not in text, (
        "no room for the stack"
    )
    assert "or --pool-region SDRAM (1,000,000 bytes, external: your firmware has to set it up)" in text


def test_external_ram_only_by_name() -> None:
    target = replace(regions(), ram=regions().ram[:1] + regions().ram[2:])
    less = replace(target, ram=(replace(target.ram[0], size_bytes=POOL - 1), target.ram[1]))
    text = check(None, less)
    assert f"1 more than the {POOL - 1:,} there are" in text
    assert "--pool-region SDRAM (1,000,000 bytes, external" in text


def test_weights_that_do_not_fit_their_flash() -> None:
    target = regions(None, "flash")
    text = check(FIRMWARE, target)
    assert f"target 'chip', flash: needs {CONSTANTS + CODE:,} bytes of flash" in text
    assert f"{CONSTANTS:,} more than the {CODE:,} there are" in text


def test_planning_takes_the_region_in_one_piece() -> None:
    assert Limits().ram(regions()) == POOL + STACK + STATICS - 1
    assert Limits().ram(regions("FAST")) == POOL
    assert Limits(10).ram(regions("FAST")) == 10


def test_what_compact_kernels_would_take_is_told() -> None:
    usual = compile_graph(load(MODELS / "mnist_cnn" / "model.onnx"))
    small = compile_graph(load(MODELS / "mnist_cnn" / "model.onnx"), optimise="size")
    need, room = (one.project.weights_bytes + one.project.tables_bytes for one in (usual, small))
    assert room < need
    told = f"--optimize size makes weights and tables {room:,}, "
    for limit, rest in ((need - 1, "which is enough"), (room - 1, "and code smaller, too")):
        with pytest.raises(VmcuError) as error:
            check_fit(usual, None, None, Limits(None, limit))
        assert told + rest in error.value.problems[0].fix
    with pytest.raises(VmcuError) as error:
        check_fit(small, None, None, Limits(None, room - 1))
    assert "--optimize" not in error.value.problems[0].fix
