"""CProject -> BoardFirmware: the program that stays on a board and serves one model over its serial line."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vmcu.board.boot import seal
from vmcu.errors import fail
from vmcu.ir.cproject import CProject
from vmcu.resources import folder
from vmcu.targets import Console, Setup, Target
from vmcu.toolchain.app import board_script, callbacks, run_symbol
from vmcu.toolchain.build import Job, base_flags, counter_flags, stack_frames
from vmcu.toolchain.compilers import Compiler
from vmcu.toolchain.elf import SHF_WRITE, Elf, read_elf
from vmcu.toolchain.stack import call_graph

SERVER_STACK_BYTES = 1024  # of the server around the model, an interrupt and its registers; tests paint it
_SOURCES = (
    "start.c",
    "fault.S",
    "fault.c",
    "counter.c",
    "guard.c",
    "hooks.c",
    "rows.c",
    "server.c",
    "commands.c",
    "reply.c",
    "frame.c",
)
_START = {"write": 0, "modify": 1, "wait": 2}


@dataclass(frozen=True, slots=True)
class BoardFirmware:
    """A program for a board.

    Attributes:
        elf: the file.
        project, target, compiler: what was built, for what, with what.
        model: sha256 of the model file, as the board will say it.
        build: sha256 of the generated C, likewise.
        has_hooks: it can profile.
        stack_bytes: reserved on the board.
    """

    elf: Path
    project: CProject
    target: Target
    compiler: Compiler
    model: str
    build: str
    has_hooks: bool
    stack_bytes: int

    def read(self) -> Elf:
        """The program's symbols and contents."""
        return read_elf(self.elf)


def build_id(project: CProject) -> str:
    """What tells one generated project from another: sha256 over all its files."""
    digest = sha256()
    for name in sorted(project.files):
        digest.update(f"{name}\0{len(project.files[name])}\0{project.files[name]}".encode())
    return digest.hexdigest()


