"""Built firmwares, shared by the tests of a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from vmcu.targets import load_target
from vmcu.toolchain import Firmware, Hooks, build, find_compiler

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import need, tiny


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `qemu` need it."""
    if item.get_closest_marker("qemu"):
        need("qemu")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Firmware]:
    """Builds the tiny project for a core, each combination once."""

    @cache
    def make(core: str, compiler: str, hooks: Hooks = "none", optimise: str = "-O3") -> Firmware:
        need(compiler)
        work = tmp_path_factory.mktemp(f"{core}-{compiler}-{hooks}")
        return build(
            tiny(), load_target(core), find_compiler(compiler), workdir=work, hooks=hooks, optimise=optimise
        )

    return make
