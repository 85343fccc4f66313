"""What every command prints and writes where all is well."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import vmcu

from vmcu.cli import cli
from vmcu.ops.registry import OPS
from vmcu.pipeline import load
from vmcu.quant.reference import Reference
from vmcu.targets import list_targets

MNIST = Path(__file__).parents[3] / "models" / "mnist_cnn" / "model.onnx"
GESTURE = MNIST.parents[1] / "gesture" / "model.onnx"
HOST = ("-t", "cortex-m4", "--engine", "host")
COMMANDS = (
    "doctor",
    "targets",
    "ops",
    "plan",
    "compile",
    "run",
    "verify",
    "flash",
    "self-test",
    "profile",
    "compare",
    "ci",
)


def reference_of(model: Path) -> Reference:
    return Reference(load(model))


# ---- information -------------------------------------------------------------------------------------


def test_commands_are_all_there() -> None:
    assert tuple(cli.commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    found = vmcu(command, "--help")
    assert found.code == 0 and found.err == ""
    assert re.search("Examples?: vmcu", " ".join(found.out.split()))
    assert f"vmcu {command}" in found.out


def test_help_of_all() -> None:
    found = vmcu("--help")
    assert found.code == 0
    for text in (*COMMANDS, "Exit codes: 0 ok, 1 model", "_VMCU_COMPLETE=bash_source"):
        assert text in found.out


def test_version() -> None:
    assert vmcu("--version").out.startswith("vmcu, version ")


def test_doctor() -> None:
    found, table = vmcu("doctor", "--json"), vmcu("doctor")
    assert found.code == table.code == 0 and found.err == table.err == ""
    for tool in found.json:
        assert set(tool) == {"tool", "found", "version", "use", "get"}
        assert tool["tool"] in table.out
        assert (tool["version"] if tool["found"] else tool["get"]) in table.out
    assert {"arm-none-eabi-gcc", "ziglang", "qemu-system-arm", "unicorn"} <= {t["tool"] for t in found.json}


def test_doctor_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = vmcu("doctor", "--json")
    missing = {t["tool"]: t["get"] for t in found.json if not t["found"]}
    assert "apt install gcc-arm-none-eabi" in missing["arm-none-eabi-gcc"]
    assert "apt install qemu-system-arm" in missing["qemu-system-arm"]


def test_targets() -> None:
    found = vmcu("targets", "--json")
    assert [t["name"] for t in found.json] == [t.name for t in list_targets()]
    board = next(t for t in found.json if t["name"] == "nucleo-f411re")
    assert (board["core"], board["flash_bytes"], board["ram_bytes"]) == ("cortex-m4", 524_288, 131_072)
    assert re.search(
        "nucleo-f411re +cortex-m4 +100 +SRAM 128K +flash 512K +flash, emulated as core", vmcu("targets").out
    )


def test_ops() -> None:
    names = {name for names in vmcu("ops", "--json").json.values() for name in names}
    assert names == {name for family in OPS for name in family.LOWERINGS}
    assert "Conv" in vmcu("ops").out


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ("vmcu", "comp", "compile compare"),
        ("vmcu plan m.onnx -t", "nucleo-f41", "nucleo-f411re"),
        ("vmcu run m.onnx --engine", "u", "unicorn"),
    ],
)
def test_shell_completion(
    words: str, incomplete: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_VMCU_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"{words} {incomplete}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    found = vmcu()
    assert found.out.split() == [f"plain,{word}" for word in expected.split()]


def test_shell_completion_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_VMCU_COMPLETE", "zsh_source")
    assert "#compdef vmcu" in vmcu().out


# ---- plan --------------------------------------------------------------------------------------------


def test_plan(files: Path) -> None:
    found = vmcu("plan", files / "net.onnx", "-t", "nucleo-f411re", "--json")
    assert found.code == 0 and found.err == ""
    plan = found.json
    (step,) = plan["steps"]
    assert step == {
        "step": 0,
        "op": "Conv2D",
        "name": "n10",
        "output": "6x6x4",
        "macs": 3888,
        "live_bytes": 216,
    }
    assert plan["pool_bytes"] == plan["lower_bound_bytes"] == 216
    assert plan["fits"] is True and plan["macs"] == 3888 and plan["numerics"] == "onnx"
    text = vmcu("plan", files / "net.onnx", "-t", "nucleo-f411re").out
    for words in (
        "0  Conv2D    n10   6x6x4   3,888         216",
        "216 bytes (activations",
        "130,856 bytes of RAM left",
    ):
        assert words in text


def test_plan_that_does_not_fit_is_shown_all_the_same(files: Path) -> None:
    found = vmcu("plan", files / "net.onnx", "--ram", "100", "--json")
    assert found.code == 5 and found.json["fits"] is False
    assert "needs 216 bytes of RAM" in found.err


def test_plan_without_a_limit_says_nothing_of_fitting(files: Path) -> None:
    assert vmcu("plan", files / "net.onnx", "--json").json["fits"] is None


def test_plan_says_what_it_estimates_and_no_time_without_a_clock_and_a_rate(files: Path) -> None:
    found = vmcu("plan", files / "net.onnx", "--json").json
    assert found["optimise"] == "ram" and found["schedule"] == "layer by layer"
    assert found["estimated_instructions"] > 3888
    assert found["estimated_cycles"] is None and found["estimated_ms"] is None
    core = vmcu("plan", files / "net.onnx", "-t", "cortex-m4", "--cpi", "2", "--json").json
    assert core["estimated_cycles"] == 2 * found["estimated_instructions"] and core["estimated_ms"] is None
    board = vmcu("plan", files / "net.onnx", "-t", "nucleo-f411re", "--cpi", "2", "--json").json
    assert board["estimated_ms"] == round(board["estimated_cycles"] / 100_000, 3)
    text = vmcu("plan", files / "net.onnx", "-t", "nucleo-f411re", "--cpi", "2").out
    assert "estimated for cortex-m4" in text and "estimated (zero wait state)" in text
    assert " ms" not in vmcu("plan", files / "net.onnx", "-t", "nucleo-f411re").out


def test_plan_within_a_budget_is_the_fastest_unless_something_else_is_asked(files: Path) -> None:
    assert vmcu("plan", files / "net.onnx", "--ram", "16K", "--json").json["optimise"] == "speed"
    for wish in ("ram", "balanced", "speed", "size"):
        found = vmcu("plan", files / "net.onnx", "--ram", "16K", "--optimize", wish, "--json").json
        assert found["optimise"] == wish and found["fits"] is True


def test_pareto(files: Path) -> None:
    found = vmcu("plan", MNIST, "--pareto", "-t", "nucleo-f411re", "--ram", "8K", "--json")
    assert found.code == 0 and found.json["core"] == "cortex-m4"
    resident, streamed = found.json["curves"]
    assert (resident["input"], streamed["input"]) == ("resident", "streamed")
    for curve in (resident, streamed):
        pools = [p["pool_bytes"] for p in curve["plans"]]
        counts = [p["estimated_instructions"] for p in curve["plans"]]
        assert pools == sorted(set(pools)) and counts == sorted(set(counts), reverse=True)
        assert [p["fits"] for p in curve["plans"]] == [pool <= 8192 for pool in pools]
        assert [w for p in curve["plans"] for w in p["chosen_by"]] == ["ram", "balanced", "speed"]
    assert resident["plans"][0]["pool_bytes"] == vmcu("plan", MNIST, "--json").json["pool_bytes"]
    alone = vmcu("plan", MNIST, "--stream-input", "--json").json
    assert streamed["plans"][0]["pool_bytes"] == alone["pool_bytes"]
    assert streamed["plans"][0]["estimated_instructions"] == alone["estimated_instructions"]


def test_what_is_executed_is_said() -> None:
    """Where there is nothing to gain nothing is computed again, and the option is no error."""
    found = vmcu("plan", GESTURE, "--allow-recompute", "1.5", "--json").json
    plain = vmcu("plan", GESTURE, "--json").json
    assert found["macs"] == found["macs_executed"] == plain["macs"]
    assert found["pool_bytes"] == plain["pool_bytes"] and isinstance(plain["placement_proven"], bool)
    found = vmcu("plan", MNIST, "--allow-recompute", "1.5", "--json").json
    plain = vmcu("plan", MNIST, "--json").json
    assert (
        found["macs"]
        == plain["macs"]
        == plain["macs_executed"]
        < found["macs_executed"]
        <= 1.5 * plain["macs"]
    )
    assert found["pool_bytes"] < plain["pool_bytes"]
    assert vmcu("plan", MNIST, "--allow-recompute", "0.9").code == 2


def test_pareto_as_a_table_and_a_picture(files: Path, tmp_path: Path) -> None:
    svg = tmp_path / "curve.svg"
    for _ in range(2):  # its own file may be replaced
        found = vmcu("plan", MNIST, "--pareto", "--svg", svg, "--ram", "8K")
        assert found.code == 0
    words = found.out.splitlines()
    assert words[0].split() == [
        "input",
        "schedule",
        "pool",
        "bytes",
        "estimated",
        "instructions",
        "MACs",
        "fits",
        "--optimize",
    ]
    assert any(line.startswith("resident  layer by layer") and " no" in line for line in words)
    assert "Instructions are estimates for cortex-m4, not counts" in found.out
    root = ElementTree.fromstring(svg.read_text())
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(dots) == len([line for line in words if line.startswith(("resident", "streamed"))])
    assert "prefers-color-scheme: dark" in svg.read_text() and "http" not in svg.read_text().replace(
        "http://www.w3.org/2000/svg", ""
    )
    refused = vmcu("plan", MNIST, "--svg", svg)  # a map is not written over a curve
    assert refused.code == 1 and "did not write it" in refused.err


@pytest.mark.parametrize("command", ["run", "verify"])
def test_budgets_of_run_and_verify(command: str, files: Path) -> None:
    options = (*HOST, "--ram", "8K", "--stream-input", "--optimize", "balanced")
    assert vmcu(command, files / "net.onnx", *options).code == 0


def test_plan_of_a_dynamic_shape(files: Path) -> None:
    found = vmcu("plan", files / "dynamic.onnx", "--input-shape", "x:1x4", "--numerics", "tflm", "--json")
    assert (
        found.code == 0 and found.json["steps"][0]["output"] == "1x1x3" and found.json["numerics"] == "tflm"
    )


def test_plan_of_states(files: Path) -> None:
    assert vmcu("plan", files / "count.onnx", "--json").json["state_bytes"] == 4
    assert "4 bytes that survive between runs" in vmcu("plan", files / "count.onnx").out


# ---- compile -----------------------------------------------------------------------------------------


def test_compile(files: Path, here: Path) -> None:
    found = vmcu("compile", files / "net.onnx", "-t", "cortex-m4", "-o", "out", "--no-measure")
    assert found.code == 0 and found.err == ""
    assert found.out.startswith(
        "wrote out: CMakeLists.txt, net.c, net.h, net_data.h, report.html, report.json, vmcu_dsp.h, "
        "vmcu_math.h"
    )
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["files"] == sorted(p.name for p in (here / "out").iterdir())
    assert report["model"]["name"] == "net" and report["target"] == "cortex-m4"
    assert "independent checker: 6 tasks" in report["checks"][0]


def test_compile_again_replaces(files: Path, here: Path) -> None:
    line = ("compile", files / "net.onnx", "-t", "cortex-m4", "-o", "out", "--no-measure")
    assert vmcu(*line, "--name", "first").code == 0
    assert vmcu(*line, "--name", "second").code == 0
    assert {p.name for p in (here / "out").glob("*.c")} == {"second.c"}
    assert [p.name for p in here.iterdir()] == ["out"]


def test_same_bytes_out(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder, under another file name: no path, host or date gets in."""
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / f"{name}.onnx").write_bytes((files / "net.onnx").read_bytes())
        line = (
            "compile",
            folder / f"{name}.onnx",
            "-t",
            "cortex-m4",
            "-o",
            "out",
            "--name",
            "same",
            "--no-measure",
        )
        assert vmcu(*line).code == 0
        contents.append({p.name: p.read_bytes() for p in (folder / "out").iterdir()})
    assert contents[0] == contents[1]
    everything = b"".join(contents[0].values())
    assert str(tmp_path).encode() not in everything and b"/tmp/" not in everything
    assert not re.search(rb"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", everything)


