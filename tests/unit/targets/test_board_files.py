"""A board's file: every fact arrives, every mistake is refused by file and key, also in the user's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.targets import (
    ChipId,
    Console,
    Meter,
    Power,
    Probe,
    Region,
    RegisterStep,
    Setup,
    emulated,
    list_targets,
    load_target,
)
from vmcu.targets.load import read_board

BOARD = """\
core = "cortex-m7"
description = "My own board"
source = "its data sheet"
clock_hz = 200_000_000

[[ram]]
name = "TCM"
origin = 0x2000_0000
bytes = 0x1_0000
wait_states = 0

[[ram]]
name = "SRAM"
origin = 0x2001_0000
bytes = 0x2_0000
wait_states = 2

[[ram]]
name = "SDRAM"
origin = 0xc000_0000
bytes = 0x80_0000
wait_states = 9
kind = "external"

[[flash]]
name = "flash"
origin = 0x0800_0000
bytes = 0x10_0000
wait_states = 7

[[flash]]
name = "QSPI"
origin = 0x9000_0000
bytes = 0x100_0000
wait_states = 30
kind = "external"

[firmware]
clock_hz = 16_000_000
counter = "dwt"
start = [
    ["set", 0x4000_0000, 0x5],
    ["clear", 0x4000_0004, 0xf0],
    ["write", 0x4000_0008, 0xdead_beef],
    ["modify", 0x4000_000c, 0xff, 0x12],
    ["wait", 0x4000_0010, 0x3, 0x1],
]

[console]
driver = "stm32_usart_v2"
base = 0x4000_4400
clock_hz = 16_000_000
baud = 115_200

[qemu]
machine = "my-machine"

[probe]
pyocd = "mine"
probe_rs = "MINE"
volume = "MY_DRIVE"
usb = ["0483:374b", "0d28:0204"]
chip_id = [0xe004_2000, 0xfff, 0x451]

[power]
run_milliamps = 18.5
volts = 3.3
source = "its data sheet, run mode"

