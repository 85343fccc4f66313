"""One C function per distinct kernel: steps that differ only in their constants share it."""

from __future__ import annotations

from dataclasses import dataclass

from vmcu.codegen.render import render
from vmcu.ops.base import Kernel

PLACEHOLDER = "vmcu_kernel_name"


@dataclass(frozen=True, slots=True)
class KernelFunctions:
    """The kernels of a project.

    Attributes:
        texts: C functions, in order of first use.
        names: per step the function it calls.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]


def make_kernels(kernels: list[Kernel]) -> KernelFunctions:
    """Renders the kernel of every step; equal text is one function, named after its template."""
    found: dict[str, str] = {}
    numbers: dict[str, int] = {}
    texts, names = [], []
    for kernel in kernels:
        text = render(f"kernels/{kernel.template}.c", {**kernel.context, "signature": _signature(kernel)})
        if text not in found:
            numbers[kernel.template] = numbers.get(kernel.template, 0) + 1
            found[text] = f"{kernel.template}_{numbers[kernel.template]}"
            texts.append(text.replace(PLACEHOLDER, found[text]).rstrip() + "\n")
        names.append(found[text])
    return KernelFunctions(tuple(texts), tuple(names))


def _signature(kernel: Kernel) -> str:
    parameters = ["const int8_t *const *in", "int8_t *out"]
    if kernel.uses_row:
        parameters.append("int32_t row")
    if kernel.uses_caller:
        parameters.append("struct vmcu_caller *caller")
    if kernel.scratch_bytes:
        parameters.append("int8_t *scratch")
    if kernel.pad_pixel:
        parameters.append("const int8_t *pad")
    parameters += [f"const {c.values.dtype}_t *{c.suffix}" for c in kernel.constants]
    lines = [f"static void {PLACEHOLDER}("]
    for i, parameter in enumerate(parameters):
        last = i == len(parameters) - 1
        word = parameter + (")" if last else ", ")
        if len(lines[-1]) + len(word) > 100:
            lines[-1] = lines[-1].rstrip()
            lines.append("    ")
        lines[-1] += word
    return "\n".join(lines)
