"""`vmcu plan --svg`: well-formed, alone, and never over a file that is not ours."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import vmcu
from pictures import HOSTILE, NAMES, example, hostile
from tiny_models import small_net

from vmcu.picture.svg import MARKER, plan_svg

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {
    "svg", "title", "desc", "style", "rect", "text", "g", "defs", "pattern", "path", "circle", "line",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return small_net().save(tmp_path / "models")


def left(model: Path) -> list[str]:
    """Files in the current folder."""
    return sorted(path.name for path in (model.parents[1] / "here").iterdir())


@pytest.mark.parametrize("name", [*NAMES, "hostile"])
def test_well_formed_and_alone(name: str) -> None:
    made = hostile() if name == "hostile" else example(name)
    text = plan_svg(made.plan, HOSTILE[0])
    root = ElementTree.fromstring(text)
    assert {element.tag for element in root.iter()} == {SVG + e for e in ELEMENTS}
    assert not any("href" in key or key.startswith("on") for e in root.iter() for key in e.attrib)
    assert text.count("http") == 1 and 'xmlns="http://www.w3.org/2000/svg"' in text
    assert root.findtext(f"{SVG}title") == HOSTILE[0]
    assert len(list(root.iter(f"{SVG}style"))) == 1
    pool = f"Pool {made.plan.pool_bytes:,} bytes, lower bound of this order {made.plan.lower_bound_bytes:,}."
    assert any(pool in (e.text or "") for e in root.iter(f"{SVG}text"))


def test_command(model: Path) -> None:
    plain = vmcu("plan", model)
    drawn = vmcu("plan", model, "--svg", "map.svg")
    assert (drawn.code, drawn.out) == (0, plain.out)
    text = Path("map.svg").read_text(encoding="utf-8")
    assert text.startswith(MARKER)
    assert ElementTree.fromstring(text).findtext(f"{SVG}title") == "net"
    assert left(model) == ["map.svg"]


def test_its_own_file_is_replaced(model: Path) -> None:
    Path("map.svg").write_text(MARKER + "\n<svg/>")
    assert vmcu("plan", model, "--svg", "map.svg").code == 0
    assert len(Path("map.svg").read_text()) > 1000


@pytest.mark.parametrize("content", ["", "precious", "<svg/>", MARKER[:-1]])
def test_a_foreign_file_stays(model: Path, content: str) -> None:
    Path("map.svg").write_text(content)
    found = vmcu("plan", model, "--svg", "map.svg")
    assert found.code == 1 and found.out == ""
    assert found.err == (
        "error: 'map.svg': exists, and vmcu did not write it\n  fix: choose another file, or move it\n"
    )
    assert Path("map.svg").read_text() == content and left(model) == ["map.svg"]


def test_missing_folder(model: Path) -> None:
    found = vmcu("plan", model, "--svg", "no/map.svg")
    assert found.code == 1 and found.out == ""
    assert found.err == "error: 'no/map.svg': its folder does not exist\n  fix: create the folder first\n"
    assert left(model) == []


def test_a_folder_is_no_file(model: Path) -> None:
    Path("map.svg").mkdir()
    found = vmcu("plan", model, "--svg", "map.svg")
    assert found.code == 1 and "'map.svg': exists and is no file" in found.err
    assert list(Path("map.svg").iterdir()) == []


def test_a_model_that_does_not_fit_is_drawn(model: Path) -> None:
    assert vmcu("plan", model, "--ram", "100", "--svg", "map.svg").code == 5
    assert Path("map.svg").read_text(encoding="utf-8").startswith(MARKER)


def test_a_model_that_is_refused_is_not(model: Path) -> None:
    assert vmcu("plan", "none.onnx", "--svg", "map.svg").code == 1
    assert left(model) == []


def test_compile_writes_the_page(model: Path) -> None:
    done = vmcu("compile", model, "-t", "cortex-m4", "-o", "out", "--no-measure", "--json")
    assert done.code == 0, done.err
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert f"{done.json['memory']['pool_bytes']:,} <small>bytes</small>" in page
    assert "report.html" in json.loads(Path("out/report.json").read_text())["files"]
