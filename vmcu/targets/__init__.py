"""What vmcu knows about cores and boards: data in `targets/*.toml`, validated when it is read."""

from __future__ import annotations

from vmcu.targets.load import emulated, list_targets, load_target
from vmcu.targets.target import (
    ChipId,
    Console,
    Memory,
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
    "Memory",
    "Power",
    "Probe",
    "Qemu",
    "Region",
    "RegisterStep",
    "Setup",
    "Target",
    "emulated",
    "list_targets",
    "load_target",
]
