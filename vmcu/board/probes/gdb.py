"""A debugger's server as a probe: a Black Magic Probe, or QEMU's gdbstub. GDB's remote serial protocol, the few packets of
it that loading a program takes (GDB manual, appendix E)."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from typing import Any

import serial
from serial.tools import list_ports

from vmcu.board.probes.base import Found, Image, differs, first_difference
from vmcu.errors import Exit, VmcuError, fail
from vmcu.targets import Target

BLACK_MAGIC = (0x1D50, 0x6018)
_CHUNK_BYTES = 512
_ANSWER_SECONDS = 5.0
_ERASE_SECONDS = 60.0
_SP, _PC, _XPSR = 0x0D, 0x0F, 0x19
_THUMB = 0x01000000


class GdbProbe:
    """`--via bmp`; its uid is a port, /dev/ttyACM0 or socket://localhost:3333."""

    via = "bmp"

    def missing(self, target: Target) -> str | None:
        return None

    def find(self, target: Target) -> Sequence[Found]:
        ports = [p for p in list_ports.comports() if (p.vid, p.pid) == BLACK_MAGIC]
        debug = [p for p in ports if "UART" not in f"{p.interface} {p.description}".upper()]
        return [Found(p.device, f"Black Magic Probe {p.serial_number or ''}".strip()) for p in debug]

    def open(self, target: Target, uid: str) -> GdbConnection:
        try:
            stream = serial.serial_for_url(uid, timeout=0.1, exclusive=True)
        except ValueError as error:
            raise fail(
                f"is no port: {error}", f"--probe '{uid}'", "give /dev/ttyACM0 or socket://host:port"
            ) from None
        except (OSError, serial.SerialException) as error:
            raise fail(
                f"does not open: {error}", f"--probe '{uid}'", "is it plugged in, or running?", Exit.TOOL
            ) from None
        line = getattr(stream, "_socket", None)  # behind pyserial's socket://
        if (
            line is not None
        ):  # each answer is acknowledged, and else the next packet would wait for the other end's delayed ACK
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return GdbConnection(stream, uid)
        except BaseException:
            stream.close()
            raise


