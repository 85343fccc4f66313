"""Whole models on emulated boards: through Python, through the command line, with streamed rows, with a fault in a layer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from command_line import vmcu as command
from streamed_nets import segmenter
from tiny_models import small_net
from tiny_project import need

import vmcu
from vmcu.batch import Batch, random_batch
from vmcu.board.emulated import EmulatedBoard
from vmcu.board.session import (
    EMULATED,
    FAR_END,
    UNMEASURED,
    BoardModel,
    cycles_label,
    find_port,
    run_on_board,
)
from vmcu.errors import Exit, VmcuError
from vmcu.pipeline import load
from vmcu.quant.reference import Reference
from vmcu.targets import load_target

DIGITS = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"
BOARDS = (
    *("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"),
    *("microbit", "netduinoplus2"),
)
pytestmark = pytest.mark.qemu


@pytest.fixture(autouse=True)
def _compiler() -> None:
    need("gcc")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return small_net().save(tmp_path)


@pytest.mark.parametrize("streams", [((), ()), (("*",), ()), ((), ("*",)), (("*",), ("*",))])
def test_streamed_rows_cross_the_link(
    tmp_path: Path, streams: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """int8 and int32 outputs, rows longer than a frame, three inferences: as in the batch harness."""
    path = segmenter(16, 200).save(tmp_path)
    made = vmcu.compile(path, "cortex-m4", stream_inputs=streams[0], stream_outputs=streams[1])
    batch = random_batch(made.compiled.graph, 3)
    found = run_on_board(made.on_board(), EMULATED, batch.payload(made.compiled.graph))
    assert found.outputs == made.run_batch(batch).outputs
    assert found.info.has_streams == (streams != ((), ()))
    assert found.cycles is None and found.instructions is not None  # a count, and not called a measurement


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_a_thousand_inferences_of_a_trained_model(name: str) -> None:
    """Noise through the committed digits network on every emulated board: each output is the reference's."""
    made = vmcu.compile(DIGITS, name)
    batch, wanted = noise()
    found = run_on_board(made.on_board(), EMULATED, batch.payload(made.compiled.graph))
    assert found.outputs == wanted and len(wanted) == 1000


@cache
def noise() -> tuple[Batch, tuple[tuple[bytes, ...], ...]]:
    """A thousand inputs, and what the reference makes of them."""
    graph = load(DIGITS)
    batch, reference = random_batch(graph, 1000), Reference(graph.original)
    (port,) = graph.outputs
    return batch, tuple((reference.run_tensors(given)[port.tensor].tobytes(),) for given in batch.tensors)


def test_profile_adds_up(net: Path) -> None:
    """The steps' ticks are those of the whole, within 1 %."""
    made = vmcu.compile(DIGITS, "cortex-m4")
    batch = random_batch(made.compiled.graph, 1)
    found = run_on_board(made.on_board(), EMULATED, batch.payload(made.compiled.graph), profile=True)
    counted = made.run_batch(batch).instructions
    assert found.profile is not None and counted is not None
    assert sum(found.profile.net) * 5 / 16 == pytest.approx(counted[0], rel=0.01)
    assert found.tasks == sum(found.profile.tasks)


def test_profile_of_a_board_adds_up(tmp_path: Path) -> None:
    """Through the command line and a socket, as from a real board; an emulator's ticks stand for cycles here."""
    path = Path(__file__).parents[2] / "models" / "gesture" / "model.onnx"
    made = vmcu.compile(path, "netduinoplus2")
    firmware = made.on_board().build(made.target, tmp_path)
    with EmulatedBoard(made.target, firmware.elf) as board:
        done = command(
            "profile", path, "--board", "netduinoplus2", "--port", board.port, "--repeat", 2, "--json"
        )
    assert done.code == Exit.OK, done.err
    found = done.json
    assert found["source"] == "board" and found["instructions"] is None
    assert found["cycles_label"] == UNMEASURED == "counted where an emulator may answer: no measurement"
    assert found["measured_cycles"] is None and found["estimated_cycles"] is None
    assert all(layer["measured_cycles"] is None for layer in found["layers"])
    assert sum(layer["cycles"] for layer in found["layers"]) == pytest.approx(found["cycles"], rel=0.02)


