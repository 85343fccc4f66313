"""Text files of a build that depend on the project or the target: `vmcu_app.h` and the linker script."""

from __future__ import annotations

from collections.abc import Sequence

from vmcu.ir.cproject import CProject, Port
from vmcu.resources import folder
from vmcu.targets import Target

STACK_RESERVE_BYTES = 0x4000  # the harness and the model's stack, in the emulated machine


RUN_ROWS = "vmcu_app_run"  # the harness's wrapper of a model with streamed inputs
CALLBACK = "vmcu_app_read_rows"
HARNESS = frozenset((RUN_ROWS, CALLBACK))
STREAM = "vmcu_app_stream"  # where the wrapper's callback finds the inputs


def run_symbol(project: CProject) -> str:
    """The function `int f(void *pool)` that runs one inference."""
    return RUN_ROWS if project.streams else f"{project.name}_run"


def app_header(project: CProject) -> str:
    """`vmcu_app.h`: what the harness must know of the model."""
    streamed = [p for p in project.inputs if p.streamed]
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
    if streamed:
        arguments = "".join(f", {CALLBACK}, &vmcu_app_sources[{i}]" for i in range(len(streamed)))
        macros["RUN_ROWS"] = f"{project.name}_run_rows(pool{arguments})"
        macros["SOURCE_COUNT"] = f"{len(streamed)}U"
        macros["SOURCE_BYTES"] = f"{sum(p.size_bytes for p in streamed)}U"
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
