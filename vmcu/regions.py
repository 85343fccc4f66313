"""Which memory of a board a compiled model goes to, and the part of a linker script that puts it there."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.codegen.project import tool_version
from vmcu.codegen.render import render
from vmcu.ir.cproject import CProject
from vmcu.targets import Region, Target, place_flash, place_ram
from vmcu.toolchain import Firmware

POOL_SECTION = ".vmcu_pool"


@dataclass(frozen=True, slots=True)
class Regions:
    """Names of regions; None where the target has no choice of them, or nothing fits.

    Attributes:
        pool: RAM of the pool; "A,B" where it is split over two.
        rest: RAM of stack and variables.
        weights: flash of weights and tables.
    """

    pool: str | None
    rest: str | None
    weights: str | None


def choose_regions(project: CProject, target: Target, firmware: Firmware | None) -> Regions:
    """Where the parts of a model go.

    Args:
        firmware: its build; without it stack, variables and code count as nothing.
    """
    rest = firmware.stack_bytes + firmware.static_bytes if firmware else 0
    constants = firmware.rodata_bytes if firmware else project.weights_bytes + project.tables_bytes
    ram = place_ram(target, project.pool_bytes, rest) if len(target.ram) > 1 else None
    code = firmware.flash_bytes - constants if firmware else 0
    flash = place_flash(target, code, constants) if len(target.flash) > 1 else None
    return Regions(
        ram.pool_name if ram else None, ram.rest.name if ram else None, flash.weights.name if flash else None
    )


def memory_script(project: CProject, target: Target, regions: Regions) -> dict[str, str]:
    """`<name>_memory.ld`, a part of a linker script; nothing where there is no choice."""
    named = {r.name: r for r in target.regions()}
    pool, second = named.get(regions.pool or ""), None
    if regions.pool and pool is None:
        pool, second = (named[name] for name in regions.pool.split(","))
    weights = next((r for r in target.flash[1:] if r.name == regions.weights), None)
    if pool is None and weights is None:
        return {}
    name = f"{project.name}_memory.ld"
    words = {
        "name": project.name,
        "upper": project.name.upper(),
        "version": tool_version(),
        "target": target.name,
        "section": POOL_SECTION,
        "pool": _line(pool),
        "pool_region": pool and _identifier(pool),
        "second": _line(second),
        "second_region": second and _identifier(second),
        "weights": _line(weights),
        "weights_region": weights and _identifier(weights),
    }
    return {name: render("project/memory.ld", words)}


def _line(region: Region | None) -> str | None:
    """As MEMORY declares it."""
    if region is None:
        return None
    return f"{_identifier(region)} : ORIGIN = {region.origin:#010x}, LENGTH = {region.size_bytes:#x}"


def _identifier(region: Region) -> str:
    """A name that linkers take."""
    return "".join(c if c.isalnum() else "_" for c in region.name)
