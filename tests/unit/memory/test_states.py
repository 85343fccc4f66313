"""States whose new value is made of old ones: what a store overwrites must have been read before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broken_plans import with_step
from host_library import HostModel
from tiny_models import Net

from vmcu.errors import VmcuError
from vmcu.memory.check import check
from vmcu.ops.rearrange import Rearrange
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.quant.reference import Reference

Update = Callable[..., list[str]]
"""(net, states, one more tensor of their shape) -> new states."""


def moved(op: str, constants: tuple[list[int], ...] = (), **attributes: object) -> Update:
    """One state, which one node turns into the next one."""
    return lambda n, s, x: [n.node(op, [s, *(n.const(c, np.int64) for c in constants)], **attributes)]


def appended(n: Net, s: str, x: str) -> list[str]:
    """Drops two rows, appends the last ones of `x`."""
    return moved("Slice", ([2], [6], [1]))(n, n.node("Concat", [s, rows(n, x)], axis=1), x)


def prepended(n: Net, s: str, x: str) -> list[str]:
    """Drops the last two rows, puts those of `x` in front."""
    return moved("Slice", ([0], [4], [1]))(n, n.node("Concat", [rows(n, x), s], axis=1), x)


def rows(n: Net, x: str) -> str:
    """The last two rows of `x`."""
    return moved("Slice", ([2], [4], [1]))(n, x, x)[0]


# name: shape of every state, how many, update, how many copies are made before the stores
CASES: dict[str, tuple[tuple[int, ...], int, Update, int]] = {
    "kept": ((1, 4, 3), 1, lambda n, s, x: [n.node("Identity", [s])], 0),
    "replaced": ((1, 4, 3), 1, lambda n, s, x: [n.node("Identity", [x])], 0),
    "swapped": ((1, 4, 3), 2, lambda n, a, b, x: [n.node("Identity", [b]), n.node("Identity", [a])], 2),
    "rotated": ((1, 4, 3), 3, lambda n, a, b, c, x: [n.node("Identity", [s]) for s in (b, c, a)], 3),
    "delayed": ((1, 4, 3), 2, lambda n, a, b, x: [n.node("Identity", [x]), n.node("Identity", [a])], 1),
    "transposed": ((3, 3), 1, moved("Transpose", perm=[1, 0]), 1),
    "transposed in rows": ((2, 3, 3), 1, moved("Transpose", perm=[0, 2, 1]), 1),
    "upside down": ((1, 4, 3), 1, moved("Gather", ([3, 2, 1, 0],), axis=1), 1),
    "mirrored": ((1, 4, 3), 1, moved("Gather", ([2, 1, 0],), axis=2), 0),
    "appended": ((1, 4, 3), 1, appended, 0),
    "prepended": ((1, 4, 3), 1, prepended, 1),
}


def compiled(name: str, folder: Path) -> Compiled:
    shape, count, update, _ = CASES[name]
    net = Net()
    states = [net.dq(net.input(f"state_in_{i}", shape, np.int8)) for i in range(count)]
    x = net.dq(net.input("x", shape, np.int8))
    net.q(net.node("Add", [states[0], x]), 0.1, output="y")
    net.output("y", np.int8, shape)
    for i, new in enumerate(update(net, *states, x)):
        net.q(new, output=net.output(f"state_out_{i}", np.int8, shape))
    return compile_graph(load(net.save(folder)), "net")


@pytest.mark.parametrize("name", CASES)
def test_state(name: str, tmp_path: Path) -> None:
    """Random states: y and the states after a run are the reference's."""
    made = compiled(name, tmp_path)
    model, reference = HostModel(made, tmp_path), Reference(made.graph)
    rng = np.random.default_rng(0)
    for link in made.graph.states:
        tensor = made.graph.tensors[link.current]
        values = rng.integers(-128, 128, tensor.shape).astype(np.int8)
        reference._states[link.current] = values
        start = made.plan.addresses[link.current][0]
        model.bytes_at(start, values.size)[:] = values.reshape(-1)
    for _ in range(3):
        shapes = {p.tensor: made.graph.tensors[p.tensor].shape for p in made.graph.inputs}
        given = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
        expected = reference.run_tensors(given)
        for tensor, found in model.run(given).items():
            np.testing.assert_array_equal(found, expected[tensor])
        for link in made.graph.states:
            start = made.plan.addresses[link.current][0]
            found = model.bytes_at(start, expected[link.next].size)
            np.testing.assert_array_equal(found, expected[link.next].reshape(-1), link.input)


@pytest.mark.parametrize("name", CASES)
def test_only_what_needs_it_is_copied(name: str, tmp_path: Path) -> None:
    ops = compiled(name, tmp_path).graph.ops
    assert sum(isinstance(op, Rearrange) and op.own_memory for op in ops) == CASES[name][3]


def test_a_row_that_changes_while_it_moves_onto_itself_is_refused(tmp_path: Path) -> None:
    """The exemption is for whole rows only."""
    tables = compiled("kept", tmp_path).tables
    store = next(i for i, s in enumerate(tables.steps) if s.output == tables.states[0][1])
    with pytest.raises(VmcuError, match="while it writes reads row 0"):
        check(with_step(tables, store, moves_rows=False))
