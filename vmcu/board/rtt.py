"""The other end of `firmware/board/console_rtt.c`: buffers in a chip's RAM, read and written by a debugger while its core runs.

A stream like pyserial's, so that `Link` cannot tell. It keeps no position of its own: each is read anew, and a board that was
reset meanwhile is no special case. The board's memory is not trusted.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from vmcu.errors import Exit, VmcuError, fail
from vmcu.targets import Console, Region, Target

PORT = "rtt"  # as --port: a probe of pyOCD; "rtt:UID": this one
DRIVER = "rtt"  # of the console
IDENTITY = b"SEGGER RTT".ljust(16, b"\0")
WAIT_SECONDS = 0.02  # for bytes, and between two looks
WRITE_SECONDS = 10.0
_CHUNK = 4096
_BLOCK = struct.Struct("<16sII6I6I")
_WRITE, _READ = 12, 16  # of a channel: offsets of its positions
_UP, _DOWN = 24, 48  # of the block: offsets of its channels
_LARGEST = 0x10000


class Memory(Protocol):
    """A chip's memory behind a probe, while its core runs."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes; OSError where the probe cannot."""

    def write(self, address: int, data: bytes) -> None:
        """Bytes; OSError where the probe cannot."""

    def close(self) -> None:
        """Lets go of the probe; the core runs on."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One direction.

    Attributes:
        at: address of its description.
        bytes: address of its bytes.
        size: how many they are.
        write, read: positions.
    """

    at: int
    bytes: int
    size: int
    write: int
    read: int


class RttStream:
    """Bytes in and out.

    Attributes:
        block: address of the control block.
    """

    def __init__(self, memory: Memory, regions: Sequence[Region], where: str) -> None:
        """Looks for the control block.

        Raises:
            VmcuError: (TOOL) there is none.
        """
        self._memory, self._regions = memory, regions
        try:
            found = next((at for r in regions for at in self._search(r)), None)
        except OSError as error:
            raise fail(
                f"does not read the chip's RAM: {error}", where, "check the cable", Exit.TOOL
            ) from None
        if found is None:
            names = ", ".join(r.name for r in regions)
            fix = "flash it with `vmcu flash MODEL --board BOARD --console rtt`, and let it run"
            raise fail(f"finds no RTT control block in {names}", where, fix, Exit.TOOL)
        self.block = found

    def read(self, count: int) -> bytes:
        """What has come, at most `count` bytes; none after a short wait."""
        end = time.monotonic() + WAIT_SECONDS
        while not (data := self._take(count)) and time.monotonic() < end:
            time.sleep(WAIT_SECONDS / 20)
        return data

    def write(self, data: bytes) -> int:
        """All of it; OSError where nobody takes it."""
        sent, end = 0, time.monotonic() + WRITE_SECONDS
        while sent < len(data):
            channel = self._channel(_DOWN)
            room = (channel.read - channel.write - 1) % channel.size
            part = data[sent : sent + min(room, channel.size - channel.write)]
            if part:
                self._memory.write(channel.bytes + channel.write, part)
                self._set(channel.at + _WRITE, (channel.write + len(part)) % channel.size)
                sent += len(part)
                end = time.monotonic() + WRITE_SECONDS
            elif time.monotonic() > end:
                raise OSError("the board takes no bytes")
            else:
                time.sleep(WAIT_SECONDS / 20)
        return sent

    def close(self) -> None:
        """Lets go of the probe."""
        self._memory.close()

    def _take(self, count: int) -> bytes:
        channel = self._channel(_UP)
        waiting = channel.write - channel.read
        if waiting < 0:
            waiting = channel.size - channel.read  # up to the end; the rest comes next time
        if not (size := min(count, waiting)):
            return b""
        data = self._memory.read(channel.bytes + channel.read, size)
        self._set(channel.at + _READ, (channel.read + size) % channel.size)
        return data

    def _channel(self, offset: int) -> Channel:
        """OSError where the block is damaged."""
        raw = self._memory.read(self.block, _BLOCK.size)
        identity, ups, downs, *_ = _BLOCK.unpack(raw)
        _, start, size, write, read, _ = struct.unpack_from("<6I", raw, offset)
        inside = any(r.origin <= start and start + size <= r.end for r in self._regions)
        if identity != IDENTITY:  # nothing to read and no room, until the board has started
            return Channel(self.block + offset, start, 2, 1, 0 if offset == _DOWN else 1)
        if not (ups and downs and 1 < size <= _LARGEST and inside) or max(write, read) >= size:
            raise OSError("the RTT control block is damaged")
        return Channel(self.block + offset, start, size, write, read)

    def _set(self, address: int, value: int) -> None:
        self._memory.write(address, value.to_bytes(4, "little"))

    def _search(self, region: Region) -> Iterator[int]:
        """Where the name is, at a multiple of 4; reads no further than its caller asks."""
        tail = b""
        for start in range(region.origin, region.end, _CHUNK):
            data = tail + self._memory.read(start, min(_CHUNK, region.end - start))
            base, at = start - len(tail), -1
            while (at := data.find(IDENTITY, at + 1)) >= 0:
                if (base + at) % 4 == 0:
                    yield base + at
            tail = data[-(len(IDENTITY) - 1) :]


def with_rtt(target: Target) -> Target:
    """The target with its console in RAM; where it has no firmware, nothing changes."""
    if target.firmware is None:
        return target
    return replace(target, console=Console(DRIVER, 0, 1, 115_200))


def is_rtt(port: str) -> bool:
    """Is it a name for buffers rather than for a line?"""
    return port == PORT or port.startswith(f"{PORT}:")


def open_rtt(target: Target, port: str) -> RttStream:
    """Connects through pyOCD.

    Raises:
        VmcuError: (TOOL) no probe, or no firmware of vmcu with such a console behind it.
    """
    from vmcu.board.probes.pyocd import attach  # an optional package is behind it

    memory = attach(target, port.partition(":")[2])
    try:
        return RttStream(memory, [r for r in target.ram if r.kind == "internal"], f"port '{port}'")
    except VmcuError:
        memory.close()
        raise
