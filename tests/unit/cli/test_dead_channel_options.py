"""--no-dead-channels, and what the commands and reports say of channels that were left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import vmcu
from tiny_models import Net

import vmcu as library
from vmcu.ir.quantized import QuantizedGraph
from vmcu.optimise import drop_dead_channels

HOST = ("-t", "cortex-m4", "--engine", "host")
BEFORE, AFTER = 36 * (4 * 27 + 4 * 4), 36 * (3 * 27 + 4 * 3)
LEFT_OUT = f"of {BEFORE:,}: 1 dead channel left out"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions; one of four filters of the first is zero."""
    net = Net()
    x = net.qdq(net.input("x", [1, 3, 8, 8]))
    filters = net.rng.integers(-99, 99, (4, 3, 3, 3))
    filters[2] = 0
    weights = net.dq(net.const(filters, np.int8), 0.01, 0)
    bias = net.const([0.0, 0.1, 0.4, -0.1], np.float32)
    y = net.qdq(net.node("Conv", [x, weights, bias], kernel_shape=[3, 3]))
    net.node(
        "Identity", [net.qdq(net.node("Conv", [y, net.weights((4, 4, 1, 1))], kernel_shape=[1, 1]))], "y"
    )
    net.output("y", shape=[1, 4, 6, 6])
    return net.save(tmp_path)


def test_plan(model: Path) -> None:
    plan = vmcu("plan", model, "--json").json
    assert (plan["macs"], plan["macs_before"], plan["channels_removed"]) == (AFTER, BEFORE, 1)
    assert [s["output"] for s in plan["steps"]] == ["6x6x3", "6x6x4"]
    assert f"{AFTER:,} {LEFT_OUT}\n" in vmcu("plan", model).out
    whole = vmcu("plan", model, "--no-dead-channels", "--json").json
    assert (whole["macs"], whole["macs_before"], whole["channels_removed"]) == (BEFORE, BEFORE, 0)
    assert "left out" not in vmcu("plan", model, "--no-dead-channels").out
    for options, macs in (((), AFTER), (("--no-dead-channels",), BEFORE)):
        curve = vmcu("plan", model, "--pareto", "--json", *options).json["curves"][0]
        assert {p["macs"] for p in curve["plans"]} == {macs}


def test_compile_and_its_reports(model: Path, tmp_path: Path) -> None:
    found = vmcu("compile", model, "-t", "cortex-m4", "-o", tmp_path / "out", "--no-measure")
    assert found.code == 0 and LEFT_OUT in found.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["macs"], report["macs_before"], report["channels_removed"]) == (AFTER, BEFORE, 1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        f"per inference, {LEFT_OUT}" in page
        and "left out, without influence on the outputs: 1 channel" in page
    )
    off = ("compile", model, "-t", "cortex-m4", "-o", tmp_path / "off", "--no-measure", "--no-dead-channels")
    report = {**report, **vmcu(*off, "--json").json}
    assert (report["macs"], report["macs_before"], report["channels_removed"]) == (BEFORE, BEFORE, 0)
    assert LEFT_OUT not in (tmp_path / "off" / "report.html").read_text()


def test_run_gives_the_same(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(3).normal(size=(3, 3, 8, 8)).astype(np.float32))
    outputs = []
    for options in ((), ("--no-dead-channels",)):
        line = ("run", model, *HOST, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", *options)
        assert vmcu(*line).code == 0
        outputs.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_array_equal(*outputs)


def test_verify(model: Path) -> None:
    line = ("verify", model, *HOST, "--json", "--against", "onnxruntime")
    found = vmcu(*line)
    assert found.code == 0
    checks = {c["check"]: c["detail"] for c in found.json["checks"]}
    assert list(checks) == [
        "firmware = reference, random inputs",
        "optimised = whole network, random inputs",
        "reference = onnxruntime, every layer",
    ]
    values = 4 * 36 * (3 + 4)
    assert checks["optimised = whole network, random inputs"].startswith(f"{values:,} values of the network")
    # The other runtime computes all channels; so does the side that is compared with it.
    assert checks["reference = onnxruntime, every layer"].startswith(f"{4 * 36 * (4 + 4):,} values")
    found = vmcu(*line, "--no-dead-channels")
    assert found.code == 0 and len(found.json["checks"]) == 2


def test_verify_finds_an_optimisation_that_is_wrong(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firmware computes what it was made from; only the whole network tells."""

    def wrong(graph: QuantizedGraph) -> QuantizedGraph:
        found = drop_dead_channels(graph)
        *ops, last = found.ops
        bias = last.bias + np.int32(3000)  # type: ignore[attr-defined]
        return replace(found, ops=(*ops, replace(last, bias=bias)))  # type: ignore[call-arg]

    monkeypatch.setattr("vmcu.pipeline.drop_dead_channels", wrong)
    found = vmcu("verify", model, *HOST, "--json")
    assert found.code == 4
    assert [c["ok"] for c in found.json["checks"]] == [False, False]
    assert [m["what"].split()[0] for m in found.json["mismatches"]] == ["output", "Conv2D"]


def test_python(model: Path) -> None:
    on, off = (library.compile(model, "cortex-m4", dead_channels=on) for on in (True, False))
    assert (on.compiled.graph.macs, off.compiled.graph.macs) == (AFTER, BEFORE)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(on.run(x, engine="host"), off.run(x, engine="host"))
