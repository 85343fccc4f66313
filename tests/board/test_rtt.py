"""A console in RAM: the firmware in Unicorn, the test in the place of the probe; and memory that is not what it should be."""

from __future__ import annotations

import struct
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import vmcu as command
from tiny_models import small_net
from tiny_project import expected, need, samples, tiny
from unicorn_board import UnicornBoard

from vmcu.board.client import Client
from vmcu.board.emulated import EmulatedBoard
from vmcu.board.firmware import BoardFirmware, build_board
from vmcu.board.link import Link
from vmcu.board.probes.base import read_image
from vmcu.board.probes.gdb import GdbConnection, GdbProbe
from vmcu.board.probes.pyocd import attach
from vmcu.board.rtt import IDENTITY, RttStream, is_rtt, open_rtt, with_rtt
from vmcu.board.session import cycles_label, find_port
from vmcu.errors import Exit, VmcuError
from vmcu.targets import Region, Target, load_target
from vmcu.targets.load import read_board
from vmcu.toolchain import find_compiler

BOARDS = ("nucleo-f411re", "nucleo-f767zi", "raspberry-pi-pico-2", "nucleo-l4r5zi", "nrf5340-dk")
RAM = Region("RAM", 0x2000_0000, 0x4000, 0)
UP, DOWN = 24, 48
MPU = (0xE000_ED90, 0xE000_ED94, 0xE000_ED98, 0xE000_ED9C, 0xE000_EDA0, 0xE000_EDC0)


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], BoardFirmware]:
    made: dict[tuple[str, str], BoardFirmware] = {}

    def build(name: str, compiler: str = "gcc") -> BoardFirmware:
        need(compiler, "unicorn")
        if (name, compiler) not in made:
            target = with_rtt(load_target(name))
            target = replace(
                target, firmware=replace(target.firmware, start=())
            )  # its registers are not modelled
            found = find_compiler(compiler)  # type: ignore[arg-type]
            work = tmp_path_factory.mktemp(name)
            made[name, compiler] = build_board(tiny(), target, found, workdir=work, model="5a" * 32)
        return made[name, compiler]

    return build


class Probe:
    """Reads and writes memory between two slices of a running core."""

    def __init__(self, board: UnicornBoard, slice_: int = 3_000) -> None:
        self.board, self.slice = board, slice_

    def read(self, address: int, size: int) -> bytes:
        self.board.run(self.slice)
        return self.board.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.board.run(self.slice)
        self.board.write(address, data)

    def close(self) -> None:
        """Nothing is held."""


def running(firmware: BoardFirmware) -> UnicornBoard:
    board = UnicornBoard(firmware, lambda address: 0 if address == 0xE000_ED78 else None)
    image = read_image(firmware.elf)
    board.start(image.word(image.vectors + 4), image.word(image.vectors))
    block = board.symbol("vmcu_rtt")
    board.run_until(lambda: board.read(block, 16) == IDENTITY)
    return board


def client_of(board: UnicornBoard, target: Target, slice_: int = 3_000) -> Client:
    regions = [r for r in target.ram if r.kind == "internal"]
    quick = RttStream(board, regions, "port")  # type: ignore[arg-type]  # searches without running
    quick._memory = Probe(board, slice_)
    return Client(Link("rtt", quick), ready_seconds=20, answer_seconds=20)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("name", BOARDS)
def test_inferences(firmware: Callable[[str, str], BoardFirmware], name: str, compiler: str) -> None:
    """READY is found in the buffer, then frames longer than both buffers go through."""
    built = firmware(name, compiler)
    board = running(built)
    client = client_of(board, built.target)
    assert (client.info.project, client.info.board, client.info.build) == ("tiny", name, built.build)
    client.reset()
    for i, x in enumerate(samples(20)):
        assert client.infer(x)[0][0] == expected(x[0], i + 1)
    pool = board.symbol("guarded") + 16
    assert client.peek(0, 508) == board.read(pool, 508)
    assert client.self_test().canaries_broken == 0


def test_pin_for_a_power_meter(firmware: Callable[[str, str], BoardFirmware]) -> None:
    """High for each plain inference and for nothing else: not for calibrations, nor for a run with busy hooks."""
    built = firmware("nucleo-f411re", "gcc")
    meter = built.target.meter
    assert meter is not None
    board = running(built)
    assert board.writes.count((0x4002_0000, 0x1_0000)) == 1, "PA8 is an output"
    client = client_of(board, built.target)
    assert meter.high not in board.writes
    for profile in (False, True, False):
        client.reset()
        client.infer(samples(1)[0], profile=profile)
    assert [w for w in board.writes if w in (meter.high, meter.low)] == [meter.high, meter.low] * 2


