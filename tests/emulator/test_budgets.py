"""Estimates against exact counts, and budgets against real stacks, for the committed models."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from command_line import vmcu as command
from tiny_project import need

import vmcu
from vmcu.api import Model
from vmcu.errors import Exit, VmcuError
from vmcu.pipeline import compile_schedule, load
from vmcu.planning.choose import choose, list_candidates
from vmcu.planning.cost import estimate
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.targets import load_target

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("gesture", "mnist_cnn")
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m55")
BOUND = 0.25
"""Greatest error allowed; `python -m bench.cost --check` prints what it is: up to 22 % on a Cortex-M0+, 10 % on an M4."""


@cache
def counted(name: str, core: str) -> list[tuple[str, int, int]]:
    """Per schedule: its name, estimated and exact instructions."""
    need("gcc", "qemu")
    graph = load(MODELS / name / "model.onnx")
    rows = by_rows(graph)
    found = []
    for label, schedule in (
        ("layers", layer_by_layer(graph)),
        ("streamed", streamed(graph)[0]),
        ("sums", streamed(rows)[0]),
    ):
        model = Model(compile_schedule(schedule, name), load_target(core), "gcc")
        model.run()
        assert model.last_run is not None and model.last_run.instructions
        found.append((label, estimate(schedule, core), model.last_run.instructions[0]))
    return found


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_error_of_the_estimate(name: str, core: str) -> None:
    for label, estimated, exact in counted(name, core):
        print(
            f"{name} {core} {label}: {estimated:,} estimated, {exact:,} exact: {estimated / exact - 1:+.1%}"
        )
        assert abs(estimated / exact - 1) <= BOUND


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_the_ranking_is_right(name: str, core: str) -> None:
    found = counted(name, core)
    assert sorted(found, key=lambda f: f[1]) == sorted(found, key=lambda f: f[2])


@pytest.mark.qemu
def test_every_budget_is_kept_with_the_real_stack() -> None:
    """From plenty down to nothing: the build fits, and less RAM never makes a plan that is estimated faster."""
    need("gcc")
    path = MODELS / "mnist_cnn" / "model.onnx"
    found = list_candidates(load(path))
    least = choose(found).pool_bytes
    before, seen, ram = 0, [], 16 * 1024
    while True:
        try:
            model = vmcu.compile(path, "cortex-m4", ram_bytes=ram, compiler="gcc")
            used = model.firmware().ram_bytes
        except VmcuError as error:
            assert error.code is Exit.DOES_NOT_FIT
            assert f"(pool {least:,} + stack " in str(error)
            assert f"the smallest of {len(found)} plans" in str(error)
            break
        assert used <= ram and model.compiled.choice is not None
        estimated = model.compiled.choice.chosen.instructions
        assert estimated >= before
        before = estimated
        seen.append(model.compiled.plan.pool_bytes)
        ram = used - 1  # the plan that was chosen does not fit any more
    assert seen[0] == choose(found, "speed").pool_bytes > 12992 > seen[1] and seen[-1] == least


@pytest.mark.qemu
def test_run_and_verify_keep_the_budget() -> None:
    need("gcc", "qemu")
    options = (MODELS / "mnist_cnn" / "model.onnx", "-t", "cortex-m4", "--ram", "5100", "--json")
    assert 4752 < command("run", *options).json["ram_total_bytes"] <= 5100
    streams = command("run", *options, "--stream-input", "--optimize", "ram")
    assert streams.code == 0 and streams.json["ram_total_bytes"] < 4752
    assert command("verify", *options, "--optimize", "balanced").code == 0


@pytest.mark.qemu
@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
def test_size_takes_less_flash_for_the_same_bits_in_the_same_pool(numerics: str) -> None:
    need("gcc", "qemu")
    options = (MODELS / "mnist_cnn" / "model.onnx", "-t", "cortex-m4", "--numerics", numerics)
    assert command("verify", *options, "--optimize", "size").code == 0
    usual, small = (command("run", *options, "--optimize", wish, "--json").json for wish in ("ram", "size"))
    assert small["outputs"] == usual["outputs"]
    assert small["flash_total_bytes"] < usual["flash_total_bytes"] * 0.8
    # The same pool; on the stack pointers to nine taps, and one argument more.
    assert small["ram_total_bytes"] < usual["ram_total_bytes"] + 80
