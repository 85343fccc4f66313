"""Inferences on a board: finds its port, makes sure that it holds this very model, runs a batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from serial.tools import list_ports

from vmcu.board.client import ANSWER_SECONDS, RUN_SECONDS, Client, StepTicks
from vmcu.board.emulated import EmulatedBoard
from vmcu.board.fault import Fault, explain_fault
from vmcu.board.firmware import BoardFirmware, build_board, build_id
from vmcu.board.link import Link, open_link
from vmcu.board.protocol import COUNTERS, Info
from vmcu.board.rtt import DRIVER as RTT
from vmcu.board.rtt import PORT, is_rtt, open_rtt, with_rtt
from vmcu.errors import Exit, VmcuError, fail
from vmcu.ir.cproject import CProject
from vmcu.profile.costs import LayerCosts, from_board
from vmcu.targets import Target, emulated
from vmcu.toolchain import Compiler

EMULATED = "emulated"  # as a port: vmcu starts QEMU itself
READY_SECONDS = 20.0  # until an emulated board says READY
PATIENT_SECONDS = (
    5.0  # until an emulated board answers, or one behind a network: machines may be busy with others
)
MEASURED = "measured"
FAR_END = "measured, as far as the far end of the port is the board"
UNMEASURED = "counted where an emulator may answer: no measurement"
CALL_INSTRUCTIONS = 2  # of the function that `Info.empty_ticks` was measured with


@dataclass(frozen=True, slots=True)
class BoardModel:
    """A compiled model and how to build its firmware: what a board is compared with.

    Attributes:
        project: the generated C.
        sha256: of the model file.
        target: the board it was compiled for.
        find_compiler: called when a firmware has to be built.
    """

    project: CProject
    sha256: str
    target: Target
    find_compiler: Callable[[], Compiler]

    def build(self, target: Target, workdir: Path, *, hooks: bool = True) -> BoardFirmware:
        """The firmware, for the board or the machine that emulates it."""
        return build_board(
            self.project, target, self.find_compiler(), workdir=workdir, model=self.sha256, hooks=hooks
        )


@dataclass(frozen=True, slots=True)
class BoardRun:
    """What a board answered.

    Attributes:
        info: what it says of itself.
        port: where it was.
        is_emulated: it is no chip; the counter then tells instructions, where vmcu runs the emulator, or nothing.
        outputs: per inference, per output port, its bytes.
        cycles: measured per inference; None where nothing counts cycles, or nobody knows whether they are any.
        cycles_label: what they are, `MEASURED` or `FAR_END`; or why there are none.
        instructions: exact, per inference, from an emulator that counts them; None elsewhere.
        stack_bytes: most stack any inference was seen to use.
        tasks: of one inference; 0 in a firmware without hooks.
        profile: of the last inference, where it was asked for, in ticks of the counter.
    """

    info: Info
    port: str
    is_emulated: bool
    outputs: tuple[tuple[bytes, ...], ...]
    cycles: tuple[int, ...] | None
    cycles_label: str
    instructions: tuple[int, ...] | None
    stack_bytes: int
    tasks: int
    profile: StepTicks | None


def run_on_board(
    model: BoardModel,
    port: str | None,
    inferences: Sequence[Sequence[bytes]],
    *,
    reset_between: bool = False,
    profile: bool = False,
    limit_seconds: float = RUN_SECONDS,
) -> BoardRun:
    """Runs inferences, one after the other, on the board at a port.

    Args:
        port: None: the only one with the board's USB number; `EMULATED`: an emulator is started for it.
        limit_seconds: for one inference.

    Raises:
        VmcuError: (INPUT) the board holds another model, or data do not fit it; (TOOL) no board, a cut line, a restart;
            (BUG) a fault.
    """
    with connect(model, port) as (client, name):
        client.reset()
        outputs, costs = [], []
        for i, inference in enumerate(inferences):
            if reset_between and i:
                client.reset()
            found, cost = client.infer(inference, profile=profile, limit_seconds=limit_seconds)
            outputs.append(found)
            costs.append(cost)
        steps = client.profile() if profile and inferences else None
        is_emulated = port == EMULATED or not model.target.is_board  # cores are QEMU's machines
        ticks = [c.ticks for c in costs]
        label = cycles_label(model.target, client.info, name)
        return BoardRun(
            client.info,
            name,
            is_emulated,
            tuple(outputs),
            None if is_emulated or label == UNMEASURED else _cycles(client.info, ticks),
            label,
            _instructions(client.info, model.target, ticks) if port == EMULATED else None,
            max((c.stack_bytes for c in costs), default=0),
            max((c.tasks for c in costs), default=0),
            steps,
        )


def profile_on_board(
    model: BoardModel,
    port: str | None,
    inference: Sequence[bytes],
    *,
    repetitions: int = 5,
    warm_up: int = 1,
    limit_seconds: float = RUN_SECONDS,
) -> LayerCosts:
    """Measured cycles of every layer: the same inference again and again, in turn plain and profiled.

    The whole inference is the plain one, less what its idle hooks take, which the board has calibrated.

    Raises:
        VmcuError: as `run_on_board`; (INPUT) an emulated board, whose ticks are no cycles.
    """
    if port == EMULATED or not model.target.is_board:
        what = "an emulated board has no cycles to measure"
        raise fail(what, f"board '{model.target.name}'", f"vmcu profile MODEL -t {model.target.name}")
    with connect(model, port) as (client, name):
        if client.info.counter == COUNTERS[0]:
            fix = "its chip has no counter that moves; profile its core with -t"
            raise fail("nothing counts its cycles", f"board '{client.info.board}'", fix)
        whole, steps = [], []
        for _ in range(warm_up + repetitions):
            client.reset()
            _, plain = client.infer(inference, limit_seconds=limit_seconds)
            client.reset()
            client.infer(inference, profile=True, limit_seconds=limit_seconds)
            found = client.profile()
            steps.append(found)
            whole.append(
                max(round(plain.ticks - client.info.empty_ticks - plain.tasks * found.idle_ticks), 0)
            )
        return from_board(
            f"{client.info.board} at {name}, {client.info.counter}, {client.info.compiler}",
            [s.ticks for s in steps],
            whole,
            steps[-1].tasks,
            hook_cycles=round(steps[-1].lap_ticks),
            warm_up=warm_up,
            label=cycles_label(model.target, client.info, name),
            is_measured=cycles_label(model.target, client.info, name) != UNMEASURED,
        )


def cycles_label(target: Target, info: Info, port: str) -> str:
    """What the ticks of a board's counter are called.

    A port of this machine leads to a chip. What answers at a URL may be an emulator that vmcu knows nothing of: it certainly
    may be where QEMU has the very board, or where the DWT counter that the board's file promises stands still, as an
    emulator's does. Elsewhere the reader is told what the word "measured" rests on.
    """
    if "://" not in port:
        return MEASURED
    is_stuck = target.firmware is not None and target.firmware.counter == "dwt" and info.counter != "DWT"
    return UNMEASURED if target.machine is not None or is_stuck else FAR_END


@contextmanager
def connect(model: BoardModel, port: str | None) -> Iterator[tuple[Client, str]]:
    """A session with a board that holds the model, and the name of its port.

    Raises:
        VmcuError: as `run_on_board`.
    """
    if port == EMULATED:
        if model.target.console and model.target.console.driver == RTT:
            raise fail("an emulated board talks over its UART", "--console rtt", "leave it out")
        with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
            firmware = model.build(emulated(model.target), Path(folder))
            with (
                EmulatedBoard(firmware.target, firmware.elf) as board,
                _opened(model, board.port, firmware, READY_SECONDS) as client,
            ):
                yield client, EMULATED
        return
    name = port or find_port(model.target)
    if is_rtt(name):
        model = replace(model, target=with_rtt(model.target))
    with _opened(model, name, None, 0.0) as client:
        yield client, name


@contextmanager
def _opened(
    model: BoardModel, port: str, firmware: BoardFirmware | None, ready_seconds: float
) -> Iterator[Client]:
    link = open_port(model.target, port)
    known: list[Info] = []
    try:
        client = Client(
            link,
            lambda fault: _explain(model, fault, firmware, known[0] if known else None),
            answer_seconds=PATIENT_SECONDS if firmware or port.startswith("socket:") else ANSWER_SECONDS,
            ready_seconds=ready_seconds,
        )
        known.append(client.info)
        check_model(client.info, model)
        yield client
    finally:
        link.close()


def open_port(target: Target, port: str) -> Link:
    """The line to a board, whatever it is.

    Raises:
        VmcuError: (TOOL) it does not open; (INPUT) it is no port.
    """
    if is_rtt(port):
        return Link(port, open_rtt(target, port))
    return open_link(port, target.console.baud if target.console else 115_200)


def check_model(info: Info, model: BoardModel) -> None:
    """Does the board hold this model, compiled like this?

    Raises:
        VmcuError: (INPUT) another one; names both.
    """
    where = f"board '{info.board}'"
    flash = f"put it there with `vmcu flash MODEL --board {model.target.name}`"
    if info.model != model.sha256:
        what = f"holds another model: '{info.project}' of sha256 {info.model[:16]}, not '{model.project.name}' of sha256 {model.sha256[:16]}"
        raise fail(what, where, flash)
    if info.build != build_id(model.project):
        what = f"holds this model ('{info.project}', sha256 {info.model[:16]}), compiled with other options or another version of vmcu"
        raise fail(what, where, f"{flash}, with the same options")


def find_port(target: Target) -> str:
    """The serial port of the board, by its USB number; for a console in RAM any probe.

    Raises:
        VmcuError: (TOOL) none, or several.
    """
    if target.console and target.console.driver == RTT:
        return PORT
    where = f"board '{target.name}'"
    wanted = set(target.probe.usb) if target.probe else set()
    ports = [p for p in list_ports.comports() if p.vid is not None]
    found = [p.device for p in ports if f"{p.vid:04x}:{p.pid:04x}" in wanted]
    if len(found) == 1:
        return str(found[0])
    if found:
        what = f"several ports could be it: {', '.join(sorted(found))}"
        raise fail(what, where, "name one with --port", Exit.TOOL)
    names = ", ".join(sorted(f"{p.device} ({p.vid:04x}:{p.pid:04x})" for p in ports)) or "none"
    numbers = f" (USB {', '.join(sorted(wanted))})" if wanted else ""
    fix = f"plug it in, or name its port with --port; USB ports there are: {names}"
    raise fail(f"its serial port{numbers} is not there", where, fix, Exit.TOOL)


def _explain(model: BoardModel, fault: Fault, firmware: BoardFirmware | None, info: Info | None) -> VmcuError:
    """The error of a fault, with the names in the program on the board, which is built again to know them.

    Addresses stay numbers where this machine has another compiler than the one that built it.
    """
    project = model.project
    if firmware is not None:
        return explain_fault(fault, firmware.read(), project.steps, firmware.target.name)
    with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
        try:
            built = model.build(model.target, Path(folder), hooks=info is None or info.has_hooks)
            same = info is None or (str(built.compiler), built.build) == (info.compiler, info.build)
            elf = built.read() if same else None
        except VmcuError:
            elf = None  # no compiler here: addresses must do
    return explain_fault(fault, elf, project.steps, model.target.name)


def _cycles(info: Info, ticks: Sequence[int]) -> tuple[int, ...] | None:
    """Of the model alone: without the call that was measured for nothing."""
    if info.counter not in ("DWT", "SysTick", "FPGAIO"):
        return None
    return tuple(max(t - info.empty_ticks, 0) for t in ticks)


def _instructions(info: Info, target: Target, ticks: Sequence[int]) -> tuple[int, ...] | None:
    """Of a machine whose counter ticks a known number of times an instruction."""
    if info.counter != "FPGAIO" or target.qemu is None:
        return None
    numerator, denominator = target.qemu.ticks_per_instruction

    def instructions(count: int) -> int:
        return (count * denominator + numerator // 2) // numerator

    return tuple(instructions(t) - instructions(info.empty_ticks) + CALL_INSTRUCTIONS for t in ticks)
