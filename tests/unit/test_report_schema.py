"""The report of a model follows the published schema, with a compiler and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import vmcu
import vmcu.api
from vmcu.errors import Exit, fail
from vmcu.pipeline import load
from vmcu.planning.choose import list_candidates
from vmcu.report import SCHEMA_VERSION
from vmcu.schedule.stream_inputs import stream_inputs

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "report.schema.json").read_text())
MODEL = ROOT / "models" / "mnist_cnn" / "model.onnx"
SIZE_FIELDS = ("pool_bytes", "lower_bound_bytes", "scratch_bytes", "state_bytes")
BUILD_FIELDS = ("stack_bytes", "static_bytes", "ram_total_bytes")

has_compiler = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None and find_spec("ziglang") is None, reason="no Cortex-M compiler"
)


@pytest.fixture(scope="module")
def model() -> vmcu.api.Model:
    return vmcu.compile(MODEL, "cortex-m4")


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(choice: str) -> None:
        raise fail("no Cortex-M compiler found", "compiler", "install one", Exit.TOOL)

    monkeypatch.setattr(vmcu.api, "find_compiler", missing)


def validate(report: Mapping[str, Any]) -> None:
    """Through JSON, as a reader of the file sees it."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report)))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every subschema of an object."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"] == {
        "description": SCHEMA["properties"]["schema_version"]["description"],
        "const": SCHEMA_VERSION,
    }


def test_every_field_is_described_and_none_is_unknown() -> None:
    for part in objects(SCHEMA):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert field.get("description"), name
            if name.endswith("_bytes"):
                assert "Bytes" in field["description"], name


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    report = vmcu.compile(MODEL, "cortex-m4").make_report(measure=False)
    validate(report)
    assert report["compiler"] is None and report["instructions"] is None
    assert all(report["memory"][name] is None for name in BUILD_FIELDS)
    assert all(report["memory"][name] is not None for name in SIZE_FIELDS)


def test_what_was_asked_and_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler 1,024 bytes are kept for the stack: 13,500 are too few for whole layers."""
    without_compiler(monkeypatch)
    asked: dict[str, Any] = {"ram_bytes": 13_500, "stream_inputs": ["*"]}
    report = vmcu.compile(MODEL, "cortex-m4", **asked).make_report(measure=False)
    validate(report)
    assert report["planning"] == {
        "optimise": "speed",
        "ram_budget_bytes": 13_500,
        "allow_recompute": 1.0,
        "streamed_inputs": ["input"],
        "schedule": "streamed",
        "candidates": len(list_candidates(stream_inputs(load(MODEL), ["*"]))),
    }
    assert report["memory"]["pool_bytes"] < 12992 - 1024
    assert report["estimated_instructions"] == sum(x["estimated_instructions"] for x in report["layers"]) > 0
    plain = vmcu.compile(MODEL, "cortex-m4").make_report(measure=False)
    assert plain["planning"]["optimise"] == "ram" and plain["planning"]["ram_budget_bytes"] is None
    speed = vmcu.compile(MODEL, "cortex-m4", optimise="speed", ram_bytes=14_400).compiled.plan
    assert 12992 < speed.pool_bytes <= 14_400 - 1024


@has_compiler
def test_with_a_compiler(model: vmcu.api.Model) -> None:
    report = model.make_report(measure=False)
    validate(report)
    memory, flash = report["memory"], report["flash"]
    assert memory["ram_total_bytes"] == memory["pool_bytes"] + memory["stack_bytes"] + memory["static_bytes"]
    assert flash["flash_total_bytes"] == flash["weights_bytes"] + flash["tables_bytes"] + flash["code_bytes"]
    assert memory["lower_bound_bytes"] <= memory["pool_bytes"]
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])


@has_compiler
def test_estimated_cycles(model: vmcu.api.Model) -> None:
    """Layers come from a build with hooks, which inlines less: near the whole, not its parts."""
    pytest.importorskip("unicorn")
    report = model.report
    validate(report)
    assert report["instructions"] < report["estimated_cycles"] < 3 * report["instructions"]
    layers = sum(layer["estimated_cycles"] for layer in report["layers"])
    assert abs(layers - report["estimated_cycles"]) < 0.2 * report["estimated_cycles"]


@has_compiler
@pytest.mark.qemu
def test_no_table_no_cycles() -> None:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no QEMU")
    report = vmcu.compile(MODEL, "cortex-m55").report
    validate(report)
    assert report["instructions"] is not None and report["estimated_cycles"] is None
    assert all(layer["estimated_cycles"] is None for layer in report["layers"])


def test_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_compiler(monkeypatch)
    made = vmcu.compile(MODEL, "cortex-m4")
    made.save(tmp_path / "out", made.make_report(measure=False))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    validate(report)
    assert report["files"] == sorted(str(p.name) for p in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("numerics", "float"),
        ("macs", -1),
        ("macs", None),
        ("schema_version", 2),
        ("extra", 0),
        ("checks", []),
    ],
)
def test_a_wrong_report_is_refused(field: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    report = vmcu.compile(MODEL, "cortex-m4").make_report(measure=False)
    with pytest.raises(jsonschema.ValidationError):
        validate({**report, field: value})
