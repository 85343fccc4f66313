"""Boards on the command line: their facts, their regions, and those of the user's own folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import vmcu

from vmcu.ci.config import NAME, read_config
from vmcu.resources import folder
from vmcu.save import MARKER
from vmcu.targets import list_targets, load_target

ROOT = Path(__file__).parents[3]
F746 = folder("targets") / "boards" / "disco-f746ng.toml"


def own_board(where: Path, old: str = "", new: str = "") -> Path:
    """A folder with a board of one's own: the Discovery under another name."""
    where.mkdir(exist_ok=True)
    text = F746.read_text()
    assert old in text
    (where / "mine.toml").write_text(text.replace(old, new, 1) if old else text)
    return where


def test_facts_of_one_board() -> None:
    out = vmcu("targets", "disco-f746ng").out
    for line in (
        "disco-f746ng: ST Discovery with STM32F746NG, SDRAM and QSPI flash",
        "core       cortex-m7, 216 MHz",
        "source     ST DS10916, table 2",
        "neighbours in one: SRAM1+SRAM2 (262,144 bytes), DTCM+SRAM1 (311,296 bytes), DTCM+SRAM1+SRAM2 (327,680",
        "emulator   the core alone: QEMU, mps2-an500 or Unicorn",
        "firmware   16 MHz, cycles by dwt",
        "console    stm32_usart_v2 at 0x40011000, 115,200 baud",
        "probe-rs STM32F746NGHx, drive DIS_F746NG, USB 0483:374b",
        "chip id    0x449 in the bits 0xfff of 0xe0042000",
    ):
        assert line in out
    assert re.search("RAM +SDRAM +0xc0000000 +8,388,608 +16 +external", out)
    assert re.search("flash +flash +0x08000000 +1,048,576 +7 +internal", out)


@pytest.mark.parametrize("target", [t.name for t in list_targets()])
def test_every_target_can_be_shown(target: str) -> None:
    found = load_target(target)
    out = vmcu("targets", target).out
    assert out.startswith(f"{target}: {found.description}\n") and found.source in out
    assert ("none of vmcu's own" in out) == (found.firmware is None)
    assert ("power      " in out) == (found.power is not None)
    assert ("meter      " in out) == (found.meter is not None)
    facts = vmcu("targets", target, "--json").json
    assert facts["name"] == target and facts["machine"] == found.machine
    assert [r["name"] for r in facts["ram"]] == [r.name for r in found.ram]
    assert (facts["probe"] is None) == (found.probe is None)


def test_what_can_be_done_with_a_board() -> None:
    can = {t["name"]: t["firmware"] for t in vmcu("targets", "--json").json}
    assert can["cortex-m85"] == ["emulated"]
    assert can["microbit"] == ["flash", "emulated"] and can["corstone-300"] == ["emulated"]
    assert can["nucleo-h743zi"] == ["flash", "emulated as core"]
    assert can["raspberry-pi-pico"] == ["flash", "emulated as core"]
    assert can["arduino-nano-33-ble"] == ["emulated as core"], "no firmware of vmcu's own yet"


def test_plan_says_where_the_pool_goes(files: Path) -> None:
    out = vmcu("plan", files / "net.onnx", "-t", "nucleo-h743zi").out
    assert "fits          nucleo-h743zi: 130,856 bytes left of DTCM, where the pool goes, for stack" in out
    out = vmcu("plan", files / "net.onnx", "-t", "nucleo-h743zi", "--pool-region", "axi").out
    assert "524,072 bytes left of AXI, where the pool goes" in out
    found = vmcu("plan", files / "net.onnx", "-t", "disco-f746ng", "--weights-region", "QSPI")
    assert "weights and tables go to QSPI" in found.out
    plan = vmcu("plan", files / "net.onnx", "-t", "disco-f746ng", "--pool-region", "SDRAM", "--json").json
    assert (plan["pool_region"], plan["weights_region"]) == ("SDRAM", "flash")
    plan = vmcu("plan", files / "net.onnx", "--json").json
    assert (plan["pool_region"], plan["weights_region"]) == (None, None)


