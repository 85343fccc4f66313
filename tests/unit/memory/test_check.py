"""The independent checker: accepts every sound plan, refuses every broken one and says what is wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from broken_plans import BROKEN, NETS, Broken, moved, tables_of
from hypothesis import given, settings
from hypothesis import strategies as st
from random_nets import random_net
from sound_by_bytes import is_sound

from vmcu.errors import Exit, VmcuError
from vmcu.memory.check import check
from vmcu.memory.tables import Tables
from vmcu.pipeline import compile_graph, load

RANDOM_NETS = 25


@cache
def random_tables(seed: int, folder: Path) -> Tables:
    net = random_net(random.Random(seed).choice, 8, seed)
    return compile_graph(load(net.save(folder, f"{seed}.onnx"))).tables


def accepts(tables: Tables) -> bool:
    try:
        check(tables)
    except VmcuError as error:
        assert error.code is Exit.BUG
        return False
    return True


def test_accepts_random_networks(tmp_path: Path) -> None:
    for seed in range(RANDOM_NETS):
        tables = random_tables(seed, tmp_path)
        assert check(tables) == sum(r.end - r.first for r in tables.order)
        assert is_sound(tables), f"seed {seed}: the brute force disagrees"


@pytest.mark.parametrize("name", NETS)
def test_accepts_the_plans_that_are_broken_below(name: str) -> None:
    assert check(tables_of(name)) > 0


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: b.name)
def test_refuses(broken: Broken) -> None:
    with pytest.raises(VmcuError, match=broken.message) as error:
        check(broken.change(tables_of(broken.net)))
    assert error.value.code is Exit.BUG
    assert "this is a bug in vmcu" in str(error.value)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_moved_row_is_refused_unless_harmless(data: st.DataObject) -> None:
    """Exactly the plans in which bytes are overwritten too early are refused; brute force says which."""
    tables = tables_of(data.draw(st.sampled_from(list(NETS))))
    index = data.draw(st.integers(0, len(tables.tensors) - 1))
    row = data.draw(st.integers(0, len(tables.tensors[index].addresses) - 1))
    where = data.draw(st.integers(-2, tables.pool_bytes))
    tensors = list(tables.tensors)
    own = tensors[index]
    tensors[index] = replace(own, addresses=(*own.addresses[:row], where, *own.addresses[row + 1 :]))
    broken = replace(tables, tensors=tuple(tensors))
    assert accepts(broken) == is_sound(broken)


@pytest.mark.parametrize("name", NETS)
def test_every_row_on_every_other(name: str) -> None:
    """All pairs: a row, with its aliases, moved onto the address of another. Both verdicts occur."""
    tables = tables_of(name)
    verdicts = []
    for i, step in enumerate(tables.steps):
        for row in range(len(tables.tensors[step.output].addresses)):
            for target in sorted({a for t in tables.tensors for a in t.addresses}):
                broken = moved(tables, f"step {i}", row, target)
                verdicts.append(accepts(broken))
                assert verdicts[-1] == is_sound(broken), (i, row, target)
    assert True in verdicts and verdicts.count(False) > 10


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, RANDOM_NETS - 1), data=st.data())
def test_random_networks_with_a_moved_row(
    seed: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tables = random_tables(seed, tmp_path_factory.getbasetemp())
    step = data.draw(st.integers(0, len(tables.steps) - 1))
    row = data.draw(st.integers(0, len(tables.tensors[tables.steps[step].output].addresses) - 1))
    broken = moved(tables, f"step {step}", row, data.draw(st.integers(0, tables.pool_bytes)))
    assert accepts(broken) == is_sound(broken)
