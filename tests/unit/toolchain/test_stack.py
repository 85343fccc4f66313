"""The machine code reader against an assembler's listing, and the call graph on made-up code."""

from __future__ import annotations

import struct

import pytest

from vmcu.errors import VmcuError
from vmcu.toolchain.elf import SHF_ALLOC, SHF_EXECINSTR, STT_FUNC, Elf, Section, Symbol
from vmcu.toolchain.stack import call_graph, clang_frames, gcc_frames
from vmcu.toolchain.thumb import _branch, _is_indirect, _pushed, functions_of


@pytest.mark.parametrize(
    ("at", "first", "second", "target"),
    [  # addresses and encodings as arm-none-eabi-objdump shows them
        (0x2100084E, 0xF000, 0xF835, 0x210008BC),  # bl
        (0x2100083A, 0xF000, 0xB99D, 0x21000B78),  # b.w
        (0x2100082A, 0xE006, 0, 0x2100083A),  # b.n
        (0x21000848, 0xDB09, 0, 0x2100085E),  # blt.n
        (0x1000, 0xF7FF, 0xFFFE, 0x1000),  # bl to itself
        (0x1000, 0xF43F, 0xAFFE, 0x1000),  # beq.w to itself
        (0x1000, 0xE7FE, 0, 0x1000),  # b.n to itself
        (0x1000, 0xDF00, 0, None),  # svc
        (0x1000, 0xB510, 0, None),  # push
        (0x1000, 0xF3BF, 0x8F4F, None),  # dsb
    ],
)
def test_branches(at: int, first: int, second: int, target: int | None) -> None:
    assert _branch(at, first, second) == target


@pytest.mark.parametrize(
    ("first", "second", "size"),
    [
        (0xB510, 0, 8),  # push {r4, lr}
        (0xB5F0, 0, 20),  # push {r4-r7, lr}
        (0xB084, 0, 16),  # sub sp, #16
        (0xE92D, 0x4FF0, 36),  # push.w {r4-r11, lr}
        (0xF84D, 0xED04, 4),  # str.w lr, [sp, #-4]!
        (0xE96D, 0xCE04, 16),  # strd ip, lr, [sp, #-16]!
        (0xED2D, 0x8B04, 16),  # vpush {d8-d9}
        (0xF5AD, 0x7D00, 512),  # sub.w sp, sp, #512
        (0xF2AD, 0x4D04, 1028),  # subw sp, sp, #1028
        (0xF1AD, 0x0D08, 8),  # sub.w sp, sp, #8
        (0xF1AD, 0x0C08, 0),  # sub.w ip, sp, #8
        (0x449D, 0, None),  # add sp, r3
        (0xEBAD, 0x0D03, None),  # sub.w sp, sp, r3
        (0xB004, 0, 0),  # add sp, #16
        (0x4770, 0, 0),  # bx lr
    ],
)
def test_stack_of_an_instruction(first: int, second: int, size: int | None) -> None:
    assert _pushed(first, second) == size


@pytest.mark.parametrize(
    ("first", "second", "indirect"),
    [
        (0x4798, 0, True),  # blx r3
        (0x4718, 0, True),  # bx r3
        (0x4770, 0, False),  # bx lr
        (0xF8DF, 0xF000, True),  # ldr.w pc, [pc]
        (0xF8DF, 0x3000, False),  # ldr.w r3, [pc]
        (0xE8DF, 0xF003, False),  # tbb [pc, r3], a switch
        (0x4687, 0, False),  # mov pc, r0, a switch of ARMv6-M
    ],
)
def test_indirect(first: int, second: int, indirect: bool) -> None:
    assert _is_indirect(first, second) == indirect