def test_the_name_is_in_ram_only(firmware: Callable[[str, str], BoardFirmware]) -> None:
    for _, data in read_image(firmware("nucleo-f411re", "gcc").elf).segments:
        assert b"SEGGER RTT" not in data


def test_the_block_is_segger_s(firmware: Callable[[str, str], BoardFirmware]) -> None:
    """Name, numbers of channels, then of each: name, buffer, size, write, read, flags."""
    board = running(firmware("nucleo-f411re", "gcc"))
    at = board.symbol("vmcu_rtt")
    words = struct.unpack("<14I", board.read(at + 16, 56))
    assert words[:2] == (1, 1) and at % 1024 == 0
    for channel, size in ((words[2:8], 512), (words[8:14], 128)):
        name, start, length, _, _, flags = channel
        assert board.read(name, 5) == b"vmcu\0" and length == size and flags == 2
        assert at < start and start + size <= at + 1024


def test_nobody_reads(firmware: Callable[[str, str], BoardFirmware]) -> None:
    """The buffer fills up and the firmware goes on; who comes later is answered all the same."""
    built = firmware("nucleo-f411re", "gcc")
    board = running(built)
    stream = RttStream(Probe(board), [RAM], "port")
    garbage = bytes([0x56, 0xC3, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9])  # a wrong CRC, which is answered
    for _ in range(40):
        stream.write(garbage)
        board.run(60_000)
    up = stream._channel(UP)
    assert (up.write + 1) % up.size == up.read, "it is full"
    client = client_of(board, built.target)
    client.reset()
    assert client.infer(samples(1)[0])[0][0] == expected(samples(1)[0][0], 1)


def test_uncached_where_there_is_a_data_cache(firmware: Callable[[str, str], BoardFirmware]) -> None:
    """On a Cortex-M7 the MPU's region 1 covers the block: normal memory, shareable, not cached, never executed."""
    built = firmware("nucleo-f767zi", "gcc")
    board = UnicornBoard(
        built, lambda address: {0xE000_ED78: 3, 0xE000_ED80: 0, 0xE000_ED90: 8 << 8}.get(address)
    )
    image = read_image(built.elf)
    board.start(image.word(image.vectors + 4), image.word(image.vectors))
    block = board.symbol("vmcu_rtt")
    board.run_until(lambda: board.read(block, 16) == IDENTITY)
    at = board.writes.index((0xE000_ED98, 1))
    assert board.writes[at + 1] == (0xE000_ED9C, block)
    attributes = board.writes[at + 2][1]
    assert board.writes[at + 2][0] == 0xE000_EDA0 and board.writes[at + 3] == (0xE000_ED94, 5)
    assert attributes & 1 and 1 << ((attributes >> 1 & 31) + 1) == 1024
    assert attributes >> 16 & 0x3F == 0b001_1_0_0, "TEX 1, S 1, C 0, B 0"
    assert attributes >> 24 & 7 == 3 and attributes >> 28 & 1


class Debugger:
    """Reads and writes memory of QEMU's machine: its server wants the core halted for that."""

    def __init__(self, connection: GdbConnection) -> None:
        self.connection = connection

    def read(self, address: int, size: int) -> bytes:
        self._halt()
        data = b"".join(
            self.connection._read(address + at, min(1024, size - at)) for at in range(0, size, 1024)
        )
        self.go()
        return data

    def write(self, address: int, data: bytes) -> None:
        self._halt()
        self.connection._command(f"M{address:x},{len(data):x}:{data.hex()}".encode())
        self.go()

    def close(self) -> None:
        """The connection is the test's."""

    def go(self) -> None:
        self.connection._send(b"c")

    def _halt(self) -> None:
        self.connection._stream.write(b"\x03")
        assert self.connection._answer(5.0)[:1] in ("S", "T")


