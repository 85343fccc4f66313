"""pyOCD as a library: CMSIS-DAP, ST-LINK and J-Link probes without any other program. The extra `flash` installs it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from vmcu.board.probes.base import Found, Image, differs, first_difference
from vmcu.errors import Exit, VmcuError, fail
from vmcu.targets import Target

GET = "pip install 'vmcu[flash]'"


class PyOcd:
    """`--via pyocd`."""

    via = "pyocd"

    def missing(self, target: Target) -> str | None:
        if importlib.util.find_spec("pyocd") is None:
            return GET
        if not (target.probe and target.probe.pyocd):
            return f"give '{target.name}' a pyocd in the table [probe] of its file"
        return None

    def find(self, target: Target) -> Sequence[Found]:
        helper = importlib.import_module("pyocd.core.helpers").ConnectHelper
        try:
            probes = helper.get_all_connected_probes(blocking=False)
        except Exception as error:  # a driver of pyOCD's, any of its exceptions
            raise _failed("cannot list probes", error) from None
        return [Found(p.unique_id, p.description) for p in probes]

    def open(self, target: Target, uid: str) -> _Connection:
        options = {"connect_mode": "under-reset", "resume_on_disconnect": False}
        return _Connection(_open_session(target, uid, options), uid)


class _Connection:
    def __init__(self, session: Any, uid: str) -> None:
        self._session = session
        self.text = f"pyOCD, probe {uid}"
        self._do("does not halt the core", session.target.halt)

    def read_word(self, address: int) -> int | None:
        return int(self._do(f"cannot read {address:#010x}", self._session.target.read32, address))

    def write(self, image: Image) -> None:
        programmer = importlib.import_module("pyocd.flash.file_programmer").FileProgrammer(self._session)
        self._do("cannot write the flash", programmer.program, str(image.elf), file_format="elf")

    def verify(self, image: Image) -> bool:
        read = self._session.target.read_memory_block8
        for address, data in image.segments:
            found = bytes(self._do(f"cannot read {address:#010x}", read, address, len(data)))
            if (at := first_difference(address, data, found)) is not None:
                raise differs(self.text, at)
        return True

    def start(self, image: Image) -> None:
        self._do("does not reset the chip", self._session.target.reset)

    def close(self) -> None:
        self._session.close()

    def _do(self, what: str, function: Any, *arguments: object, **names: object) -> Any:
        try:
            return function(*arguments, **names)
        except Exception as error:
            raise _failed(what, error) from None


def _open_session(target: Target, uid: str, options: dict[str, object]) -> Any:
    """A session of pyOCD's with the probe `uid`, or the only one."""
    assert target.probe is not None
    helper = importlib.import_module("pyocd.core.helpers").ConnectHelper
    try:
        session = helper.session_with_chosen_probe(
            blocking=False,
            return_first=True,
            unique_id=uid or None,
            target_override=target.probe.pyocd,
            options=options,
        )
        if session is None:
            raise fail("is not plugged in", f"probe '{uid}'", "check the cable", Exit.TOOL)
        session.open()
    except VmcuError:
        raise
    except Exception as error:
        raise _failed("does not reach the chip", error) from None
    return session


def attach(target: Target, uid: str) -> PyOcdMemory:
    """A chip's memory, while its core runs.

    Raises:
        VmcuError: (TOOL) pyOCD is missing, or does not reach the chip.
    """
    if remedy := PyOcd().missing(target):
        raise fail("pyOCD is needed for RTT", f"board '{target.name}'", remedy, Exit.TOOL)
    options = {"connect_mode": "attach", "resume_on_disconnect": True}
    return PyOcdMemory(_open_session(target, uid, options))


class PyOcdMemory:
    """For `vmcu.board.rtt`; a failure is an OSError, as that of a serial line."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def read(self, address: int, size: int) -> bytes:
        try:
            return bytes(self._session.target.read_memory_block8(address, size))
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {str(error)[:200]}") from None

    def write(self, address: int, data: bytes) -> None:
        try:
            self._session.target.write_memory_block8(address, list(data))
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {str(error)[:200]}") from None

    def close(self) -> None:
        self._session.close()


def _failed(what: str, error: Exception) -> VmcuError:
    text = f"{what}: {type(error).__name__}: {str(error)[:300]}"
    return fail(text, "pyOCD", "check cable, power and permissions; see `pyocd list`", Exit.TOOL)
