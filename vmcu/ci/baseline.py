"""The committed figures that later builds are compared with: JSON, one entry per model and target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmcu.errors import fail
from vmcu.profile.compare import check_figures
from vmcu.save import save_file

SCHEMA_VERSION = 1
KIND = "baseline"
_KEPT = ("schema_version", "model", "target", "compiler", "optimise", "numerics", "memory", "flash")
_FIGURES = ("instructions", "estimated_cycles", "measured_cycles")
_LAYER = ("name", "op", *_FIGURES)


def figures_of(profile: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a profile: enough for `vmcu compare`, and nothing that differs from run to run."""
    layers = [{key: one[key] for key in _LAYER} for one in profile["layers"]]
    return {**{key: profile[key] for key in (*_KEPT, *_FIGURES)}, "layers": layers}


def read_baseline(path: Path) -> dict[str, dict[str, Any]] | None:
    """Figures by model and target; None where there is no file.

    Raises:
        VmcuError: (INPUT) the file holds something else.
    """
    where = f"baseline '{path}'"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", where, "check the path") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND or not isinstance(found.get("models"), dict):
        raise fail("is no baseline of vmcu", where, "move it away, then: vmcu ci check --update-baseline")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise fail("is of another version of vmcu", where, "renew it: vmcu ci check --update-baseline")
    return {key: check_figures(one, f"{where}, {key[:80]}") for key, one in found["models"].items()}


def write_baseline(path: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the file, whole or not at all; entries and keys in a fixed order.

    Raises:
        VmcuError: (INPUT) it cannot be written.
    """
    if not path.parent.is_dir():
        raise fail("its folder does not exist", f"baseline '{path}'", "create the folder first")
    content = {"schema_version": SCHEMA_VERSION, "kind": KIND, "models": dict(sorted(figures.items()))}
    save_file(path, json.dumps(content, indent=1) + "\n")
