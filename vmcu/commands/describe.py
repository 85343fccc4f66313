"""What `vmcu targets` says of a target: a line of the list, all its facts as a table, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from vmcu.board.rtt import DRIVER
from vmcu.commands.output import print_table
from vmcu.targets import Region, Target


def describe(target: Target) -> dict[str, Any]:
    """The facts, JSON-ready; addresses are numbers."""
    probe, power, firmware = target.probe, target.power, target.firmware
    return {
        "name": target.name,
        "description": target.description,
        "core": target.core,
        "flash_bytes": target.flash_bytes,
        "ram_bytes": target.ram_bytes,
        "clock_hz": target.clock_hz,
        "ram": [asdict(r) for r in target.ram],
        "flash": [asdict(r) for r in target.flash],
        "firmware": can(target),
        "machine": target.machine,
        "firmware_clock_hz": firmware.clock_hz if firmware else None,
        "counter": firmware.counter if firmware else None,
        "boot": firmware.boot if firmware else None,
        "console": asdict(target.console) if target.console else None,
        "probe": asdict(probe) if probe else None,
        "power": asdict(power) if power else None,
        "meter_pin": target.meter.pin if target.meter else None,
        "source": target.source,
    }


def can(target: Target) -> list[str]:
    """What vmcu's own firmware can do with it: be flashed to the chip, run in the emulator ("as core": the core alone)."""
    if not target.is_board:
        return ["emulated"] if target.firmware and target.machine else []
    found = ["flash"] if target.firmware and target.probe else []
    if target.machine:
        return [*found, "emulated"]
    return [*found, "emulated as core"] if target.qemu else found


def mhz(target: Target) -> str:
    """The clock; nothing for a core."""
    return f"{target.clock_hz / 1e6:g}" if target.clock_hz else ""


def regions_text(regions: Sequence[Region]) -> str:
    """All regions in short; external ones are in brackets."""
    parts = [f"{r.name} {kib(r.size_bytes)}" for r in regions]
    return " + ".join(
        f"({part})" if r.kind == "external" else part for r, part in zip(regions, parts, strict=True)
    )


def kib(size_bytes: int) -> str:
    """In the unit of data sheets: 1 K is 1024 bytes."""
    if size_bytes >= 1 << 20 and size_bytes % (1 << 20) == 0:
        return f"{size_bytes >> 20}M"
    return f"{size_bytes / 1024:g}K"


def print_target(target: Target) -> None:
    """Everything, each fact with where it is from."""
    click.echo(f"{target.name}: {target.description}")
    click.echo(f"core       {target.core}" + (f", {mhz(target)} MHz" if target.clock_hz else ""))
    click.echo(f"source     {target.source}")
    rows: list[list[object]] = [
        [kind, r.name, f"{r.origin:#010x}", r.size_bytes, r.wait_states, r.kind]
        for kind, regions in (("RAM", target.ram), ("flash", target.flash))
        for r in regions
    ]
    click.echo()
    print_table(["memory", "region", "origin", "bytes", "wait states", ""], rows, right=(3, 4))
    joined = ", ".join(f"{r.name} ({r.size_bytes:,} bytes)" for r in target.joined())
    click.echo()
    click.echo(f"pool       any of the RAM; neighbours in one: {joined or 'none'}")
    click.echo(f"emulator   {_emulator(target)}")
    if target.firmware and target.console:
        console, setup = target.console, target.firmware
        boot = f", {setup.boot.replace('_', ' ')} for the boot ROM" if setup.boot else ""
        click.echo(f"firmware   {setup.clock_hz / 1e6:g} MHz, cycles by {setup.counter}{boot}")
        line = f"{console.driver} at {console.base:#x}, {console.baud:,} baud"
        click.echo(f"console    {line if console.driver != DRIVER else 'RTT: RAM that a debugger serves'}")
    else:
        click.echo("firmware   none of vmcu's own: generated C compiles for it, yours runs it")
    if probe := target.probe:
        names = {
            "pyOCD": probe.pyocd,
            "OpenOCD": probe.openocd,
            "probe-rs": probe.probe_rs,
            "drive": probe.volume and probe.volume + " (UF2)" * (probe.uf2 is not None),
        }
        known = [f"{name} {value}" for name, value in names.items() if value]
        click.echo(f"probe      {', '.join(known + [f'USB {u}' for u in probe.usb])}")
        if chip := probe.chip_id:
            click.echo(f"chip id    {chip.value:#x} in the bits {chip.mask:#x} of {chip.address:#x}")
    if target.meter:
        click.echo(f"meter      {target.meter.pin} is high while the model runs")
    if power := target.power:
        click.echo(f"power      {power.run_milliamps:g} mA at {power.volts:g} V ({power.source})")


def _emulator(target: Target) -> str:
    if target.machine:
        return f"QEMU, {target.machine}"
    names = [f"QEMU, {target.qemu.machine}" if target.qemu else "", "Unicorn" if target.unicorn_cpu else ""]
    engines = " or ".join(n for n in names if n)
    return f"the core alone: {engines}" if engines else "none"
