"""Commands, statuses and replies of the protocol; the numbers are those of `firmware/board/server.h`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum


class Command(IntEnum):
    """What a frame asks for; a reply has the top bit set."""

    HELLO = 0x01
    INFO = 0x02
    PORT = 0x03
    WRITE = 0x04
    RUN = 0x05
    READ = 0x06
    RESET = 0x07
    PEEK = 0x08
    PROFILE = 0x09
    SELF_TEST = 0x0A
    ROWS = 0x20
    TAKEN = 0x21
    NEED = 0x40
    GIVE = 0x41
    GARBLED = 0x7F


class Status(IntEnum):
    """First byte of a reply."""

    OK = 0
    ACCEPTED = 1
    UNKNOWN = 2
    BAD_PAYLOAD = 3
    NO_SESSION = 4
    BAD_PORT = 5
    OUT_OF_RANGE = 6
    OUT_OF_ORDER = 7
    INPUTS_MISSING = 8
    NO_OUTPUTS = 9
    MODEL_FAILED = 10
    ROWS_FAILED = 11
    NO_PROFILE = 12
    POOL_BROKEN = 13


REPLY = 0x80
FLAG_HOOKS, FLAG_STREAMS = 1, 2
RUN_PROFILE = 1
TEST_POOL = 1
PROFILE_STEPS = 32
STATUS_BYTES = 4
DATA_MAX = 504  # bytes of an input or output in one frame
INPUT, OUTPUT = 0, 1
COUNTERS = ("none", "DWT", "SysTick", "FPGAIO")
GUARDS = ("none", "MPU region under the stack", "stack limit register")
WHOLE_POOL = 0xFFFFFFFF

_INFO = struct.Struct("<HBBIIIIIIBBBBQQ32s32s")
_RUN = struct.Struct("<QII")
_TEST = struct.Struct("<BBBBIIII")
PROFILE_HEAD = struct.Struct("<QQI")  # ticks of the laps, ticks of twice as many idle hooks, laps
PROFILE_STEP = struct.Struct("<QI")  # ticks, tasks
ROWS_HEAD = struct.Struct("<HBBIH")  # exchange, input or output, port, offset, bytes


class Malformed(Exception):
    """A frame with a right CRC and a wrong content."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a board says of itself.

    Attributes:
        payload_max: bytes a frame may carry.
        inputs, outputs: number of ports.
        clock_hz, counter_hz: of the core, of the counter.
        counter: what counts cycles, of `COUNTERS`.
        guard: what stops a stack that is too deep, of `GUARDS`.
        has_hooks: the firmware can profile.
        has_streams: some port is streamed.
        start_failed: number of the entry of the board's start table that timed out; 0: none.
        empty_ticks, loop_ticks: of the counter, for a call of 2 and of 402 instructions.
        model: sha256 of the model file.
        build: sha256 of the generated C.
    """

    payload_max: int
    inputs: int
    outputs: int
    pool_bytes: int
    pool_align: int
    state_bytes: int
    steps: int
    clock_hz: int
    counter_hz: int
    counter: str
    guard: str
    has_hooks: bool
    has_streams: bool
    start_failed: int
    empty_ticks: int
    loop_ticks: int
    model: str
    build: str
    project: str
    board: str
    compiler: str


@dataclass(frozen=True, slots=True)
class PortInfo:
    """Where an input or output lies in the pool; `row_bytes` is 0 where it is not streamed."""

    offset_bytes: int
    size_bytes: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class RunCost:
    """What one run took: ticks of the counter with the call itself, painted stack, tasks where there are hooks."""

    ticks: int
    stack_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the board found out about itself.

    Attributes:
        counter_ok: it moved over a loop of known length.
        canaries_broken: bit 0 in front of the pool, bit 1 behind it; bits 2 and 3 of its second array.
        guard: of `GUARDS`.
        start_failed: as in `Info`.
        bad_byte: offset of the first byte of the pool that does not keep what is written to it; None: all do.
        stack_bytes: most stack a run was seen to use, with the server's own below it.
        garbled: beginnings of frames that were none.
        repeats: requests that came again and were answered from memory.
    """

    counter_ok: bool
    canaries_broken: int
    guard: str
    start_failed: int
    bad_byte: int | None
    stack_bytes: int
    garbled: int
    repeats: int


def read_info(data: bytes) -> Info:
    """A reply to HELLO or INFO, behind its status."""
    try:
        (payload, inputs, outputs, pool, align, state, steps, clock, counter_hz, counter, guard, flags) = (
            _INFO.unpack_from(data)[:12]
        )
        failed, empty, loop, model, build = _INFO.unpack_from(data)[12:]
        texts, at = [], _INFO.size
        for _ in range(3):
            length = data[at]
            text = data[at + 1 : at + 1 + length]
            if len(text) != length:
                raise Malformed("a text is cut")
            texts.append("".join(chr(c) if 32 <= c < 127 else "?" for c in text))
            at += 1 + length
        return Info(
            *(payload, inputs, outputs, pool, align, state, steps, clock, counter_hz),
            COUNTERS[counter],
            GUARDS[guard],
            bool(flags & FLAG_HOOKS),
            bool(flags & FLAG_STREAMS),
            *(failed, empty, loop, model.hex(), build.hex(), texts[0], texts[1], texts[2]),
        )
    except (struct.error, IndexError) as error:
        raise Malformed(f"INFO of {len(data)} bytes: {error}") from None


def read_port(data: bytes) -> PortInfo:
    """A reply to PORT, behind its status."""
    return PortInfo(*_unpack(struct.Struct("<3I"), data, "PORT"))


def read_run(data: bytes) -> RunCost:
    """The second reply to RUN, behind its status."""
    return RunCost(*_unpack(_RUN, data, "RUN"))


def read_self_test(data: bytes) -> SelfTest:
    """A reply to SELF_TEST, behind its status."""
    ok, broken, guard, failed, bad, stack, garbled, repeats = _unpack(_TEST, data, "SELF_TEST")
    if guard >= len(GUARDS):
        raise Malformed(f"SELF_TEST names guard {guard}")
    return SelfTest(
        bool(ok), broken, GUARDS[guard], failed, None if bad == WHOLE_POOL else bad, stack, garbled, repeats
    )


def _unpack(form: struct.Struct, data: bytes, what: str) -> tuple[int, ...]:
    if len(data) != form.size:
        raise Malformed(f"{what} of {len(data)} bytes instead of {form.size}")
    return form.unpack(data)
