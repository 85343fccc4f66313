"""Leaner kernels where flash is short."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import pytest
from tiny_project import need

from vmcu.pipeline import compile_schedule, load
from vmcu.planning.flash import estimate_flash, within_flash
from vmcu.planning.kernels import kernel_choices
from vmcu.schedule.schedule import Schedule, streamed
from vmcu.targets import load_target
from vmcu.toolchain import build, find_compiler

MODELS = Path(__file__).parents[2] / "models"
CORES = {"armv7e-m": "cortex-m4", "armv8.1-m": "cortex-m55"}


@cache
def fastest(name: str, isa: str) -> Schedule:
    graph = replace(load(MODELS / name / "model.onnx", numerics="tflm"), isa=isa)  # type: ignore[arg-type]
    return kernel_choices(streamed(graph)[0], (inf,))[0]


def work(schedule: Schedule) -> int:
    """Instructions of the kernels that know theirs."""
    return sum(schedule.kernels[t.step].instructions or 0 for t in schedule.tasks)


@pytest.mark.parametrize("name", ["mnist_cnn", "gesture"])
def test_limits(name: str) -> None:
    """The less there may be, the less it is, in no more working memory."""
    before = fastest(name, "armv7e-m")
    size = estimate_flash(before)
    assert within_flash(before, limit_bytes=size + 1) is before
    least = estimate_flash(within_flash(before, limit_bytes=0))
    assert least < 0.9 * size
    for share in (0.98, 0.9, 0.8):
        found = within_flash(before, limit_bytes=round(share * size))
        assert estimate_flash(found) <= max(share * size, least)
        assert all(
            b.scratch_bytes <= a.scratch_bytes for a, b in zip(before.kernels, found.kernels, strict=True)
        )
        assert (found.tasks, found.steps) == (before.tasks, before.steps)


def test_speed_is_given_up_only_so_far() -> None:
    before = fastest("mnist_cnn", "armv7e-m")
    free = within_flash(before, limit_bytes=0)
    bound = within_flash(before, slower=1.02, limit_bytes=0)
    assert work(before) < work(bound) <= 1.02 * work(before) < work(free)
    assert estimate_flash(free) < estimate_flash(bound) < estimate_flash(before)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("isa", CORES)
def test_estimates(isa: str, share: float, compiler: str, tmp_path: Path) -> None:
    """What is estimated is near to what is built."""
    need(compiler)
    before = fastest("mnist_cnn", isa)
    schedule = within_flash(before, limit_bytes=round(share * estimate_flash(before)))
    project = compile_schedule(schedule, "net").project
    firmware = build(project, load_target(CORES[isa]), find_compiler(compiler), workdir=tmp_path)
    built = firmware.code_bytes + firmware.library_bytes + project.tables_bytes
    assert 0.9 < estimate_flash(schedule) / built < 1.3
