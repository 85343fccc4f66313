"""Small networks with tight plans, and ways to break their tables.

The independent checker must refuse each (tests/unit/memory), and where the broken thing is an address, the
tagged pool must stop the program at run time too (tests/emulator).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import Net

from vmcu.codegen.project import make_project
from vmcu.memory.check import check
from vmcu.memory.plan import make_plan
from vmcu.memory.tables import Range, Tables, make_tables
from vmcu.pipeline import Compiled, load
from vmcu.planning.choose import best_plan
from vmcu.schedule.schedule import layer_by_layer
from vmcu.schedule.stream_outputs import ALL_OUTPUTS, stream_outputs


def branches() -> Net:
    """Two inputs, a convolution, an addition, a concatenation that is an alias, a pool, a dense layer."""
    net = Net()
    x, z = net.qdq(net.input("x", (1, 2, 6, 5))), net.qdq(net.input("z", (1, 3, 6, 5)))
    conv = net.qdq(net.node("Conv", [x, net.weights((3, 2, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
    added = net.qdq(net.node("Add", [conv, z]), 0.1)
    both = net.qdq(net.node("Concat", [added, conv], axis=2), 0.1)
    pool = net.qdq(net.node("MaxPool", [both], kernel_shape=[2, 2], strides=[2, 2]), 0.1)
    flat = net.node("Flatten", [pool])
    net.node("Identity", [net.qdq(net.node("Gemm", [flat, net.weights((36, 4))]), 0.3)], "y")
    net.output("y", shape=(1, 4))
    net.node("Identity", [pool], "p")
    net.output("p", shape=(1, 3, 6, 2))
    return net


def stream() -> Net:
    """A shift register of four rows, of which every run drops the oldest and appends its input."""
    net = Net()
    x = net.dq(net.input("x", (1, 3, 1, 5), np.int8))
    old = net.dq(net.input("state_in_s", (1, 3, 4, 5), np.int8))
    both = net.q(net.node("Concat", [old, x], axis=2))
    ints = [net.const([v], np.int64) for v in (1, 5, 2)]
    net.node("Slice", [both, *ints], "state_out_s")
    both = net.dq(both)
    conv = net.node("Conv", [both, net.weights((3, 3, 3, 3))])
    net.q(conv, 0.2, output="y")
    net.output("y", np.int8, (1, 3, 3, 3))
    net.output("state_out_s", np.int8, (1, 3, 4, 5))
    return net


def average() -> Net:
    """A global average that is summed up row by row while the convolution's rows appear."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 9, 4)))
    conv = net.qdq(net.node("Conv", [x, net.weights((16, 2, 1, 1))]), 0.1)
    net.node("Identity", [net.qdq(net.node("GlobalAveragePool", [conv]), 0.1)], "y")
    net.output("y", shape=(1, 16, 1, 1))
    return net


