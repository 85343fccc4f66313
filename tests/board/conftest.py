"""Firmware for boards, built once a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "emulator"))
from host_server import HostProgram, build_host_server
from tiny_project import need, tiny

from vmcu.board.firmware import BoardFirmware, build_board
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler

MODEL = "5a" * 32


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `qemu` need it."""
    if item.get_closest_marker("qemu"):
        need("qemu")


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BoardFirmware]:
    """Builds the tiny project for a board, each combination once."""

    @cache
    def make(
        name: str, compiler: str = "gcc", hooks: bool = True, extra: str = "", more: str = ""
    ) -> BoardFirmware:
        need(compiler)
        work = tmp_path_factory.mktemp(f"{name}-{compiler}")
        project = tiny(extra=extra, more=more)
        found = find_compiler(compiler)  # type: ignore[arg-type]
        return build_board(project, load_target(name), found, workdir=work, model=MODEL, hooks=hooks)

    return make


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostProgram:
    """The tiny project behind the server, for this machine, under sanitizers; its output is the end of its pool."""
    return build_host_server(tiny(pool_bytes=2052), MODEL, tmp_path_factory.mktemp("host"))
