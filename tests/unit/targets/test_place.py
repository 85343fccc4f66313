"""Which region holds what, by hand and against every other way."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.targets import (
    Region,
    Target,
    flash_capacity,
    load_target,
    place_flash,
    place_ram,
    ram_capacity,
    with_regions,
)

TCM = Region("TCM", 0x2000_0000, 100, 0)
SRAM = Region("SRAM", 0x2000_0064, 200, 1)  # behind the TCM
FAR = Region("FAR", 0x3000_0000, 50, 2)
SDRAM = Region("SDRAM", 0xC000_0000, 1000, 9, "external")
FLASH = Region("flash", 0x0800_0000, 100, 3)
QSPI = Region("QSPI", 0x9000_0000, 500, 30, "external")


def board(pool: str | None = None, weights: str | None = None, *ram: Region) -> Target:
    regions = ram or (TCM, SRAM, FAR, SDRAM)
    made = replace(load_target("nucleo-f411re"), name="chip", ram=regions, flash=(FLASH, QSPI))
    return with_regions(made, pool, weights)


@pytest.mark.parametrize(
    ("pool", "rest", "where"),
    [
        (60, 40, ("TCM", "TCM")),  # all in the fastest
        (60, 41, ("TCM", "SRAM")),  # the pool still there, the rest beside it
        (100, 200, ("TCM", "SRAM")),
        (101, 99, ("SRAM", "SRAM")),
        (200, 100, ("SRAM", "TCM")),
        (201, 50, ("TCM+SRAM", "TCM+SRAM")),  # joined before the far one
        (300, 50, ("TCM+SRAM", "FAR")),
        (300, 51, None),
        (301, 0, None),  # external RAM by name only
    ],
)
def test_ram(pool: int, rest: int, where: tuple[str, str] | None) -> None:
    place = place_ram(board(), pool, rest)
    assert (place and (place.pool.name, place.rest.name)) == where


@pytest.mark.parametrize(
    ("region", "pool", "rest", "where"),
    [
        ("sram", 10, 10, ("SRAM", "SRAM")),
        ("SRAM", 200, 100, ("SRAM", "TCM")),
        ("SRAM", 201, 0, None),
        ("FAR", 50, 101, ("FAR", "SRAM")),
        ("tcm+sram", 50, 50, ("TCM+SRAM", "TCM+SRAM")),
        ("SDRAM", 1000, 300, ("SDRAM", "TCM+SRAM")),  # the stack stays inside
        ("SDRAM", 10, 301, None),
    ],
)
def test_ram_by_name(region: str, pool: int, rest: int, where: tuple[str, str] | None) -> None:
    place = place_ram(board(region), pool, rest)
    assert (place and (place.pool.name, place.rest.name)) == where


@pytest.mark.parametrize(
    ("names", "pool", "rest", "where"),
    [
        # Of the first region 64 bytes are kept beside the pool, so its part is 32 of TCM's 100.
        ("tcm,far", 32, 10, ("TCM", "TCM", None)),  # all of it fits the first
        ("tcm,far", 33, 10, ("TCM", "FAR", "FAR")),
        ("TCM, FAR", 72, 10, ("TCM", "FAR", "FAR")),
        ("TCM,FAR", 72, 11, ("TCM", "SRAM", "FAR")),
        ("TCM,FAR", 82, 200, ("TCM", "SRAM", "FAR")),
        ("TCM,FAR", 83, 0, None),
        ("TCM,FAR", 82, 201, None),
        ("SRAM,SDRAM", 1136, 100, ("SRAM", "TCM", "SDRAM")),  # nothing but the pool goes outside
        ("SRAM,SDRAM", 1136, 101, None),
        ("TCM+SRAM,FAR", 232 + 50, 0, ("TCM+SRAM", "FAR", "FAR")),
        ("TCM+SRAM,FAR", 232 + 50, 1, None),
    ],
)
def test_split_pool(names: str, pool: int, rest: int, where: tuple[str, str, str | None] | None) -> None:
    place = place_ram(board(names), pool, rest)
    assert (place and (place.pool.name, place.rest.name, place.second and place.second.name)) == where


@pytest.mark.parametrize("names", ["TCM,FAR", "FAR,TCM", "SRAM,FAR", "TCM+SRAM,FAR", "TCM,SDRAM"])
def test_capacity_of_a_split_pool_says_what_fits(names: str) -> None:
    target = board(names)
    split = target.split_bytes
    for pool, rest in product(range(0, 1102, 25), range(0, 402, 25)):
        place = place_ram(target, pool, rest)
        if pool > split:
            assert (place is not None) == (pool + rest <= ram_capacity(target, rest)), (pool, rest)
        else:
            assert place == place_ram(board(names.split(",")[0]), pool, rest)
        if place and place.second:
            assert pool - split + (rest if place.rest is place.second else 0) <= place.second.size_bytes


def test_pairs_do_not_touch() -> None:
    assert [(a.name, b.name) for a, b in board().pairs()] == [
        ("TCM", "FAR"),
        ("SRAM", "FAR"),
        ("FAR", "TCM+SRAM"),
        ("FAR", "TCM"),
        ("FAR", "SRAM"),
        ("TCM+SRAM", "FAR"),
    ]
    near = Region("NEAR", SRAM.end, 50, 1)
    assert board(None, None, TCM, SRAM, near).pairs() == ()  # TCM+SRAM+NEAR has all that TCM and NEAR have


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("TCM,FAR,SRAM", "names more than two regions"),
        ("TCM,", "target 'chip' has no such region"),
        ("TCM,X", "--pool-region X: target 'chip' has no such region"),
        ("TCM,TCM+SRAM", "names memory twice"),
        ("far,FAR", "names memory twice"),
    ],
)
def test_pairs_that_are_none(names: str, message: str) -> None:
    with pytest.raises(VmcuError) as e:
        board(names)
    assert e.value.code is Exit.INPUT and message in str(e.value)


@pytest.mark.parametrize("region", [None, "TCM", "SRAM", "FAR", "TCM+SRAM", "SDRAM"])
@pytest.mark.parametrize("ram", [(TCM,), (TCM, SRAM), (TCM, FAR), (FAR, TCM, SRAM, SDRAM)])
def test_capacity_says_what_fits(region: str | None, ram: tuple[Region, ...]) -> None:
    """A pool and a rest fit exactly where they are no more than the capacity, and then no two things overlap."""
    try:
        target = board(region, None, *ram)
    except VmcuError:
        return
    for pool, rest in product(range(0, 1102, 25), range(0, 1102, 25)):
        place = place_ram(target, pool, rest)
        assert (place is not None) == (pool + rest <= ram_capacity(target, rest)), (pool, rest)
        if place is None:
            continue
        assert place.rest.kind == "internal" and pool <= place.pool.size_bytes
        if place.rest is place.pool:
            assert pool + rest <= place.pool.size_bytes
        else:
            assert rest <= place.rest.size_bytes
            assert place.rest.end <= place.pool.origin or place.pool.end <= place.rest.origin


@pytest.mark.parametrize(
    ("weights", "code", "constants", "where"),
    [
        (None, 40, 60, ("flash", "flash")),
        (None, 40, 61, ("flash", "QSPI")),
        (None, 100, 500, ("flash", "QSPI")),
        (None, 101, 1, None),
        (None, 40, 501, None),
        ("qspi", 40, 10, ("flash", "QSPI")),
        ("flash", 40, 61, None),
    ],
)
def test_flash(weights: str | None, code: int, constants: int, where: tuple[str, str] | None) -> None:
    place = place_flash(board(None, weights), code, constants)
    assert (place and (place.code.name, place.weights.name)) == where


@pytest.mark.parametrize("weights", [None, "flash", "QSPI"])
def test_flash_capacity_says_what_fits(weights: str | None) -> None:
    target = board(None, weights)
    for code, constants in product(range(0, 701, 20), range(0, 701, 20)):
        fits = place_flash(target, code, constants) is not None
        assert fits == (code + constants <= flash_capacity(target, code, constants)), (code, constants)


def test_no_such_region() -> None:
    with pytest.raises(VmcuError) as e:
        board("DTCM")
    assert e.value.code is Exit.INPUT
    assert "--pool-region DTCM: target 'chip' has no such region" in str(e.value)
    assert "it has TCM (100 bytes), SRAM (200 bytes), FAR (50 bytes), SDRAM (1,000 bytes), TCM+SRAM" in str(
        e.value
    )
    with pytest.raises(VmcuError, match="--weights-region X: target 'chip' has no such region"):
        board(None, "X")


def test_ram_bytes_is_the_largest_place_of_a_pool() -> None:
    assert (board().ram_bytes, board("FAR").ram_bytes, board("sdram").ram_bytes) == (300, 50, 1000)
