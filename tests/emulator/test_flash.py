"""Leaner kernels where flash is short."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import pytest
from tiny_project import need

import vmcu
from vmcu.errors import VmcuError
from vmcu.pipeline import compile_schedule, load
from vmcu.planning.choose import choose, list_candidates
from vmcu.planning.flash import estimate_flash, within_flash
from vmcu.planning.kernels import kernel_choices
from vmcu.schedule.schedule import Schedule, streamed
from vmcu.targets import load_target
from vmcu.toolchain import build, find_compiler

MODELS = Path(__file__).parents[2] / "models"
CORES = {
    "armv6-m": "cortex-m0plus",
    "armv7-m": "cortex-m3",
    "armv7e-m": "cortex-m4",
    "armv8.1-m": "cortex-m55",
}


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


def test_a_flash_limit_is_kept_by_leaner_kernels() -> None:
    """What would not fit fits, in the same RAM; "speed" is as fast as the flash allows."""
    need("gcc")
    path = MODELS / "mnist_cnn" / "model.onnx"

    def made(flash: int | None, optimise: str) -> tuple[int, int, int]:
        model = vmcu.compile(path, "cortex-m4", flash_bytes=flash, optimise=optimise, compiler="gcc")  # type: ignore[arg-type]
        return (
            model.firmware().flash_bytes,
            model.compiled.plan.pool_bytes,
            work(model.compiled.plan.schedule),
        )

    usual, limit = made(None, "ram"), 26_000
    assert usual[0] > limit
    tight = made(limit, "ram")
    assert tight[0] <= limit and tight[1] == usual[1] and tight[2] > usual[2]
    fast, slow = made(100_000, "speed"), made(24_000, "speed")
    assert fast[0] > slow[0] and slow[0] <= 24_000 and fast[2] < slow[2]
    with pytest.raises(VmcuError, match="--flash 20,000: needs"):
        made(20_000, "ram")


def test_speed_keeps_the_usual_limit_unless_told_what_there_is() -> None:
    graph = load(MODELS / "mnist_cnn" / "model.onnx")
    found = list_candidates(graph, optimise="speed")
    inside, beyond = replace(found[0], flash_bytes=10**6), replace(found[-1], flash_bytes=1)
    fastest_of_both = choose([inside, beyond], "speed")
    assert beyond.exceeds_flash and not inside.exceeds_flash
    assert fastest_of_both is inside and choose([beyond], "speed") is beyond


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("isa", CORES)
def test_estimates(isa: str, share: float, compiler: str, tmp_path: Path) -> None:
    """What is estimated is near to what is built, and rather above: around Helium's programs clang makes 1.0 to 1.6 times
    GCC's code, as the schedule is, and the estimate has the most of it."""
    need(compiler)
    before = fastest("mnist_cnn", isa)
    schedule = within_flash(before, limit_bytes=round(share * estimate_flash(before)))
    project = compile_schedule(schedule, "net").project
    firmware = build(project, load_target(CORES[isa]), find_compiler(compiler), workdir=tmp_path)
    built = firmware.code_bytes + firmware.library_bytes + project.tables_bytes
    assert 0.9 < estimate_flash(schedule) / built < (1.45 if isa == "armv8.1-m" else 1.3)
