"""Which pairs of regions are tried for a pool, and how often: placements take seconds, so few of them may be made."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

import vmcu.split
from vmcu.fit import Limits
from vmcu.ir.quantized import QuantizedGraph
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.planning.choose import STACK_ALLOWANCE_BYTES
from vmcu.split import compile_for
from vmcu.targets import Region, Target, load_target

MODEL = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"
POOL, IMAGE = 3880, 784


@cache
def graph() -> QuantizedGraph:
    return load(MODEL)


@cache
def in_one_piece() -> Compiled:
    return compile_graph(graph(), "net")


def board(*sizes: int) -> Target:
    """Regions that do not touch, the fastest first."""
    ram = tuple(Region(f"R{i}", 0x2000_0000 + i * 0x10_0000, size, i) for i, size in enumerate(sizes))
    return replace(load_target("nucleo-f411re"), name="torn", ram=ram)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of first arrays for which candidates are placed."""
    found: list[int] = []
    choose = vmcu.split.choose

    def noted(candidates, *arguments):  # type: ignore[no-untyped-def]
        found.append(candidates[0].split_bytes)
        return choose(candidates, *arguments)

    monkeypatch.setattr(vmcu.split, "choose", noted)
    return found


def compiled(
    target: Target, rest: int | None = None, limits: Limits | None = None
) -> tuple[Compiled, str | None]:
    again = partial(compile_graph, graph(), "net")
    made, chosen = compile_for(
        target,
        limits or Limits(),
        graph(),
        lambda ram, split: in_one_piece() if not split else again(ram_bytes=ram, split_bytes=split),
        lambda one: rest,
    )
    assert chosen is not None
    return made, chosen.pool_region


def test_one_piece_is_enough(tried: list[int]) -> None:
    assert compiled(board(POOL, 500), 400) == (in_one_piece(), None)  # stack in the other region
    assert compiled(board(POOL, 500)) == (in_one_piece(), None)  # nobody knows the stack
    assert not tried


def test_stack_decides(tried: list[int]) -> None:
    """Beside the pool there is not enough for the stack, nor elsewhere; with the pool's beginning in the small region there is."""
    target = board(POOL + 120, 280)
    made, regions = compiled(target, 292)
    assert regions == "R1,R0" and made.project.split_bytes == 280 - 64
    assert made.plan.pool_bytes - made.project.split_bytes + 292 <= POOL + 120
    assert compiled(target, 120) == (in_one_piece(), None)


def test_the_first_pair_that_takes_it(tried: list[int]) -> None:
    made, regions = compiled(board(2304, 2304, 2304, 2304), 300)
    assert regions == "R0,R1" and set(tried) == {2240}
    assert 2240 < made.plan.pool_bytes <= 2240 + 2304


def test_no_pair_is_large_enough(tried: list[int]) -> None:
    """The lower bound of every schedule tells, and nothing is placed."""
    assert compiled(board(1800, 1800, 1800), 300) == (in_one_piece(), None)
    assert not tried


def test_an_array_that_no_region_takes(tried: list[int]) -> None:
    """The image is one array."""
    assert compiled(board(*[IMAGE - 8] * 7), 300) == (in_one_piece(), None)
    assert not tried


def test_equal_cuts_are_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second region changes what fits, not the placement: pairs with the same first region share their plans."""
    made = []
    cut = vmcu.split._Cut
    monkeypatch.setattr(vmcu.split, "_Cut", lambda *a: made.append(a[2]) or cut(*a))
    _, regions = compiled(board(2100, 1730, 1735, 2400), 300)
    assert regions == "R0,R3" and made == [2100 // 8 * 8 - 64]


def test_a_limit_of_the_user(tried: list[int]) -> None:
    """--ram limits the sum, wherever its parts lie."""
    target = board(2304, 2304)
    assert compiled(target, 300, Limits(ram_bytes=POOL + 100)) == (in_one_piece(), None)
    _, regions = compiled(target, 300, Limits(ram_bytes=POOL + STACK_ALLOWANCE_BYTES))
    assert regions == "R0,R1"
