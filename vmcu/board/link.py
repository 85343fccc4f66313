"""The serial line: a port of this machine or socket://host:port, both through pyserial."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import serial

from vmcu.board.frames import Decoder, Frame
from vmcu.errors import Exit, VmcuError, fail

READ_SECONDS = 0.02
BYTE_LIMIT_SECONDS = 1.0  # a frame that pauses longer than this is given up


class Link:
    """Bytes out, frames and lines of text in.

    Attributes:
        port: as the user named it.
    """

    def __init__(self, port: str, stream: Any) -> None:
        self.port = port
        self._stream = stream
        self._decoder = Decoder()
        self._waiting: list[Frame | str] = []
        self._last_byte = time.monotonic()

    @property
    def garbled(self) -> int:
        """Beginnings of frames that were none."""
        return self._decoder.garbled

    def send(self, data: bytes) -> None:
        """Writes all of it.

        Raises:
            VmcuError: (TOOL) the line is cut, or nobody takes the bytes.
        """
        try:
            self._stream.write(data)
        except (OSError, serial.SerialException) as error:
            raise self._cut(error) from None

    def receive(self, deadline: float) -> Frame | str | None:
        """The next frame or line, or None when `time.monotonic()` has reached `deadline`.

        Raises:
            VmcuError: (TOOL) the line is cut.
        """
        while not self._waiting:
            if time.monotonic() >= deadline:
                return None
            try:
                data = self._stream.read(self._decoder.wanted())
            except (OSError, serial.SerialException) as error:
                raise self._cut(error) from None
            if data:
                self._waiting += self._decoder.feed(data)
                self._last_byte = time.monotonic()
            elif time.monotonic() - self._last_byte > BYTE_LIMIT_SECONDS:
                self._waiting += self._decoder.give_up()
        return self._waiting.pop(0)

    def close(self) -> None:
        """Gives the line back."""
        with suppress(OSError, serial.SerialException):
            self._stream.close()

    def _cut(self, error: Exception) -> VmcuError:
        return fail(
            f"the line was cut: {error}",
            f"port '{self.port}'",
            "check the cable and the power of the board, and start again",
            Exit.TOOL,
        )


def open_link(port: str, baud: int) -> Link:
    """Opens a serial port, or a socket that stands for one.

    Args:
        port: "/dev/ttyACM0", "COM3", "socket://localhost:4444", or another URL of pyserial's.

    Raises:
        VmcuError: (TOOL) it does not open; (INPUT) it is no port.
    """
    try:
        stream = serial.serial_for_url(
            port, baudrate=baud, timeout=READ_SECONDS, write_timeout=10, exclusive=True
        )
    except ValueError as error:
        raise fail(f"is no port: {error}", f"port '{port}'", "name one like /dev/ttyACM0") from None
    except (OSError, serial.SerialException) as error:
        fix = "name one of the ports there are, check the cable and who else has it open"
        raise fail(f"does not open: {error}", f"port '{port}'", fix, Exit.TOOL) from None
    return Link(port, stream)
