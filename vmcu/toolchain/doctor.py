"""What of the optional tools is installed, what each is for, and how to get the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from vmcu.errors import VmcuError
from vmcu.run.engine import GET_QEMU, GET_UNICORN
from vmcu.run.process import find_qemu, qemu_version
from vmcu.run.unicorn_engine import has_unicorn, unicorn_version
from vmcu.toolchain.compilers import GET_GCC, GET_HOST, GET_ZIG, find_compiler, find_host_compiler


@dataclass(frozen=True, slots=True)
class Finding:
    """One tool.

    Attributes:
        what: its name.
        found: is it there, and does it run?
        version: as it says itself; why not, where it does not run; empty if it is missing.
        purpose: what vmcu uses it for.
        get: how to install it.
    """

    what: str
    found: bool
    version: str
    purpose: str
    get: str


def diagnose() -> tuple[Finding, ...]:
    """Looks for every tool. Nothing is changed, nothing fails."""
    verify = "compares layer by layer: vmcu verify --against"
    return (
        _find("arm-none-eabi-gcc", lambda: find_compiler("gcc").version, "compiles for Cortex-M", GET_GCC),
        _find("ziglang", lambda: find_compiler("zig").version, "compiles for Cortex-M", GET_ZIG),
        _find("qemu-system-arm", _qemu, "emulates every core", GET_QEMU),
        _find("unicorn", _unicorn, "emulates every core without Helium", GET_UNICORN),
        _find("host compiler", lambda: find_host_compiler().version, "--engine host, sanitizers", GET_HOST),
        _find("onnxruntime", lambda: _package("onnxruntime"), verify, "pip install onnxruntime"),
        _find(
            "tflite-micro",
            lambda: _package("tflite-micro", "tflite_micro"),
            verify,
            "pip install tflite-micro",
        ),
    )


def is_sufficient(findings: tuple[Finding, ...]) -> bool:
    """Is there at least one Cortex-M compiler and one emulator?"""
    found = {f.what for f in findings if f.found}
    return bool(found & {"arm-none-eabi-gcc", "ziglang"}) and bool(found & {"qemu-system-arm", "unicorn"})


def _find(what: str, look: Callable[[], str | None], purpose: str, get: str) -> Finding:
    try:
        text = look()
    except VmcuError as e:
        does_not_run = e.problems[0].what.startswith("does not run")
        return Finding(what, False, e.problems[0].what if does_not_run else "", purpose, get)
    return Finding(what, text is not None, text or "", purpose, get)


def _qemu() -> str | None:
    path = find_qemu()
    return qemu_version(path) if path else None


def _unicorn() -> str | None:
    return unicorn_version() if has_unicorn() else None


def _package(distribution: str, module: str | None = None) -> str | None:
    """Version of a Python package; importing it would take seconds."""
    if importlib.util.find_spec(module or distribution) is None:
        return None
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} of unknown version"
