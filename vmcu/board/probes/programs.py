"""Probes behind programs of their own: probe-rs, OpenOCD and st-flash. Each call is a process; the chip keeps its state."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vmcu.board.probes.base import Found, Image, differs, first_difference, usb_probes
from vmcu.errors import Exit, fail
from vmcu.targets import Target

LIMIT_SECONDS = 120


def call(text: str, *command: str) -> str:
    """What a program printed, on both streams.

    Raises:
        VmcuError: (TOOL) it is missing, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        what = f"did not end within {LIMIT_SECONDS} seconds"
        raise fail(what, text, "unplug the board, plug it in, and try again", Exit.TOOL) from None
    except OSError as error:
        raise fail(f"does not run: {error.strerror}", text, "reinstall it", Exit.TOOL) from None
    output = done.stdout + done.stderr
    if done.returncode != 0:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        what = f"failed with code {done.returncode}: {' | '.join(lines[-4:])[-500:]}"
        raise fail(what, text, "check cable, power and who else uses the probe", Exit.TOOL)
    return output


def _not_there(program: str, get: str, name: str | None, key: str, target: Target) -> str | None:
    """Why a program cannot be tried; None: it can."""
    if shutil.which(program) is None:
        return f"install {get}"
    return None if name else f"give '{target.name}' a {key} in the table [probe] of its file"


class OpenOcd:
    """`--via openocd`."""

    via = "openocd"

    def missing(self, target: Target) -> str | None:
        name = target.probe.openocd if target.probe else None
        return _not_there("openocd", "OpenOCD (Debian: apt install openocd)", name, "openocd", target)

    def find(self, target: Target) -> Sequence[Found]:
        return usb_probes(target)

    def open(self, target: Target, uid: str) -> _OpenOcdConnection:
        assert target.probe is not None and target.probe.openocd is not None
        return _OpenOcdConnection(target.probe.openocd, uid)


class _OpenOcdConnection:
    def __init__(self, configuration: str, uid: str) -> None:
        self.text = f"OpenOCD, probe {uid}"
        chosen = ("-c", f"adapter serial {_tcl(uid)}") if uid else ()
        self._command = ("openocd", "-f", configuration, *chosen)

    def read_word(self, address: int) -> int | None:
        output = self._run("reset halt", f"mdw {address:#x}")
        found = re.search(rf"{address:#010x}: ([0-9a-f]{{8}})", output)
        if not found:
            raise fail(f"does not tell the word at {address:#010x}", self.text, "update OpenOCD", Exit.TOOL)
        return int(found[1], 16)

    def write(self, image: Image) -> None:
        self._run("reset halt", f"flash write_image erase {_tcl(str(image.elf.resolve()))}")

    def verify(self, image: Image) -> bool:
        self._run("reset halt", f"verify_image {_tcl(str(image.elf.resolve()))}")
        return True

    def start(self, image: Image) -> None:
        self._run("reset run")

    def close(self) -> None:
        pass

    def _run(self, *commands: str) -> str:
        return call(self.text, *self._command, "-c", "; ".join(("init", *commands, "shutdown")))


class StFlash:
    """`--via stlink`."""

    via = "stlink"

    def missing(self, target: Target) -> str | None:
        return _not_there("st-flash", "stlink-tools (Debian: apt install stlink-tools)", "any", "", target)

    def find(self, target: Target) -> Sequence[Found]:
        if shutil.which("st-info") is None:
            return usb_probes(target)
        output = call("st-info", "st-info", "--probe")
        return [Found(uid, "ST-LINK") for uid in re.findall(r"serial:\s*([0-9A-Za-z]+)", output)]

    def open(self, target: Target, uid: str) -> _StFlashConnection:
        return _StFlashConnection(uid)


class _StFlashConnection:
    def __init__(self, uid: str) -> None:
        self.text = f"st-flash, ST-LINK {uid}"
        self._command = ("st-flash", *(("--serial", uid) if uid else ()))

    def read_word(self, address: int) -> int | None:
        return int.from_bytes(self._read(address, 4), "little")

    def write(self, image: Image) -> None:
        start, content = image.binary()
        with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
            file = Path(folder, "image.bin")
            file.write_bytes(content)
            call(self.text, *self._command, "write", str(file), f"{start:#010x}")

    def verify(self, image: Image) -> bool:
        start, content = image.binary()
        if (at := first_difference(start, content, self._read(start, len(content)))) is not None:
            raise differs(self.text, at)
        return True

    def start(self, image: Image) -> None:
        call(self.text, *self._command, "reset")

    def close(self) -> None:
        pass

    def _read(self, address: int, count: int) -> bytes:
        with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
            file = Path(folder, "read.bin")
            call(self.text, *self._command, "read", str(file), f"{address:#010x}", str(count))
            data = file.read_bytes() if file.exists() else b""
        if len(data) < count:
            what = f"read {len(data)} of {count} bytes at {address:#010x}"
            raise fail(what, self.text, "update stlink-tools", Exit.TOOL)
        return data[:count]


class ProbeRs:
    """`--via probe-rs`."""

    via = "probe-rs"

    def missing(self, target: Target) -> str | None:
        name = target.probe.probe_rs if target.probe else None
        return _not_there("probe-rs", "probe-rs (https://probe.rs)", name, "probe_rs", target)

    def find(self, target: Target) -> Sequence[Found]:
        output = call("probe-rs", "probe-rs", "list")
        pattern = r"\[\d+\]: (.+?) (?:--|\(VID:) *([0-9a-fA-F]{4}:[0-9a-fA-F]{4}(?:-\d+)?:?\S*)"
        return [Found(uid, name) for name, uid in re.findall(pattern, output)]

    def open(self, target: Target, uid: str) -> _ProbeRsConnection:
        assert target.probe is not None and target.probe.probe_rs is not None
        return _ProbeRsConnection(target.probe.probe_rs, uid)


class _ProbeRsConnection:
    def __init__(self, chip: str, uid: str) -> None:
        self.text = f"probe-rs, probe {uid}"
        self._options = ("--non-interactive", "--chip", chip, *(("--probe", uid) if uid else ()))

    def read_word(self, address: int) -> int | None:
        output = call(self.text, "probe-rs", "read", *self._options, "b32", f"{address:#x}", "1")
        found = re.search(r"\b([0-9a-fA-F]{8})\s*$", output.strip())
        if not found:
            raise fail(f"does not tell the word at {address:#010x}", self.text, "update probe-rs", Exit.TOOL)
        return int(found[1], 16)

    def write(self, image: Image) -> None:
        call(self.text, "probe-rs", "download", *self._options, str(image.elf.resolve()))

    def verify(self, image: Image) -> bool:
        call(self.text, "probe-rs", "verify", *self._options, str(image.elf.resolve()))
        return True

    def start(self, image: Image) -> None:
        call(self.text, "probe-rs", "reset", *self._options)

    def close(self) -> None:
        pass


def _tcl(text: str) -> str:
    """One word of Tcl, whatever is in it."""
    return '"' + re.sub(r'([\\"$\[\]])', r"\\\1", text) + '"'