@pytest.mark.qemu
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_armv8_1_m(tmp_path: Path, compiler: str) -> None:
    """A Cortex-M55, whose MPU keeps the block out of the cache, with QEMU's debugger as the probe."""
    need(compiler)
    target = with_rtt(load_target("cortex-m55"))
    found = find_compiler(compiler)  # type: ignore[arg-type]
    built = build_board(tiny(), target, found, workdir=tmp_path, model="5a" * 32)
    image = read_image(built.elf)
    with EmulatedBoard(target, None, gdb=True) as emulator:
        assert emulator.gdb is not None
        connection = GdbProbe().open(target, f"socket://{emulator.gdb[0]}:{emulator.gdb[1]}")
        connection.write(image)
        entry, stack = image.word(image.vectors + 4), image.word(image.vectors)
        for register, value in ((0x19, 1 << 24), (13, stack), (15, entry & ~1)):
            connection._command(f"P{register:x}={value.to_bytes(4, 'little').hex()}".encode())
        memory = Debugger(connection)
        memory.go()
        time.sleep(0.5)
        stream = RttStream(memory, target.ram, "port")
        client = Client(Link("rtt", stream), ready_seconds=20, answer_seconds=20)
        client.reset()
        for i, x in enumerate(samples(20)):
            assert client.infer(x)[0][0] == expected(x[0], i + 1)
        assert client.self_test().canaries_broken == 0
        words = [int.from_bytes(memory.read(at, 4), "little") for at in MPU]
        connection.close()
    (_, control, _, base, limit, attributes) = words
    assert control == 5 and attributes & 0xFF == 0x44, (
        "on, the default map elsewhere; normal memory, not cached"
    )
    assert base == stream.block | 0b11_01_1, "shareable, full access, never executed"
    assert limit == stream.block + 1024 - 32 | 1


# ---- the host's end against memory that nobody vouches for -----------------------------------------------