class GdbConnection:
    """A halted core behind a debugger's server."""

    def __init__(self, stream: Any, uid: str) -> None:
        self._stream = stream
        self.text = f"debugger at {uid}"
        self._waiting = bytearray()
        features = self._ask("qSupported:swbreak+")
        if self._ask("?")[:1] not in ("S", "T"):  # a Black Magic Probe that has not looked for a chip yet
            self._monitor("swdp_scan")
            if self._ask("vAttach;1")[:1] not in ("S", "T"):
                raise self._failed("finds no chip", "check the wires to the board and its power")
        if "qXfer:features:read+" in features:
            self._ask(
                "qXfer:features:read:target.xml:0,400"
            )  # QEMU lets no one set registers who has not read this
        self._flash = self._memory_map() if "qXfer:memory-map:read+" in features else ()

    def read_word(self, address: int) -> int | None:
        return int.from_bytes(self._read(address, 4), "little")

    def write(self, image: Image) -> None:
        for address, data in image.segments:
            block = next((b for start, end, b in self._flash if start <= address < end), None)
            if block is not None:
                first = address // block * block
                length = -(-(address + len(data) - first) // block) * block
                self._command(f"vFlashErase:{first:08x},{length:08x}".encode(), _ERASE_SECONDS)
            for at in range(0, len(data), _CHUNK_BYTES):
                part = data[at : at + _CHUNK_BYTES]
                if block is not None:
                    self._command(f"vFlashWrite:{address + at:08x}:".encode() + _escaped(part))
                else:
                    self._command(f"M{address + at:x},{len(part):x}:{part.hex()}".encode())
        if self._flash:
            self._command(b"vFlashDone", _ERASE_SECONDS)

    def verify(self, image: Image) -> bool:
        for address, data in image.segments:
            found = b"".join(
                self._read(address + at, min(_CHUNK_BYTES, len(data) - at))
                for at in range(0, len(data), _CHUNK_BYTES)
            )
            if (at := first_difference(address, data, found)) is not None:
                raise differs(self.text, at)
        return True

    def start(self, image: Image) -> None:
        if self._flash:
            self._send(b"R00")  # a restart has no answer
        else:
            for register, value in (
                (_XPSR, _THUMB),
                (_SP, image.word(image.vectors)),
                (_PC, image.word(image.vectors + 4) & ~1),
            ):
                self._command(f"P{register:x}={value.to_bytes(4, 'little').hex()}".encode())
        self._command(b"D")

    def close(self) -> None:
        self._stream.close()

    def _read(self, address: int, count: int) -> bytes:
        answer = self._ask(f"m{address:x},{count:x}")
        try:
            data = bytes.fromhex(answer)
        except ValueError:
            data = b""
        if len(data) != count:
            raise self._failed(
                f"cannot read {address:#010x}: answer '{answer[:20]}'", "is the chip powered and unlocked?"
            )
        return data

    def _monitor(self, command: str) -> None:
        """A command of the server's own; what it prints in between does not matter."""
        answer = self._ask(f"qRcmd,{command.encode().hex()}")
        while answer.startswith("O") and answer != "OK":
            answer = self._answer(_ANSWER_SECONDS)

    def _memory_map(self) -> tuple[tuple[int, int, int], ...]:
        """(start, end, block) of flash."""
        text = self._ask("qXfer:memory-map:read::0,1000")
        found = []
        for entry in re.finditer(r'<memory type="flash"([^>]*)>(.*?)</memory>', text, re.DOTALL):
            start = re.search(r'start="(0x[0-9a-fA-F]+|\d+)"', entry[1])
            length = re.search(r'length="(0x[0-9a-fA-F]+|\d+)"', entry[1])
            block = re.search(r'"blocksize">(0x[0-9a-fA-F]+|\d+)<', entry[2])
            if start and length and block and int(block[1], 0) > 0:
                found.append((int(start[1], 0), int(start[1], 0) + int(length[1], 0), int(block[1], 0)))
        return tuple(found)

    def _command(self, packet: bytes, seconds: float = _ANSWER_SECONDS) -> None:
        self._send(packet)
        answer = self._answer(seconds)
        if answer != "OK":
            what = f"refuses {packet[:24].decode('latin-1')!r}: answer '{answer[:40]}'"
            raise self._failed(what, "is the flash protected, or the program not for this chip?")

    def _ask(self, packet: str) -> str:
        self._send(packet.encode())
        return self._answer(_ANSWER_SECONDS)

    def _send(self, packet: bytes) -> None:
        try:
            self._stream.write(b"$" + packet + b"#" + f"{sum(packet) & 0xFF:02x}".encode())
        except (OSError, serial.SerialException) as error:
            raise self._failed(f"the line was cut: {error}", "check the cable") from None

    def _answer(self, seconds: float) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := re.search(rb"\$([^#]*)#([0-9a-f]{2})", bytes(self._waiting)):
                del self._waiting[: found.end()]
                good = sum(found[1]) & 0xFF == int(found[2], 16)
                self._stream.write(b"+" if good else b"-")
                if good:
                    return found[1].decode("latin-1")
            try:
                self._waiting += self._stream.read(1)
                if more := self._stream.in_waiting:
                    self._waiting += self._stream.read(more)
            except (OSError, serial.SerialException) as error:
                raise self._failed(f"the line was cut: {error}", "check the cable") from None
        raise self._failed("does not answer", "is it a debugger's server?")

    def _failed(self, what: str, fix: str) -> VmcuError:
        return fail(what, self.text, fix, Exit.TOOL)


def _escaped(data: bytes) -> bytes:
    """As binary data of a packet."""
    return b"".join(bytes([0x7D, b ^ 0x20]) if b in b"#$}*" else bytes([b]) for b in data)
