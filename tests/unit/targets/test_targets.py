"""Target files: what is there is valid, what is not valid is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.resources import folder
from vmcu.targets import list_targets, load_target
from vmcu.targets.load import read_core

CORES = [f"cortex-{m}" for m in ("m0plus", "m3", "m4", "m7", "m33", "m55", "m85")]
BOARDS = [
    *("arduino-nano-33-ble", "corstone-300", "disco-f746ng", "ek-ra8d1", "microbit", "netduinoplus2"),
    *("nrf5340-dk", "nrf52840-dk", "nucleo-f411re", "nucleo-f446re", "nucleo-f767zi", "nucleo-g0b1re"),
    *("nucleo-h7a3zi-q", "nucleo-h743zi", "nucleo-l4r5zi", "nucleo-u575zi-q", "raspberry-pi-pico"),
    *("raspberry-pi-pico-2", "stm32f4-discovery", "teensy-4.0"),
]


def test_every_core_and_board_in_order() -> None:
    assert [t.name for t in list_targets()] == [*CORES, *BOARDS]


@pytest.mark.parametrize("name", BOARDS)
def test_facts_of_a_board_are_plausible(name: str) -> None:
    """What a wrong digit in a data sheet's table would break."""
    board = load_target(name)
    ways = [r.wait_states for r in board.ram if r.kind == "internal"]
    assert ways == sorted(ways), "the fastest RAM first"
    assert 16_000_000 <= (board.clock_hz or 0) <= 600_000_000
    for region in (*board.ram, *board.flash):
        assert region.size_bytes % 1024 == 0 and region.origin % 1024 == 0
        assert region.origin < 0x4000_0000 or 0x6000_0000 <= region.origin < 0xE000_0000, "no peripheral"
    for ram in board.ram:
        assert all(ram.end <= f.origin or f.end <= ram.origin for f in board.flash)
    if board.firmware is None or board.console is None:
        return
    # Registers are peripherals', and a baud rate can be divided from the clock to 2 %.
    meter = board.meter
    pin = (*(s.address for s in meter.start), meter.high[0], meter.low[0]) if meter else ()
    assert meter is None or meter.high != meter.low
    steps = [s.address for s in board.firmware.start]
    assert all(0x4000_0000 <= a < 0x6000_0000 for a in (*steps, *pin))
    assert board.firmware.clock_hz <= (board.clock_hz or 0)
    if board.console.driver != "rtt":
        assert 0x4000_0000 <= board.console.base < 0x6000_0000
        divider = board.console.clock_hz / board.console.baud
        assert abs(round(divider) / divider - 1) < 0.02
    if board.core == "cortex-m0plus":
        assert board.firmware.counter != "dwt", "Armv6-M has no cycle counter"


def test_boards_that_the_emulator_has() -> None:
    with_machine = {t.name: t.machine for t in list_targets() if t.is_board and t.machine}
    assert with_machine == {
        "corstone-300": "mps3-an547",
        "microbit": "microbit",
        "netduinoplus2": "netduinoplus2",
    }


def test_boards_have_the_limits_of_their_chips() -> None:
    small, large = load_target("nucleo-f411re"), load_target("nucleo-f767zi")
    assert (small.core, small.flash_bytes, small.ram_bytes) == ("cortex-m4", 512 * 1024, 128 * 1024)
    assert (large.core, large.flash_bytes, large.ram_bytes) == ("cortex-m7", 2048 * 1024, 512 * 1024)
    assert small.clock_hz == 100_000_000 and large.clock_hz == 216_000_000
    assert small.gcc_flags == load_target("cortex-m4").gcc_flags


def test_cores_have_the_limits_of_the_machine() -> None:
    for name in CORES:
        target = load_target(name)
        assert target.core == name and target.clock_hz is None
        assert (target.flash_bytes, target.ram_bytes) == (target.memory.flash_bytes, target.memory.ram_bytes)
        assert target.qemu is not None
        assert target.ram_bytes >= 4 << 20
        assert (target.unicorn_cpu is None) == (name in ("cortex-m55", "cortex-m85"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("cortex-m44", "cortex-m4"), ("Cortex-M7", "cortex-m7"), ("nucleo-f411", "nucleo-f411re")],
)
def test_unknown_target(name: str, meant: str) -> None:
    with pytest.raises(VmcuError, match=f"did you mean '{meant}'") as e:
        load_target(name)
    assert e.value.code == Exit.INPUT
    assert all(core in str(e.value) for core in CORES)


def test_nothing_like_it() -> None:
    with pytest.raises(VmcuError) as e:
        load_target("zzz" * 1000)
    assert "did you mean" not in str(e.value) and len(str(e.value)) < 700


def core_file(tmp_path: Path, pattern: str, replacement: str) -> Path:
    text = (folder("targets") / "cores" / "cortex-m4.toml").read_text()
    changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert changed != text
    path = tmp_path / "cores" / "mine.toml"
    path.parent.mkdir()
    path.write_text(changed)
    return path


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^description", "colour = 1\ndescription", "cores/mine.toml: 'colour': is not a key vmcu knows"),
        (r"^description.*\n", "", "cores/mine.toml: 'description': is missing"),
        (r"^ram_bytes.*\n", "", r"cores/mine.toml \[memory\]: 'ram_bytes': is missing"),
        (r"^machine", "speed = 3\nmachine", r"cores/mine.toml \[qemu\]: 'speed': is not a key"),
        (r"^gcc = .*", 'gcc = "-O3"', r"\[flags\]: 'gcc': must be a list of texts"),
        (r"^gcc = .*", "gcc = [1]", r"\[flags\]: 'gcc': must be a list of texts"),
        (r"^zig = ", 'clang = ["x"]\nzig = ', r"\[flags\]: 'clang': is not a key"),
        (r"^ram_bytes.*", 'ram_bytes = "4 MB"', "'ram_bytes': must be a whole number"),
        (r"^ram_bytes.*", "ram_bytes = -1", "'ram_bytes': must be a whole number"),
        (r"^ram_bytes.*", "ram_bytes = true", "'ram_bytes': must be a whole number"),
        (r"^ram_bytes.*", "ram_bytes = 4294967296", "'ram_bytes': must be a whole number"),
        (r"^counter = .*", 'counter = "dwt"', "'counter': must be one of fpgaio"),
        (r"^ticks.*", "ticks_per_instruction = [8, 5]", "'ticks_per_instruction': must be .* more than 2"),
        (r"^ticks.*", "ticks_per_instruction = [8, 0]", "'ticks_per_instruction': must be .* more than 2"),
        (r"^ticks.*", "ticks_per_instruction = 3", "'ticks_per_instruction': must be a list of numbers"),
        (r"^cpu", "mpu = 1\ncpu", r"\[unicorn\]: 'mpu': is not a key"),
        (r"^\[unicorn\]\ncpu.*", "", ""),
        (r"^source = .*", "source = ''", "'source': must be a text"),
        (r"^source = .*", "source =", "is not TOML"),
        (r"^\[qemu\]", "[memory]", "is not TOML"),
    ],
)
def test_invalid_files(tmp_path: Path, pattern: str, replacement: str, message: str) -> None:
    path = core_file(tmp_path, pattern, replacement)
    if not message:  # the engines are optional
        assert read_core(path).unicorn_cpu is None
        return
    with pytest.raises(VmcuError, match=message) as e:
        read_core(path)
    assert e.value.code == Exit.INPUT
    assert "cores/mine.toml" in str(e.value)
