"""Ways to put a firmware on a board. All look alike: find, open, read a word, write, verify, start."""

from __future__ import annotations

from vmcu.board.probes.base import Connection, Found, Image, Probe, read_image
from vmcu.board.probes.gdb import GdbProbe
from vmcu.board.probes.programs import OpenOcd, ProbeRs, StFlash
from vmcu.board.probes.pyocd import PyOcd
from vmcu.board.probes.volume import Volume

PROBES: tuple[Probe, ...] = (PyOcd(), ProbeRs(), OpenOcd(), StFlash(), GdbProbe(), Volume())
"""In the order in which they are tried."""

__all__ = ["PROBES", "Connection", "Found", "Image", "Probe", "read_image"]
