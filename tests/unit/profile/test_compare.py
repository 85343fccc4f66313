"""What has changed between two profiles or reports, limits, JUnit, and files that are neither."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command_line import vmcu
from pictures import HOSTILE, example, report_of
from profiles import profile_of

from vmcu.errors import Exit, VmcuError
from vmcu.profile.compare import Change, as_percent, compare, in_words, parse_percent, read_figures
from vmcu.profile.junit import Case, junit_xml


def built(name: str = "mnist_cnn") -> dict[str, Any]:
    """A profile with sizes as a build would have told them."""
    profile = profile_of(name)
    profile["memory"] |= {"stack_bytes": 300, "static_bytes": 0, "ram_total_bytes": 4_000}
    profile["flash"] |= {"code_bytes": 10_000, "flash_total_bytes": 30_000}
    return profile


def save(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_the_same_has_not_changed() -> None:
    found = compare(built(), built())
    assert [c.name for c in found.totals] == ["RAM", "pool", "stack", "flash", "instructions", "cycles"]
    assert all(c.ratio == 0 and in_words(c) == "unchanged" for c in found.totals)
    assert found.layers == () and found.notes == () and found.regressions(0) == []


def test_totals_and_limits() -> None:
    after = built()
    after["memory"] |= {"ram_total_bytes": 4_100, "stack_bytes": 400}
    after["flash"]["flash_total_bytes"] = 29_000
    after["estimated_cycles"] = after["estimated_cycles"] * 102 // 100
    found = compare(built(), after)
    changes = {c.name: in_words(c) for c in found.totals}
    assert changes["RAM"] == "+2.50%" and changes["stack"] == "+33.33%" and changes["flash"] == "-3.33%"
    # Cycles are at the limit; stack is part of RAM.
    assert [c.name for c in found.regressions(0.02)] == ["RAM"]
    assert [c.name for c in found.regressions(0.019)] == ["RAM", "cycles"]
    assert found.regressions(0.03) == []


def test_layers_by_name_and_number() -> None:
    before, after = built(), built()
    after["layers"][2]["estimated_cycles"] = 1
    twin = deepcopy(after["layers"][2]) | {"estimated_cycles": 7}
    gone = after["layers"].pop(4)
    after["layers"].append(twin)
    found = {c.name: (c.before, c.after, in_words(c)) for c in compare(before, after).layers}
    name = f"{twin['op']} {twin['name']}"
    assert found[name] == (4500, 1, "-99.98%")
    assert found[f"{name} (2)"] == (None, 7, "new")
    assert found[f"{gone['op']} {gone['name']}"] == (gone["estimated_cycles"], None, "gone")
    assert len(found) == 3


def test_layers_of_what_both_know() -> None:
    """One side has no cycles: layers are compared by instructions, and that is said of the total."""
    after = profile_of(cycles=False)
    after["layers"][0]["instructions"] = 5
    found = compare(profile_of(), after)
    assert [(c.unit, c.before, c.after) for c in found.layers] == [("exact", 1000, 5)]
    assert "cycles (estimated) not compared: only the first has them" in found.notes


def test_a_report_and_a_profile() -> None:
    made = example("mnist_cnn")
    found = compare(report_of(made), profile_of())
    assert [c.name for c in found.totals] == ["pool"] and found.layers == ()
    assert "instructions (exact) not compared: only the second has them" in found.notes


def test_notes_on_unlike_builds() -> None:
    after = built() | {"target": "cortex-m7", "compiler": "zig 1", "numerics": "tflm"}
    after["model"] = after["model"] | {"sha256": "0" * 64}
    notes = compare(built(), after).notes
    assert any(n.startswith("target differs: cortex-m4, now cortex-m7;") for n in notes)
    assert any(n.startswith("compiler differs: unknown, now zig 1;") for n in notes)
    assert any(n.startswith("numerics differs: onnx, now tflm;") for n in notes)
    assert "the model file differs" in notes


def test_growth_from_nothing() -> None:
    one = Change("flash", "bytes", 0, 5, True)
    assert one.exceeds(1000) and in_words(one) == "from 0"
    assert Change("flash", "bytes", 0, 0, True).ratio == 0


@pytest.mark.parametrize(
    ("text", "value"), [("2%", 0.02), ("2", 0.02), (" 0.5 % ", 0.005), ("0", 0.0), ("0%", 0.0)]
)
def test_percentages(text: str, value: float) -> None:
    assert parse_percent(text) == pytest.approx(value)
    assert parse_percent(as_percent(value)) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "x", "-1%", "nan", "inf", "2%%", "1e9"])
def test_no_percentages(text: str) -> None:
    with pytest.raises(VmcuError, match="is no percentage"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "it is no object"),
        ("{}", "its schema_version is None, this vmcu knows 1"),
        ('{"schema_version": 2}', "its schema_version is 2, this vmcu knows 1"),
        ('{"schema_version": 1}', "it has no layers"),
        ('{"schema_version": 1, "layers": [1]}', "it has no layers"),
        ('{"schema_version": 1, "layers": [{"name": "a"}]}', "a layer has no name"),
        ('{"schema_version": 1, "layers": [], "instructions": "x"}', "its instructions is no number"),
        ('{"schema_version": 1, "layers": [], "instructions": true}', "its instructions is no number"),
        ('{"schema_version": 1, "layers": [], "memory": {"pool_bytes": -1}}', "its pool is no number"),
        (
            '{"schema_version": 1, "layers": [{"name": "a", "op": "b", "instructions": 1.5}]}',
            "the instructions of a layer are no number",
        ),
    ],
)
def test_files_that_are_neither(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(VmcuError) as caught:
        read_figures(path)
    assert what in caught.value.problems[0].what and caught.value.code is Exit.INPUT
    assert "vmcu profile --json" in caught.value.problems[0].fix


def test_bytes_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VmcuError, match="is no JSON"):
        read_figures(tmp_path / "a.json")
    with pytest.raises(VmcuError, match="cannot be read: No such file"):
        read_figures(tmp_path / "b.json")


# ---- the command -------------------------------------------------------------------------------------


def test_command(tmp_path: Path) -> None:
    after = built()
    after["memory"]["ram_total_bytes"] = 5_000
    files = save(tmp_path / "a.json", built()), save(tmp_path / "b.json", after)
    plain = vmcu("compare", *files)
    assert plain.code == 0 and "+25.00%" in plain.out and "limit" not in plain.out and plain.err == ""
    failed = vmcu("compare", *files, "--fail-above", "2%", "--junit", tmp_path / "j.xml")
    assert failed.code == 4
    assert "ABOVE" in failed.out and "above the limit of 2%: RAM +25.00%" in failed.out
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("6", "1")
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "RAM grew: +25.00%, more than 2%"
    assert failure.text == "4,000 before, 5,000 now, +25.00% (bytes)"
    passed = vmcu("compare", *files, "--fail-above", "25%", "--junit", tmp_path / "j.xml")
    assert passed.code == 0 and "nothing grew by more than 25%" in passed.out
    assert 'failures="0"' in (tmp_path / "j.xml").read_text()


def test_command_as_json(tmp_path: Path) -> None:
    after = built()
    after["flash"]["flash_total_bytes"] = 60_000
    files = save(tmp_path / "a.json", built()), save(tmp_path / "b.json", after)
    found = vmcu("compare", *files, "--fail-above", "2%", "--json")
    assert found.code == 4 and found.json["ok"] is False and found.json["fail_above"] == 0.02
    flash = next(c for c in found.json["totals"] if c["name"] == "flash")
    assert flash == {
        "name": "flash", "unit": "bytes", "before": 30_000, "after": 60_000, "change": 1.0, "above_limit": True,
    }  # fmt: skip
    assert vmcu("compare", *files, "--json").json["ok"] is True


def test_command_overwrites_nothing_of_others(tmp_path: Path) -> None:
    file, foreign = save(tmp_path / "a.json", built()), tmp_path / "j.xml"
    foreign.write_text("<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"mine\"/>")
    found = vmcu("compare", file, file, "--junit", foreign)
    assert found.code == 1 and "exists, and vmcu did not write it" in found.err
    assert "mine" in foreign.read_text()
    assert vmcu("compare", file, file, "--fail-above", "much").code == 1


def test_junit_text_is_xml_whatever_the_names() -> None:
    cases = [Case(name, name, name, name if i % 2 else "") for i, name in enumerate(HOSTILE)]
    root = ElementTree.fromstring(junit_xml(cases).encode())
    assert root.get("tests") == str(len(HOSTILE)) and root.get("failures") == str(len(HOSTILE) // 2)
    assert [s.get("name") for s in root] == [
        "".join(c if c.isprintable() else "\ufffd" for c in name) for name in HOSTILE
    ]
