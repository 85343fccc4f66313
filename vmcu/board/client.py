"""The host's side of the protocol: requests with retries, and what each way of going wrong means."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vmcu.board.fault import Fault, explain_fault, read_fault
from vmcu.board.frames import FRAME_MAX, Frame, encode
from vmcu.board.link import Link
from vmcu.board.protocol import (
    DATA_MAX,
    INPUT,
    OUTPUT,
    PROFILE_HEAD,
    PROFILE_STEP,
    PROFILE_STEPS,
    REPLY,
    ROWS_HEAD,
    RUN_PROFILE,
    STATUS_BYTES,
    TEST_POOL,
    Command,
    Info,
    Malformed,
    PortInfo,
    RunCost,
    SelfTest,
    Status,
    read_info,
    read_port,
    read_run,
    read_self_test,
)
from vmcu.errors import Exit, VmcuError, fail, internal

T = TypeVar("T")
TRIES = 5
ANSWER_SECONDS = 1.0
FLUSH = bytes(
    FRAME_MAX
)  # ends a frame that was cut off on its way: the board takes this for its rest, and drops both
QUIET_SECONDS = 0.05  # after the last complaint of the board; one burst of noise makes many
RUN_SECONDS = 120.0
AGAIN_SECONDS = 3.0  # a run that was accepted is asked for again, in case its result was lost
READY = "VMCU READY"
RESTARTED = "the board has been restarted"

_MEANINGS = {
    Status.UNKNOWN: "does not know the command: its firmware is older than this vmcu",
    Status.BAD_PAYLOAD: "refuses the length of the request",
    Status.BAD_PORT: "has no such input or output",
    Status.OUT_OF_RANGE: "refuses data beyond the end: more than its model takes",
    Status.OUT_OF_ORDER: "misses a part of the input in front of this one",
    Status.INPUTS_MISSING: "has not got all inputs",
    Status.NO_OUTPUTS: "has no outputs: nothing was run since the last input",
    Status.ROWS_FAILED: "gave up waiting for rows of a streamed input or output",
    Status.NO_PROFILE: "cannot profile: its firmware was built without hooks",
}


@dataclass(frozen=True, slots=True)
class StepTicks:
    """Ticks and tasks of every step of one inference, with what the hooks take.

    Attributes:
        lap_ticks: of a lap around one instruction: what every task's ticks contain of the hook.
        idle_ticks: of a hook while nothing is profiled: what a plain inference contains per task.
    """

    ticks: tuple[int, ...]
    tasks: tuple[int, ...]
    lap_ticks: float
    idle_ticks: float

    @property
    def net(self) -> tuple[float, ...]:
        """Without the hooks."""
        return tuple(max(t - n * self.lap_ticks, 0.0) for t, n in zip(self.ticks, self.tasks, strict=True))


class Client:
    """One session with a board.

    Attributes:
        info: what it said at HELLO.
        inputs, outputs: its ports.
    """

    def __init__(
        self,
        link: Link,
        explain: Callable[[Fault], VmcuError] | None = None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        ready_seconds: float = 0.0,
        session: int | None = None,
    ) -> None:
        """Says HELLO; a session that another host had on the board ends.

        Args:
            explain: makes the error of a fault; it may know the program on the board.
            answer_seconds: after which a request is sent again.
            ready_seconds: to wait for READY of a board that is only just starting.

        Raises:
            VmcuError: (TOOL) nobody answers.
        """
        self._link = link
        self._explain = explain or (lambda fault: explain_fault(fault, None, (), link.port))
        self._patience = answer_seconds
        self._session = session or secrets.randbelow(2**32 - 1) + 1
        self._sequence = secrets.randbelow(2**16)
        self._greeted = False
        self._wait_ready(ready_seconds)
        self.info: Info = self._read(read_info, self._request(Command.HELLO)[1])
        self._greeted = True
        self.inputs = tuple(self._port(INPUT, i) for i in range(self.info.inputs))
        self.outputs = tuple(self._port(OUTPUT, i) for i in range(self.info.outputs))

    def reset(self) -> None:
        """Forgets the model's states."""
        self._request(Command.RESET)

    def infer(
        self, inputs: Sequence[bytes], *, profile: bool = False, limit_seconds: float = RUN_SECONDS
    ) -> tuple[tuple[bytes, ...], RunCost]:
        """One inference: inputs there, outputs back.

        Raises:
            VmcuError: (INPUT) an input of a wrong size; (TOOL) the board does not answer, was restarted, or refuses;
                (BUG) it took a fault, or the model failed.
        """
        self._check(inputs)
        for index, (port, data) in enumerate(zip(self.inputs, inputs, strict=True)):
            if not port.row_bytes:
                self._write(index, data)
        streams = [bytearray(p.size_bytes if p.row_bytes else 0) for p in self.outputs]
        flags = bytes([RUN_PROFILE]) if profile else b""
        _, data = self._request(Command.RUN, flags, limit_seconds, lambda f: self._rows(f, inputs, streams))
        cost = self._read(read_run, data)
        outputs = [
            bytes(stream) if port.row_bytes else self._fetch(index, port.size_bytes)
            for index, (port, stream) in enumerate(zip(self.outputs, streams, strict=True))
        ]
        return tuple(outputs), cost

    def profile(self) -> StepTicks:
        """Of the last inference that was profiled."""
        ticks: list[int] = []
        tasks: list[int] = []
        lap = idle = 0.0
        for first in range(0, self.info.steps, PROFILE_STEPS):
            count = min(PROFILE_STEPS, self.info.steps - first)
            place = first.to_bytes(2, "little") + count.to_bytes(2, "little")
            _, data = self._request(Command.PROFILE, place)
            if len(data) != PROFILE_HEAD.size + 12 * count:
                raise self._malformed(f"PROFILE of {len(data)} bytes")
            laps_ticks, idles_ticks, laps = PROFILE_HEAD.unpack_from(data)
            lap, idle = laps_ticks / max(laps, 1), idles_ticks / max(2 * laps, 1)
            pairs = list(PROFILE_STEP.iter_unpack(data[PROFILE_HEAD.size :]))
            ticks += [p[0] for p in pairs]
            tasks += [p[1] for p in pairs]
        return StepTicks(tuple(ticks), tuple(tasks), lap, idle)

    def peek(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Bytes of the pool."""
        return self._bytes_of(Command.PEEK, b"", offset_bytes, size_bytes)

    def self_test(self, *, pool: bool = True) -> SelfTest:
        """Counter, canaries, and with `pool` a test of its memory, which costs the states."""
        flags = bytes([TEST_POOL if pool else 0])
        return self._read(read_self_test, self._request(Command.SELF_TEST, flags, RUN_SECONDS)[1])

    def close(self) -> None:
        """Ends the session."""
        self._link.close()

    # ---- parts of the above ----

    def _wait_ready(self, seconds: float) -> None:
        """What is sent before the board listens is lost, so there is no hurry."""
        until = time.monotonic() + seconds
        while seconds and (line := self._link.receive(until)) is not None:
            if isinstance(line, str) and line.startswith(READY):
                return

    def _port(self, kind: int, index: int) -> PortInfo:
        return self._read(read_port, self._request(Command.PORT, bytes([kind, index]))[1])

    def _check(self, inputs: Sequence[bytes]) -> None:
        where = f"board '{self.info.board}'"
        if len(inputs) != len(self.inputs):
            raise fail(f"takes {len(self.inputs)} inputs, not {len(inputs)}", where, "give each input once")
        for index, (port, data) in enumerate(zip(self.inputs, inputs, strict=True)):
            if len(data) != port.size_bytes:
                what = f"input {index} has {len(data)} bytes; the model on the board takes {port.size_bytes}"
                raise fail(what, where, "give the whole input, of the model that is on the board")

    def _write(self, index: int, data: bytes) -> None:
        for at in range(0, max(len(data), 1), DATA_MAX):
            head = bytes([index, 0, 0, 0]) + at.to_bytes(4, "little")
            self._request(Command.WRITE, head + data[at : at + DATA_MAX])

    def _fetch(self, index: int, size_bytes: int) -> bytes:
        return self._bytes_of(Command.READ, bytes([index, 0, 0, 0]), 0, size_bytes)

    def _bytes_of(self, command: Command, head: bytes, offset: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            count = min(DATA_MAX, size - len(found))
            place = (offset + len(found)).to_bytes(4, "little") + count.to_bytes(2, "little")
            _, data = self._request(command, head + place)
            if len(data) != count:
                raise self._malformed(f"{command.name} of {len(data)} bytes instead of {count}")
            found += data
        return found

    def _rows(self, frame: Frame, inputs: Sequence[bytes], outputs: Sequence[bytearray]) -> Frame | None:
        """Answers a request of the board for rows, or with rows; None: it is no sound one."""
        if len(frame.payload) < ROWS_HEAD.size:
            return None
        number, kind, port, offset, size = ROWS_HEAD.unpack_from(frame.payload)
        data = frame.payload[ROWS_HEAD.size :]
        ports = self.inputs if kind == INPUT else self.outputs
        if port >= len(ports) or not ports[port].row_bytes or offset + size > ports[port].size_bytes:
            return None
        head = number.to_bytes(2, "little")
        if frame.command == Command.NEED and kind == INPUT:
            return Frame(
                Command.ROWS, frame.sequence, self._session, head + inputs[port][offset : offset + size]
            )
        if frame.command == Command.GIVE and kind == OUTPUT and len(data) == size:
            outputs[port][offset : offset + size] = data
            return Frame(Command.TAKEN, frame.sequence, self._session, head)
        return None

    def _request(
        self,
        command: Command,
        payload: bytes = b"",
        limit_seconds: float | None = None,
        rows: Callable[[Frame], Frame | None] | None = None,
    ) -> tuple[Status, bytes]:
        """Sends a request until its reply comes, which the board makes only once.

        Args:
            limit_seconds: for the work itself, once the board has accepted it; None: it answers at once.
            rows: answers what the board asks for meanwhile.
        """
        self._sequence = (self._sequence + 1) % 2**16
        data = encode(Frame(command, self._sequence, self._session, payload))
        accepted_by: float | None = None
        tries = 0
        while True:
            now = time.monotonic()
            if accepted_by is None:
                if tries == TRIES:
                    raise self._silent(command, tries)
                tries += 1
            elif now >= accepted_by:
                raise self._too_slow(command, limit_seconds or 0.0)
            self._link.send(data if tries <= 1 and accepted_by is None else FLUSH + data)
            wait = self._patience if limit_seconds is None or command == Command.RUN else limit_seconds
            until = now + (AGAIN_SECONDS if accepted_by is not None else wait)
            while (frame := self._link.receive(until)) is not None:
                if isinstance(frame, str):
                    self._heard(frame)
                    continue
                if frame.command == Command.GARBLED | REPLY:
                    until = min(until, time.monotonic() + QUIET_SECONDS)
                    continue
                if frame.session != self._session or frame.sequence != self._sequence:
                    if frame.command == command | REPLY and frame.sequence == self._sequence:
                        self._status(command, frame)  # the board knows another session, or none
                    continue
                if rows is not None and frame.command in (Command.NEED, Command.GIVE):
                    accepted_by = time.monotonic() + (limit_seconds or 0.0)
                    if (answer := rows(frame)) is not None:
                        self._link.send(encode(answer))
                    until = time.monotonic() + AGAIN_SECONDS
                    continue
                if frame.command != command | REPLY:
                    continue
                status = self._status(command, frame)
                if status is Status.ACCEPTED:
                    accepted_by = time.monotonic() + (limit_seconds or 0.0)
                    until = min(accepted_by, time.monotonic() + AGAIN_SECONDS)
                    continue
                return status, frame.payload[STATUS_BYTES:]

    def _heard(self, line: str) -> None:
        """A line of text between frames."""
        if fault := read_fault(line):
            raise self._explain(fault)
        if self._greeted and line.startswith(READY):
            raise self._failed(
                f"{RESTARTED} (power, reset button or watchdog)", "start again; check its power supply"
            )

    def _status(self, command: Command, frame: Frame) -> Status:
        """The status of a reply, if it is a good one."""
        if len(frame.payload) < STATUS_BYTES:
            raise self._malformed(f"{command.name} of {len(frame.payload)} bytes")
        code, detail, more = frame.payload[0], frame.payload[1], frame.payload[2]
        if code in (Status.OK, Status.ACCEPTED):
            return Status(code)
        if code == Status.NO_SESSION:
            raise self._failed(
                f"{RESTARTED}, or another program talks to it",
                "start again, and let nobody else use the port",
            )
        if code == Status.MODEL_FAILED:
            raise internal(f"the model returned the error {detail}", self._where())
        if code == Status.POOL_BROKEN:
            side = {1: "in front of", 2: "behind"}.get(more & 3 or more >> 2, "on both sides of")
            part = "its pool" if more & 3 else "the second array of its pool"
            raise internal(f"the model wrote {side} {part}", self._where())
        meaning = _MEANINGS.get(Status(code)) if code in set(Status) else None
        what = meaning or f"answers {command.name} with the unknown status {code}"
        raise self._failed(what, "flash the board again with this version of vmcu")

    def _read(self, reader: Callable[[bytes], T], data: bytes) -> T:
        try:
            return reader(data)
        except Malformed as error:
            raise self._malformed(str(error)) from None

    # ---- errors ----

    def _where(self) -> str:
        return f"board '{self.info.board}'" if self._greeted else f"port '{self._link.port}'"

    def _failed(self, what: str, fix: str) -> VmcuError:
        return fail(what, self._where(), fix, Exit.TOOL)

    def _malformed(self, what: str) -> VmcuError:
        return self._failed(f"answers nonsense: {what}", "flash the board again with this version of vmcu")

    def _silent(self, command: Command, tries: int) -> VmcuError:
        noise = f"; {self._link.garbled} garbled frames came instead" if self._link.garbled else ""
        if not self._greeted:
            fix = "flash it with `vmcu flash`, press its reset button, check port and baud rate"
            return self._failed(f"no board of vmcu answers there{noise}", fix)
        what = f"does not answer {command.name} any more, after {tries} tries{noise}"
        return self._failed(what, "check the cable, press the reset button, and start again")

    def _too_slow(self, command: Command, limit_seconds: float) -> VmcuError:
        what = f"did not finish {command.name} within {limit_seconds:g} seconds"
        return self._failed(what, "give it more time with --timeout, or press its reset button")