class Bytes:
    """RAM without a core."""

    def __init__(self) -> None:
        self.data = bytearray(RAM.size_bytes)
        self.block = RAM.origin + 0x1000
        self.put(self.block, IDENTITY + struct.pack("<2I", 1, 1))
        self.channel(UP, self.block + 0x100, 16)
        self.channel(DOWN, self.block + 0x200, 8)

    def channel(self, offset: int, start: int, size: int, write: int = 0, read: int = 0) -> None:
        self.put(self.block + offset, struct.pack("<6I", 0, start, size, write, read, 2))

    def put(self, address: int, data: bytes) -> None:
        at = address - RAM.origin
        self.data[at : at + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        at = address - RAM.origin
        assert at >= 0 and at + size <= len(self.data), "the host reads outside of the chip's RAM"
        return bytes(self.data[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        assert address - RAM.origin >= 0 and address + len(data) <= RAM.end
        self.put(address, data)

    def close(self) -> None:
        """Nothing is held."""


def stream_of(memory: Bytes) -> RttStream:
    return RttStream(memory, [RAM], "port 'rtt'")


def test_bytes_go_round_the_buffers() -> None:
    memory = Bytes()
    stream = stream_of(memory)
    assert stream.block == memory.block and stream.read(9) == b""
    memory.put(memory.block + 0x100, b"ghij--------abcd")  # written over the end: abcdef... wraps
    memory.channel(UP, memory.block + 0x100, 16, write=4, read=12)
    assert stream.read(100) + stream.read(100) == b"abcdghij"
    assert stream.read(100) == b""
    assert stream.write(b"1234567") == 7
    assert memory.read(memory.block + 0x200, 8) == b"1234567\0"
    memory.channel(DOWN, memory.block + 0x200, 8, write=7, read=5)
    assert stream.write(b"abcde") == 5
    assert memory.read(memory.block + 0x200, 8) == b"bcde567a"


def test_a_board_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcu.board.rtt.WRITE_SECONDS", 0.05)
    with pytest.raises(OSError, match="takes no bytes"):
        stream_of(Bytes()).write(b"x" * 20)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.channel(UP, RAM.end - 8, 16),
        lambda m: m.channel(UP, 0, 16),
        lambda m: m.channel(UP, m.block, 0),
        lambda m: m.channel(UP, m.block, 1),
        lambda m: m.channel(UP, m.block, 0xFFFF_FFFF),
        lambda m: m.channel(UP, m.block, 16, write=16),
        lambda m: m.channel(UP, m.block, 16, read=0xFFFF_FFFF),
        lambda m: m.put(m.block + 16, bytes(8)),
    ],
)
def test_a_damaged_block(change: Callable[[Bytes], None]) -> None:
    memory = Bytes()
    stream = stream_of(memory)
    change(memory)
    with pytest.raises(OSError, match="damaged"):
        stream.read(10)


def test_a_board_that_starts_again() -> None:
    """Its RAM is zero for a while."""
    memory = Bytes()
    stream = stream_of(memory)
    saved = bytes(memory.data)
    memory.data[:] = bytes(len(memory.data))
    assert stream.read(10) == b""
    memory.data[:] = saved
    memory.channel(UP, memory.block + 0x100, 16, write=3)
    assert len(stream.read(10)) == 3


def test_no_block() -> None:
    memory = Bytes()
    memory.put(memory.block, b"X")
    memory.put(RAM.origin + 2, IDENTITY)  # not at a word
    with pytest.raises(VmcuError, match="port 'rtt': finds no RTT control block in RAM") as e:
        stream_of(memory)
    assert e.value.code is Exit.TOOL and "--console rtt" in str(e.value)


def test_search_ends_at_the_block() -> None:
    """Through a probe, all of a chip's RAM takes seconds."""
    memory, reads = Bytes(), []
    read = memory.read
    memory.read = lambda at, size: (reads.append(at), read(at, size))[1]  # type: ignore[method-assign]
    assert stream_of(memory).block == memory.block
    assert max(reads) == memory.block


def test_the_name_across_two_reads() -> None:
    memory = Bytes()
    memory.put(memory.block, bytes(16))
    memory.put(RAM.origin + 4096 - 8, IDENTITY)
    assert stream_of(memory).block == RAM.origin + 4096 - 8


# ---- pyOCD, commands, files ------------------------------------------------------------------------------


@pytest.fixture
def ocd(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A stand-in of pyOCD's library."""
    memory, asked = Bytes(), dict[str, Any]()
    chip = types.SimpleNamespace(
        read_memory_block8=lambda address, size: list(memory.read(address, size)),
        write_memory_block8=lambda address, data: memory.write(address, bytes(data)),
    )
    session = types.SimpleNamespace(target=chip, open=lambda: None, close=lambda: asked.update(closed=True))

    def chosen(**names: Any) -> Any:
        asked.update(names)
        return session

    helpers = types.ModuleType("pyocd.core.helpers")
    helpers.ConnectHelper = types.SimpleNamespace(session_with_chosen_probe=chosen)  # type: ignore[attr-defined]
    for name in ("pyocd", "pyocd.core"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pyocd.core.helpers", helpers)
    monkeypatch.setattr("vmcu.board.probes.pyocd.importlib.util.find_spec", lambda name: name)
    asked["memory"] = memory
    yield asked


def test_pyocd_leaves_the_core_running(ocd: dict[str, Any]) -> None:
    found = attach(load_target("nucleo-f411re"), "066F")
    assert ocd["unique_id"] == "066F" and ocd["options"]["connect_mode"] == "attach"
    assert found.read(ocd["memory"].block, 16) == IDENTITY
    found.close()
    assert ocd["closed"]


def test_a_probe_without_vmcu_s_firmware_behind_it(ocd: dict[str, Any], tmp_path: Path) -> None:
    memory = ocd["memory"]
    memory.put(memory.block, b"X")
    board = replace(load_target("nucleo-f411re"), ram=(RAM,))
    with pytest.raises(VmcuError, match="finds no RTT control block"):
        open_rtt(board, "rtt:066F")
    assert ocd["closed"]


def test_ports_and_options(tmp_path: Path) -> None:
    board = load_target("nucleo-f411re")
    assert is_rtt("rtt") and is_rtt("rtt:066F") and not is_rtt("/dev/rtt")
    assert find_port(with_rtt(board)) == "rtt"
    assert cycles_label(board, types.SimpleNamespace(counter="DWT"), "rtt:066F") == "measured"  # type: ignore[arg-type]
    net = small_net().save(tmp_path)
    ran = command("run", net, "--board", "netduinoplus2", "--console", "rtt", "--port", "emulated")
    assert ran.code == Exit.INPUT and "an emulated board talks over its UART" in ran.err


def test_console_of_a_board_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "targets" / "boards" / "nucleo-f411re.toml").read_text()
    head, _, rest = text.partition("[console]\n")
    path = tmp_path / "mine.toml"
    path.write_text(f'{head}[console]\ndriver = "rtt"\n\n[probe]{rest.partition("[probe]")[2]}')
    assert read_board(path).console == with_rtt(load_target("nucleo-f411re")).console
    assert find_port(read_board(path)) == "rtt"
    shown = command("targets", "mine", "--target-path", tmp_path)
    assert "console    RTT: RAM that a debugger serves" in shown.out
    options = ("--board", "mine", "--target-path", tmp_path, "--console", "uart", "--port", "rtt")
    refused = command("self-test", *options)
    assert refused.code == Exit.INPUT and "'mine' has no serial line: its file names RTT alone" in refused.err
