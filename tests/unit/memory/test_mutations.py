"""Mutation tests of the independent checker: every wrong plan among thousands of slightly changed ones is refused.

`python -m bench.mutations` prints the kill rate of each kind of change.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from broken_plans import with_order
from mutations import (
    BLIND,
    CASES,
    COMMITTED,
    DECISIONS,
    FACTS,
    HAND_MADE,
    STRICTER,
    VIEWS,
    Case,
    accepts,
    case,
    mutant,
    score,
)
from sound_by_running import runs_right

from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.errors import Exit, VmcuError
from vmcu.memory.check import check
from vmcu.memory.tables import Tables
from vmcu.quant.reference import Reference
from vmcu.run import run
from vmcu.toolchain import build_host

PRINTED = tuple(name for name in HAND_MADE if "scratch" not in name)  # no kernel uses working memory today
SMALL = tuple(name for name in CASES if name not in COMMITTED)
INFERENCES = 6  # as many as it takes until every row of a state has been replaced


def check_kind(kind: str, names: tuple[str, ...], count: int) -> None:
    found = score(kind, names, count)
    print(f"{kind}: {found.killed} of {found.wrong} killed, {found.equivalent} equivalent")
    assert found.survivors == []
    assert found.wrong >= 3, "a kind that makes nothing wrong shows nothing"
    assert found.refused == 0 or kind in STRICTER


@pytest.mark.parametrize("name", CASES)
def test_sound_plans_are_accepted(name: str) -> None:
    tables = case(name).tables
    assert check(tables) == sum(part.end - part.first for part in tables.order)
    assert runs_right(tables, tables)


@pytest.mark.parametrize("kind", DECISIONS)
def test_decisions(kind: str) -> None:
    check_kind(kind, SMALL, 6)


@pytest.mark.parametrize("kind", VIEWS)
def test_views(kind: str) -> None:
    check_kind(kind, SMALL, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", {**DECISIONS, **VIEWS})
def test_many(kind: str) -> None:
    check_kind(kind, SMALL, 150 if kind in DECISIONS else 40)


NOT_IN_COMMITTED = ("scratch moved", "states of another size", "split elsewhere", "row across the split")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in DECISIONS if k not in NOT_IN_COMMITTED])
def test_decisions_about_trained_models(kind: str) -> None:
    check_kind(kind, COMMITTED, 40)


@pytest.mark.parametrize("kind", FACTS)
def test_facts(kind: str) -> None:
    """What the checker is told wrongly about the graph survives only where it cannot know."""
    found = score(kind, SMALL, 6)
    print(f"{kind}: {found.killed} of {found.wrong} killed, {found.equivalent} equivalent")
    assert found.survivors == [] or kind in BLIND
    assert found.equivalent + found.wrong > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(BLIND) - {"row more everywhere"}))  # survives once in a thousand
def test_results_tell_where_the_checker_is_blind(kind: str, tmp_path: Path) -> None:
    """The second line: C made of surviving tables does not compile, fails, or differs from the reference."""
    survivors = score(kind, PRINTED, 8).survivors
    chosen = survivors[:: max(1, len(survivors) // 6)]
    assert chosen
    for name, number in chosen:
        tables = mutant(kind, name, number)
        assert tables is not None and accepts(tables)
        folder = tmp_path / f"{name} {number}".replace(" ", "_").replace(",", "")
        folder.mkdir()
        assert not answers(case(name), tables, folder), (name, number)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_the_sound_programs_answer(name: str, tmp_path: Path) -> None:
    assert answers(case(name), case(name).tables, tmp_path)


def answers(one: Case, tables: Tables, folder: Path) -> bool:
    """Does the program printed from these tables agree with the reference?"""
    batch, reference = random_batch(one.graph, INFERENCES), Reference(one.graph)
    try:
        firmware = build_host(make_project(one.plan, tables, "net"), workdir=folder)
        outputs = run(firmware, batch.payload(one.graph)).outputs
    except VmcuError as error:
        assert error.code in (Exit.BUG, Exit.TOOL)
        return False
    for given, found in zip(batch.tensors, outputs, strict=True):
        expected = reference.run_tensors(given)
        for port, data in zip(one.graph.outputs, found, strict=True):
            if data != np.ascontiguousarray(expected[port.tensor]).tobytes():
                return False
    return True


def test_streamed_rows_are_asked_for_in_order() -> None:
    """The bytes would be right, but the caller delivers a stream."""
    one = case("streamed input")
    first = one.tables.order[0]
    assert not one.tables.steps[first.step].reads and first.end - first.first > 1
    halves = (replace(first, first=first.first + 1), replace(first, end=first.first + 1))
    with pytest.raises(VmcuError, match=f"row {first.first} is asked for after a later one"):
        check(replace(one.tables, order=(*halves, *one.tables.order[1:])))


def test_c_runs_in_the_order_that_was_checked() -> None:
    """Stages are printed one after another: an order that mixes them must not become C of another order."""
    one = case("branches, layers")
    mixed = with_order((0, 0, 6), (1, 0, 3), (2, 0, 1), (1, 3, 6), (2, 1, 6), (3, 0, 1))(one.tables)
    with pytest.raises(VmcuError, match="stages run in another order than the one checked") as error:
        make_project(one.plan, mixed, "net")
    assert error.value.code is Exit.BUG


def test_mutants_are_the_same_every_time() -> None:
    for kind in (*DECISIONS, *FACTS):
        assert mutant(kind, "tiles", 3) == mutant(kind, "tiles", 3)
