"""Frames of the serial link (SPEC.md, section 10): bytes to frames and back, whatever else is on the line.

The twin of `firmware/board/frame.c`. A frame with a right CRC is believed; everything else is skipped and counted, and
what is printable of it comes out as lines of text, for a board also says READY and FAULT in plain words.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"\x56\xc3"
VERSION = 1
HEADER = struct.Struct("<2sBBHHI")  # magic, version, command, sequence, payload bytes, session
CRC_BYTES = 4
PAYLOAD_MAX = 512
FRAME_MAX = HEADER.size + PAYLOAD_MAX + CRC_BYTES
LINE_MAX = 1024  # characters; longer ones are cut


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        command: what it asks for, or with the top bit what it answers.
        sequence: of the request; its reply carries it, too.
        session: chosen by the host; a board that was restarted does not know it any more.
    """

    command: int
    sequence: int
    session: int
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Its bytes on the line."""
    head = HEADER.pack(MAGIC, VERSION, frame.command, frame.sequence, len(frame.payload), frame.session)
    body = head + frame.payload
    return body + struct.pack("<I", zlib.crc32(body[2:]))


class Decoder:
    """Takes bytes as they come, gives frames and lines of text.

    Attributes:
        garbled: beginnings of frames that turned out to be none.
    """

    def __init__(self) -> None:
        self.garbled = 0
        self._bytes = bytearray()
        self._line = bytearray()

    def feed(self, data: bytes) -> list[Frame | str]:
        """What has become whole with these bytes, in the order of the line."""
        self._bytes += data
        found: list[Frame | str] = []
        while True:
            start = self._bytes.find(MAGIC)
            if start < 0:
                start = len(self._bytes) - self._bytes.endswith(MAGIC[:1])
            self._text(self._bytes[:start], found)
            del self._bytes[:start]
            size = self._size()
            if size is None:
                return found
            if size == 0:
                self.garbled += 1
                self._text(self._bytes[:1], found)
                del self._bytes[:1]
                continue
            whole = bytes(self._bytes[:size])
            _, _, command, sequence, _, session = HEADER.unpack_from(whole)
            found.append(Frame(command, sequence, session, whole[HEADER.size : -CRC_BYTES]))
            del self._bytes[:size]

    def wanted(self) -> int:
        """How many bytes can be read at once without waiting for more than the frame that has begun."""
        have = len(self._bytes)
        if have < 8:
            return HEADER.size + CRC_BYTES - have if have >= len(MAGIC) else 1
        size = HEADER.size + int.from_bytes(self._bytes[6:8], "little") + CRC_BYTES
        return max(size - have, 1)

    def give_up(self) -> list[Frame | str]:
        """The rest of a frame does not come: looks for frames and text in what has."""
        found: list[Frame | str] = []
        while self._bytes:
            self.garbled += 1
            first = bytes(self._bytes[:1])
            rest = bytes(self._bytes[1:])
            self._bytes.clear()
            self._text(first, found)
            found += self.feed(rest)
            if found:
                return found
        return found

    def _size(self) -> int | None:
        """Of the frame at the front; 0: it is none, None: more bytes will tell."""
        have = self._bytes
        if len(have) < 8:
            return 0 if len(have) > 2 and have[2] != VERSION else None
        size = HEADER.size + int.from_bytes(have[6:8], "little") + CRC_BYTES
        if have[2] != VERSION or size > HEADER.size + PAYLOAD_MAX + CRC_BYTES:
            return 0
        if len(have) < size:
            return None
        crc = int.from_bytes(have[size - CRC_BYTES : size], "little")
        return size if crc == zlib.crc32(have[2 : size - CRC_BYTES]) else 0

    def _text(self, data: bytes | bytearray, found: list[Frame | str]) -> None:
        for byte in data:
            if byte == 0x0A:
                if self._line:
                    found.append(self._line.decode("ascii"))
                self._line.clear()
            elif 0x20 <= byte < 0x7F and len(self._line) < LINE_MAX:
                self._line.append(byte)
