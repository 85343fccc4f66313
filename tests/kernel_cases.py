"""Kernels on their own, many at a time: a project whose inference runs every kernel of every case and compares bytes.

Every row a kernel may read is an array of its own, so that AddressSanitizer sees the first byte read beyond it; so are its
output and its scratch. The project runs on the host, with sanitizers, and on any emulated core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vmcu.codegen.kernels import make_kernels
from vmcu.codegen.project import RUNTIME
from vmcu.codegen.text import c_array
from vmcu.ir.cproject import CProject, Port
from vmcu.ir.quantized import Isa, Tensor
from vmcu.ops.base import Kernel, QOp, segments_of
from vmcu.resources import folder
from vmcu.run import run
from vmcu.targets import Target
from vmcu.toolchain import build, build_host, find_compiler

UNTOUCHED = 0x55
SAME = """\
static __attribute__((noinline)) int8_t differs(const int8_t *a, const int8_t *b, uint32_t bytes)
{
    uint32_t i;
    for (i = 0U; i < bytes; i++) {
        if (a[i] != b[i]) {
            return 1;
        }
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Case:
    """An operator with inputs.

    Attributes:
        segments: of the output, that are computed.
    """

    op: QOp
    ins: tuple[Tensor, ...]
    out: Tensor
    arrays: tuple[np.ndarray, ...]
    segments: tuple[int, ...]


def segment(tensor: Tensor, array: np.ndarray, number: int) -> np.ndarray:
    """A row, or a tile of a row."""
    row, tile = divmod(number, tensor.tiles)
    return array[row, tile * tensor.segment_cols : (tile + 1) * tensor.segment_cols].reshape(-1)


def offered(op: QOp, ins: tuple[Tensor, ...], out: Tensor, isa: Isa) -> list[Kernel]:
    """Every kernel, those for less flash with a text of their own too."""
    found = list(op.kernels(ins, out, isa))
    for lean in [lean for kernel in found for lean in kernel.leaner]:
        if all(lean.functions != k.functions or lean.template != k.template for k in found):
            found.append(lean)
    return found


def make_project(cases: Sequence[Case], isa: Isa) -> tuple[CProject, tuple[str, ...]]:
    """The project, and what each byte of its output stands for: 0 is a kernel that was right everywhere."""
    jobs: list[tuple[int, Kernel]] = []
    for i, case in enumerate(cases):
        jobs += [(i, k) for k in offered(case.op, case.ins, case.out, isa)]
    functions = make_kernels([k for _, k in jobs])
    headers = RUNTIME[isa]
    text = ['#include "cases.h"', "#include <string.h>", *(f'#include "{h}"' for h in headers)]
    text += [SAME, *functions.texts]
    for i, case in enumerate(cases):
        text += _data(i, case)
    body = []
    for j, (i, kernel) in enumerate(jobs):
        text += [c_array(f"k{j}_{c.suffix}", c.values) for c in kernel.constants]
        if kernel.scratch_bytes:
            # An array of its own, aligned as the plan aligns scratch.
            text.append(f"static int32_t k{j}_scratch[{-(-kernel.scratch_bytes // 4)}];")
        body += [f"    out[{j}] = job_{j}();"]
        text += _job(j, i, cases[i], kernel, functions.names[j])
    text += [
        "int cases_run(void *pool)",
        "{",
        "    int8_t *out = (int8_t *)pool + 4;",
        *body,
        "    return 0;",
        "}",
    ]
    text += [
        f"int cases_{name}(void *pool)\n{{\n    (void)pool;\n    return 0;\n}}" for name in ("reset", "init")
    ]
    prototypes = [f"int cases_{name}(void *pool);" for name in ("init", "run", "reset")]
    files = {
        "cases.h": "\n".join(["#ifndef CASES_H", "#define CASES_H", *prototypes, "#endif", ""]),
        "cases.c": "\n".join([*text, ""]),
        **{h: (folder("firmware") / "runtime" / h).read_text() for h in headers},
    }
    size = -(-len(jobs) // 4) * 4
    project = CProject(
        "cases",
        MappingProxyType(files),
        ("cases.c",),
        4 + size,
        4,
        0,
        (Port("x", "input", 0, 4),),
        (Port("y", "output", 4, size),),
        ("all",),
        0,
        0,
    )
    return project, tuple(f"case {i}, {k.template}: {cases[i].op}"[:600] for i, k in jobs)


def _data(i: int, case: Case) -> list[str]:
    wanted = np.asarray(case.op.reference(case.arrays, case.out))
    text = []
    for k, (tensor, array) in enumerate(zip(case.ins, case.arrays, strict=True)):
        needed = {n for s in case.segments for n in _reads(case, k, s)}
        text += [c_array(f"c{i}_in{k}_{n}", segment(tensor, array, n)) for n in sorted(needed - {-1})]
    text += [c_array(f"c{i}_want_{s}", segment(case.out, wanted, s)) for s in case.segments]
    size = segment(case.out, wanted, 0).size
    return [*text, f"static int8_t c{i}_out[{size}];"]


def _reads(case: Case, k: int, s: int) -> tuple[int, ...]:
    access = case.op.access(case.ins, case.out)[k]
    return segments_of(access, s, case.ins[k].segments)


def _job(j: int, i: int, case: Case, kernel: Kernel, name: str) -> list[str]:
    text = []
    size = max(t.row_bytes for t in case.ins) if case.ins else 1
    padded = any(-1 in _reads(case, k, s) for k in range(len(case.ins)) for s in case.segments)
    if padded or kernel.pad_pixel:
        text.append(c_array(f"k{j}_pad", np.full(size, kernel.pad_value or 0, np.int8)))
    text += [f"static int8_t job_{j}(void)", "{", "    int8_t wrong = 0;"]
    for s in case.segments:
        rows = [
            f"c{i}_in{k}_{n}" if n >= 0 else f"k{j}_pad"
            for k in range(len(case.ins))
            for n in _reads(case, k, s)
        ]
        arguments = ["in", f"c{i}_out", *([str(s)] if kernel.uses_row else [])]
        if kernel.scratch_bytes:
            arguments.append(f"(int8_t *)(void *)k{j}_scratch")
        if kernel.pad_pixel:
            arguments.append(f"k{j}_pad")
        arguments += [f"k{j}_{c.suffix}" for c in kernel.constants]
        text += [
            "    {",
            f"        const int8_t *const in[] = {{{', '.join(rows)}}};",
            f"        memset(c{i}_out, {UNTOUCHED}, sizeof c{i}_out);",
            f"        {name}({', '.join(arguments)});",
            f"        wrong = (int8_t)(wrong | differs(c{i}_out, c{i}_want_{s}, sizeof c{i}_out));",
            "    }",
        ]
    return [*text, "    return wrong;", "}"]


def wrong_kernels(
    cases: Sequence[Case], isa: Isa, where: Target | None, compiler: str, workdir: Path
) -> list[str]:
    """Kernels that computed something else than the reference; on the host with sanitizers where there is no target."""
    project, names = make_project(cases, isa)
    if where is None:
        firmware = build_host(project, workdir=workdir)
    else:
        firmware = build(project, where, find_compiler(compiler), workdir=workdir)  # type: ignore[arg-type]
    report = run(firmware, [[bytes(4)]], engine="host" if where is None else "qemu")
    found = report.outputs[0][0]
    return [name for name, value in zip(names, found, strict=False) if value]