def test_what_answers_at_a_socket_is_not_called_measured(net: Path, tmp_path: Path) -> None:
    """An emulator that somebody else has started: neither `run` nor `profile` says that it measured."""
    made = vmcu.compile(net, "netduinoplus2")
    firmware = made.on_board().build(made.target, tmp_path)
    with EmulatedBoard(made.target, firmware.elf) as board:
        options = (net, "--board", "netduinoplus2", "--port", board.port)
        ran = command("run", *options)
        told = command("run", *options, "--json").json
        profile = command("profile", *options, "--repeat", 1)
    assert UNMEASURED in ran.out and "ms" not in ran.out and told["measured_cycles"] is None
    assert UNMEASURED in profile.out and " measured" not in profile.out.replace("not measured", "")


@pytest.mark.parametrize(
    ("board", "counter", "port", "label"),
    [
        ("nucleo-f411re", "DWT", "/dev/ttyACM0", "measured"),
        ("nucleo-f411re", "SysTick", "COM3", "measured"),  # a debugger may hold DWT
        ("microbit", "SysTick", "/dev/ttyACM0", "measured"),  # QEMU has it, but this one is plugged in
        ("nucleo-f411re", "DWT", "socket://lab:4444", FAR_END),
        ("nucleo-g0b1re", "SysTick", "rfc2217://lab:4444", FAR_END),
        ("nucleo-f411re", "SysTick", "socket://lab:4444", UNMEASURED),  # DWT stands still
        ("netduinoplus2", "DWT", "socket://lab:4444", UNMEASURED),
        ("microbit", "SysTick", "socket://lab:4444", UNMEASURED),
    ],
)
def test_what_cycles_are_called(board: str, counter: str, port: str, label: str) -> None:
    @dataclass
    class Told:
        counter: str

    assert cycles_label(load_target(board), Told(counter), port) == label  # type: ignore[arg-type]


def test_an_emulated_board_measures_nothing(net: Path) -> None:
    for board in ("nucleo-f411re", "cortex-m4"):
        result = command("profile", net, "--board", board, "--port", EMULATED)
        assert result.code == Exit.INPUT and "an emulated board has no cycles to measure" in result.err


def test_fault_in_a_layer(net: Path) -> None:
    made = vmcu.compile(net, "cortex-m4")
    project = made.compiled.project
    last = len(project.steps) - 1
    source = project.files[f"{project.name}.c"]
    broken = re.sub(
        rf"(VMCU_STEP step_{last}\(.*?\)\n{{\n)", r'\1    __asm volatile("udf #0");\n', source, count=1
    )
    assert broken != source
    wrong = replace(project, files=MappingProxyType({**project.files, f"{project.name}.c": broken}))
    mine = made.on_board()
    model = BoardModel(wrong, mine.sha256, mine.target, mine.find_compiler)
    batch = random_batch(made.compiled.graph, 1)
    with pytest.raises(
        VmcuError,
        match=rf"took a fault at step_{last}\S*, in step {last} \({re.escape(project.steps[last])}\)",
    ):
        run_on_board(model, EMULATED, batch.payload(made.compiled.graph))


def test_fault_of_a_board_somebody_else_has_flashed(net: Path, tmp_path: Path) -> None:
    """The program is built again, to name the place, if it is the same; else its address must do."""
    made = vmcu.compile(net, "cortex-m4")
    mine = made.on_board()
    project = mine.project
    text = project.files[f"{project.name}.c"]
    text = re.sub(r"(VMCU_STEP step_0\(.*?\)\n{\n)", r'\1    __asm volatile("udf #0");\n', text, count=1)
    wrong = replace(project, files=MappingProxyType({**project.files, f"{project.name}.c": text}))
    model = BoardModel(wrong, mine.sha256, mine.target, mine.find_compiler)
    firmware = model.build(mine.target, tmp_path)
    inputs = random_batch(made.compiled.graph, 1).payload(made.compiled.graph)
    with (
        EmulatedBoard(mine.target, firmware.elf) as board,
        pytest.raises(VmcuError, match=r"took a fault at step_0\S*, in step 0"),
    ):
        run_on_board(model, board.port, inputs)