def test_foreign_files_stay(files: Path, here: Path) -> None:
    out = here / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "mine.txt").write_text("mine")
    (out / "net.c").write_text("also mine")
    found = vmcu("compile", files / "net.onnx", "-t", "cortex-m4", "-o", "out", "--no-measure")
    assert found.code == 1 and "vmcu did not write: deep/mine.txt, net.c" in found.err
    assert (out / "net.c").read_text() == "also mine" and (out / "deep" / "mine.txt").read_text() == "mine"
    assert [p.name for p in here.iterdir()] == ["out"]


# ---- run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("batch", 3), ("one", None), ("int8", None)])
def test_run(name: str, count: int | None, files: Path, here: Path) -> None:
    found = vmcu(
        "run", files / "net.onnx", *HOST, "--input", files / f"{name}.npy", "--output", "y.npy", "--json"
    )
    assert found.code == 0, found.err
    given, reference = np.load(files / f"{name}.npy"), reference_of(files / "net.onnx")
    wanted = [reference.run({"x": x})["y"] for x in (given if count else [given])]
    expected = np.concatenate(wanted)
    written = np.load(here / "y.npy")
    np.testing.assert_array_equal(written, expected)
    np.testing.assert_array_equal(np.array(found.json["outputs"]["y"], np.float32), expected)
    assert found.json["inferences"] == (count or 1) and found.json["engine"].startswith("host ")
    assert found.json["instructions"] is None


