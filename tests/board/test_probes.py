"""Probes: the choice, the chip, what is written; with a fake, with fake programs, with a fake library, with a folder."""

from __future__ import annotations

import stat
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_project import tiny

from vmcu.board.firmware import BoardFirmware, build_board
from vmcu.board.flash import choose_probe, flash
from vmcu.board.probes import PROBES, Found, Image, read_image
from vmcu.board.probes.programs import OpenOcd, ProbeRs, StFlash
from vmcu.board.probes.pyocd import PyOcd
from vmcu.board.probes.volume import Volume
from vmcu.errors import Exit, VmcuError
from vmcu.targets import Target, load_target
from vmcu.toolchain import find_compiler

CHIP = 0x431


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> BoardFirmware:
    work = tmp_path_factory.mktemp("f411")
    return build_board(tiny(), load_target("nucleo-f411re"), find_compiler(), workdir=work, model="5a" * 32)


class Chip:
    """A chip behind a fake probe: a memory that notes what is done to it."""

    text = "fake probe"

    def __init__(self, word: int | None = 0x1000_6431, spoil: bool = False, reads: bool = True) -> None:
        self.word, self.spoil, self.reads = word, spoil, reads
        self.done: list[str] = []
        self.memory: dict[int, bytes] = {}

    def read_word(self, address: int) -> int | None:
        assert address == 0xE004_2000
        return self.word

    def write(self, image: Image) -> None:
        self.done.append("write")
        self.memory = dict(image.segments)

    def verify(self, image: Image) -> bool:
        from vmcu.board.probes.base import differs

        self.done.append("verify")
        if self.spoil:
            raise differs(self.text, 0x0800_0100)
        return self.reads

    def start(self, image: Image) -> None:
        self.done.append("start")

    def close(self) -> None:
        self.done.append("close")


class Fake:
    """A kind of probe."""

    def __init__(self, via: str, chip: Chip, found: Sequence[Found], missing: str | None = None) -> None:
        self.via, self.chip, self.found, self._missing = via, chip, found, missing

    def missing(self, target: Target) -> str | None:
        return self._missing

    def find(self, target: Target) -> Sequence[Found]:
        return self.found

    def open(self, target: Target, uid: str) -> Chip:
        return self.chip


ONE = (Found("0668", "ST-LINK"),)
TWO = (*ONE, Found("0669", "ST-LINK"))


def test_flash_says_what_it_does(firmware: BoardFirmware) -> None:
    chip, said = Chip(), list[str]()
    done = flash(firmware, probes=[Fake("a", Chip(), (), "install a"), Fake("b", chip, ONE)], say=said.append)
    assert chip.done == ["write", "verify", "start", "close"]
    assert (done.via, done.is_verified, done.chip) == ("b", True, CHIP)
    assert said[0] == "probe    b: ST-LINK (0668)" and said[1] == "chip     0x431, as it should be"
    assert said[2] == f"written  {done.size_bytes:,} bytes"
    assert b"VMCU READY" in b"".join(chip.memory.values())
    assert chip.memory[0x0800_0000][:4] != bytes(4)


def test_wrong_chip_is_refused(firmware: BoardFirmware) -> None:
    chip = Chip(0x1000_6421)
    with pytest.raises(
        VmcuError, match="is another chip: 0x421 at 0xe0042000; 'nucleo-f411re' has 0x431"
    ) as e:
        flash(firmware, probes=[Fake("b", chip, ONE)])
    assert chip.done == ["close"] and e.value.code == Exit.INPUT
    assert "nothing was written" in str(e.value)


def test_what_does_not_keep_is_not_started(firmware: BoardFirmware) -> None:
    chip = Chip(spoil=True)
    with pytest.raises(VmcuError, match="what was read back differs at 0x08000100"):
        flash(firmware, probes=[Fake("b", chip, ONE)])
    assert chip.done == ["write", "verify", "close"]


def test_a_probe_that_cannot_read(firmware: BoardFirmware) -> None:
    said: list[str] = []
    done = flash(firmware, probes=[Fake("b", Chip(None, reads=False), ONE)], say=said.append)
    assert not done.is_verified and done.chip is None
    assert "verified no: this way cannot read back" in said


