"""What vmcu knows about cores and boards: data in `targets/*.toml`, validated when it is read."""

from __future__ import annotations

from vmcu.targets.load import list_targets, load_target
from vmcu.targets.target import Memory, Qemu, Target

__all__ = ["Memory", "Qemu", "Target", "list_targets", "load_target"]
