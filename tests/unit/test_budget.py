"""A budget to the byte: plans are built until one fits with its real stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmcu.budget import settle
from vmcu.errors import Exit, fail
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.planning.choose import Optimise, choose, list_candidates
from vmcu.toolchain import Compiler, Firmware

GRAPH = load(Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx")
STACK = 100
FOUND = list_candidates(GRAPH)
LEAST = choose(FOUND).pool_bytes
FASTEST = choose(FOUND, "speed").pool_bytes
SECOND = choose(FOUND, "speed", FASTEST - 1).pool_bytes  # the fastest that is smaller
THIRD = choose([c for c in FOUND if c.pool_bytes not in (FASTEST, SECOND)], "speed").pool_bytes
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


def test_the_networks_plans_differ() -> None:
    assert LEAST < SECOND < FASTEST and THIRD < FASTEST


def test_the_fastest_that_fits_to_the_byte() -> None:
    assert settled(FASTEST + STACK, {}) == (FASTEST, FASTEST + STACK, [FASTEST])
    assert settled(FASTEST + STACK - 1, {}) == (SECOND, SECOND + STACK, [FASTEST, SECOND])
    assert settled(SECOND + STACK, {}) == (SECOND, SECOND + STACK, [SECOND])
    assert settled(10**6, {}, "balanced")[0] == choose(FOUND, "balanced").pool_bytes


def test_a_stack_beyond_the_allowance() -> None:
    assert settled(20_000, {FASTEST: 8000}) == (SECOND, SECOND + STACK, [FASTEST, SECOND])
    assert settled(20_000, {FASTEST: 8000, SECOND: 20_001 - SECOND})[0] == THIRD


def test_none_fits() -> None:
    pool, ram, built = settled(LEAST + STACK - 1, {})
    assert (pool, ram) == (LEAST, LEAST + STACK) and LEAST in built
    assert settled(100, {})[:2] == (LEAST, LEAST + STACK)
    assert settled(5000, dict.fromkeys((c.pool_bytes for c in FOUND), -1))[:2] == (LEAST, None)


def test_other_errors_are_not_swallowed() -> None:
    def build(one: Compiled) -> Firmware:
        raise fail("broken", "compiler", "", Exit.TOOL)

    with pytest.raises(Exception, match="broken"):
        settle(compile_graph(GRAPH), 10**6, build)
