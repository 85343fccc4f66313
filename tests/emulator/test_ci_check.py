"""`vmcu ci check`, and the written workflow's own steps in a clean directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import vmcu
from tiny_models import small_net
from tiny_project import need

from vmcu.ci import check as check_module
from vmcu.ci.init import WORKFLOWS
from vmcu.verify import Verified
from vmcu.verify.mismatch import compare

ROOT = Path(__file__).parents[2]
HEAD = 'baseline = "base.json"\nfail_above = "2%"\n'


def config(folder: Path, *models: str, head: str = HEAD) -> None:
    tables = (f"[[model]]\n{m}\n" for m in models)
    (folder / "vmcu-ci.toml").write_text(head + "".join(tables))


NET = 'path = "net.onnx"\ntarget = "cortex-m4"'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need("unicorn")
    monkeypatch.chdir(tmp_path)
    small_net().save(tmp_path, "net.onnx")
    config(tmp_path, NET)
    return tmp_path


def change_baseline(path: Path, figure: str, factor: float) -> None:
    """As if the last build had taken `factor` times as much."""
    found = json.loads(path.read_text())
    for one in found["models"].values():
        group = {"RAM": ("memory", "ram_total_bytes"), "flash": ("flash", "flash_total_bytes")}.get(figure)
        if group:
            one[group[0]][group[1]] = int(one[group[0]][group[1]] * factor)
        else:
            one[figure] = int(one[figure] * factor)
    path.write_text(json.dumps(found))


def test_without_a_baseline_it_fails(here: Path) -> None:
    found = vmcu("ci", "check", "--junit", "j.xml")
    assert found.code == 4 and "has no baseline: run `vmcu ci check --update-baseline`" in found.out
    assert ElementTree.parse("j.xml").getroot().get("failures") == "1"


def test_update_then_pass(here: Path) -> None:
    found = vmcu("ci", "check", "--update-baseline")
    assert found.code == 0 and "wrote base.json: commit it" in found.out
    first = Path("base.json").read_bytes()
    again = vmcu("ci", "check", "--junit", "j.xml")
    assert again.code == 0 and "FAILED" not in again.out and again.out.count("unchanged") == 6
    assert vmcu("ci", "check", "--update-baseline").code == 0 and Path("base.json").read_bytes() == first
    (suite,) = ElementTree.parse("j.xml").getroot()
    assert suite.get("name") == "net.onnx on cortex-m4" and suite.get("failures") == "0"
    assert {"compiles and fits", "bit-exact", "RAM (bytes)", "flash (bytes)"} <= {
        c.get("name") for c in suite
    }


@pytest.mark.parametrize("figure", ["RAM", "flash", "instructions", "estimated_cycles"])
def test_regressions(here: Path, figure: str) -> None:
    assert vmcu("ci", "check", "--update-baseline").code == 0
    change_baseline(Path("base.json"), figure, 0.9)
    found = vmcu("ci", "check", "--junit", "j.xml", "--json")
    assert found.code == 4 and found.json["ok"] is False
    (bad,) = [c for c in found.json["models"][0]["checks"] if not c["ok"]]
    assert figure.removeprefix("estimated_") in bad["check"] and "more than 2%" in bad["failure"]
    assert ElementTree.parse("j.xml").getroot().get("failures") == "1"
    change_baseline(Path("base.json"), figure, 2)
    assert vmcu("ci", "check").code == 0  # less is no regression


def test_changed_layers_are_named(here: Path) -> None:
    assert vmcu("ci", "check", "--update-baseline").code == 0
    found = json.loads(Path("base.json").read_text())
    (one,) = found["models"].values()
    one["estimated_cycles"] //= 2
    one["layers"][0]["estimated_cycles"] //= 2
    Path("base.json").write_text(json.dumps(found))
    printed = vmcu("ci", "check")
    assert printed.code == 4 and "changed layers of net.onnx on cortex-m4" in printed.out
    assert "Conv2D n10" in printed.out


def test_limits(here: Path) -> None:
    config(here, NET + "\nmax_instructions = 10\nmax_cycles = 1_000_000")
    found = vmcu("ci", "check", "--update-baseline")
    assert found.code == 4 and "are more than the 10 allowed" in found.out
    assert "no baseline is written" in found.out and not Path("base.json").exists()


def test_a_wrong_result_fails_and_writes_no_baseline(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = check_module.verify_model

    def broken(*arguments: object) -> Verified:
        result = real(*arguments)  # type: ignore[arg-type]
        found = np.zeros((1, 4), np.int8)
        different = compare("layer 0 Conv2D n10", 0, found, found + np.int8(1))
        assert different is not None
        return Verified([different], result.outputs, result.text)

    monkeypatch.setattr(check_module, "verify_model", broken)
    found = vmcu("ci", "check", "--update-baseline")
    assert found.code == 4 and "bit-exact" in found.out and "layer 0 Conv2D n10" in found.out
    assert not Path("base.json").exists()


def test_one_bad_model_does_not_hide_the_others(here: Path) -> None:
    Path("junk.onnx").write_bytes(b"junk")
    config(here, 'path = "junk.onnx"\ntarget = "cortex-m4"', NET, NET.replace("m4", "m3") + '\nram = "100"')
    found = vmcu("ci", "check", "--json", "--junit", "j.xml")
    codes = [m["code"] for m in found.json["models"]]
    assert codes == [1, 4, 5] and found.code == 1
    assert len(list(ElementTree.parse("j.xml").getroot())) == 3
    text = found.json["models"][2]["checks"][0]["failure"]
    assert "fix:" in text


def test_a_baseline_of_another_compiler_is_told(here: Path) -> None:
    assert vmcu("ci", "check", "--update-baseline").code == 0
    found = json.loads(Path("base.json").read_text())
    next(iter(found["models"].values()))["compiler"] = "icc 1"
    Path("base.json").write_text(json.dumps(found))
    printed = vmcu("ci", "check")
    assert printed.code == 0 and "note: net.onnx on cortex-m4: compiler differs: icc 1, now " in printed.out


def test_foreign_files_are_left_alone(here: Path) -> None:
    Path("j.xml").write_text("mine")
    found = vmcu("ci", "check", "--junit", "j.xml")
    assert found.code == 1 and Path("j.xml").read_text() == "mine"
    Path("base.json").write_text("{}")
    found = vmcu("ci", "check", "--update-baseline")
    assert found.code == 1 and "is no baseline of vmcu" in found.err and Path("base.json").read_text() == "{}"


@pytest.mark.qemu
def test_a_core_without_a_timing_table(here: Path) -> None:
    config(here, NET.replace("m4", "m55") + "\nmax_cycles = 100")
    found = vmcu("ci", "check")
    assert found.code == 4 and "there is no timing model of this core" in found.out


# ---- the written workflow ----------------------------------------------------------------------------


def commands(service: str) -> list[str]:
    """The workflow's shell commands but the two that need a network."""
    text = Path(WORKFLOWS[service]).read_text()
    if service == "github":
        found = re.findall(r"^\s+run: (.*)$", text, re.M)
    else:
        script = re.search(r"^  script:\n((?:    - .*\n)+)", text, re.M)
        assert script
        found = [line.strip().removeprefix("- ") for line in script[1].splitlines()]
    assert sum("pip install" in line for line in found) == 1
    assert sum("apt-get install" in line and "qemu-system-arm" in line for line in found) == 1
    return [line for line in found if "pip install" not in line and "apt-get" not in line]


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_the_workflow_s_steps_in_a_clean_directory(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init, baseline, commit; then a checkout elsewhere runs the steps, passes, and fails once the model has grown."""
    need("unicorn", "zig")
    mine, clean, tools = tmp_path / "mine", tmp_path / "checkout", tmp_path / "bin"
    mine.mkdir(), tools.mkdir()
    small_net().save(mine, "model.onnx")
    monkeypatch.chdir(mine)
    assert vmcu("ci", "init", f"--{service}").code == 0
    assert vmcu("ci", "check", "--update-baseline").code == 0
    shutil.copytree(mine, clean)
    monkeypatch.chdir(clean)
    shim = tools / "vmcu"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vmcu.cli "$@"\n')
    shim.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run_steps() -> list[int]:
        return [
            subprocess.run(
                ["sh", "-ec", line], env=environment, cwd=clean, capture_output=True, timeout=300
            ).returncode
            for line in commands(service)
        ]

    assert run_steps() == [0, 0]
    assert 'failures="0"' in (clean / "vmcu-junit.xml").read_text()
    change_baseline(clean / "vmcu-baseline.json", "flash", 0.5)
    assert run_steps() == [0, 4]
    assert 'failures="1"' in (clean / "vmcu-junit.xml").read_text()
