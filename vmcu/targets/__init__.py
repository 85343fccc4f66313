"""What vmcu knows about cores and boards: data in `targets/*.toml`, validated when it is read."""

from __future__ import annotations

from vmcu.targets.load import emulated, list_targets, load_target
from vmcu.targets.place import (
    FlashPlace,
    RamPlace,
    flash_capacity,
    place_flash,
    place_ram,
    ram_capacity,
    with_regions,
)
from vmcu.targets.target import (
    ChipId,
    Console,
    Memory,
    Meter,
    Power,
    Probe,
    Qemu,
    Region,
    RegisterStep,
    Setup,
    Target,
)

__all__ = [
    "ChipId",
    "Console",
    "FlashPlace",
    "Memory",
    "Meter",
    "Power",
    "Probe",
    "Qemu",
    "RamPlace",
    "Region",
    "RegisterStep",
    "Setup",
    "Target",
    "emulated",
    "flash_capacity",
    "list_targets",
    "load_target",
    "place_flash",
    "place_ram",
    "ram_capacity",
    "with_regions",
]
