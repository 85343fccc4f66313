"""Emulated boards over their serial line: every core, the very boards that QEMU has, and everything that can go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tiny_project import expected, need, samples, tiny

from vmcu.board.client import Client
from vmcu.board.emulated import EmulatedBoard
from vmcu.board.fault import Fault, explain_fault
from vmcu.board.firmware import BoardFirmware, needs
from vmcu.board.flash import flash
from vmcu.board.frames import MAGIC, Frame, encode
from vmcu.board.link import open_link
from vmcu.board.protocol import COUNTERS, Command
from vmcu.board.session import BoardModel, check_model
from vmcu.errors import Exit, VmcuError
from vmcu.run import run
from vmcu.targets import load_target, with_regions
from vmcu.toolchain import build, find_compiler

Board = Callable[..., BoardFirmware]
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
BOARDS = (*CORES, "microbit", "netduinoplus2")
EVERY = [pytest.param(b, marks=() if b == "cortex-m4" else pytest.mark.slow) for b in BOARDS]
LOOP = "for (;;) { pool[5]++; }"
LOOP_IF = "if (input[0] == 77) { for (;;) { pool[5]++; } }"
WILD = "{ volatile int32_t *p = (volatile int32_t *)(uintptr_t)0xA0000000U; *p = 1; }"
UNDEFINED = '__asm volatile("udf #0");'
DEEP_TYPES = "extern uint32_t vmcu_ld_stack_guard[];"
DEEP = '{ __asm volatile("mov sp, %0\\n\\tpush {r4}" : : "r"((uintptr_t)vmcu_ld_stack_guard + 16U)); }'
BESIDE = "{ volatile int8_t *p = pool; p[-1] = 1; }"
pytestmark = pytest.mark.qemu


@contextmanager
def session(firmware: BoardFirmware) -> Iterator[tuple[EmulatedBoard, Client]]:
    """A running board and a client of it."""

    def explain(fault: Fault) -> VmcuError:
        return explain_fault(fault, firmware.read(), firmware.project.steps, firmware.target.name)

    with EmulatedBoard(firmware.target, firmware.elf) as running:
        link = open_link(running.port, 115_200)
        try:
            yield running, Client(link, explain, ready_seconds=20)
        finally:
            link.close()


def infer(client: Client, count: int) -> None:
    """Inferences, each of which must be right; the model counts them."""
    client.reset()
    for i, x in enumerate(samples(count)):
        outputs, _ = client.infer(x)
        assert outputs[0] == expected(x[0], (i + 129) % 256 - 128)  # it counts in an int8


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("name", BOARDS)
def test_inferences(board: Board, name: str, compiler: str) -> None:
    firmware = board(name, compiler)
    with session(firmware) as (_, client):
        info = client.info
        assert (info.project, info.board, info.model, info.build) == ("tiny", name, "5a" * 32, firmware.build)
        assert (info.pool_bytes, info.state_bytes, info.steps) == (4096, 4, 2)
        assert info.start_failed == 0 or name == "microbit"
        infer(client, 40)
        _, cost = client.infer(samples(1)[0], profile=True)
        assert cost.tasks == 4 and 100 < cost.stack_bytes < firmware.stack_bytes
        steps = client.profile()
        assert steps.tasks == (3, 1)
        assert 0.8 * cost.ticks < sum(steps.ticks) <= cost.ticks
        assert 0 < sum(steps.net) < sum(steps.ticks)
        test = client.self_test()
        assert test.counter_ok and not test.canaries_broken and test.bad_byte is None
        assert 0 < test.stack_bytes <= firmware.stack_bytes - 64
        infer(client, 2)  # the self test has set the pool up again


@pytest.mark.slow
@pytest.mark.parametrize("name", [b for b in BOARDS if b != "cortex-m4"])
def test_a_thousand_inferences(board: Board, name: str) -> None:
    with session(board(name)) as (_, client):
        infer(client, 1000)


def test_a_thousand_inferences_on_an_m4(board: Board) -> None:
    with session(board("cortex-m4")) as (_, client):
        infer(client, 1000)


@pytest.mark.parametrize("name", CORES)
def test_counts_are_those_of_the_harness(board: Board, tmp_path: object, name: str) -> None:
    """The same instructions as the batch harness counts, to the last one."""
    need("gcc")
    target = load_target(name)
    built = build(tiny(), target, find_compiler("gcc"), workdir=tmp_path)  # type: ignore[arg-type]
    counted = run(built, samples(3), engine="qemu").instructions
    assert target.qemu is not None
    up, down = target.qemu.ticks_per_instruction
    with session(board(name, hooks=False)) as (_, client):
        client.reset()
        empty = round(client.info.empty_ticks * down / up)
        ticks = [client.infer(x)[1].ticks for x in samples(3)]
        assert tuple(round(t * down / up) - empty + 2 for t in ticks) == counted
        with pytest.raises(VmcuError, match="cannot profile: its firmware was built without hooks"):
            client.infer(samples(1)[0], profile=True)


def test_stuck_counter_is_noticed(board: Board) -> None:
    """QEMU has no DWT: its counter stands still, and SysTick takes its place."""
    with session(board("netduinoplus2")) as (_, client):
        assert board("netduinoplus2").target.firmware.counter == "dwt"  # type: ignore[union-attr]
        assert client.info.counter == COUNTERS[2]


@pytest.mark.parametrize("name", EVERY)
def test_load_through_the_debugger(board: Board, name: str) -> None:
    """What a probe does, to a machine that has no program yet: writes, reads back, starts."""
    firmware = board(name)
    if firmware.target.probe:  # QEMU has no identification register
        nameless = replace(firmware.target.probe, chip_id=None)
        firmware = replace(firmware, target=replace(firmware.target, probe=nameless))
    with EmulatedBoard(firmware.target, None, gdb=True) as running:
        assert running.gdb is not None
        link = open_link(running.port, 115_200)
        said: list[str] = []
        uid = f"socket://{running.gdb[0]}:{running.gdb[1]}"
        done = flash(firmware, via="bmp", uid=uid, say=said.append)
        assert done.is_verified and done.size_bytes > 5000
        assert "verified what was read back is what was written" in said
        infer(Client(link, ready_seconds=20), 3)
        link.close()


def test_debugger_refuses_another_chip(board: Board) -> None:
    """QEMU has no identification register: it reads as zero, which is no STM32F405's."""
    firmware = board("netduinoplus2")
    with EmulatedBoard(firmware.target, None, gdb=True) as running:
        assert running.gdb is not None
        with pytest.raises(
            VmcuError, match="is another chip: 0x0 at 0xe0042000; 'netduinoplus2' has 0x413"
        ) as e:
            flash(firmware, via="bmp", uid=f"socket://{running.gdb[0]}:{running.gdb[1]}")
        assert e.value.code == Exit.INPUT and "nothing was written" in str(e.value)


