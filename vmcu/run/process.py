"""The engines that are programs of their own: QEMU, and the host itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from vmcu.errors import Exit, fail, internal
from vmcu.run.records import failure, input_file, read_records, report_of
from vmcu.run.report import RunReport
from vmcu.toolchain.elf import read_elf
from vmcu.toolchain.firmware import Firmware

QEMU = "qemu-system-arm"


def find_qemu() -> str | None:
    """Path of QEMU, if it is installed."""
    return shutil.which(QEMU)


@cache
def qemu_version(path: str) -> str:
    """The version QEMU says it is."""
    try:
        text = subprocess.run((path, "--version"), capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as e:
        raise fail(f"does not run: {e}", QEMU, "reinstall it", Exit.TOOL) from e
    found = re.search(r"version (\S+)", text)
    return f"QEMU {found[1]}" if found else "QEMU of unknown version"


def run_qemu(
    firmware: Firmware, inferences: Sequence[Sequence[bytes]], reset_between: bool, limit_seconds: float
) -> RunReport:
    """Runs a firmware in QEMU, which counts by virtual time: 2^shift ns an instruction.

    Raises:
        VmcuError: (TOOL) QEMU fails or takes too long; (BUG) the firmware does.
    """
    target, path = firmware.target, find_qemu()
    if target is None or target.qemu is None or path is None:
        raise internal("there is no QEMU for this firmware", firmware.project.name)
    command = (
        *(path, "-M", target.qemu.machine, "-kernel", str(firmware.elf.resolve())),
        *("-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-icount", f"shift={target.qemu.icount_shift},align=off,sleep=off"),
    )
    return _run(command, {}, "qemu", qemu_version(path), firmware, inferences, reset_between, limit_seconds)


def run_host(
    firmware: Firmware, inferences: Sequence[Sequence[bytes]], reset_between: bool, limit_seconds: float
) -> RunReport:
    """Runs a program of this machine.

    Raises:
        VmcuError: (TOOL) it takes too long; (BUG) a sanitizer or a tag stops it.
    """
    options = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=0"}
    command = (str(firmware.elf.resolve()),)
    version = firmware.compiler.version
    return _run(command, options, "host", version, firmware, inferences, reset_between, limit_seconds)


def _run(
    command: Sequence[str],
    variables: Mapping[str, str],
    engine: str,
    version: str,
    firmware: Firmware,
    inferences: Sequence[Sequence[bytes]],
    reset_between: bool,
    limit_seconds: float,
) -> RunReport:
    with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
        Path(folder, "input.bin").write_bytes(input_file(inferences, reset_between))
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_seconds,
            )
        except subprocess.TimeoutExpired as e:
            raise too_slow(engine, limit_seconds) from e
        except OSError as e:
            raise fail(f"does not run: {e}", command[0], "reinstall it", Exit.TOOL) from e
        output = Path(folder, "output.bin")
        records = list(read_records(output.read_bytes() if output.exists() else b""))
    if done.returncode != 0:
        elf = read_elf(firmware.elf) if firmware.target else None
        raise failure(done.returncode, done.stderr, engine, elf, records)
    return report_of(firmware, len(inferences), engine, version, records)


def too_slow(engine: str, limit_seconds: float) -> Exception:
    """The error of a run that was ended."""
    what = f"the program did not end within {limit_seconds:g} seconds"
    return fail(what, engine, "run fewer inferences at once, or report this with the model", Exit.TOOL)
