"""`canonicalise` names the pass that broke the graph and those before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import small_net

from vmcu.errors import Exit, VmcuError
from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import PASSES, Pass, canonicalise


def test_broken_pass_is_named(tmp_path: Path) -> None:
    def lose_a_node(graph: Graph) -> Graph:
        return graph.with_nodes(graph.nodes[1:])

    graph = import_model(small_net().save(tmp_path))
    with pytest.raises(VmcuError) as error:
        canonicalise(graph, (*PASSES[:2], Pass(lose_a_node, "to be caught")))
    assert error.value.code is Exit.BUG
    assert error.value.problems[0].where == "pass lose_a_node (after fold_constants, normalise_ops)"
    assert "is read before it is computed" in error.value.problems[0].what


def test_raising_pass_is_named(tmp_path: Path) -> None:
    def divide(graph: Graph) -> Graph:
        raise ZeroDivisionError

    with pytest.raises(VmcuError, match=r"pass divide \(after none\): ZeroDivisionError") as error:
        canonicalise(import_model(small_net().save(tmp_path)), (Pass(divide, "to be caught"),))
    assert error.value.code is Exit.BUG


def test_twice_is_once_and_deterministic(tmp_path: Path) -> None:
    graph = canonicalise(import_model(small_net().save(tmp_path)))
    again = canonicalise(graph, PASSES[2:])
    assert again.to_text() == graph.to_text()
    assert canonicalise(import_model(small_net().save(tmp_path))).to_text() == graph.to_text()


def test_every_pass_has_a_reason() -> None:
    assert all(step.reason and "\n" not in step.reason and step.run.__doc__ for step in PASSES)


def test_results_are_frozen(tmp_path: Path) -> None:
    graph = canonicalise(import_model(small_net().save(tmp_path)))
    with pytest.raises(TypeError):
        graph.constants["x"] = None  # type: ignore[index]
    assert not any(array.flags.writeable for array in graph.constants.values())
    assert replace(graph, name="other").name == "other"
