"""Estimated cycles of small assembly functions, against sums made by hand from the tables' figures.

Each snippet is the whole run function of a model, so its cycles are those of its instructions, the return included: nothing
is subtracted or rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from command_line import vmcu as command
from tiny_project import need, samples

import vmcu
from vmcu.batch import random_batch
from vmcu.cycles import TIMINGS, decode_program, estimate_cycles
from vmcu.errors import Exit, VmcuError
from vmcu.ir.cproject import CProject, Port
from vmcu.run import run
from vmcu.run.counter import Counter
from vmcu.targets import load_target
from vmcu.toolchain import Firmware, build, find_compiler
from vmcu.toolchain.elf import read_elf
from vmcu.toolchain.thumb import code_of

MNIST = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"
SOURCE = """\
#include "asm.h"
int asm_reset(void *pool) {{ (void)pool; return 0; }}
int asm_init(void *pool) {{ (void)pool; return 0; }}
__attribute__((naked)) int asm_run(__attribute__((unused)) void *pool)
{{
    __asm__ volatile(".syntax unified\\n" {lines} :);
}}
"""
HEADER = "int asm_init(void *pool);\nint asm_run(void *pool);\nint asm_reset(void *pool);\n"


def project(assembly: str) -> CProject:
    """A model whose run function is `assembly`; r0 is the pool at its start, and has to be 0 at its end."""
    lines = " ".join(f'"{line.strip()}\\n"' for line in assembly.strip().splitlines())
    files = MappingProxyType({"asm.h": HEADER, "asm.c": SOURCE.format(lines=lines)})
    ports = (Port("x", "input", 0, 64),), (Port("y", "output", 64, 4),)
    return CProject("asm", files, ("asm.c",), 4096, 4, 0, *ports, ("a step",), 0, 0)


LOOP = """
    movs r1, #100
    1: subs r1, #1
    bne 1b
    movs r0, #0
    bx lr
