"""Runs a firmware in an engine: QEMU, Unicorn, or the machine vmcu runs on."""

from __future__ import annotations

from vmcu.run.engine import Engine, choose_engine, run
from vmcu.run.report import RunReport

__all__ = ["Engine", "RunReport", "choose_engine", "run"]