def test_compile_writes_a_script_where_there_is_a_choice(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--no-measure", "-o", out)
    found = vmcu("compile", files / "net.onnx", "-t", "disco-f746ng", "--weights-region", "qspi", *options)
    assert found.code == 0, found.err
    assert "net_memory.ld" in found.out and "pool + stack + statics; pool in DTCM" in found.out
    assert "weights and tables in QSPI" in found.out
    script = (out / "net_memory.ld").read_text()
    assert "DTCM : ORIGIN = 0x20000000, LENGTH = 0x10000" in script
    assert ".vmcu_pool (NOLOAD) : ALIGN(16) { *(.vmcu_pool) } > DTCM" in script
    assert "QSPI : ORIGIN = 0x90000000" in script and "> QSPI" in script
    report = json.loads((out / MARKER).read_text())
    assert report["regions"] == {"pool": "DTCM", "rest": "DTCM", "weights": "QSPI"}
    assert "net_memory.ld" in report["files"]
    found = vmcu("compile", files / "net.onnx", "-t", "nucleo-f411re", *options)
    assert found.code == 0 and not (out / "net_memory.ld").exists(), "one RAM and one flash: no choice"
    assert json.loads((out / MARKER).read_text())["regions"] == {"pool": None, "rest": None, "weights": None}


def test_own_board(files: Path, tmp_path: Path) -> None:
    mine = own_board(tmp_path / "boards", "STM32F746NG, SDRAM", "my sensors, SDRAM")
    assert re.search("mine +cortex-m7 .*with my sensors", vmcu("targets", "--target-path", mine).out)
    assert vmcu("targets", "mine", "--target-path", mine).out.startswith("mine: ST Discovery with my sensors")
    found = vmcu("plan", files / "net.onnx", "-t", "mine", "--target-path", mine, "--pool-region", "SRAM1")
    assert found.code == 0 and "left of SRAM1, where the pool goes" in found.out
    for command in (("run", "--engine", "unicorn"), ("verify", "--engine", "unicorn")):
        found = vmcu(command[0], files / "net.onnx", "-t", "mine", "--target-path", mine, *command[1:])
        assert found.code == 0, found.err
    out = tmp_path / "out"
    found = vmcu(
        *("compile", files / "net.onnx", "-t", "mine", "--no-measure", "-o", out),
        *("--target-path", tmp_path, "--target-path", mine),
    )
    assert found.code == 0 and json.loads((out / MARKER).read_text())["target"] == "mine"


@pytest.mark.parametrize("command", [["plan", "net.onnx", "-t", "mine"], ["targets"], ["targets", "mine"]])
def test_own_board_with_a_mistake(files: Path, tmp_path: Path, command: list[str]) -> None:
    """Named by file and key, and nothing else is done."""
    mine = own_board(tmp_path / "boards", 'driver = "stm32_usart_v2"', "baudrate = 9600")
    arguments = [files / a if a.endswith(".onnx") else a for a in command]
    found = vmcu(*arguments, "--target-path", mine)
    assert found.code == 1 and found.out == ""
    assert "boards/mine.toml [console]: 'driver': is missing" in found.err
    assert "fix: correct the file" in found.err


def test_own_board_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = own_board(tmp_path / "boards")
    monkeypatch.setenv("_VMCU_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"vmcu plan m.onnx --target-path {mine} -t mi")
    monkeypatch.setenv("COMP_CWORD", "6")
    assert vmcu().out.split() == ["plain,microbit", "plain,mine"]


def test_own_board_in_ci(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ci init` keeps the folder and the regions, `ci check` finds them again."""
    monkeypatch.chdir(tmp_path)
    own_board(tmp_path / "boards")
    (tmp_path / "net.onnx").write_bytes((files / "net.onnx").read_bytes())
    made = vmcu(
        *("ci", "init", "net.onnx", "-t", "mine", "--target-path", "boards"),
        *("--pool-region", "SRAM1", "--weights-region", "QSPI"),
    )
    assert made.code == 0, made.err
    config = read_config(tmp_path / NAME)
    assert config.target_path == (tmp_path / "boards",)
    (job,) = config.jobs
    assert (job.target, job.pool_region, job.weights_region) == ("mine", "SRAM1", "QSPI")
    text = (tmp_path / NAME).read_text()
    (tmp_path / NAME).write_text(text.replace('"SRAM1"', '"SRAM9"'))
    found = vmcu("ci", "check", "--update-baseline")
    assert (
        found.code == 1 and "--pool-region SRAM9: target 'mine' has no such region" in found.out + found.err
    )
    (tmp_path / NAME).write_text(text.replace('"boards"', '"../boards"'))
    found = vmcu("ci", "check")
    assert found.code == 1 and "'target_path': must be a path below the file's folder" in found.err
    found = vmcu("ci", "init", "net.onnx", "-t", "mine", "--target-path", tmp_path / "boards")
    assert found.code == 1 and "is not below the current folder" in found.err


def test_profile_of_an_own_board(files: Path, tmp_path: Path) -> None:
    mine = own_board(tmp_path / "boards")
    found = vmcu(
        *("profile", files / "net.onnx", "-t", "mine", "--target-path", mine, "--engine", "unicorn"),
        *("--pool-region", "SRAM1", "--json"),
    )
    assert found.code == 0, found.err
    assert found.json["target"] == "mine"


def indented(text: str, start: str) -> str:
    """The indented block of a document that begins with this line."""
    lines = text[text.index(f"    {start}\n") :].splitlines()
    block = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block).strip() + "\n"


def test_the_example_in_contributing_is_a_board(tmp_path: Path) -> None:
    text = indented((ROOT / "CONTRIBUTING.md").read_text(), 'core = "cortex-m7"')
    (tmp_path / "mine.toml").write_text(text)
    board = load_target("mine", [tmp_path])
    assert board.firmware and board.console and board.probe and board.power and board.meter and board.machine
    assert {s.kind for s in board.firmware.start} == {"write", "modify", "wait"}


def test_readme_shows_what_is_printed() -> None:
    shown = indented((ROOT / "README.md").read_text(), "$ vmcu targets disco-f746ng")
    printed = "\n".join(line.rstrip() for line in vmcu("targets", "disco-f746ng").out.splitlines())
    assert shown == f"$ vmcu targets disco-f746ng\n{printed}\n"
