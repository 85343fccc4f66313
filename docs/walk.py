"""README's walk with a board of one's own, done: its file is written, its commands are run, what they print is returned.

`docs/refresh_readme.py` puts that into README, a test compares.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
TITLE = "### A board of your own, from its file to CI"
FILE = "boards/mine.toml"
PORTS = ("21234", "24444")  # in README; others are taken where it is done
START_SECONDS = 20.0


def section(readme: str) -> str:
    """The walk's part of README."""
    start = readme.index(TITLE)
    return readme[start : re.compile(r"^##+ ", re.MULTILINE).search(readme, start + 4).start()]  # type: ignore[union-attr]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def steps(block: str) -> list[tuple[str, str]]:
    """(command, what it prints) of a console block."""
    return [(c, out) for c, out in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]


def walk(text: str, folder: Path) -> str:
    """The section as it is when its commands have been run in an empty folder.

    Raises:
        OSError: the emulator does not start.
    """
    (folder / "models").symlink_to(ROOT / "models")
    (folder / FILE).parent.mkdir()
    (folder / FILE).write_text(blocks(text, "toml")[0])
    shim = folder / "bin" / "vmcu"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vmcu.cli "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    ports = dict(zip(PORTS, _free_ports(), strict=True))
    started: list[subprocess.Popen[bytes]] = []
    try:
        for block in blocks(text, "console"):
            told = "".join(
                f"$ {command}\n{_run(command, folder, environment, ports, started)}"
                for command, _ in steps(block)
            )
            text = text.replace(f"```console\n{block}```", f"```console\n{told}```", 1)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    return text


def _run(
    command: str,
    folder: Path,
    environment: Mapping[str, str],
    ports: Mapping[str, str],
    started: list[subprocess.Popen[bytes]],
) -> str:
    line = command
    for shown, real in ports.items():
        line = line.replace(shown, real)
    if line.endswith(" &"):
        quiet = subprocess.DEVNULL
        options = {"stdin": quiet, "stdout": quiet, "stderr": quiet, "start_new_session": True}
        started.append(subprocess.Popen(["sh", "-c", f"exec {line[:-2]}"], cwd=folder, **options))  # type: ignore[call-overload]
        _wait_for(int(ports[PORTS[0]]))
        return ""
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
    out = "".join(f"{text.rstrip()}\n" for text in done.stdout.splitlines())
    for shown, real in ports.items():
        out = out.replace(real, shown)
    return out


def _free_ports() -> list[str]:
    listeners = [socket.socket() for _ in PORTS]
    for one in listeners:
        one.bind(("127.0.0.1", 0))
    found = [str(one.getsockname()[1]) for one in listeners]
    for one in listeners:
        one.close()
    return found


def _wait_for(port: int) -> None:
    """Until somebody listens there; looks without connecting, since a debugger's server counts that as a debugger."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return
        time.sleep(0.1)
    raise OSError(f"nobody listens on port {port}")
