"""The board's server on this machine, under sanitizers, and lines to it: a good one and a noisy one."""

from __future__ import annotations

import os
import random
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vmcu.board.firmware import build_id, needs, vmcu_board_header
from vmcu.board.link import Link
from vmcu.ir.cproject import CProject
from vmcu.targets import load_target
from vmcu.toolchain.build import Job
from vmcu.toolchain.compilers import find_host_compiler

SOURCES = ("host.c", "hooks.c", "rows.c", "server.c", "commands.c", "reply.c", "frame.c")
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=0"}


@dataclass(frozen=True)
class HostProgram:
    """A server that can be started any number of times."""

    program: Path
    project: CProject
    build: str

    def feed(self, data: bytes) -> bytes:
        """What it answers to a stream of bytes that ends; a sanitizer's report fails the test."""
        done = subprocess.run(
            (str(self.program),),
            input=data,
            capture_output=True,
            env={**os.environ, **SANITIZERS},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
        return done.stdout

    def start(self) -> Pipe:
        """A line to a fresh one."""
        return Pipe(self.program)


def build_host_server(project: CProject, model: str, work: Path) -> HostProgram:
    """Compiles it with the strict warnings, AddressSanitizer and UndefinedBehaviorSanitizer."""
    compiler = find_host_compiler()
    kinds = "undefined" if compiler.name == "zig" else "address,undefined"
    flags = ("-O1", "-g", f"-fsanitize={kinds}", "-fno-sanitize-recover=all", "-DVMCU_HOOKS", "-DVMCU_HOST")
    target = load_target("cortex-m4")
    (work / "app").mkdir()
    header = vmcu_board_header(project, target, *needs(target), compiler, model)
    (work / "app" / "vmcu_board.h").write_text(header)
    job = Job(project, compiler, work, flags, ("board", "port"))
    own, rest = job.compile([f"board/{name}" for name in SOURCES], ())
    program = work / "server"
    job.link(flags, own + rest, (), program)
    return HostProgram(program, project, build_id(project))


class Pipe:
    """A serial port that is a process; what `Link` needs of pyserial."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            (str(program),),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **SANITIZERS},
        )

    def read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 0.02)
        data = os.read(self._process.stdout.fileno(), count) if ready else b""
        if ready and not data:
            raise OSError("the process ended")
        return data

    def write(self, data: bytes) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        return len(data)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stderr is not None
        self._process.stdin.close()
        code = self._process.wait(20)
        report = self._process.stderr.read().decode(errors="replace")
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        assert code == 0, report[-3000:]

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def link(self) -> Link:
        """The host's end."""
        return Link("host", self)


class NoisyLine:
    """A line that drops, flips, doubles and inserts bytes, and sends whole writes twice, in both directions."""

    def __init__(self, line: Pipe, seed: int, rate: float) -> None:
        self._line = line
        self._random = random.Random(seed)
        self._rate = rate
        self.damaged = 0

    def read(self, count: int) -> bytes:
        return self._damage(self._line.read(count))

    def write(self, data: bytes) -> int:
        self._line.write(self._damage(data) * (1 if self._random.random() > self._rate else 2))
        return len(data)

    def close(self) -> None:
        self._line.close()

    def _damage(self, data: bytes) -> bytes:
        if self._random.random() > self._rate or not data:
            return data
        self.damaged += 1
        at = self._random.randrange(len(data))
        noise = self._random.randbytes(self._random.randrange(1, 6))
        return self._random.choice(
            (
                data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :],
                data[:at] + data[at + 1 :],
                data[: at + 1] + data[at:],
                data[:at] + noise + data[at:],
                data[:at],
            )
        )
