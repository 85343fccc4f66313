"""An emulated board: QEMU with its serial line on a socket, so that what talks to it cannot tell the difference."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from vmcu.errors import Exit, fail
from vmcu.run.process import find_qemu
from vmcu.targets import Target

HOST = "127.0.0.1"
STOP_SECONDS = 5.0


class EmulatedBoard:
    """A running QEMU; use it as a context manager, so that it is stopped.

    It waits for somebody on the serial line before it executes anything, so READY is not missed; after that anybody may
    disconnect and come again.

    Attributes:
        port: of its serial line, for `open_link`.
        gdb: (host, port) of its debugger's server; None where it was not asked for.
    """

    def __init__(self, target: Target, elf: Path | None, *, gdb: bool = False) -> None:
        """Starts it.

        Args:
            target: a core, or a board that QEMU has.
            elf: the program; None: one will be loaded through the debugger, which has to start it, too.
            gdb: with a debugger's server, and stopped until that lets it go.

        Raises:
            VmcuError: (INPUT) QEMU has no such machine; (TOOL) it is not installed, or does not start.
        """
        path, qemu, machine = find_qemu(), target.qemu, target.machine
        if machine is None or qemu is None:
            what = "QEMU has not this very board"
            raise fail(what, f"board '{target.name}'", f"emulate its core: --board {target.core}")
        if path is None:
            fix = "install QEMU (Debian: apt install qemu-system-arm)"
            raise fail("QEMU is not installed", f"board '{target.name}'", fix, Exit.TOOL)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        serial = _listener()
        debugger = _listener() if gdb else None
        command = [
            *(path, "-M", machine, "-nodefaults", "-display", "none", "-monitor", "stdio"),
            *(("-kernel", str(elf.resolve())) if elf else ()),
            *(
                "-chardev",
                f"socket,id=line,fd={serial.fileno()},server=on,nodelay=on,wait={'off' if gdb else 'on'}",
            ),
            *("-serial", "chardev:line"),
            *("-icount", f"shift={qemu.icount_shift},align=off,sleep=off"),
        ]
        files = [serial.fileno()]
        self.gdb: tuple[str, int] | None = None
        if debugger:
            command += ["-chardev", f"socket,id=gdb,fd={debugger.fileno()},server=on,nodelay=on,wait=off"]
            command += ["-gdb", "chardev:gdb", "-S"]
            files.append(debugger.fileno())
            self.gdb = debugger.getsockname()
        self.port = f"socket://{HOST}:{serial.getsockname()[1]}"
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, pass_fds=files
            )
        except OSError as error:
            raise fail(f"does not start: {error}", "QEMU", "reinstall it", Exit.TOOL) from None
        finally:
            serial.close()
            if debugger:
                debugger.close()

    def reset(self) -> None:
        """As a brown-out or the reset button does."""
        self._monitor("system_reset")

    def log(self) -> str:
        """What QEMU wrote to stderr."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """Ends it, whatever it is doing."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _monitor(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()

    def __enter__(self) -> EmulatedBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listener() -> socket.socket:
    """A socket that QEMU accepts on: it is bound here, so no other program can take its port in between."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(1)
    return listener
