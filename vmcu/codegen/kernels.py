"""One C function per distinct kernel: steps that differ only in their constants share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmcu.codegen.render import render
from vmcu.ops.base import PLACEHOLDER, Kernel


@dataclass(frozen=True, slots=True)
class KernelFunctions:
    """The kernels of a project.

    Attributes:
        texts: C functions, in order of first use.
        names: per step the function it calls.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]


def make_kernels(kernels: Sequence[Kernel]) -> KernelFunctions:
    """Renders the kernel of every step; equal text is one function, named after its template."""
    texts = _Texts()
    names = []
    for kernel in kernels:
        called = {word: texts.name(f.stem, f.text) for word, f in kernel.functions.items()}
        context = {**kernel.context, **called, "called": called, "signature": _signature(kernel)}
        names.append(texts.name(kernel.template, render(f"kernels/{kernel.template}.c", context)))
    return KernelFunctions(tuple(texts.found), tuple(names))


class _Texts:
    """Functions by their text, in order of first use."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def name(self, stem: str, text: str) -> str:
        """The name of the function with this text."""
        if text not in self._names:
            self._numbers[stem] = self._numbers.get(stem, 0) + 1
            self._names[text] = f"{stem}_{self._numbers[stem]}"
            self.found.append(text.replace(PLACEHOLDER, self._names[text]).rstrip() + "\n")
        return self._names[text]


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