"""
LOADS = """
    ldr r1, [r0]
    ldr r2, [r0, #4]
    ldr r3, [r0, #8]
    adds r1, r2
    ldrb r2, [r0]
    str r2, [r0, #64]
    ldr r1, [r0]
    movs r0, #0
    bx lr
"""
DEPENDENT_LOADS = """
    str r0, [r0]
    ldr r1, [r0]
    ldr r2, [r1]
    ldr r3, [r0]
    movs r0, #0
    bx lr
"""
LISTS = """
    push {r4, r5, lr}
    ldmia r0!, {r1, r2, r3, r4}
    stmia r0!, {r1, r2}
    movs r0, #0
    pop {r4, r5, pc}
"""
CALL = """
    push {r0, lr}
    bl 2f
    movs r0, #0
    pop {r1, pc}
    2: bx lr
"""
SKIP = """
    movs r1, #8
    1: lsrs r2, r1, #1
    bcs 2f
    adds r3, r1, #1
    2: subs r1, #1
    bne 1b
    movs r0, #0
    bx lr
"""
MULTIPLY = """
    movs r1, #3
    movs r2, #4
    mul r3, r1, r2
    mla r3, r1, r2, r3
    umull r2, r3, r1, r2
    umlal r2, r3, r1, r2
    udiv r2, r3, r1
    movs r0, #0
    bx lr
"""
PAIRS = """
    ldrd r2, r3, [r0]
    strd r2, r3, [r0, #8]
    ldr r1, [r0]
    movs r0, #0
    bx lr
"""
SMLAD_LOOP = """
    push {r4, r5}
    movs r1, #50
    movs r5, #0
    1: ldr r2, [r0]
    ldr r3, [r0, #4]
    ldr r4, [r0, #8]
    smlad r5, r2, r3, r5
    smlad r5, r2, r4, r5
    subs r1, #1
    bne 1b
    pop {r4, r5}
    movs r0, #0
    bx lr
"""
FLOAT = """
    .fpu fpv4-sp-d16
    vldr s0, [r0]
    vldr s1, [r0, #4]
    vmul.f32 s2, s0, s1
    vadd.f32 s3, s2, s1
    vfma.f32 s4, s0, s1
    vcvt.s32.f32 s5, s0
    vmov r1, s5
    vdiv.f32 s0, s1, s1
    vstr s3, [r0, #64]
    movs r0, #0
    bx lr
"""

M4, M3, M0, M7 = "cortex-m4", "cortex-m3", "cortex-m0plus", "cortex-m7"
CASES = [
    # 1 + 100 subs + 99 branches taken and one not + 1 + return
    (M4, LOOP, 1 + 100 + 99 * 3 + 1 + 1 + 3),
    (M3, LOOP, 1 + 100 + 99 * 3 + 1 + 1 + 3),
    ("cortex-m33", LOOP, 1 + 100 + 99 * 3 + 1 + 1 + 3),
    (M0, LOOP, 1 + 100 + 99 * 2 + 1 + 1 + 2),
    # subs and bne go together, movs and bx too
    (M7, LOOP, 1 + 100 + 1),
    # three loads in a row 2 + 1 + 1, one alone 2, a store 1; after the store a load is alone again
    (M4, LOADS, 4 + 1 + 2 + 1 + 2 + 1 + 3),
    (M3, LOADS, 4 + 1 + 2 + 1 + 2 + 1 + 3),
    (M0, LOADS, 6 + 1 + 2 + 2 + 2 + 1 + 2),
    # the second load needs the first for its address, the third needs nobody
    (M4, DEPENDENT_LOADS, 1 + 2 + 2 + 1 + 1 + 3),
    # 1 + N each, and the refill behind the pop of the PC
    (M4, LISTS, 4 + 5 + 3 + 1 + 4 + 2),
    (M0, LISTS, 4 + 5 + 3 + 1 + 4 + 2),
    (M4, CALL, 3 + 3 + 3 + 1 + 3 + 2),
    (M0, CALL, 3 + 3 + 2 + 1 + 3 + 2),
    # eight rounds: r1 = 8 .. 1, odd in four of them, where bcs is taken and adds is skipped
    (M4, SKIP, 1 + 8 + (4 * 3 + 4) + 4 + 8 + (7 * 3 + 1) + 1 + 3),
    (M0, SKIP, 1 + 8 + (4 * 2 + 4) + 4 + 8 + (7 * 2 + 1) + 1 + 2),
    (M4, MULTIPLY, 2 + 1 + 1 + 1 + 1 + 7 + 1 + 3),
    (M3, MULTIPLY, 2 + 1 + 2 + 4 + 5 + 7 + 1 + 3),
    # a load does not pipeline with a pair
    (M4, PAIRS, 3 + 3 + 2 + 1 + 3),
    (M4, SMLAD_LOOP, 3 + 1 + 1 + 50 * (4 + 2 + 1) + 49 * 3 + 1 + 3 + 1 + 3),
    # A round: ldr ldr | ldr | smlad when r3 is there, subs goes with it | smlad, the accumulator forwarded, bne |:
    # loads at 0, 0, 1; smlad at 2; smlad wants r4 at 3; subs with it at 3; bne at 4.
    (M7, SMLAD_LOOP, 2 + 1 + 50 * 5 + 2 + 1),
    # 2 + 2, vmul 1, vadd 1 and 1 for s2, vfma 3, vcvt 1, vmov 1 and 1 for s5, vdiv 14, vstr 2
    (M4, FLOAT, 4 + 1 + 2 + 3 + 1 + 2 + 14 + 2 + 1 + 3),
]


def name_of(value: object) -> str | None:
    """Of a snippet, as this module calls it."""
    return next((n.lower() for n, v in globals().items() if v is value and n.isupper()), None)


@pytest.mark.parametrize(("core", "assembly", "cycles"), CASES, ids=name_of)
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_by_hand(core: str, assembly: str, cycles: int, compiler: str, tmp_path: Path) -> None:
    need("unicorn", compiler)
    firmware = build(project(assembly), load_target(core), find_compiler(compiler), workdir=tmp_path)  # type: ignore[arg-type]
    report = run(firmware, samples(2), engine="unicorn")
    assert report.cycles == (cycles, cycles)


Built = Callable[..., Firmware]


@pytest.mark.parametrize("core", [M0, M3, M4, M7, "cortex-m33"])
def test_every_instruction_is_counted_once(built: Built, core: str) -> None:
    """At one cycle each and nothing for branches, cycles are instructions."""
    need("unicorn")
    flat = replace(TIMINGS[M4], cycles={}, taken=0, taken_by={}, pipelines_loads=False, stalls_vfp=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmcu.run.unicorn_engine.TIMINGS", {core: flat})
        plain = run(built(core, "gcc"), samples(), engine="unicorn")
        profile = run(built(core, "gcc", "profile"), samples(1), engine="unicorn")
    assert plain.cycles == plain.instructions
    assert profile.profile_cycles == profile.profile
    assert profile.cycles is None and plain.profile_cycles is None


@pytest.mark.qemu
def test_what_cannot_be_had_is_none(built: Built) -> None:
    report = run(built(M4, "gcc"), samples(1), engine="qemu")
    assert report.instructions and report.cycles is None and report.profile_cycles is None


@pytest.mark.qemu
def test_a_batch_on_the_command_line(tmp_path: Path) -> None:
    """Where QEMU ran the batch, Unicorn repeats its first inference."""
    need("unicorn", "gcc")
    inputs = tmp_path / "x.npy"
    np.save(inputs, np.load(MNIST.parent / "samples.npz")["inputs"][:2])
    line = ("run", MNIST, "-t", M4, "--input", inputs)
    both = command(*line, "--engine", "unicorn", "--json").json
    first = command(*line, "--json").json
    assert first["engine"].startswith("qemu") and first["instructions"] == both["instructions"]
    assert len(both["estimated_cycles"]) == 2 and first["estimated_cycles"] == both["estimated_cycles"][:1]
    shown = f"{first['estimated_cycles'][0]:,} (estimated cycles (model, zero wait states), first inference)"
    assert shown in command(*line).out
    assert command(*line, "--engine", "qemu", "--json").json["estimated_cycles"] is None


@pytest.mark.qemu
def test_engines_that_disagree_are_an_error() -> None:
    need("unicorn", "gcc")
    model = vmcu.compile(MNIST, M4)
    batch = random_batch(model.compiled.graph, 1)
    report = model.run_batch(batch, engine="qemu")
    assert report.instructions and model.with_cycles(report, batch).cycles
    with pytest.raises(VmcuError, match="QEMU and Unicorn count differently") as e:
        model.with_cycles(replace(report, instructions=(report.instructions[0] + 1,)), batch)
    assert e.value.code == Exit.BUG


def test_taken_branches_are_seen_across_stops(built: Built) -> None:
    """A stopped engine goes on where the program would have: as often as it was entered, it was left."""
    need("unicorn")
    elf = read_elf(built(M4, "gcc").elf)
    counter, code = Counter(elf, 0, native=False), code_of(elf)
    program = decode_program(code)
    a, b = int(program.begins[0]), int(program.begins[4])
    counter._on_block(None, a, int(program.ends[1]) - a, None)  # two instructions, then a jump
    counter._on_block(None, b, int(program.ends[4]) - b, None)  # one, and a stop
    counter.stop()
    executed, taken = counter.laps().of(program)
    assert np.flatnonzero(executed).tolist() == [0, 1, 4]
    assert np.flatnonzero(taken).tolist() == [1, 4]
    assert estimate_cycles(program, executed, taken, TIMINGS[M4]) >= 3 + 2 * 2