@pytest.mark.parametrize("name", EVERY)
def test_noise_on_the_line(board: Board, name: str) -> None:
    with session(board(name)) as (_, client):
        link = client._link
        good = encode(Frame(Command.RUN, 7, 1, b""))
        for noise in (b"\0" * 700, MAGIC * 30, good[:9], good[:-1] + b"\0", bytes(range(256)) * 3):
            link.send(noise)
            infer(client, 2)
        assert client.self_test(pool=False).garbled > 0


@pytest.mark.parametrize("name", EVERY)
def test_reconnect(board: Board, name: str) -> None:
    firmware = board(name)
    with session(firmware) as (running, first):
        infer(first, 3)
        first._write(0, b"x" * 10)  # an input that is never finished
        first.close()
        time.sleep(0.2)
        link = open_link(running.port, 115_200)
        second = Client(link)
        with pytest.raises(VmcuError, match="has not got all inputs"):
            second._request(Command.RUN, b"", 5.0)
        infer(second, 3)
        link.close()


@pytest.mark.parametrize("name", EVERY)
def test_too_large_an_input(board: Board, name: str) -> None:
    with session(board(name)) as (_, client):
        with pytest.raises(VmcuError, match="input 0 has 65 bytes; the model on the board takes 64") as e:
            client.infer([bytes(65)])
        assert e.value.code == Exit.INPUT
        with pytest.raises(VmcuError, match="refuses data beyond the end"):
            client._write(0, bytes(65))
        infer(client, 2)


@pytest.mark.parametrize("name", EVERY)
def test_another_model(board: Board, name: str) -> None:
    firmware = board(name)
    with session(firmware) as (_, client):
        mine = BoardModel(firmware.project, "ab" * 32, firmware.target, find_compiler)
        with pytest.raises(
            VmcuError,
            match=r"holds another model: 'tiny' of sha256 5a5a5a5a5a5a5a5a, not 'tiny' of sha256 abab",
        ) as e:
            check_model(client.info, mine)
        assert e.value.code == Exit.INPUT and f"vmcu flash MODEL --board {name}" in str(e.value)
        other = BoardModel(tiny(extra="pool[9] = 1;"), firmware.model, firmware.target, find_compiler)
        with pytest.raises(VmcuError, match="compiled with other options or another version"):
            check_model(client.info, other)


