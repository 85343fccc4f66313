"""Finds the data folders `templates/`, `targets/` and `firmware/`.

In a checkout they stand beside the package; in a wheel they are inside it. The checkout comes
first: an editable install must never read stale copies.
"""

from __future__ import annotations

from pathlib import Path

from vmcu.errors import internal

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `name` ("templates", "targets" or "firmware")."""
    for root in (_PACKAGE.parent, _PACKAGE / "_data"):
        if (root / name).is_dir():
            return root / name
    raise internal(f"data folder '{name}' is missing", "installation")
