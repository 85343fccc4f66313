"""Boards that appear as a drive and flash what is copied there: DAPLink, ST-LINK/V2-1 and V3, J-Link OB; UF2 boot loaders."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from vmcu.board.probes.base import Found, Image
from vmcu.board.uf2 import write_uf2
from vmcu.errors import Exit, fail
from vmcu.targets import Target

ROOTS = ("/media", "/run/media", "/Volumes", "/mnt")
FAIL_SECONDS = 5.0  # a drive that refuses an image says so in FAIL.TXT


class Volume:
    """`--via copy`; its uid is the folder where the drive is mounted.

    Attributes:
        roots: where drives are mounted.
    """

    via = "copy"

    def __init__(self, roots: Sequence[str] = ROOTS, fail_seconds: float = FAIL_SECONDS) -> None:
        self.roots = roots
        self._seconds = fail_seconds

    def missing(self, target: Target) -> str | None:
        if target.probe and target.probe.volume:
            return None
        return f"'{target.name}' takes no image by copying, as far as its file knows"

    def find(self, target: Target) -> Sequence[Found]:
        label = target.probe.volume if target.probe else None
        folders = [p for root in self.roots for depth in ("*", "*/*") for p in sorted(Path(root).glob(depth))]
        return [Found(str(p), "drive") for p in folders if p.name == label and p.is_dir()]

    def open(self, target: Target, uid: str) -> _Connection:
        folder = Path(uid)
        if not folder.is_dir():
            raise fail(
                "is no folder", f"--probe '{uid}'", "name the folder where the drive is mounted", Exit.TOOL
            )
        uf2 = target.probe.uf2 if target.probe else None
        return _Connection(folder, target.name, self._seconds, uf2)


class _Connection:
    def __init__(self, folder: Path, name: str, seconds: float, uf2: int | None) -> None:
        self.text = f"drive {folder}"
        self._uf2 = uf2
        self._folder = folder
        self._name = name
        self._seconds = seconds

    def read_word(self, address: int) -> int | None:
        return None

    def write(self, image: Image) -> None:
        before = self._refusal()
        kind, content = "hex", image.hex().encode("ascii")
        if self._uf2 is not None:
            kind, content = "uf2", write_uf2(image.segments, self._uf2)
        try:
            with open(self._folder / f"{self._name}.{kind}", "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise fail(what, self.text, "unplug the board, plug it in, and try again", Exit.TOOL) from None
        if self._uf2 is not None:
            return  # the board restarts with the last block, and its drive is gone
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            if (refusal := self._refusal()) and refusal != before:
                what = f"refused the image: {refusal[:200]}"
                raise fail(what, self.text, "is it the right board? update its interface firmware", Exit.TOOL)
            time.sleep(0.2)

    def verify(self, image: Image) -> bool:
        return False

    def start(self, image: Image) -> None:
        """It does so by itself."""

    def close(self) -> None:
        """Nothing is held."""

    def _refusal(self) -> str:
        try:
            return (self._folder / "FAIL.TXT").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""