def test_run_prints(files: Path) -> None:
    found = vmcu("run", files / "net.onnx", *HOST)
    assert found.code == 0 and found.err == ""
    assert "y 1x4x6x6 float32:" in found.out and "instructions  not counted (host " in found.out


def test_run_names_several_outputs(files: Path, here: Path) -> None:
    """One of them is called "file", which numpy.savez would take for its own argument."""
    found = vmcu("run", files / "two.onnx", *HOST, "--input", files / "two.npz", "--output", "y.npz")
    assert found.code == 0, found.err
    with np.load(files / "two.npz") as given, np.load(here / "y.npz") as written:
        expected = reference_of(files / "two.onnx").run(dict(given))
        assert set(written.files) == {"sum", "file"}
        for name in written.files:
            np.testing.assert_array_equal(written[name], expected[name])


def test_run_writes_the_same_bytes_again(files: Path, here: Path) -> None:
    line = ("run", files / "two.onnx", *HOST, "--input", files / "two.npz", "--output")
    assert vmcu(*line, "a.npz").code == vmcu(*line, "b.npz").code == 0
    assert (here / "a.npz").read_bytes() == (here / "b.npz").read_bytes()


def test_output_that_cannot_be_written(files: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vmcu.commands.run_commands.write_bytes", full)
    found = vmcu("run", files / "net.onnx", *HOST, "--output", "y.npy")
    assert found.code == 1 and "--output 'y.npy': cannot be written: No space left on device" in found.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("options", "expected"), [((), [1, 2, 3, 4, 5]), (("--reset-state",), [1] * 5)])
