"""RP2040 and RP2350 without the hardware: what their boot ROMs look at, the start-up in an emulated core with its registers
recorded, a whole inference over a modelled UART, and the UF2 file read back by another reader than ours was written from.

None of this has been seen by a real chip.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_project import expected, need, samples
from unicorn_board import UnicornBoard

from vmcu.board.boot import checksum
from vmcu.board.client import Client
from vmcu.board.firmware import BoardFirmware
from vmcu.board.flash import flash
from vmcu.board.link import Link
from vmcu.board.probes.base import read_image
from vmcu.board.probes.volume import Volume
from vmcu.board.uf2 import write_uf2
from vmcu.targets import load_target

Board = Callable[..., BoardFirmware]
FLASH, BOOT_RAM, BOOT_STACK = 0x1000_0000, 0x2004_1F00, 0x2004_1F00
SSI = 0x1800_0000
VTOR = 0xE000_ED08
PICO = {"resets": 0x4000_C000, "clocks": 0x4000_8000, "xosc": 0x4002_4000, "uart": 0x4003_4000}
PICO_2 = {"resets": 0x4002_0000, "clocks": 0x4001_0000, "xosc": 0x4004_8000, "uart": 0x4007_0000}
ENABLED = 0xFA_BAA0


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("gcc", "unicorn")


class Chip:
    """What the start-up reads: resets done, oscillator stable, clocks selected, and a UART."""

    def __init__(self, bases: dict[str, int]) -> None:
        self.bases = bases
        self.kept: dict[int, int] = {bases["resets"]: 0xFFFF_FFFF}
        self.sent = bytearray()
        self.waiting: deque[int] = deque()

    def read(self, address: int) -> int | None:
        resets, clocks, xosc, uart = (self.bases[k] for k in ("resets", "clocks", "xosc", "uart"))
        kept = self.kept.get
        if address == resets:
            return kept(resets, 0)
        if address == resets + 8:
            return ~kept(resets, 0) & 0xFFFF_FFFF
        if address == xosc + 4:
            return 0x8000_1000 if kept(xosc) == ENABLED and kept(xosc + 0xC) == 0x2F else 0
        if address == clocks + 0x38:  # one bit per source; a crystal that does not run takes nothing over
            return 1 << (kept(clocks + 0x30, 0) & 3) if kept(xosc) == ENABLED else 1
        if address == clocks + 0x44:
            return 1 << (kept(clocks + 0x3C, 0) & 1)
        if address == uart + 0x18:
            return 0 if self.waiting else 1 << 4
        if address == uart:
            return self.waiting.popleft() if self.waiting else 0
        return None

    def on_write(self, address: int, value: int) -> None:
        self.kept[address] = value
        if address == self.bases["uart"]:
            self.sent.append(value & 0xFF)


class Line:
    """The serial line of such a chip; what `Link` needs of pyserial. The core runs while somebody waits for it."""

    def __init__(self, board: UnicornBoard, chip: Chip) -> None:
        self.board, self.chip = board, chip

    def write(self, data: bytes) -> int:
        self.chip.waiting.extend(data)
        return len(data)

    def read(self, count: int) -> bytes:
        self.board.run()
        found = bytes(self.chip.sent[:count])
        del self.chip.sent[:count]
        return found

    def close(self) -> None:
        """Nothing is held."""


def powered(firmware: BoardFirmware, bases: dict[str, int]) -> tuple[UnicornBoard, Chip]:
    chip = Chip(bases)
    board = UnicornBoard(firmware, chip.read)
    board.on_write = chip.on_write
    return board, chip


def vectors(firmware: BoardFirmware) -> tuple[int, int, int]:
    """Address, stack pointer and first instruction."""
    image = read_image(firmware.elf)
    return image.vectors, image.word(image.vectors), image.word(image.vectors + 4)


def infer(board: UnicornBoard, chip: Chip, name: str) -> None:
    board.run_until(lambda: b"\n" in chip.sent[1:])
    assert bytes(chip.sent).startswith(b"\nVMCU READY 1 tiny " + b"5a" * 32 + f" {name}\n".encode())
    client = Client(Link("unicorn", Line(board, chip)), answer_seconds=20)
    assert client.info.board == name and client.info.start_failed == 0
    client.reset()
    for i, x in enumerate(samples(3)):
        assert client.infer(x)[0][0] == expected(x[0], i + 1)


# ---- RP2040 ------------------------------------------------------------------------------------------


def test_checksum() -> None:
    """The check value of CRC-32/MPEG-2, which is the boot ROM's rule, in Williams' catalogue."""
    assert checksum(b"123456789") == 0x0376E6E7


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_layout_of_the_pico(board: Board, compiler: str) -> None:
    need(compiler)
    firmware = board("raspberry-pi-pico", compiler)
    start, content = read_image(firmware.elf).binary()
    assert start == FLASH
    assert struct.unpack("<I", content[252:256])[0] == checksum(content[:252]) != 0
    assert content[100:252] == bytes(152), "the stage is short"
    at, sp, pc = vectors(firmware)
    assert (
        at == FLASH + 0x100 and 0x2000_0000 < sp <= 0x2004_2000 and pc & 1 and FLASH < pc < FLASH + 0x20_0000
    )


def test_the_pico_boots(board: Board) -> None:
    """As its ROM does it: the checksum, a copy to RAM, a call; then flash by serial reads, clocks, pins, UART, inferences."""
    firmware = board("raspberry-pi-pico")
    machine, chip = powered(firmware, PICO)
    written: dict[int, int] = {}
    machine.uc.mmio_map(
        SSI, 0x1000, lambda *_: 0, None, lambda uc, at, size, value, _: written.__setitem__(at, value), None
    )
    stage = machine.read(FLASH, 256)
    assert checksum(stage[:252]).to_bytes(4, "little") == stage[252:]
    machine.write(BOOT_RAM, stage)
    machine.start(BOOT_RAM, BOOT_STACK)
    infer(machine, chip, "raspberry-pi-pico")
    # Half the clock; 32 bits, standard SPI, EEPROM read; one frame; 03h and 24 bits of address, on one line; on.
    assert written == {0x08: 1, 0x14: 2, 0x00: 0x1F << 16 | 3 << 8, 0x04: 0, 0xF4: 3 << 24 | 2 << 8 | 6 << 2}
    assert machine.writes[0] == (VTOR, FLASH + 0x100)
    words = dict(machine.writes)
    assert words[PICO["resets"]] == 0xFFFF_FFFF & ~(1 << 5 | 1 << 8 | 1 << 22)
    assert words[0x4001_4004] == words[0x4001_400C] == 2
    check_uart(machine, PICO["uart"])


def check_uart(machine: UnicornBoard, base: int) -> None:
    """115,200 bits a second from 12 MHz within 1 %, 8 bits, FIFOs, on; the divider before the format, which takes it over."""
    order = [address - base for address, _ in machine.writes if base < address < base + 0x100]
    assert order[:5] == [0x30, 0x24, 0x28, 0x2C, 0x30]
    words = dict(machine.writes)
    divider = words[base + 0x24] + words[base + 0x28] / 64
    assert 12e6 / (16 * divider) == pytest.approx(115_200, rel=0.01)
    assert (words[base + 0x2C], words[base + 0x30]) == (0x70, 0x301)


def test_a_stuck_oscillator_is_reported(board: Board) -> None:
    """The start table goes on, and says which entry timed out."""
    firmware = board("raspberry-pi-pico")
    machine, chip = powered(firmware, PICO)
    machine._read = lambda address: 0 if address == PICO["xosc"] + 4 else chip.read(address)
    _, sp, pc = vectors(firmware)
    machine.start(pc, sp)
    machine.run_until(lambda: b"READY" in chip.sent, 120)
    client = Client(Link("unicorn", Line(machine, chip)), answer_seconds=20)
    assert client.info.start_failed == 4  # the wait for STABLE


# ---- RP2350 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_layout_of_the_pico_2(board: Board, compiler: str) -> None:
    need(compiler)
    firmware = board("raspberry-pi-pico-2", compiler)
    start, content = read_image(firmware.elf).binary()
    at, sp, pc = vectors(firmware)
    assert start == at == FLASH and 0x2000_0000 < sp <= 0x2008_2000 and pc & 1
    words = struct.unpack("<1024I", content[:4096])
    place = words.index(0xFFFF_DED3)
    assert words[place : place + 5] == (0xFFFF_DED3, 0x1021_0142, 0x1FF, 0, 0xAB12_3579)
    assert content.count(struct.pack("<I", 0xFFFF_DED3)) == 1


def test_the_pico_2_boots(board: Board) -> None:
    firmware = board("raspberry-pi-pico-2")
    machine, chip = powered(firmware, PICO_2)
    _, sp, pc = vectors(firmware)
    machine.start(pc, sp)
    infer(machine, chip, "raspberry-pi-pico-2")
    words = dict(machine.writes)
    assert words[VTOR] == FLASH
    assert words[PICO_2["resets"]] == 0xFFFF_FFFF & ~(1 << 6 | 1 << 9 | 1 << 26)
    assert words[0x4002_8004] == words[0x4002_800C] == 2
    order = [address for address, _ in machine.writes]
    assert order.index(0x4003_8004) > order.index(0x4002_8004), "a pad is let go when its pin is set up"
    check_uart(machine, PICO_2["uart"])


# ---- UF2 ---------------------------------------------------------------------------------------------


def read_uf2(data: bytes) -> tuple[set[int], dict[int, bytes]]:
    """Families, and payload by address; written from the format's description."""
    assert len(data) % 512 == 0
    families, found = set(), {}
    total = len(data) // 512
    for i in range(total):
        block = data[512 * i : 512 * (i + 1)]
        first, second, flags, address, size, number, blocks, family = struct.unpack("<8I", block[:32])
        assert (first, second, block[508:]) == (0x0A324655, 0x9E5D5157, bytes.fromhex("306fb10a"))
        assert flags & 0x2000 and not flags & 0x1001, "a family, flash, and no file"
        assert (number, blocks, size) == (i, total, 256) and address % 256 == 0
        assert address not in found and not any(block[32 + size : 508])
        families.add(family)
        found[address] = block[32 : 32 + size]
    return families, found