def test_run_command(net: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(-128, 128, (4, 3, 8, 8)).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    there = command(
        "run", net, "--board", "cortex-m7", "--port", EMULATED, "--input", tmp_path / "x.npy", "--json"
    )
    here = command("run", net, "-t", "cortex-m7", "--input", tmp_path / "x.npy", "--json")
    assert there.code == here.code == Exit.OK, there.err
    assert there.json["outputs"] == here.json["outputs"]
    assert there.json["measured_cycles"] is None and len(there.json["instructions"]) == 4
    text = command("run", net, "--board", "cortex-m7", "--port", EMULATED)
    assert "exact instructions per inference, emulated" in text.out and "painted on the board" in text.out
    assert "measured" not in text.out


def test_a_board_runs_on_the_machine_of_its_core(net: Path) -> None:
    found = command("run", net, "--board", "nucleo-f767zi", "--port", EMULATED, "--json")
    assert found.code == Exit.OK and found.json["engine"] == "board cortex-m7"


def test_flash_run_and_self_test_over_sockets(net: Path, tmp_path: Path) -> None:
    """The commands a user types, against a QEMU that somebody else has started."""
    with EmulatedBoard(load_target("cortex-m4"), None, gdb=True) as board:
        assert board.gdb is not None
        probe = f"socket://{board.gdb[0]}:{board.gdb[1]}"
        done = command("flash", net, "--board", "cortex-m4", "--via", "bmp", "--probe", probe)
        assert done.code == Exit.OK, done.err
        assert re.search(r"^written  \d?\d,\d{3} bytes$", done.out, re.M)
        assert "verified what was read back is what was written" in done.out
        ran = command("run", net, "--board", "cortex-m4", "--port", board.port, "--json")
        assert ran.code == Exit.OK, ran.err
        emulated = command("run", net, "-t", "cortex-m4", "--json")
        assert ran.json["outputs"] == emulated.json["outputs"]
        tested = command("self-test", "--board", "cortex-m4", "--port", board.port)
        assert tested.code == Exit.OK and "result   ok" in tested.out
        with_model = command("self-test", net, "--board", "cortex-m4", "--port", board.port, "--json")
        assert with_model.json["ok"] and with_model.json["info"]["project"] == "net"
        other = command("run", "models/gesture/model.onnx", "--board", "cortex-m4", "--port", board.port)
        assert other.code == Exit.INPUT and "holds another model: 'net' of sha256" in other.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "error: -t, --board: neither is given"),
        (("-t", "cortex-m4", "--board", "cortex-m4"), "both are given"),
        (("-t", "cortex-m4", "--port", "x"), "error: --port: belongs to --board"),
        (("--board", "cortex-m4", "--engine", "qemu"), "belongs to -t"),
        (("--board", "cortex-m4", "--port", "socket://127.0.0.1:1"), "does not open"),
        (("--board", "cortex-m4", "--port", "nonsense://x"), "is no port"),
        (("--board", "raspberry-pi-pico", "--port", "socket://127.0.0.1:1"), "does not open"),
        (("--board", "nucleo-f411re"), "its serial port (USB 0483:374b) is not there"),
    ],
)
def test_wrong_options(net: Path, arguments: tuple[str, ...], text: str) -> None:
    result = command("run", net, *arguments)
    assert result.code in (Exit.INPUT, Exit.TOOL) and text in result.err


def test_flash_errors(net: Path) -> None:
    result = command("flash", net, "--board", "arduino-nano-33-ble")
    assert result.code == Exit.INPUT and "vmcu has no firmware for it" in result.err
    result = command("flash", net, "--board", "cortex-m4", "--port", EMULATED)
    assert result.code == Exit.INPUT and "cannot be flashed" in result.err
    result = command("self-test", "--board", "cortex-m4", "--port", EMULATED)
    assert result.code == Exit.INPUT and "needs a model" in result.err


def test_silence(net: Path) -> None:
    """Somebody listens there, but it is no board."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = command(
            "run", net, "--board", "cortex-m4", "--port", f"socket://127.0.0.1:{listener.getsockname()[1]}"
        )
    assert result.code == Exit.TOOL and "no board of vmcu answers there" in result.err
    assert "flash it with `vmcu flash`" in result.err


class _Port:
    def __init__(self, device: str, vid: int | None, pid: int | None) -> None:
        self.device, self.vid, self.pid = device, vid, pid


def test_port_by_usb_number(monkeypatch: pytest.MonkeyPatch) -> None:
    board = load_target("nucleo-f411re")
    ports = [
        _Port("/dev/ttyS0", None, None),
        _Port("/dev/ttyACM1", 0x0483, 0x374B),
        _Port("/dev/ttyACM0", 1, 2),
    ]
    monkeypatch.setattr("vmcu.board.session.list_ports.comports", lambda: ports)
    assert find_port(board) == "/dev/ttyACM1"
    ports.append(_Port("/dev/ttyACM2", 0x0483, 0x374B))
    with pytest.raises(VmcuError, match="several ports could be it: /dev/ttyACM1, /dev/ttyACM2"):
        find_port(board)
    del ports[1], ports[-1]
    with pytest.raises(VmcuError, match=r"is not there\n.*USB ports there are: /dev/ttyACM0 \(0001:0002\)"):
        find_port(board)