def test_run_carries_the_state(options: tuple[str, ...], expected: list[int], files: Path) -> None:
    found = vmcu("run", files / "count.onnx", *HOST, "--input", files / "ones.npy", *options, "--json")
    assert found.code == 0, found.err
    assert found.json["outputs"] == {"y": [[n] * 4 for n in expected]}


def test_state_pairs_named_by_the_user(files: Path) -> None:
    line = (
        "run",
        files / "count.onnx",
        *HOST,
        "--input",
        files / "ones.npy",
        "--state",
        "state_in_s=state_out_s",
    )
    assert vmcu(*line, "--json").json["outputs"]["y"][-1] == [5] * 4


# ---- verify ------------------------------------------------------------------------------------------


def golden(files: Path, folder: Path, change: int = 0) -> Path:
    given = np.load(files / "batch.npy")
    reference = reference_of(files / "net.onnx")
    outputs = np.concatenate([reference.run({"x": x})["y"] for x in given])
    scale = reference.graph.tensors[reference.graph.outputs[0].tensor].scale
    outputs[1, 2, 3, 4] += change * scale
    np.savez(folder / "golden.npz", inputs=given, outputs=outputs)
    return folder / "golden.npz"


def test_verify(files: Path, tmp_path: Path) -> None:
    line = (
        "verify",
        files / "net.onnx",
        *HOST,
        "--golden",
        golden(files, tmp_path),
        "--against",
        "onnxruntime",
    )
    found = vmcu(*line, "--json")
    assert found.code == 0 and found.err == ""
    assert found.json["ok"] is True and found.json["mismatches"] == []
    assert [c["check"] for c in found.json["checks"]] == [
        "firmware = reference, random inputs",
        "firmware = reference, golden inputs",
        "firmware = golden outputs",
        "reference = onnxruntime, every layer",
    ]
    assert "1 layers, 144 values; outputs of 4 inferences" in vmcu(*line).out