def later(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


@pytest.mark.parametrize("name", EVERY)
def test_reset_in_mid_run(board: Board, name: str) -> None:
    with session(board(name, extra=LOOP_IF)) as (running, client):
        later(0.5, running.reset)
        with pytest.raises(VmcuError, match="the board has been restarted") as e:
            client.infer([bytes([77]) + bytes(63)])
        assert e.value.code == Exit.TOOL
        with pytest.raises(VmcuError, match="the board has been restarted"):
            client.infer(samples(1)[0])  # the session is gone, so nothing is computed from half an input
        infer(Client(client._link), 2)


@pytest.mark.parametrize("name", EVERY)
def test_cut_line_in_mid_run(board: Board, name: str) -> None:
    with session(board(name, extra=LOOP)) as (running, client):
        later(0.5, running._process.kill)
        with pytest.raises(VmcuError, match="the line was cut") as e:
            client.infer(samples(1)[0])
        assert e.value.code == Exit.TOOL and "check the cable" in str(e.value)


@pytest.mark.parametrize("name", EVERY)
def test_model_that_never_ends(board: Board, name: str) -> None:
    with (
        session(board(name, extra=LOOP)) as (_, client),
        pytest.raises(VmcuError, match="did not finish RUN within 1 seconds"),
    ):
        client.infer(samples(1)[0], limit_seconds=1.0)


@pytest.mark.parametrize("name", EVERY)
def test_model_that_fails(board: Board, name: str) -> None:
    with (
        session(board(name, extra="return 7;")) as (_, client),
        pytest.raises(VmcuError, match="the model returned the error 7") as e,
    ):
        client.infer(samples(1)[0])
    assert e.value.code == Exit.BUG


@pytest.mark.parametrize("name", BOARDS)
def test_fault_names_the_place(board: Board, name: str) -> None:
    with session(board(name, extra=UNDEFINED)) as (_, client):
        with pytest.raises(VmcuError, match=r"the processor took a fault at tiny_run\+0x") as e:
            client.infer(samples(1)[0])
        assert "after row 0 of step 1 (dot b)" in str(e.value)
        assert e.value.code == Exit.BUG and "the board has started again" in str(e.value)
        infer_nothing = Client(client._link)  # and it has
        assert infer_nothing.info.project == "tiny"


@pytest.mark.parametrize("name", ["cortex-m3", "cortex-m4", "cortex-m33"])
def test_fault_names_the_address(board: Board, name: str) -> None:
    with (
        session(board(name, extra=WILD)) as (_, client),
        pytest.raises(VmcuError, match=r"at tiny_run\+0x\w+, accessing 0xa0000000, after row 0"),
    ):
        client.infer(samples(1)[0])


@pytest.mark.parametrize("name", [b for b in BOARDS if b != "microbit"])  # its core has no MPU
def test_stack_that_is_too_deep(board: Board, name: str) -> None:
    with (
        session(board(name, extra=DEEP, more=DEEP_TYPES)) as (_, client),
        pytest.raises(VmcuError, match="the stack overflowed"),
    ):
        client.infer(samples(1)[0])


@pytest.mark.parametrize("name", EVERY)
def test_write_beside_the_pool(board: Board, name: str) -> None:
    with session(board(name, extra=BESIDE)) as (_, client):
        with pytest.raises(VmcuError, match="the model wrote in front of its pool"):
            client.infer(samples(1)[0])
        assert client.self_test().canaries_broken == 0  # set again for the next run


def test_board_that_qemu_has_not(board: Board) -> None:
    with pytest.raises(VmcuError, match="QEMU has not this very board"):
        EmulatedBoard(load_target("nucleo-f411re"), None)


@pytest.mark.parametrize(
    ("pool", "weights", "region"),
    [("SDRAM", None, "SDRAM"), ("SRAM1,SDRAM", None, "SDRAM"), (None, "QSPI", "QSPI")],
)
def test_memory_that_nobody_sets_up(pool: str | None, weights: str | None, region: str) -> None:
    """Generated C may go there, vmcu's firmware would take a fault; a board's start table may change that."""
    target = with_regions(load_target("disco-f746ng"), pool, weights)
    with pytest.raises(VmcuError, match=f"nothing sets up {region}, which is beside the chip") as e:
        needs(target)
    assert e.value.code == Exit.INPUT
    assert target.firmware is not None
    needs(replace(target, firmware=replace(target.firmware, external=(region,))))
    needs(with_regions(load_target("corstone-300"), "DDR4", None))


def test_board_without_firmware(board: Board) -> None:
    target = replace(load_target("cortex-m4"), firmware=None, console=None)
    with pytest.raises(
        VmcuError, match=r"vmcu has no firmware for it: its file has no tables \[firmware\] and \[console\]"
    ):
        needs(target)