def handed() -> Net:
    """Two streamed outputs, of which the first is also read by the layer that makes the second."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 6, 5)))
    first = net.qdq(net.node("Conv", [x, net.weights((3, 2, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
    second = net.qdq(net.node("Conv", [first, net.weights((4, 3, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
    for name, tensor, channels in (("first", first, 3), ("second", second, 4)):
        net.node("Identity", [tensor], name)
        net.output(name, shape=(1, channels, 6, 5))
    return net


NETS = {"branches": branches, "stream": stream, "average": average, "handed": handed}


@cache
def compiled(name: str) -> Compiled:
    """A network of `NETS`, compiled; "average" by rows, the others layer by layer, so that tasks can be named."""
    with tempfile.TemporaryDirectory() as folder:
        graph = load(NETS[name]().save(Path(folder)))
    if name == "handed":
        graph = stream_outputs(graph, [ALL_OUTPUTS])
    plan = best_plan(graph) if name == "average" else make_plan(layer_by_layer(graph))
    tables = make_tables(plan)
    return Compiled(plan.schedule.graph, plan, tables, check(tables), make_project(plan, tables, name))


def tables_of(name: str) -> Tables:
    """Its sound tables."""
    return compiled(name).tables


@dataclass(frozen=True)
class Broken:
    """A way to break a sound plan.

    Attributes:
        name: for the test's name.
        net: a key of `NETS`.
        change: sound tables to broken ones.
        message: what the checker says (regular expression).
        traps: a program made of these tables reads wrong bytes, and the tagged pool says so.
    """

    name: str
    net: str
    change: Callable[[Tables], Tables]
    message: str
    traps: bool = False


def tensor_at(tables: Tables, role: str) -> int:
    """Index of a tensor: "input 0", "output 1", "step 2" (what it writes), "current 0", "next 0"."""
    kind, number = role.split()
    i = int(number)
    states = {"current": 0, "next": 1}
    if kind in states:
        return tables.states[i][states[kind]]
    return (
        {"input": tables.inputs, "output": tables.outputs}[kind][i]
        if kind != "step"
        else tables.steps[i].output
    )


def moved(tables: Tables, role: str, row: int, address: int) -> Tables:
    """One row of a tensor, and of every alias of it, at another address."""
    index = tensor_at(tables, role)
    tensors = tuple(
        replace(
            t,
            addresses=tuple(
                address if owner == (index, row) else a
                for a, owner in zip(t.addresses, t.owners, strict=True)
            ),
        )
        for t in tables.tensors
    )
    return replace(tables, tensors=tensors)


def onto(role: str, row: int, other: str, other_row: int) -> Callable[[Tables], Tables]:
    """One row of a tensor where a row of another lies."""
    return lambda t: moved(t, role, row, t.tensors[tensor_at(t, other)].addresses[other_row])


def at(role: str, row: int, address: Callable[[Tables], int]) -> Callable[[Tables], Tables]:
    """One row of a tensor at another address."""
    return lambda t: moved(t, role, row, address(t))


def with_tensor(tables: Tables, role: str, **changes: Any) -> Tables:
    """A tensor's table with other fields."""
    index = tensor_at(tables, role)
    tensors = tuple(replace(t, **changes) if i == index else t for i, t in enumerate(tables.tensors))
    return replace(tables, tensors=tensors)


def with_step(tables: Tables, number: int, **changes: Any) -> Tables:
    """A step's table with other fields."""
    steps = tuple(replace(s, **changes) if i == number else s for i, s in enumerate(tables.steps))
    return replace(tables, steps=steps)


def with_read(tables: Tables, number: int, k: int, **changes: Any) -> Tables:
    """One access of a step with other fields."""
    reads = tuple(replace(r, **changes) if i == k else r for i, r in enumerate(tables.steps[number].reads))
    return with_step(tables, number, reads=reads)


def with_order(*order: tuple[int, int, int]) -> Callable[[Tables], Tables]:
    """Another schedule, as (step, first, end)."""
    return lambda t: replace(t, order=ranges(*order))


def ranges(*order: tuple[int, int, int]) -> tuple[Range, ...]:
    """A schedule from (step, first, end)."""
    return tuple(Range(*part) for part in order)


def with_owner(tables: Tables, role: str, row: int, owner: tuple[int, int]) -> Tables:
    """One row of a tensor owned by another."""
    owners = list(tables.tensors[tensor_at(tables, role)].owners)
    owners[row] = owner
    return with_tensor(tables, role, owners=tuple(owners))


def alias_of(tables: Tables) -> int:
    """A tensor that consists of rows of others."""
    return next(i for i, t in enumerate(tables.tensors) if t.owners[0][0] != i)


def address(tables: Tables, role: str, row: int) -> int:
    """Of a row."""
    return tables.tensors[tensor_at(tables, role)].addresses[row]


def scratch(where: Callable[[Tables], int], size: int = 8) -> Callable[[Tables], Tables]:
    """Step 1 with working memory."""
    return lambda t: with_step(t, 1, scratch_address=where(t), scratch_bytes=size)


