"""Writes a project to disk: all or nothing, and never over files that are not ours."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from vmcu.errors import VmcuError, fail

MARKER = "report.json"  # every folder we write has it, and it lists what else is ours
PAGE = "report.html"
REPORTS = (MARKER, PAGE)  # what a saved project has beside its C
SHOWN = 5  # foreign files named in a message


def save_files(folder: Path, files: Mapping[str, str], report: Mapping[str, object]) -> None:
    """Makes `folder` hold exactly `files` and `report.json`.

    A folder written by vmcu before is replaced; anything else must be empty or absent.

    Raises:
        VmcuError: (INPUT) `folder` holds foreign files, or cannot be written.
    """
    folder = _resolved(folder)
    _refuse_foreign(folder)
    report = {**report, "files": sorted([*files, MARKER])}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        for name, text in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (staging / MARKER).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o777 & ~_umask())
        _exchange(staging, folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_foreign_file(path: Path, marker: str) -> None:
    """Raises where `path` cannot be ours to write: files of ours start with `marker`.

    Raises:
        VmcuError: (INPUT) its folder is missing, it holds something else, or it cannot be read.
    """
    where, fix = f"'{path}'", "choose another file, or move it"
    try:
        if not path.parent.is_dir():
            raise fail("its folder does not exist", where, "create the folder first")
        if not path.exists():
            return
        if not path.is_file():
            raise fail("exists and is no file", where, fix)
        with path.open("rb") as file:
            ours = file.read(len(marker.encode())) == marker.encode()
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", where, fix) from None
    if not ours:
        raise fail("exists, and vmcu did not write it", where, fix)


def save_file(path: Path, text: str) -> None:
    """Writes one text, whole or not at all.

    Raises:
        VmcuError: (INPUT) it cannot be written.
    """
    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise fail(f"cannot be written: {error.strerror}", f"'{path}'", "choose another file") from None


def _exchange(new: Path, folder: Path) -> None:
    """Puts `new` in the place of `folder`; on failure the old one is back."""
    if not folder.exists():
        os.rename(new, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    try:
        os.rename(folder, aside / "old")
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(aside / "old", folder)
            raise
    except OSError:
        with suppress(OSError):
            aside.rmdir()  # empty, unless the old one could not be put back
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes one file, whole or not at all.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise


def _resolved(folder: Path) -> Path:
    """The folder itself where `folder` is a link to it."""
    try:
        real = folder.resolve()
        here = Path.cwd().resolve()
    except (OSError, RuntimeError):  # a circle of links
        raise fail(
            "cannot be written: a link leads nowhere", f"folder '{folder}'", "choose another -o"
        ) from None
    if real == here or real in here.parents:
        raise fail(
            "is the current folder, or one above it", f"folder '{folder}'", "give -o a folder of its own"
        )
    return real


def _refuse_foreign(folder: Path) -> None:
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise fail("exists and is no folder", f"'{folder}'", "choose another -o")
        ours: set[str] = set()
        with suppress(OSError, ValueError, KeyError, TypeError):
            ours = set(json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"])
        files = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
        foreign = sorted(islice((name for name in files if name not in ours), SHOWN + 1))
    except OSError as error:
        raise _unwritable(folder, error) from None
    if foreign:
        names = ", ".join(foreign[:SHOWN]) + (", ..." if len(foreign) > SHOWN else "")
        raise fail(
            f"holds files that vmcu did not write: {names}",
            f"folder '{folder}'",
            "choose another -o or move them",
        )


def _unwritable(folder: Path, error: OSError) -> VmcuError:
    return fail(f"cannot be written: {error.strerror}", f"folder '{folder}'", "choose another -o")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
