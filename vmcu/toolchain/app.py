"""Text files of a build that depend on the project or the target: `vmcu_app.h` and the linker script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmcu.errors import Exit, fail
from vmcu.ir.cproject import CProject, Port
from vmcu.resources import folder
from vmcu.targets import Region, Target, place_ram

STACK_RESERVE_BYTES = 0x4000  # the harness and the model's stack, in the emulated machine
VECTORS_BYTES = 0x100  # room for the vector table: the exceptions of the core and 48 interrupts
SECOND_STAGE_BYTES = 0x100  # in front of the vectors, where a boot ROM wants one
GUARD_BYTES = (
    0x100  # below a board's stack: the smallest region of an Armv6-M MPU, and a multiple of all others'
)

RUN_ROWS = "vmcu_app_run"  # the harness's wrapper of a model with streamed inputs or outputs
READ_ROWS, WRITE_ROWS = "vmcu_app_read_rows", "vmcu_app_write_rows"  # its callbacks
HARNESS = frozenset((RUN_ROWS, READ_ROWS, WRITE_ROWS))
STREAM = "vmcu_app_stream"  # where its callback finds the inputs
RECEIVED = "vmcu_app_received"  # where its callback leaves the outputs


_BOOT = "    .boot : { KEEP(*(.boot)) } > @\n"  # likewise; at most 4 KB behind the beginning
_SECOND = "    .pool_second (NOLOAD) : ALIGN(8) { *(.pool_second) } > @\n"  # of `board.ld.in`


def run_symbol(project: CProject) -> str:
    """The function `int f(void *pool)` that runs one inference."""
    return RUN_ROWS if project.streams else f"{project.name}_run"


def callbacks(project: CProject) -> tuple[str, ...]:
    """The functions that the model calls through pointers."""
    ways = ((READ_ROWS, project.inputs), (WRITE_ROWS, project.outputs))
    return tuple(name for name, ports in ways if any(p.streamed for p in ports))


def app_header(project: CProject) -> str:
    """`vmcu_app.h`: what the harness must know of the model."""
    delivered, received = ([p for p in ports if p.streamed] for ports in (project.inputs, project.outputs))
    macros = {
        "RUN": run_symbol(project),
        "INIT": f"{project.name}_init",
        "RESET": f"{project.name}_reset",
        "POOL_BYTES": f"{max(project.pool_bytes, 1)}U",
        "POOL_ALIGN": f"{project.pool_align}U",
        "STEP_COUNT": f"{max(len(project.steps), 1)}U",
        "INPUT_COUNT": f"{len(project.inputs)}U",
        "INPUTS": _ranges(project.inputs),
        "OUTPUT_COUNT": f"{len(project.outputs)}U",
        "OUTPUTS": _ranges(project.outputs),
    }
    if project.split_bytes:
        macros["POOL"] = f"struct {project.name}_pool"
        macros["SPLIT_BYTES"] = f"{project.split_bytes}U"
    if delivered or received:
        arguments = [f"{READ_ROWS}, &vmcu_app_sources[{i}]" for i in range(len(delivered))]
        arguments += [f"{WRITE_ROWS}, &vmcu_app_sinks[{i}]" for i in range(len(received))]
        macros["RUN_ROWS"] = f"{project.name}_run_rows(pool, {', '.join(arguments)})"
    for name, ports in (("SOURCE", delivered), ("SINK", received)):
        if ports:
            macros[f"{name}_COUNT"] = f"{len(ports)}U"
            macros[f"{name}_BYTES"] = f"{sum(p.size_bytes for p in ports)}U"
    lines = [f'#include "{project.name}.h"', *(f"#define VMCU_APP_{k} {v}" for k, v in macros.items())]
    return "\n".join(lines) + "\n"


def linker_script(target: Target) -> str:
    """The linker script of the machine that runs the target."""
    memory = target.memory
    values = {
        "VECTORS_ORIGIN": memory.vectors_origin,
        "FLASH_ORIGIN": memory.flash_origin,
        "FLASH_BYTES": memory.flash_bytes,
        "RAM_ORIGIN": memory.ram_origin,
        "RAM_BYTES": memory.ram_bytes,
        "STACK_BYTES": STACK_RESERVE_BYTES,
    }
    return _filled("port/link.ld.in", {name: f"{value:#x}" for name, value in values.items()})


def board_script(
    target: Target, *, pool_bytes: int, stack_bytes: int, static_bytes: int, is_split: bool = False
) -> str:
    """The linker script of a firmware that stays on a board: `firmware/board/board.ld.in`.

    The pool goes where `place_ram` puts it, constants of objects named `model_*.o` where the user wants them.

    Args:
        target: a board, or the core of an emulated machine.
        pool_bytes: of section `.pool`, and of `.pool_second`.
        stack_bytes: to reserve, a multiple of 8.
        static_bytes: about as much as the firmware's variables take; it decides in which region they and the stack go.
        is_split: the pool has a second array. Where the target's pool goes to one region, both lie there.

    Raises:
        VmcuError: (DOES_NOT_FIT) there is no such room; how much there is.
    """
    rest_bytes = GUARD_BYTES + stack_bytes + static_bytes
    place = place_ram(target, pool_bytes, rest_bytes)
    if place is None:
        what = (
            f"pool {pool_bytes:,}, stack {stack_bytes:,} and variables {static_bytes:,} bytes find no place"
        )
        regions = ", ".join(f"{r.name} ({r.size_bytes:,})" for r in target.ram)
        fix = f"its RAM is {regions}: choose another --pool-region, a larger board or a smaller model"
        raise fail(what, f"target '{target.name}'", fix, Exit.DOES_NOT_FIT)
    code = target.flash[0]
    weights = next((r for r in target.flash if r.name == target.weights_region), code)
    boot = target.firmware.boot if target.firmware else None
    # A board has its vectors where its flash begins; an emulated machine may have them in another memory.
    vectors_origin = code.origin + (SECOND_STAGE_BYTES if boot == "second_stage" else 0)
    code_origin = vectors_origin + VECTORS_BYTES
    if not target.is_board:
        vectors_origin, code_origin = target.memory.vectors_origin, code.origin
    memory = [
        _line("VECTORS", "rx", Region("", vectors_origin, VECTORS_BYTES, 0)),
        _line("FLASH", "rx", Region("", code_origin, code.end - code_origin, 0)),
        _line("RAM", "rw", place.rest),
    ]
    if boot == "second_stage":
        memory.append(_line("BOOT", "rx", Region("", code.origin, SECOND_STAGE_BYTES, 0)))
    if weights is not code:
        memory.append(_line("WEIGHTS", "r", weights))
    if place.pool is not place.rest:
        memory.append(_line("POOL", "rw", place.pool))
    pool_in = second_in = "RAM" if place.pool is place.rest else "POOL"
    if place.second is not None:
        second_in = "RAM" if place.second is place.rest else "SECOND"
        if place.second is not place.rest:
            memory.append(_line("SECOND", "rw", place.second))
    return _filled(
        "board/board.ld.in",
        {
            "MEMORY": "\n".join(memory),
            "BOOT": _BOOT.replace("@", "BOOT" if boot == "second_stage" else "FLASH") if boot else "",
            "WEIGHTS_IN": "FLASH" if weights is code else "WEIGHTS",
            "POOL_IN": pool_in,
            "SECOND": _SECOND.replace("@", second_in) if is_split else "",
            "STACK_BYTES": f"{stack_bytes:#x}",
            "GUARD_BYTES": f"{GUARD_BYTES:#x}",
        },
    )


def _line(name: str, access: str, region: Region) -> str:
    comment = f" /* {region.name} */" if region.name else ""
    return f"    {name} ({access}) : ORIGIN = {region.origin:#010x}, LENGTH = {region.size_bytes:#x}{comment}"


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = (folder("firmware") / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _ranges(ports: Sequence[Port]) -> str:
    inner = ", ".join(
        f"{{{p.offset_bytes}U, {p.size_bytes}U, {p.row_bytes if p.streamed else 0}U}}" for p in ports
    )
    return "{" + (inner or "{0U, 0U, 0U}") + "}"