def _swapped(tables: Tables, role: str) -> Tables:
    first, second = address(tables, role, 0), address(tables, role, 1)
    return moved(moved(tables, role, 0, second), role, 1, first)


HANDED = tuple((s, r, r + 1) for layer in (0, 2) for r in range(6) for s in (layer, layer + 1))
HOLDS = r"but byte \d+ of it holds"
BROKEN = (
    # Addresses.
    Broken(
        "row onto its neighbour",
        "branches",
        onto("step 0", 1, "step 0", 2),
        rf"reads row 1, {HOLDS} row 2 of",
        True,
    ),
    Broken(
        "row one byte too low",
        "branches",
        at("step 0", 1, lambda t: address(t, "step 0", 1) - 1),
        rf"reads row \d, {HOLDS} row \d of",
        True,
    ),
    Broken(
        "row onto an input still read",
        "branches",
        onto("step 0", 0, "input 1", 4),
        rf"{HOLDS} row 0 of",
        True,
    ),
    Broken(
        "output onto the input it reads", "branches", onto("step 0", 0, "input 0", 0), "while it writes", True
    ),
    Broken(
        "last output onto the input it reads",
        "branches",
        onto("output 0", 0, "step 2", 0),
        "while it writes",
        True,
    ),
    Broken(
        "row behind the pool",
        "branches",
        at("step 0", 2, lambda t: t.pool_bytes),
        r"row 2 at \d+ is outside the pool",
        True,
    ),
    Broken(
        "row in front of the pool",
        "branches",
        at("step 0", 2, lambda t: -1),
        "row 2 at -1 is outside the pool of",
    ),
    Broken(
        "pool one byte too small",
        "branches",
        lambda t: replace(t, pool_bytes=t.pool_bytes - 1),
        "is outside the pool",
        False,
    ),
    Broken(
        "alias elsewhere",
        "branches",
        lambda t: replace(
            t,
            tensors=tuple(
                replace(x, addresses=x.addresses[::-1]) if x.owners[0][0] != i else x
                for i, x in enumerate(t.tensors)
            ),
        ),
        rf"reads row 0, {HOLDS} row 5 of",
        True,
    ),
    Broken("empty rows", "branches", lambda t: with_tensor(t, "step 0", row_bytes=0), "outside the pool"),
    # Ports.
    Broken("input not in one piece", "branches", lambda t: _swapped(t, "input 0"), "its rows are scattered"),
    Broken(
        "output not in one piece", "branches", lambda t: _swapped(t, "output 1"), "its rows are scattered"
    ),
    Broken(
        "inputs on each other",
        "branches",
        lambda t: with_tensor(
            t, "input 1", addresses=tuple(range(address(t, "input 0", 0), address(t, "input 0", 0) + 90, 15))
        ),
        "overlaps another given tensor",
        True,
    ),
    Broken(
        "output destroyed before the caller reads it",
        "branches",
        onto("output 0", 0, "output 1", 5),
        "while it writes",
        True,
    ),
    # Schedule.
    Broken(
        "last row missing", "branches", with_order((0, 0, 6), (1, 0, 6), (2, 0, 6)), "the caller reads row 0"
    ),
    Broken(
        "row missing",
        "branches",
        with_order((0, 0, 5), (1, 0, 6), (2, 0, 6), (3, 0, 1)),
        rf"reads row 5, {HOLDS}",
    ),
    Broken(
        "row repeated",
        "branches",
        with_order((0, 0, 6), (0, 5, 6), (1, 0, 6), (2, 0, 6), (3, 0, 1)),
        "computed twice",
    ),
    Broken(
        "row that does not exist",
        "branches",
        with_order((0, 0, 7), (1, 0, 6), (2, 0, 6), (3, 0, 1)),
        "row 6 is out of range",
    ),
    Broken(
        "negative row",
        "branches",
        with_order((0, -1, 6), (1, 0, 6), (2, 0, 6), (3, 0, 1)),
        "row -1 is out of range",
    ),
    Broken("step that does not exist", "branches", with_order((0, 0, 6), (4, 0, 1)), "step 4 does not exist"),
    Broken("negative step", "branches", with_order((-1, 0, 1), (0, 0, 6)), "step -1 does not exist"),
    Broken(
        "wrong order",
        "branches",
        with_order((1, 0, 6), (0, 0, 6), (2, 0, 6), (3, 0, 1)),
        rf"{HOLDS} nothing written",
    ),
    Broken(
        "state stored before it is read",
        "stream",
        with_order((1, 0, 4), (0, 0, 3)),
        rf"reads row \d, {HOLDS}",
    ),
    # Sums: nine rows are computed and added to row 0 of step 1 one after another, step 2 divides.
    Broken(
        "sum read before its last row is added",
        "average",
        with_order(*((s, r, r + 1) for r in range(8) for s in (0, 1)), (0, 8, 9), (2, 0, 1), (1, 8, 9)),
        "reads row 0, but byte 0 of it holds an unfinished row 0 of",
    ),
    Broken(
        "rows added in another order",
        "average",
        with_order((0, 1, 2), (1, 1, 2), (0, 0, 1), (1, 0, 1)),
        "row 1 is added before row 0",
    ),
    Broken(
        "row never added",
        "average",
        with_order(*((s, r, r + 1) for r in range(8) for s in (0, 1)), (2, 0, 1)),
        "holds an unfinished row 0 of",
    ),
    Broken(
        "sum overwritten between two rows",
        "average",
        onto("step 0", 3, "step 1", 0),
        "while it writes|holds",
        True,
    ),
    # Streamed outputs: steps 1 and 3 hand out the rows that steps 0 and 2 compute.
    Broken(
        "row handed out too late",
        "handed",
        with_order(*HANDED[:12], (2, 0, 6), (3, 0, 6)),
        rf"the caller reads row 0, {HOLDS} row \d of",
    ),
    Broken(
        "row handed out before it is computed",
        "handed",
        with_order((1, 0, 1), *HANDED),
        rf"the caller reads row 0, {HOLDS} ",
    ),
    Broken(
        "row not handed out",
        "handed",
        with_order(*HANDED[:7], *HANDED[8:]),
        "the caller receives row 4 where row 3 is due",
    ),
    Broken(
        "last row not handed out", "handed", with_order(*HANDED[:-1]), "row 5 is never handed to the caller"
    ),
    Broken("row handed out twice", "handed", with_order(*HANDED, (3, 5, 6)), "computed twice"),
    Broken(
        "rows handed out in another order",
        "handed",
        with_order(*HANDED[:2], (0, 1, 6), (1, 2, 3), (1, 1, 2), (1, 3, 6), *HANDED[12:]),
        "the caller receives row 2 where row 1 is due",
    ),
    Broken(
        "row handed out by two steps",
        "handed",
        lambda t: replace(t, steps=(*t.steps, t.steps[1]), order=(*t.order, Range(4, 0, 1))),
        "the caller receives row 0 where row 6 is due",
    ),
    Broken(
        "another tensor handed out",
        "handed",
        lambda t: with_step(t, 3, output=t.steps[0].output),
        "streamed output 1 is another tensor",
    ),
    Broken(
        "output that does not exist",
        "handed",
        lambda t: with_step(t, 3, port=2),
        "output 2 is another tensor",
    ),
    Broken(
        "row overwritten before it is handed out",
        "handed",
        lambda t: replace(
            onto("step 0", 0, "step 0", 1)(t), order=ranges((0, 0, 6), (1, 0, 6), *HANDED[12:])
        ),
        rf"the caller reads row 0, {HOLDS} row 1 of",
        True,
    ),
    Broken(
        "row handed out onto the input of its layer",
        "handed",
        onto("step 2", 3, "step 0", 3),
        "while it writes",
        True,
    ),
    # Accesses.
    Broken(
        "access table too short",
        "stream",
        lambda t: with_read(t, 1, 0, rows=((0,), (1,))),
        "row 2 is not in the access table",
    ),
    Broken(
        "access table beyond the tensor",
        "stream",
        lambda t: with_read(t, 1, 0, rows=((0,), (1,), (2,), (4,))),
        "is not in the access table",
    ),
    Broken(
        "unknown access", "branches", lambda t: with_read(t, 0, 0, kind="some"), "is not in the access table"
    ),
    # States.
    Broken(
        "next state elsewhere",
        "stream",
        lambda t: with_tensor(
            t, "next 0", addresses=tuple(a + 15 for a in t.tensors[tensor_at(t, "current 0")].addresses)
        ),
        "the next state lies elsewhere",
    ),
    Broken(
        "state outside the persistent part",
        "stream",
        lambda t: replace(t, state_bytes=t.state_bytes - 1),
        "outside the persistent part",
    ),
    Broken(
        "state overwritten before it is read",
        "stream",
        onto("output 0", 1, "current 0", 2),
        "its rows are scattered",
        True,
    ),
    Broken(
        "state overwritten for the next run",
        "stream",
        lambda t: with_tensor(t, "output 0", addresses=(0, 9, 18)),
        rf"{HOLDS} row \d of",
        True,
    ),
    # Working memory.
    Broken(
        "scratch on an input",
        "branches",
        scratch(lambda t: address(t, "step 0", 0)),
        rf"{HOLDS} nothing written",
    ),
    Broken(
        "scratch on the output",
        "branches",
        scratch(lambda t: address(t, "step 1", 0)),
        "writes into its own scratch",
    ),
    Broken(
        "scratch on what others read later",
        "branches",
        scratch(lambda t: address(t, "input 1", 5) // 4 * 4),
        rf"{HOLDS} nothing written",
    ),
    Broken(
        "scratch behind the pool",
        "branches",
        scratch(lambda t: t.pool_bytes - 7),
        "scratch is outside the pool",
    ),
    Broken("scratch in front of the pool", "branches", scratch(lambda t: -1), "scratch is outside the pool"),
    Broken(
        "scratch on an odd address",
        "branches",
        scratch(lambda t: address(t, "step 0", 0) // 4 * 4 + 2),
        "scratch at [0-9]+ is not aligned to 4 bytes",
    ),
    # Tables that contradict themselves.
    Broken(
        "sum on an odd address",
        "average",
        at("step 1", 0, lambda t: address(t, "step 1", 0) + 2),
        "row 0 at [0-9]+ is not aligned to 4 bytes",
    ),
    Broken(
        "more rows than addresses",
        "branches",
        lambda t: with_tensor(t, "step 0", rows=7),
        "its addresses or owners are more or fewer than its rows",
    ),
    Broken(
        "no rows",
        "branches",
        lambda t: with_tensor(t, "step 0", rows=0, addresses=(), owners=()),
        "its addresses or owners are more or fewer than its rows",
    ),
    Broken(
        "a row of another tensor is written",
        "branches",
        lambda t: with_owner(t, "step 2", 1, (tensor_at(t, "step 0"), 1)),
        "it is written, but a row belongs to another",
    ),
    Broken(
        "an owner that is an alias",
        "branches",
        lambda t: with_owner(t, "step 0", 1, (alias_of(t), 1)),
        "owns others, but not itself",
    ),
    Broken(
        "an owner that does not exist",
        "branches",
        lambda t: with_owner(t, "step 0", 1, (len(t.tensors), 0)),
        "its owner, does not exist",
    ),
    Broken(
        "a row of an owner that does not exist",
        "branches",
        lambda t: with_owner(t, "step 0", 1, (tensor_at(t, "step 1"), 6)),
        "row 6 of tensor [0-9]+, its owner, does not exist",
    ),
    Broken(
        "a tensor that does not exist",
        "branches",
        lambda t: with_read(t, 0, 0, tensor=-1),
        "tensor -1 does not exist",
    ),
    Broken(
        "more states than pool",
        "stream",
        lambda t: replace(t, state_bytes=t.pool_bytes + 1),
        "bytes of states in a pool of",
    ),
)
