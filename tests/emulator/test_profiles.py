"""Profiles of emulated inferences: layers add up, branches are counted, a core without a table says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import vmcu as command
from shared_models import NEEDS_SHARED, path_of
from test_cycles import CALL, LOOP, SKIP, project
from tiny_project import need, samples

import vmcu
from vmcu.batch import random_batch
from vmcu.picture.profile_page import MARKER
from vmcu.run import run
from vmcu.targets import load_target
from vmcu.toolchain import build, find_compiler

MNIST = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"
PPK = (
    "Timestamp(ms),Current(uA),D0-D7\n0,1000,00000000\n1,11000,10000000\n2,13000,10000000\n3,1000,00000000\n"
)


@pytest.mark.parametrize(
    ("assembly", "leaves"),
    [
        (LOOP, 99 + 1),  # bne, and the return
        (CALL, 3),  # the call, its return, the return
        (SKIP, 4 + 7 + 1),
    ],
    ids=["loop", "call", "skip"],
)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_branches_by_hand(core: str, assembly: str, leaves: int, tmp_path: Path) -> None:
    need("unicorn", "gcc")
    firmware = build(project(assembly), load_target(core), find_compiler("gcc"), workdir=tmp_path)
    assert run(firmware, samples(2), engine="unicorn").leaves == (leaves, leaves)


@pytest.fixture(scope="module")
def profile() -> dict[str, Any]:
    need("unicorn")
    return vmcu.compile(MNIST, "nucleo-f411re").profile(engine="unicorn")


def test_layers_add_up_to_the_whole(profile: dict[str, Any]) -> None:
    sums = profile["sum_of_layers"]
    assert sums["within_tolerance"] is True
    for key in ("instructions", "cycles"):  # exactly, since all is one inference of the plain build
        assert sums[key] == sum(layer[key] for layer in profile["layers"]) == profile[key]
    assert profile["has_hooks"] is False


def test_the_report_says_the_same(profile: dict[str, Any]) -> None:
    need("unicorn")
    report = vmcu.compile(MNIST, "nucleo-f411re").report
    for key in ("instructions", "estimated_cycles", "memory", "flash", "macs_executed"):
        assert profile[key] == report[key]
    for ours, theirs in zip(profile["layers"], report["layers"], strict=True):  # there with hooks
        assert ours["name"] == theirs["name"]
        assert ours["instructions"] == pytest.approx(theirs["instructions"], rel=0.1)


def test_layers_where_hooks_change_the_program() -> None:
    """With hooks the layers of this network are 1.6 % below the whole on this core; the plain build adds up."""
    if not path_of("micro_speech").exists():
        pytest.skip("../shared/models is not on this machine")
    need("unicorn", "gcc")
    model = vmcu.compile(path_of("micro_speech"), "cortex-m0plus", compiler="gcc")
    sums = model.profile(engine="unicorn")["sum_of_layers"]
    assert sums["instructions_deviation"] == sums["cycles_deviation"] == 0


def test_streamed_rows_add_up() -> None:
    need("unicorn")
    profile = vmcu.compile(MNIST, "cortex-m4", stream_inputs=["*"]).profile(engine="unicorn")
    assert profile["sum_of_layers"]["instructions_deviation"] == 0
    assert profile["layers"][0]["op"] == "ReadRows" and profile["layers"][0]["instructions"] > 0


def test_stack_of_layers(profile: dict[str, Any]) -> None:
    """The deepest layer and what called it is the whole."""
    deepest = max(layer["stack_bytes"] for layer in profile["layers"])
    assert 0 < deepest <= profile["memory"]["stack_bytes"] <= deepest + 100
    seen = [layer["stack_seen_bytes"] for layer in profile["layers"]]
    for used, layer in zip(seen, profile["layers"], strict=True):
        assert 0 < used <= layer["stack_bytes"]
    assert deepest - 16 <= max(seen) < profile["memory"]["stack_painted_bytes"]
    assert profile["stages"][0]["stack_seen_bytes"] == max(seen[:7])


def test_stack_of_the_whole_survives_the_look_at_layers() -> None:
    """Unicorn paints the stack anew for every task; QEMU paints it once."""
    need("unicorn", "qemu")
    model = vmcu.compile(MNIST, "cortex-m4")
    batch = random_batch(model.compiled.graph, 1)
    seen = [model.run_batch(batch, engine=engine).stack_painted_bytes for engine in ("unicorn", "qemu")]
    assert seen[0] == seen[1]


def test_waiting_for_the_flash(profile: dict[str, Any]) -> None:
    assert profile["wait_states"] == load_target("nucleo-f411re").flash[0].wait_states == 3
    assert profile["cycles"] < profile["cycles_uncached"] < 1.5 * profile["cycles"]
    model = vmcu.compile(MNIST, "nucleo-f411re")
    waiting = model.profile(engine="unicorn", wait_states=6)
    extra = waiting["cycles_uncached"] - waiting["cycles"]
    assert extra == 2 * (profile["cycles_uncached"] - profile["cycles"])


def test_the_given_input_is_what_runs() -> None:
    """Exact counts differ where saturating branches go another way, or not at all; the count is that of `run`."""
    need("unicorn")
    model = vmcu.compile(MNIST, "cortex-m3")
    given = np.full((2, 1, 28, 28), 5.0, np.float32)
    model.run(given, engine="unicorn")
    assert model.last_run and model.last_run.instructions
    assert model.profile(given, engine="unicorn")["instructions"] == model.last_run.instructions[0]


@pytest.mark.qemu
def test_qemu_and_unicorn_agree(profile: dict[str, Any]) -> None:
    need("unicorn")
    other = vmcu.compile(MNIST, "nucleo-f411re").profile(engine="qemu")
    assert other["engine"].startswith("qemu") and profile["engine"].startswith("unicorn")
    assert {k: v for k, v in other.items() if k != "engine"} == {
        k: v for k, v in profile.items() if k != "engine"
    }


@pytest.mark.qemu
def test_helium_has_instructions_only() -> None:
    found = command("profile", MNIST, "-t", "cortex-m55")
    assert found.code == 0
    assert "for cortex-m55 there are exact instructions only" in found.out
    assert "within 1% of the whole; layers come from a build with hooks" in found.out
    assert "cycles/MAC" not in found.out


def test_command_with_all_files(tmp_path: Path) -> None:
    need("unicorn")
    (tmp_path / "ppk.csv").write_text(PPK)
    files = ("--csv", tmp_path / "p.csv", "--html", tmp_path / "p.html", "--power-csv", tmp_path / "ppk.csv")
    for _ in range(2):  # its own files are replaced
        found = command("profile", MNIST, "-t", "nucleo-f411re", "--engine", "unicorn", *files)
        assert found.code == 0 and found.err == ""
    assert "within 1% of the whole" in found.out and "there is no warm-up, repetition or spread" in found.out
    assert "measured, mean of 1 inferences of 2.000 ms in ppk.csv" in found.out and "12.000" in found.out
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-4)
    assert (tmp_path / "p.html").read_text().startswith(MARKER)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv", "p.html", "ppk.csv"]


def test_command_as_json(profile: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 28, 28), np.float32))
    found = command(
        *(
            "profile",
            MNIST,
            "-t",
            "nucleo-f411re",
            "--engine",
            "unicorn",
            "--json",
            "--input",
            tmp_path / "x.npy",
        ),
        *("--clock", 50_000_000, "--wait-states", 1),
    ).json
    assert found["clock_hz"] == 50_000_000 and found["wait_states"] == 1
    assert found["estimated_microjoules"] is None  # the board's current is known at its own clock
    assert found["ms"] == pytest.approx(found["cycles"] / 50e3)
    assert json.loads(json.dumps(profile)).keys() == found.keys()


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_nothing_of_others_is_overwritten(option: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("mine")
    found = command("profile", MNIST, "-t", "cortex-m4", option, path)
    assert found.code == 1 and "exists, and vmcu did not write it" in found.err
    assert path.read_text() == "mine"


def test_one_file_for_two_things(tmp_path: Path) -> None:
    path = tmp_path / "x"
    found = command("profile", MNIST, "-t", "cortex-m4", "--csv", path, "--html", path)
    assert found.code == 1 and "is named twice" in found.err and not path.exists()


def test_no_recording_no_work(tmp_path: Path) -> None:
    (tmp_path / "ppk.csv").write_text("nothing\n")
    found = command("profile", MNIST, "-t", "cortex-m4", "--power-csv", tmp_path / "ppk.csv")
    assert found.code == 1 and "is in no format that vmcu reads" in found.err and found.out == ""


def test_the_host_counts_nothing() -> None:
    found = command("profile", MNIST, "-t", "cortex-m4", "--engine", "host")
    assert found.code == 1 and "counts no instructions" in found.err


@NEEDS_SHARED
@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("name", ["mlperf_kws", "mlperf_vww", "mlperf_resnet8", "mlperf_ad"])
def test_mlperf_tiny_adds_up(name: str, core: str) -> None:
    need("unicorn")
    profile = vmcu.compile(path_of(name), core, numerics="tflm").profile(engine="unicorn")
    sums = profile["sum_of_layers"]
    assert sums["instructions_deviation"] == 0
    # Two at a time, a straight run costs less in one than cut where its instructions' counts differ.
    assert abs(sums["cycles_deviation"]) <= (0.005 if core == "cortex-m7" else 0)
    roof = profile["roof_macs_per_cycle"]
    assert all(
        layer["macs_per_cycle"] is None or layer["macs_per_cycle"] < roof for layer in profile["layers"]
    )
