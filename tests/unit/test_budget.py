"""A budget to the byte: plans are built until one fits with its real stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmcu.budget import settle
from vmcu.errors import Exit, fail
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.planner import Optimise
from vmcu.toolchain import Compiler, Firmware

GRAPH = load(Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx")  # pools 4,592, 4,928, 12,992
STACK = 100
FIRMWARE = Firmware(
    Path("x.elf"),
    compile_graph(GRAPH).project,
    None,
    Compiler("gcc", "1", ("gcc",)),
    0,
    0,
    0,
    0,
    STACK,
    "none",
    "-O3",
)


def settled(
    ram: int, stack: dict[int, int], optimise: Optimise = "speed"
) -> tuple[int, int | None, list[int]]:
    """Pool, RAM of the build, and pools that were built; `stack` by pool, where it is not `STACK`; -1: no link."""
    built = []

    def build(one: Compiled) -> Firmware:
        pool = one.plan.pool_bytes
        built.append(pool)
        if stack.get(pool) == -1:
            raise fail("too large", "linking", "", Exit.DOES_NOT_FIT)
        return replace(FIRMWARE, project=one.project, stack_bytes=stack.get(pool, STACK))

    made, firmware = settle(compile_graph(GRAPH, optimise=optimise, ram_bytes=ram), ram, build)
    assert firmware is None or firmware.project is made.project
    return made.plan.pool_bytes, firmware.ram_bytes if firmware else None, built


def test_the_fastest_that_fits_to_the_byte() -> None:
    assert settled(12992 + STACK, {}) == (12992, 13092, [12992])
    assert settled(12992 + STACK - 1, {}) == (4928, 5028, [12992, 4928])
    assert settled(4928 + STACK, {}) == (4928, 5028, [4928])
    assert settled(10**6, {}, "balanced")[0] == 4592


def test_a_stack_beyond_the_allowance() -> None:
    assert settled(20_000, {12992: 8000}) == (4928, 5028, [12992, 4928])
    assert settled(20_000, {12992: 8000, 4928: 15_073})[0] == 4592


def test_none_fits() -> None:
    assert settled(4592 + STACK - 1, {}) == (4592, 4692, [4592, 4592])  # two plans are that small
    assert settled(100, {}) == (4592, 4692, [4592])
    assert settled(5000, {4592: -1, 4928: -1})[:2] == (4592, None)


def test_other_errors_are_not_swallowed() -> None:
    def build(one: Compiled) -> Firmware:
        raise fail("broken", "compiler", "", Exit.TOOL)

    with pytest.raises(Exception, match="broken"):
        settle(compile_graph(GRAPH), 10**6, build)
