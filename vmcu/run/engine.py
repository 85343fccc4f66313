"""Firmware + inputs -> RunReport, on the engine the user wants or the best there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vmcu.errors import Exit, fail
from vmcu.run.process import find_qemu, run_host, run_qemu
from vmcu.run.report import RunReport
from vmcu.run.unicorn_engine import has_unicorn, run_unicorn
from vmcu.targets import Target
from vmcu.toolchain.firmware import Firmware

Engine = Literal["auto", "qemu", "unicorn", "host"]
GET_QEMU = "install QEMU (Debian: apt install qemu-system-arm)"
GET_UNICORN = "pip install unicorn"


def run(
    firmware: Firmware,
    inferences: Sequence[Sequence[bytes]],
    *,
    engine: Engine = "auto",
    reset_between: bool = False,
    limit_seconds: float | None = None,
) -> RunReport:
    """Runs every inference in one start of the engine.

    Args:
        inferences: per inference, the bytes of each input port in port order.
        engine: `auto` takes QEMU, else Unicorn; a program of this machine runs on the host.
        reset_between: forget the model's states between inferences.
        limit_seconds: of wall-clock time; by default two minutes and one more per inference.

    Raises:
        VmcuError: (INPUT) inputs of a wrong number or size, an engine that cannot run this
            firmware; (TOOL) the engine is missing, fails or takes too long; (BUG) the firmware
            faults or a check in it fails.
    """
    _check_inputs(firmware, inferences)
    limit = 60.0 * (2 + len(inferences)) if limit_seconds is None else limit_seconds
    chosen = choose_engine(firmware.target, engine)
    runner = {"qemu": run_qemu, "unicorn": run_unicorn, "host": run_host}[chosen]
    return runner(firmware, inferences, reset_between, limit)


def choose_engine(target: Target | None, engine: Engine = "auto") -> Literal["qemu", "unicorn", "host"]:
    """The engine for a target; None is the machine vmcu runs on.

    Raises:
        VmcuError: (INPUT) the engine cannot emulate the target; (TOOL) it is not installed.
    """
    if target is None or engine == "host":
        if engine in ("auto", "host") and target is None:
            return "host"
        raise fail("runs only what was built for it", f"engine '{engine}'", "build for the engine's machine")
    where, core = f"target '{target.name}'", target.core
    can_qemu, can_unicorn = target.qemu is not None, target.unicorn_cpu is not None
    if engine == "unicorn" and not can_unicorn:
        raise fail(f"Unicorn does not emulate the {core}", where, "use QEMU: --engine qemu")
    if engine == "qemu" and not can_qemu:
        raise fail(f"QEMU has no machine with a {core}", where, "use --engine unicorn")
    if engine != "unicorn" and can_qemu and find_qemu():
        return "qemu"
    if engine != "qemu" and can_unicorn and has_unicorn():
        return "unicorn"
    ways = [GET_UNICORN] if can_unicorn and engine != "qemu" else []
    ways += [GET_QEMU] if can_qemu and engine != "unicorn" else []
    name = {"qemu": "QEMU is not", "unicorn": "Unicorn is not", "auto": "no engine that emulates it is"}[
        engine
    ]
    raise fail(f"{name} installed", where, ", or ".join(ways), Exit.TOOL)


def _check_inputs(firmware: Firmware, inferences: Sequence[Sequence[bytes]]) -> None:
    ports = firmware.project.inputs
    for i, inference in enumerate(inferences):
        if len(inference) != len(ports):
            raise fail(
                f"has {len(inference)} inputs; the model takes {len(ports)}", f"inference {i}", "give each"
            )
        for port, data in zip(ports, inference, strict=True):
            if len(data) != port.size_bytes:
                what = f"is of {len(data)} bytes; the model takes {port.size_bytes}"
                raise fail(what, f"inference {i}, input '{port.c_name}'", "give the whole input")