def program(functions: dict[str, list[int]], calls: dict[str, list[str]], stack_sizes: bytes = b"") -> Elf:
    """A linked program: each function is its halfwords, then one BL per call, then BX LR."""
    base, at = 0x1000, 0x1000
    starts = {}
    for name, halfwords in functions.items():
        starts[name] = at
        at += 2 * len(halfwords) + 4 * len(calls.get(name, [])) + 2
    code, symbols = b"", [Symbol("$t", base, 0, 0, 1)]
    for name, halfwords in functions.items():
        start = len(code)
        code += struct.pack(f"<{len(halfwords)}H", *halfwords)
        for callee in calls.get(name, []):
            offset = starts[callee] - (base + len(code)) - 4
            code += struct.pack("<2H", 0xF000 | offset >> 12 & 0x7FF, 0xF800 | offset >> 1 & 0x7FF)
        code += struct.pack("<H", 0x4770)
        symbols.append(Symbol(name, (base + start) | 1, len(code) - start, STT_FUNC, 1))
    sections = (
        Section("", 0, 0, 0, 0, 0, 0, 0),
        Section(".text", 1, SHF_ALLOC | SHF_EXECINSTR, base, 0, len(code), 0, 0),
        Section(".stack_sizes", 1, 0, 0, len(code), len(stack_sizes), 0, 0),
    )
    return Elf(code + stack_sizes, sections, tuple(symbols))


def test_longest_path() -> None:
    elf = program(
        {"run": [0xB510], "deep": [0xB084], "flat": [], "library": [0xB510, 0xB082], "unused": []},
        {"run": ["deep", "flat"], "deep": ["library"], "flat": ["library"]},
    )
    graph = call_graph(elf, ["run", "flat"], {"run": 8, "deep": 100, "flat": 4})
    assert graph.stack_bytes == 8 + 100 + 16  # the library's frame is read from its code
    assert set(graph.reached) == {"run", "deep", "flat", "library"}


def test_deepest_root_counts() -> None:
    elf = program({"run": [], "init": []}, {})
    assert call_graph(elf, ["run", "init"], {"run": 8, "init": 80}).stack_bytes == 80


def test_the_hook_is_not_the_model() -> None:
    elf = program({"run": [], "vmcu_task_done": [0xB510]}, {"run": ["vmcu_task_done"]})
    assert call_graph(elf, ["run"], {"run": 8}).stack_bytes == 8


def test_mutual_recursion() -> None:
    elf = program({"run": [], "a": [], "b": []}, {"run": ["a"], "a": ["b"], "b": ["a"]})
    with pytest.raises(VmcuError, match="run -> a -> b -> a: recursion"):
        call_graph(elf, ["run"], {})


def test_unknown_frame() -> None:
    elf = program({"run": [0x449D]}, {})
    with pytest.raises(VmcuError, match="function run: has a stack frame of no known size"):
        call_graph(elf, ["run"], {})
    assert call_graph(elf, ["run"], {"run": 12}).stack_bytes == 12


def test_call_into_nothing() -> None:
    elf = program({"run": [0xF000, 0xF8FE]}, {})
    with pytest.raises(VmcuError, match="calls 0x1200, where no function is"):
        call_graph(elf, ["run"], {})


def test_function_without_a_size_ends_at_the_next() -> None:
    elf = program({"asm": [0xB510], "next": [0xB084]}, {})
    symbols = tuple(Symbol(s.name, s.address, 0, s.kind, s.section) for s in elf.symbols)
    found = {f.name: f for f in functions_of(Elf(elf.data, elf.sections, symbols)).values()}
    assert (found["asm"].size_bytes, found["asm"].pushed_bytes) == (4, 8)
    assert (found["next"].size_bytes, found["next"].pushed_bytes) == (4, 16)


def test_frames_of_gcc() -> None:
    text = (
        'node: { title: "src/a.c:narrow" label: "narrow\\nsrc/a.c:23:41\\n8 bytes (static)" }\n'
        'node: { title: "run" label: "run\\nsrc/a.c:29:5\\n112 bytes (static)" }\n'
        'node: { title: "memcpy" label: "__builtin_memcpy\\n<built-in>" shape : ellipse }\n'
    )
    other = 'node: { title: "src/b.c:narrow" label: "narrow\\nsrc/b.c:1:1\\n24 bytes (static)" }\n'
    assert gcc_frames([text, other]) == {"narrow": 24, "run": 112}  # the larger of two of one name


def test_variable_frame_of_gcc() -> None:
    with pytest.raises(VmcuError, match="function run: has a stack frame of no fixed size"):
        gcc_frames(['node: { title: "run" label: "run\\na.c:1:1\\n16 bytes (dynamic)" }'])


def test_frames_of_clang() -> None:
    sizes = struct.pack("<IB", 0x1000, 24) + struct.pack("<I2B", 0x1003, 0xE8, 0x07)
    assert clang_frames(program({"a": [], "b": []}, {}, sizes)) == {"a": 24, "b": 1000}
