"""Text files of a build that depend on the project or the target: `vmcu_app.h` and the linker script."""

from __future__ import annotations

from collections.abc import Sequence

from vmcu.ir.cproject import CProject, Port
from vmcu.resources import folder
from vmcu.targets import Target

STACK_RESERVE_BYTES = 0x4000  # the harness and the model's stack, in the emulated machine


RUN_ROWS = "vmcu_app_run"  # the harness's wrapper of a model with streamed inputs or outputs
READ_ROWS, WRITE_ROWS = "vmcu_app_read_rows", "vmcu_app_write_rows"  # its callbacks
HARNESS = frozenset((RUN_ROWS, READ_ROWS, WRITE_ROWS))
STREAM = "vmcu_app_stream"  # where its callback finds the inputs
RECEIVED = "vmcu_app_received"  # where its callback leaves the outputs


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
    text = (folder("firmware") / "port" / "link.ld.in").read_text(encoding="utf-8")
    memory = target.memory
    values = {
        "VECTORS_ORIGIN": memory.vectors_origin,
        "FLASH_ORIGIN": memory.flash_origin,
        "FLASH_BYTES": memory.flash_bytes,
        "RAM_ORIGIN": memory.ram_origin,
        "RAM_BYTES": memory.ram_bytes,
        "STACK_BYTES": STACK_RESERVE_BYTES,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", f"{value:#x}")
    return text


def _ranges(ports: Sequence[Port]) -> str:
    inner = ", ".join(
        f"{{{p.offset_bytes}U, {p.size_bytes}U, {p.row_bytes if p.streamed else 0}U}}" for p in ports
    )
    return "{" + (inner or "{0U, 0U, 0U}") + "}"
