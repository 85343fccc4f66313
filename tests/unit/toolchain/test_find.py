"""Compilers and doctor, with and without the tools."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.run import choose_engine
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler, find_host_compiler
from vmcu.toolchain.doctor import diagnose, is_sufficient


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine with no tool at all."""
    real = importlib.util.find_spec
    missing = ("ziglang", "unicorn", "onnxruntime", "tflite_micro")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else real(name, *a)
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    return monkeypatch


def fake_tool(folder: Path, name: str, says: str, code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("choice", "what", "fix"),
    [
        ("auto", "no Cortex-M compiler found", "pip install ziglang, or install Arm GCC"),
        ("gcc", "arm-none-eabi-gcc not found", "apt install gcc-arm-none-eabi"),
        ("zig", "ziglang not found", "pip install ziglang"),
    ],
)
def test_no_compiler(nothing: pytest.MonkeyPatch, choice: str, what: str, fix: str) -> None:
    with pytest.raises(VmcuError) as e:
        find_compiler(choice)  # type: ignore[arg-type]
    assert e.value.code == Exit.TOOL
    assert what in str(e.value) and fix in str(e.value)


def test_no_host_compiler(nothing: pytest.MonkeyPatch) -> None:
    with pytest.raises(VmcuError, match="no C compiler for this machine") as e:
        find_host_compiler()
    assert e.value.code == Exit.TOOL and "pip install ziglang" in str(e.value)


@pytest.mark.parametrize(
    ("engine", "core", "text"),
    [
        ("auto", "cortex-m4", "no engine that emulates it is installed"),
        ("auto", "cortex-m4", "pip install unicorn, or install QEMU"),
        ("qemu", "cortex-m4", "QEMU is not installed"),
        ("unicorn", "cortex-m4", "Unicorn is not installed"),
        ("auto", "cortex-m55", "apt install qemu-system-arm"),
    ],
)
def test_no_engine(nothing: pytest.MonkeyPatch, engine: str, core: str, text: str) -> None:
    with pytest.raises(VmcuError) as e:
        choose_engine(load_target(core), engine)  # type: ignore[arg-type]
    assert e.value.code == Exit.TOOL
    assert text in str(e.value)
    assert core != "cortex-m55" or "unicorn" not in str(e.value)


def test_doctor_finds_nothing_and_says_how_to_get_it(nothing: pytest.MonkeyPatch) -> None:
    findings = diagnose()
    assert [f.what for f in findings] == [
        "arm-none-eabi-gcc",
        "ziglang",
        "qemu-system-arm",
        "unicorn",
        "host compiler",
        "onnxruntime",
        "tflite-micro",
    ]
    assert not any(f.found or f.version for f in findings)
    assert all("install" in f.get and f.purpose for f in findings)
    assert not is_sufficient(findings)


def test_doctor_finds_what_there_is(nothing: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_tool(tmp_path, "arm-none-eabi-gcc", "arm-none-eabi-gcc (Some 12.2.rel1-1) 12.2.1 20221205")
    fake_tool(tmp_path, "qemu-system-arm", "QEMU emulator version 9.1.0 (Some 1)")
    found = {f.what: f.version for f in diagnose() if f.found}
    assert found == {"arm-none-eabi-gcc": "arm-none-eabi-gcc 12.2.1", "qemu-system-arm": "QEMU 9.1.0"}
    assert is_sufficient(diagnose())
    assert find_compiler().name == "gcc"
    assert choose_engine(load_target("cortex-m55")) == "qemu"


def test_a_tool_that_does_not_run(nothing: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_tool(tmp_path, "arm-none-eabi-gcc", "cannot load libsomething", 127)
    finding = diagnose()[0]
    assert not finding.found and "does not run" in finding.version


@pytest.mark.parametrize("line", ["", "something else"])
def test_unknown_version(nothing: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    fake_tool(tmp_path, "cc", line)
    assert find_host_compiler().version == "cc of unknown version"
