"""The optional tables of a target file: memory regions, start, console, probe, power, meter."""

from __future__ import annotations

import re
from typing import Literal, cast, get_args

from vmcu.targets.table import Table
from vmcu.targets.target import (
    Boot,
    ChipId,
    Console,
    CycleCounter,
    Meter,
    Power,
    Probe,
    Region,
    RegionKind,
    RegisterStep,
    Setup,
)

WORD = 0xFFFF_FFFF
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")
_DRIVER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_ARGUMENTS = {"set": 2, "clear": 2, "write": 2, "modify": 3, "wait": 3}  # after the word


def regions(table: Table, key: str) -> tuple[Region, ...]:
    """[[ram]] or [[flash]].

    Raises:
        VmcuError: (INPUT) two of one name, two that overlap, or one beyond the address space.
    """
    found: list[Region] = []
    for one in table.tables(key):
        region = Region(
            one.text("name"),
            one.number("origin"),
            one.above_zero("bytes"),
            one.number("wait_states"),
            cast(RegionKind, one.one_of("kind", get_args(RegionKind)) if one.has("kind") else "internal"),
        )
        if not _NAME.fullmatch(region.name):
            raise one.error("must be a letter, then up to 23 letters, digits, _ or -", "name")
        if region.end > 2**32:
            raise one.error("reaches beyond the address space", "bytes")
        for other in found:
            if other.name.lower() == region.name.lower():
                raise one.error(f"'{region.name}' is there twice", "name")
            if other.origin < region.end and region.origin < other.end:
                raise one.error(f"'{region.name}' overlaps '{other.name}'", "origin")
        one.end()
        found.append(region)
    return tuple(found)


def setup(table: Table) -> Setup:
    """[firmware]."""
    steps = _steps(table)
    counter = cast(CycleCounter, table.one_of("counter", get_args(CycleCounter)))
    boot = cast(Boot, table.one_of("boot", get_args(Boot))) if table.has("boot") else None
    external = table.texts("external") if table.has("external") else ()
    made = Setup(table.above_zero("clock_hz"), counter, steps, boot, external)
    table.end()
    return made


def _steps(table: Table) -> tuple[RegisterStep, ...]:
    return tuple(_step(table, word, arguments) for word, arguments in table.rows("start"))


def _step(table: Table, word: str, numbers: tuple[int, ...]) -> RegisterStep:
    count = _ARGUMENTS.get(word)
    if count is None:
        raise table.error(f"'{word[:40]}' is none of {', '.join(_ARGUMENTS)}", "start")
    if len(numbers) != count:
        raise table.error(f"'{word}' takes {count} numbers, not {len(numbers)}", "start")
    address, *rest = numbers
    if address % 4:
        raise table.error(f"{address:#x} is no address of a word", "start")
    if word in ("set", "clear"):
        return RegisterStep("modify", address, rest[0], rest[0] if word == "set" else 0)
    mask, value = (WORD, rest[0]) if word == "write" else (rest[0], rest[1])
    if value & ~mask:
        raise table.error(f"{value:#x} has bits outside of the mask {mask:#x}", "start")
    return RegisterStep(cast(Literal["write", "modify", "wait"], word), address, mask, value)


def console(table: Table) -> Console:
    """[console]."""
    driver = table.text("driver")
    if driver == "rtt":  # no peripheral
        table.end()
        return Console(driver, 0, 1, 115_200)
    made = Console(driver, table.number("base"), table.above_zero("clock_hz"), table.above_zero("baud"))
    if not _DRIVER.fullmatch(made.driver):
        raise table.error("must be a name of small letters, digits and _", "driver")
    table.end()
    return made


def probe(table: Table) -> Probe:
    """[probe]."""
    usb = table.texts("usb") if table.has("usb") else ()
    if not all(_USB.fullmatch(one) for one in usb):
        raise table.error('must be like "0483:374b"', "usb")
    names = [table.text_or_none(key) for key in ("pyocd", "openocd", "probe_rs", "volume")]
    uf2 = table.number("uf2") if table.has("uf2") else None
    made = Probe(names[0], names[1], names[2], names[3], usb, _chip_id(table), uf2)
    table.end()
    return made


def _chip_id(table: Table) -> ChipId | None:
    if not table.has("chip_id"):
        return None
    address, mask, value = table.numbers("chip_id", 3)
    if value & ~mask or address % 4:
        raise table.error("must be [address of a word, mask, value within the mask]", "chip_id")
    return ChipId(address, mask, value)


def power(table: Table) -> Power:
    """[power]."""
    made = Power(table.decimal("run_milliamps"), table.decimal("volts"), table.text("source"))
    table.end()
    return made


def meter(table: Table) -> Meter:
    """[meter]."""
    made = Meter(table.text("pin"), _steps(table), _write(table, "high"), _write(table, "low"))
    table.end()
    return made


def _write(table: Table, key: str) -> tuple[int, int]:
    address, value = table.numbers(key, 2)
    if address % 4 or max(address, value) > WORD:
        raise table.error("must be [address of a word, value]", key)
    return address, value