[meter]
pin = "PA8 (D7)"
start = [["modify", 0x4000_0020, 0x3, 0x1]]
high = [0x4000_0024, 0x100]
low = [0x4000_0028, 0x200]
"""


def board_file(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in BOARD
    path = folder / "mine.toml"
    path.write_text(BOARD.replace(old, new, 1) if old else BOARD)
    return path


def test_every_fact_arrives(tmp_path: Path) -> None:
    board = read_board(board_file(tmp_path))
    assert (board.name, board.core, board.clock_hz, board.is_board) == (
        "mine",
        "cortex-m7",
        200_000_000,
        True,
    )
    assert board.ram == (
        Region("TCM", 0x20000000, 0x10000, 0),
        Region("SRAM", 0x20010000, 0x20000, 2),
        Region("SDRAM", 0xC0000000, 0x800000, 9, "external"),
    )
    assert board.flash == (
        Region("flash", 0x08000000, 0x100000, 7),
        Region("QSPI", 0x90000000, 0x1000000, 30, "external"),
    )
    assert board.firmware == Setup(
        16_000_000,
        "dwt",
        (
            RegisterStep("modify", 0x40000000, 0x5, 0x5),
            RegisterStep("modify", 0x40000004, 0xF0, 0),
            RegisterStep("write", 0x40000008, 0xFFFFFFFF, 0xDEADBEEF),
            RegisterStep("modify", 0x4000000C, 0xFF, 0x12),
            RegisterStep("wait", 0x40000010, 0x3, 0x1),
        ),
    )
    assert board.console == Console("stm32_usart_v2", 0x40004400, 16_000_000, 115_200)
    assert board.machine == "my-machine" and emulated(board) is board
    usb = ("0483:374b", "0d28:0204")
    assert board.probe == Probe("mine", None, "MINE", "MY_DRIVE", usb, ChipId(0xE0042000, 0xFFF, 0x451))
    assert board.power == Power(18.5, 3.3, "its data sheet, run mode")
    output = RegisterStep("modify", 0x40000020, 0x3, 0x1)
    assert board.meter == Meter("PA8 (D7)", (output,), (0x40000024, 0x100), (0x40000028, 0x200))
    core = load_target("cortex-m7")
    assert (board.gcc_flags, board.memory, board.qemu) == (core.gcc_flags, core.memory, core.qemu)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BOARD[: BOARD.index("[firmware]")])
    board = read_board(path)
    assert (board.machine, board.firmware, board.console) == (None, None, None)
    assert (board.probe, board.power, board.meter, board.pool_region) == (None, None, None, None)
    assert emulated(board) == load_target("cortex-m7")


def test_spans_join_neighbours_but_nothing_external(tmp_path: Path) -> None:
    board = read_board(board_file(tmp_path))
    assert [(r.name, r.size_bytes, r.wait_states) for r in board.spans()] == [
        ("TCM", 0x10000, 0),
        ("SRAM", 0x20000, 2),
        ("TCM+SRAM", 0x30000, 2),
    ]
    assert (board.ram_bytes, board.flash_bytes) == (0x30000, 0x100000)
    apart = read_board(board_file(tmp_path, "origin = 0x2001_0000", "origin = 0x2001_0008"))
    assert [r.name for r in apart.spans()] == ["TCM", "SRAM"] and apart.ram_bytes == 0x20000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'core = "cortex-m7"',
            'core = "cortex-m99"',
            "mine.toml: 'core': is none of cortex-m0plus, cortex-m3",
        ),
        ('core = "cortex-m7"\n', "", "mine.toml: 'core': is missing"),
        ("clock_hz = 200_000_000", "", "mine.toml: 'clock_hz': is missing"),
        ("clock_hz = 200_000_000", "clock_hz = 0", "'clock_hz': must be more than 0"),
        ("clock_hz = 200_000_000", "clock_hz = 2e8", "'clock_hz': must be a whole number"),
        ("clock_hz = 200", "ram_bytes = 5\nclock_hz = 200", "'ram_bytes': is not a key vmcu knows"),
        ("[firmware]", "[frimware]", "mine.toml: 'frimware': is not a key vmcu knows"),
        ('name = "TCM"\n', "", r"mine.toml \[\[ram\]\] 1: 'name': is missing"),
        ('name = "TCM"', 'name = "T C M"', r"\[\[ram\]\] 1: 'name': must be a letter, then up to 23"),
        ('name = "SRAM"', 'name = "tcm"', r"\[\[ram\]\] 2: 'name': 'tcm' is there twice"),
        ("origin = 0x2001_0000", "origin = 0x2000_fff0", r"\[\[ram\]\] 2: 'origin': 'SRAM' overlaps 'TCM'"),
        ("bytes = 0x1_0000", "bytes = 0", r"\[\[ram\]\] 1: 'bytes': must be more than 0"),
        ("bytes = 0x80_0000", "bytes = 0x8000_0000", r"\[\[ram\]\] 3: 'bytes': reaches beyond"),
        ("wait_states = 9", "waits = 9", r"\[\[ram\]\] 3: 'wait_states': is missing"),
        (
            'kind = "external"',
            'kind = "outside"',
            r"\[\[ram\]\] 3: 'kind': must be one of internal, external",
        ),
        ('kind = "external"', "speed = 3", r"\[\[ram\]\] 3: 'speed': is not a key vmcu knows"),
        ('counter = "dwt"', 'counter = "sundial"', r"\[firmware\]: 'counter': must be one of dwt, systick"),
        ('["set", 0x4000_0000, 0x5]', '["sett", 0x4000_0000, 0x5]', "'start': 'sett' is none of set, clear"),
        ('["set", 0x4000_0000, 0x5]', '["set", 0x4000_0000]', "'start': 'set' takes 2 numbers, not 1"),
        (
            '["set", 0x4000_0000, 0x5]',
            '["set", 0x4000_0002, 0x5]',
            "'start': 0x40000002 is no address of a word",
        ),
        ('["set", 0x4000_0000, 0x5]', '["set", 0x4000_0000, -5]', "'start': must be a whole number"),
        (
            '["set", 0x4000_0000, 0x5]',
            "[3, 4]",
            r"'start': must be lists of a word and numbers, not \[3, 4\]",
        ),
        ("0xff, 0x12]", "0xff, 0x112]", "'start': 0x112 has bits outside of the mask 0xff"),
        ("baud = 115_200", "baud = 0", r"\[console\]: 'baud': must be more than 0"),
        ('"stm32_usart_v2"', '"../x"', r"\[console\]: 'driver': must be a name of small letters"),
        ("baud = 115_200", "baud = 115_200\nparity = 1", r"\[console\]: 'parity': is not a key"),
        ('machine = "my-machine"', "icount_shift = 3", r"\[qemu\]: 'machine': is missing"),
        ('"0483:374b"', '"483:374b"', r"\[probe\]: 'usb': must be like"),
        ("0xfff, 0x451]", "0xfff]", r"\[probe\]: 'chip_id': must be a list of 3 numbers"),
        ("0xfff, 0x451]", "0xff, 0x451]", r"\[probe\]: 'chip_id': must be \[address of a word, mask, value"),
        (
            "run_milliamps = 18.5",
            "run_milliamps = -1",
            r"\[power\]: 'run_milliamps': must be a number above 0",
        ),
        ("volts = 3.3", "", r"\[power\]: 'volts': is missing"),
        (
            "0x4000_0024, 0x100]",
            "0x4000_0026, 0x100]",
            r"\[meter\]: 'high': must be \[address of a word, value",
        ),
        ("0x4000_0028, 0x200]", "0x4000_0028]", r"\[meter\]: 'low': must be a list of 2 numbers"),
        (
            'counter = "dwt"',
            'counter = "dwt"\nexternal = ["SRAM"]',
            r"'firmware, external': 'SRAM' is no external region",
        ),
        ('pin = "PA8 (D7)"', "", r"\[meter\]: 'pin': is missing"),
        ("volts = 3.3", "volts =", "mine.toml: is not TOML"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = board_file(tmp_path, old, new)
    with pytest.raises(VmcuError, match=message) as e:
        read_board(path)
    assert e.value.code == Exit.INPUT
    assert f"{tmp_path.name}/mine.toml" in str(e.value) and "fix: correct the file" in str(e.value)


def test_firmware_without_console(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for part in ("[firmware]", "[console]"):
        start = BOARD.index(part)
        path.write_text(BOARD[:start] + BOARD[BOARD.index("\n[", start) + 1 :])
        with pytest.raises(VmcuError, match=r"mine.toml: 'firmware, console': one without the other"):
            read_board(path)


def test_all_ram_external(tmp_path: Path) -> None:
    text = BOARD.replace("wait_states = 0\n", 'wait_states = 0\nkind = "external"\n', 1)
    text = text.replace("wait_states = 2\n", 'wait_states = 2\nkind = "external"\n', 1)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(VmcuError, match="'ram': one region at least must be internal"):
        read_board(path)


def test_own_folders(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    board_file(a)
    board_file(b).rename(b / "other.toml")
    assert load_target("mine", [a]).description == "My own board"
    assert [t.name for t in list_targets([a, b])][-2:] == ["mine", "other"]
    with pytest.raises(VmcuError, match="target 'mine': is no target vmcu knows"):
        load_target("mine")
    with pytest.raises(VmcuError, match="did you mean 'mine'"):
        load_target("mime", [a])


def test_own_folders_with_mistakes(tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=r"--target-path '.*none': is no folder") as e:
        list_targets([tmp_path / "none"])
    assert e.value.code == Exit.INPUT and "fix: name a folder" in str(e.value)
    (tmp_path / "nucleo-f411re.toml").write_text(BOARD)
    with pytest.raises(VmcuError, match=r"nucleo-f411re.toml: the name 'nucleo-f411re' is taken"):
        load_target("cortex-m4", [tmp_path])
    (tmp_path / "nucleo-f411re.toml").rename(tmp_path / "core.toml")
    (tmp_path / "core.toml").write_text('isa = "armv7-m"\n')
    with pytest.raises(VmcuError, match=r"core.toml: 'core': is missing"):
        list_targets([tmp_path])