def test_uf2_of_odd_segments() -> None:
    segments = [(0x1000_00FE, b"abcd"), (0x1000_0102, b"e"), (0x1000_1200, bytes(range(256)) * 2)]
    families, found = read_uf2(write_uf2(segments, 7))
    assert families == {7} and sorted(found) == [0x1000_0000, 0x1000_0100, 0x1000_1200, 0x1000_1300]
    assert found[0x1000_0000] == b"\xff" * 254 + b"ab" and found[0x1000_0100] == b"cde" + b"\xff" * 253


@pytest.mark.parametrize(
    ("name", "family"), [("raspberry-pi-pico", 0xE48B_FF56), ("raspberry-pi-pico-2", 0xE48B_FF59)]
)
def test_copy_to_the_drive(board: Board, tmp_path: Path, name: str, family: int) -> None:
    firmware = board(name)
    label = load_target(name).probe.volume  # type: ignore[union-attr]
    drive = tmp_path / "media" / str(label)
    drive.mkdir(parents=True)
    said: list[str] = []
    done = flash(firmware, via="copy", probes=(Volume([str(tmp_path / "media")]),), say=said.append)
    assert not done.is_verified and "verified no: this way cannot read back" in said
    families, found = read_uf2((drive / f"{name}.uf2").read_bytes())
    assert families == {family}
    for address, data in read_image(firmware.elf).segments:
        for at, byte in enumerate(data):
            assert found[(address + at) // 256 * 256][(address + at) % 256] == byte