def test_choice() -> None:
    board = load_target("nucleo-f411re")
    probes = [Fake("a", Chip(), (), "install a"), Fake("b", Chip(), TWO), Fake("c", Chip(), ())]
    assert choose_probe(board, None, "0669", probes)[1].uid == "0669"
    assert choose_probe(board, "c", "anything", probes)[0].via == "c"
    with pytest.raises(VmcuError, match=r"b finds several probes: 0668 \(ST-LINK\), 0669 \(ST-LINK\)"):
        choose_probe(board, None, None, probes)
    with pytest.raises(VmcuError, match="a: install a; c: finds nothing plugged in"):
        choose_probe(board, None, None, [probes[0], probes[2]])
    with pytest.raises(VmcuError, match="is no way to flash"):
        choose_probe(board, "z", None, probes)
    assert {p.via for p in PROBES} == {"pyocd", "probe-rs", "openocd", "stlink", "bmp", "copy"}


def test_image(firmware: BoardFirmware) -> None:
    image = read_image(firmware.elf)
    start, content = image.binary()
    assert start == image.vectors == 0x0800_0000
    assert image.word(image.vectors) >> 24 == 0x20 and image.word(image.vectors + 4) & 1
    assert len(content) >= image.size_bytes
    found: dict[int, int] = {}
    high = 0
    for line in image.hex().splitlines():
        record = bytes.fromhex(line[1:])
        assert sum(record) & 0xFF == 0 and len(record) == record[0] + 5
        if record[3] == 4:
            high = int.from_bytes(record[4:6], "big") << 16
        for i, byte in enumerate(record[4:-1] if record[3] == 0 else b""):
            found[high + int.from_bytes(record[1:3], "big") + i] = byte
    assert found == {a + i: b for a, data in image.segments for i, b in enumerate(data)}
    assert image.hex().endswith(":00000001FF\n")


# ---- programs ----

FAKE = """#!{python}
import os, sys
from pathlib import Path
folder = Path({folder!r})
arguments = sys.argv[1:]
with (folder / "calls").open("a") as log:
    print({name!r}, *arguments, file=log)
memory = folder / "memory"
{body}
"""
ST_FLASH = """
arguments = arguments[2:] if arguments[0] == "--serial" else arguments
if arguments[0] == "write":
    memory.write_bytes(Path(arguments[1]).read_bytes())
elif arguments[0] == "read":
    content = bytes.fromhex("31640010") if arguments[2] == "0xe0042000" else memory.read_bytes()
    Path(arguments[1]).write_bytes(content[: int(arguments[3])])
"""
ST_INFO = 'print("Found 1 stlink programmers\\n  version: V2J37S26\\n  serial: 0668FF\\n  chipid: 0x431")'
OPENOCD = 'print("0xe0042000: 10006431", file=sys.stderr)'
PROBE_RS = """
if arguments[0] == "list":
    print("The following debug probes were found:\\n[0]: STLink V2-1 -- 0483:374b:0668FF (ST-LINK)")
elif arguments[0] == "read":
    print("10006431")
"""


def fake(folder: Path, name: str, body: str) -> None:
    text = FAKE.format(python=sys.executable, folder=str(folder), name=name, body=body)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755 | stat.S_IXUSR)


def test_st_flash(firmware: BoardFirmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "st-flash", ST_FLASH)
    fake(tmp_path, "st-info", ST_INFO)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = flash(firmware, probes=[StFlash()])
    assert (done.via, done.is_verified, done.chip) == ("stlink", True, CHIP)
    start, content = read_image(firmware.elf).binary()
    assert (tmp_path / "memory").read_bytes() == content
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [c.split()[3] for c in calls[1:]] == ["read", "write", "read", "reset"]
    assert f"{start:#010x}" in calls[2]


def test_st_flash_that_spoils_a_byte(
    firmware: BoardFirmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, "st-flash", ST_FLASH.replace(".read_bytes())\nelif", ".read_bytes()[:-1] + b'?')\nelif"))
    fake(tmp_path, "st-info", ST_INFO)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmcuError, match=r"what was read back differs at 0x0800"):
        flash(firmware, probes=[StFlash()])


def test_openocd(firmware: BoardFirmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "openocd", OPENOCD)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = flash(firmware, via="openocd", uid="0668FF", probes=[OpenOcd()])
    assert (done.via, done.is_verified, done.chip) == ("openocd", True, CHIP)
    calls = (tmp_path / "calls").read_text()
    assert "-f board/st_nucleo_f4.cfg" in calls and 'adapter serial "0668FF"' in calls
    for command in ("mdw 0xe0042000", "flash write_image erase", "verify_image", "reset run; shutdown"):
        assert command in calls


