"""Worst-case stack of the model's functions: the compiler's frames along the longest call path.

Frames come from the compiler (GCC's call graph file, clang's `.stack_sizes`); those of library
functions, which the compiler did not see, from their machine code. Calls come from the machine code
of the linked program, so that no call is missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmcu.errors import internal
from vmcu.toolchain.elf import STT_FUNC, Elf
from vmcu.toolchain.thumb import Function, functions_of

HOOK = "vmcu_task_done"  # not part of the model
LEAST_FRAME = 4  # bytes; up to this, what a function's machine code pushes says more


@dataclass(frozen=True, slots=True)
class CallGraph:
    """What the model's functions need.

    Attributes:
        stack_bytes: deepest path from any root.
        reached: every function on any path, by name, with its size in bytes of code.
        depths: the deepest path from each of them, its own frame included.
    """

    stack_bytes: int
    reached: Mapping[str, int]
    depths: Mapping[str, int]


def gcc_frames(texts: Iterable[str]) -> dict[str, int]:
    """Frame bytes by function name, from the files of `-fcallgraph-info=su`.

    Raises:
        VmcuError: (BUG) a frame of no fixed size.
    """
    frames: dict[str, int] = {}
    for text in texts:
        for title, bytes_, kind in re.findall(
            r'title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \(([^)]*)\)', text
        ):
            name = title.rsplit(":", 1)[-1]
            if kind != "static":
                raise internal(f"has a stack frame of no fixed size ({kind})", f"function {name}")
            frames[name] = max(int(bytes_), frames.get(name, 0))
    return frames


def clang_frames(elf: Elf) -> dict[str, int]:
    """Frame bytes by function name, from `.stack_sizes` of a linked program."""
    names: dict[int, list[str]] = {}
    for s in elf.symbols:
        if s.kind == STT_FUNC:
            names.setdefault(s.address & ~1, []).append(s.name)
    frames: dict[str, int] = {}
    for section in elf.sections:
        if section.name != ".stack_sizes":
            continue
        data, at = elf.content(section), 0
        while at + 5 <= len(data):
            address = int.from_bytes(data[at : at + 4], "little") & ~1
            size, at = _uleb128(data, at + 4)
            for name in names.get(address, ()):
                frames[name] = max(size, frames.get(name, 0))
    return frames


def call_graph(
    elf: Elf, roots: Iterable[str], frames: Mapping[str, int], callbacks: Sequence[str] = ()
) -> CallGraph:
    """Follows every call from the roots.

    Args:
        elf: the linked program.
        roots: names of the functions to start from.
        frames: bytes by function name.
        callbacks: where calls through pointers go to; none where there is no such call.

    Raises:
        VmcuError: (BUG) recursion, a call through a pointer or into the unknown, a frame of no
            known size: none of these is in code that vmcu generates.
    """
    functions = functions_of(elf)
    by_name = {f.name: f for f in functions.values()}
    depth: dict[int, int] = {}
    reached: dict[str, int] = {}
    depths: dict[str, int] = {}

    def follow(function: Function, path: tuple[str, ...]) -> int:
        if function.name == HOOK:
            return 0
        if function.name in path:
            raise internal("recursion: its stack has no bound", " -> ".join((*path, function.name)))
        if function.indirect and not callbacks:
            raise internal("calls through a pointer: its stack has no bound", f"function {function.name}")
        if function.address not in depth:
            # Of functions written in assembly the compiler knows no frame, or says 0 (clang for Armv6-M: 4).
            known = frames.get(function.name, 0)
            frame = known if known > LEAST_FRAME else function.pushed_bytes
            if frame is None:
                raise internal("has a stack frame of no known size", f"function {function.name}")
            below = 0
            if function.indirect:
                below = max(follow(by_name[name], (*path, function.name)) for name in callbacks)
            for target in function.targets:
                callee = functions.get(target) or _around(functions, target)
                if callee is None:
                    raise internal(f"calls {target:#x}, where no function is", f"function {function.name}")
                below = max(below, follow(callee, (*path, function.name)))
            depth[function.address] = frame + below
            reached[function.name] = function.size_bytes
            depths[function.name] = frame + below
        return depth[function.address]

    return CallGraph(max(follow(by_name[r], ()) for r in roots), reached, depths)


def _around(functions: Mapping[int, Function], address: int) -> Function | None:
    """The function that is entered in its middle: libgcc's division does so to skip a test for zero."""
    start = max((a for a in functions if a <= address), default=None)
    if start is None or address >= start + functions[start].size_bytes:
        return None
    return functions[start]


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