def test_verify_of_another_golden(files: Path, tmp_path: Path) -> None:
    found = vmcu("verify", files / "net.onnx", *HOST, "--golden", golden(files, tmp_path, change=1))
    assert found.code == 4
    assert "first difference: golden outputs, output y, inference 1: 1 of 144 values, by up to 1" in found.out
    assert "at [0, 2, 3, 4]: expected " in found.out


def test_verify_of_golden_outputs_of_another_shape(files: Path, tmp_path: Path) -> None:
    for outputs in (np.zeros((3, 1, 4, 6, 5)), np.zeros(()), np.array(["a"] * 432).reshape(3, 4, 6, 6)):
        np.savez(tmp_path / "golden.npz", inputs=np.load(files / "batch.npy"), outputs=outputs)
        found = vmcu("verify", files / "net.onnx", *HOST, "--golden", tmp_path / "golden.npz")
        assert found.code == 1 and "golden array 'outputs'" in found.err


def test_verify_names_the_first_layer_that_differs(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel template with an error: the second layer's, and the output's differences follow from it."""
    import vmcu.codegen.kernels as kernels

    real = kernels.render

    def broken(template: str, context: dict[str, object]) -> str:
        text = real(template, context)
        return text.rstrip()[:-1] + "out[0] ^= 1;\n}\n" if template == "kernels/sum_dsp.c" else text

    monkeypatch.setattr(kernels, "render", broken)
    found = vmcu("verify", files / "two.onnx", *HOST)
    assert found.code == 4
    assert "first difference: layer 0 " in found.out and "inference 0" in found.out
    assert ": expected " in found.out and ", found " in found.out
    report = vmcu("verify", files / "two.onnx", *HOST, "--json")
    assert report.code == 4 and report.json["ok"] is False
    (mismatch,) = report.json["mismatches"]
    assert mismatch["what"].startswith("layer 0 ") and mismatch["values"]


def test_verify_carries_the_state(files: Path) -> None:
    found = vmcu("verify", files / "count.onnx", *HOST, "--count", "6", "--seed", "3")
    assert found.code == 0 and "outputs of 6 inferences" in found.out