def test_probe_rs(firmware: BoardFirmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "probe-rs", PROBE_RS)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = flash(firmware, probes=[ProbeRs()])
    assert (done.via, done.is_verified, done.chip) == ("probe-rs", True, CHIP)
    calls = [line.split()[1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["list", "read", "download", "verify", "reset"]
    assert "--chip STM32F411RETx --probe 0483:374b:0668FF" in (tmp_path / "calls").read_text()


def test_program_that_fails(firmware: BoardFirmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "openocd", 'print("Error: open failed", file=sys.stderr); sys.exit(1)')
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmcuError, match="failed with code 1: Error: open failed") as e:
        flash(firmware, via="openocd", uid="1", probes=[OpenOcd()])
    assert e.value.code == Exit.TOOL


def test_missing_programs(firmware: BoardFirmware, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    bare = replace(firmware.target, probe=None)
    assert OpenOcd().missing(bare) == "install OpenOCD (Debian: apt install openocd)"
    assert PyOcd().missing(bare) == "pip install 'vmcu[flash]'"
    with pytest.raises(VmcuError, match="no probe leads to it") as e:
        flash(firmware, probes=[OpenOcd(), ProbeRs(), StFlash(), PyOcd()])
    assert "install stlink-tools" in str(e.value) and "install probe-rs" in str(e.value)


# ---- pyOCD, of which only the calls are tested here: it is not installed with vmcu ----


def test_pyocd(firmware: BoardFirmware, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    memory = dict(read_image(firmware.elf).segments)

    class Core:
        def halt(self) -> None:
            done.append("halt")

        def read32(self, address: int) -> int:
            return 0x1000_6431

        def read_memory_block8(self, address: int, count: int) -> list[int]:
            return list(memory[address][:count])

        def reset(self) -> None:
            done.append("reset")

    class Session:
        target = Core()

        def open(self) -> None:
            done.append("open")

        def close(self) -> None:
            done.append("close")

    class Programmer:
        def __init__(self, session: Session) -> None:
            pass

        def program(self, file: str, file_format: str) -> None:
            done.append(f"program {Path(file).name} {file_format}")

    class Helper:
        @staticmethod
        def get_all_connected_probes(blocking: bool) -> list[object]:
            return [types.SimpleNamespace(unique_id="0668FF", description="STM32 STLink")]

        @staticmethod
        def session_with_chosen_probe(**options: object) -> Session:
            assert options["target_override"] == "stm32f411retx" and options["unique_id"] == "0668FF"
            return Session()

    helpers, programmer = (
        types.ModuleType("pyocd.core.helpers"),
        types.ModuleType("pyocd.flash.file_programmer"),
    )
    helpers.ConnectHelper = Helper  # type: ignore[attr-defined]
    programmer.FileProgrammer = Programmer  # type: ignore[attr-defined]
    for name in ("pyocd", "pyocd.core", "pyocd.flash"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pyocd.core.helpers", helpers)
    monkeypatch.setitem(sys.modules, "pyocd.flash.file_programmer", programmer)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    found = flash(firmware, probes=[PyOcd()])
    assert found.is_verified and found.chip == CHIP
    assert done == ["open", "halt", "program tiny_nucleo-f411re.elf elf", "reset", "close"]
    memory[0x0800_0000] = b"?" + memory[0x0800_0000][1:]
    with pytest.raises(VmcuError, match="differs at 0x08000000"):
        flash(firmware, probes=[PyOcd()])
    monkeypatch.setattr(Core, "read32", lambda self, address: 1 / 0)
    with pytest.raises(VmcuError, match="cannot read 0xe0042000: ZeroDivisionError") as e:
        flash(firmware, probes=[PyOcd()])
    assert e.value.code == Exit.TOOL and done[-1] == "close"


# ---- drives ----


def test_copy_to_a_drive(firmware: BoardFirmware, tmp_path: Path) -> None:
    drive = tmp_path / "user" / "NODE_F411RE"
    drive.mkdir(parents=True)
    done = flash(firmware, probes=[Volume([str(tmp_path)], 0.1)])
    assert (done.via, done.is_verified, done.chip) == ("copy", False, None)
    assert (drive / "nucleo-f411re.hex").read_text() == read_image(firmware.elf).hex()
    (drive / "FAIL.TXT").write_text("The interface firmware FAILED to reset/halt the target MCU")
    stale = Volume([str(tmp_path)], 0.1)
    flash(firmware, probes=[stale])  # an old complaint is no new one
    with pytest.raises(VmcuError, match="is no folder"):
        flash(firmware, via="copy", uid=str(tmp_path / "none"), probes=[stale])


def test_drive_that_refuses(firmware: BoardFirmware, tmp_path: Path) -> None:
    import threading

    drive = tmp_path / "NODE_F411RE"
    drive.mkdir()
    threading.Timer(0.3, lambda: (drive / "FAIL.TXT").write_text("wrong chip")).start()
    with pytest.raises(VmcuError, match="refused the image: wrong chip"):
        flash(firmware, probes=[Volume([str(tmp_path)], 10)])