def build_board(
    project: CProject,
    target: Target,
    compiler: Compiler,
    *,
    workdir: Path,
    model: str,
    hooks: bool = True,
    optimise: str | None = None,
) -> BoardFirmware:
    """Builds the inference server of a model for a board, or for the machine that emulates a core.

    Args:
        workdir: an existing folder that belongs to this build.
        model: sha256 of the model file, in hexadecimal.
        optimise: option of the compiler; by default the one the project was planned for.
        hooks: with a call after every task, so that it can profile and a fault can name the layer.

    Raises:
        VmcuError: (INPUT) vmcu has no firmware for the target; (TOOL) the compiler fails; (DOES_NOT_FIT) flash or RAM.
    """
    setup, console = needs(target)
    flags = (
        *base_flags(target, compiler, optimise or project.optimise),
        *(("-DVMCU_HOOKS",) if hooks else ()),
    )
    job = Job(project, compiler, workdir, flags, ("board", "port"))
    (workdir / "app").mkdir(exist_ok=True)
    header = vmcu_board_header(project, target, setup, console, compiler, model)
    (workdir / "app" / "vmcu_board.h").write_text(header, encoding="utf-8")
    boot = (f"boot_{setup.boot}.S",) if setup.boot else ()
    sources = [f"board/{name}" for name in (*_SOURCES, f"console_{console.driver}.c", *boot)]
    counter = counter_flags(target) if setup.counter == "fpgaio" else ()
    wanted = ("-DVMCU_COUNTER_DWT_WANTED",) if setup.counter == "dwt" else ()
    own, rest = job.compile((*sources, "port/cpu.S", "libc/mem.c"), (*counter, *wanted))
    elf = workdir / f"{project.name}_{target.name}.elf"
    script = workdir.resolve() / "board.ld"

    def link(stack_bytes: int, static_bytes: int) -> Elf:
        text = board_script(
            target,
            pool_bytes=project.pool_bytes + 48,  # and its canaries
            stack_bytes=stack_bytes,
            static_bytes=static_bytes,
            is_split=project.split_bytes > 0,
        )
        script.write_text(text, encoding="utf-8")
        job.link_program(target, script, own + rest, elf)
        return read_elf(elf)

    first = link(SERVER_STACK_BYTES, sum(_static_bytes(read_elf(o)) for o in own + rest))
    roots = [run_symbol(project), f"{project.name}_init", f"{project.name}_reset"]
    graph = call_graph(first, roots, stack_frames(compiler, first, own + rest), callbacks(project))
    stack = -(-(graph.stack_bytes + SERVER_STACK_BYTES) // 8) * 8
    link(stack, _static_bytes(first))
    if setup.boot == "second_stage":
        seal(elf)
    return BoardFirmware(elf, project, target, compiler, model, build_id(project), hooks, stack)


def _static_bytes(elf: Elf) -> int:
    """Of variables; of an object also of those that the linker will leave out."""
    return sum(
        s.size_bytes for s in elf.sections if s.flags & SHF_WRITE and s.name.startswith((".data", ".bss"))
    )


def needs(target: Target) -> tuple[Setup, Console]:
    """What a board's file has to hold for a firmware.

    Raises:
        VmcuError: (INPUT) it does not, or the user wants a memory that nothing there sets up.
    """
    if target.firmware is None or target.console is None:
        what = "vmcu has no firmware for it: its file has no tables [firmware] and [console]"
        raise fail(what, f"board '{target.name}'", "add them (CONTRIBUTING.md), or choose another board")
    chosen = {*(target.pool_region or "").split(","), target.weights_region}
    for region in (*target.ram, *target.flash):
        if (
            region.name in chosen
            and region.kind == "external"
            and region.name not in target.firmware.external
        ):
            what = f"nothing sets up {region.name}, which is beside the chip, before vmcu's firmware uses it"
            fix = (
                "let `start` do that and name it in `external` (CONTRIBUTING.md), choose another region, or use the "
                "generated C in your own firmware"
            )
            raise fail(what, f"board '{target.name}'", fix)
    driver = folder("firmware") / "board" / f"console_{target.console.driver}.c"
    if not driver.is_file():
        known = ", ".join(sorted(p.stem.removeprefix("console_") for p in driver.parent.glob("console_*.c")))
        what = f"there is no console driver '{target.console.driver}'"
        raise fail(what, f"board '{target.name}'", f"there are {known}")
    return target.firmware, target.console


def vmcu_board_header(
    project: CProject, target: Target, setup: Setup, console: Console, compiler: Compiler, model: str
) -> str:
    """`vmcu_board.h`: what the firmware must know of board and build."""
    meter = target.meter
    steps = [
        f"{{{_START[s.kind]}U, {s.address:#x}U, {s.mask:#x}U, {s.value:#x}U}}"
        for s in (*setup.start, *(meter.start if meter else ()))
    ]
    macros = {
        "BOARD_NAME": _text(target.name),
        "BOARD_PROJECT": _text(project.name),
        "BOARD_COMPILER": _text(str(compiler)),
        "BOARD_MODEL": _bytes(model),
        "BOARD_BUILD": _bytes(build_id(project)),
        "BOARD_STATE_BYTES": f"{project.state_bytes}U",
        "BOARD_CLOCK_HZ": f"{setup.clock_hz}U",
        "BOARD_COUNTER_HZ": f"{setup.clock_hz}U",
        "START_WRITE": "0U",
        "START_MODIFY": "1U",
        "BOARD_START_COUNT": str(len(steps)),
        "BOARD_START": "{" + ", ".join(steps) + "}",
        "CONSOLE_BASE": f"{console.base:#x}U",
        "CONSOLE_CLOCK_HZ": f"{console.clock_hz}U",
        "CONSOLE_BAUD": f"{console.baud}U",
    }
    for level, write in (("HIGH", meter.high), ("LOW", meter.low)) if meter else ():
        macros[f"METER_{level}_ADDRESS"], macros[f"METER_{level}"] = (f"{one:#x}U" for one in write)
    lines = [f"#define VMCU_{name} {value}" for name, value in macros.items()]
    return "\n".join(["#include <stdint.h>", *lines]) + "\n"


def _text(text: str) -> str:
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)[:63] + '"'


def _bytes(digest: str) -> str:
    return "{" + ", ".join(f"0x{digest[i : i + 2]}U" for i in range(0, 64, 2)) + "}"
