"""Sound plans with one random thing changed: what the independent checker has to catch, and what it cannot.

Three kinds of change:

* `DECISIONS`: a number the planner decides about (address, order, scratch, size of pool or states), or the number
  of rows, is changed in the tables.
* `VIEWS`: the planner sees something wrongly (a lifetime, a read, a size) and plans with that; the tables state
  the facts. That is how a bug of a planner looks, and the only sensible way to get lifetimes and access
  functions wrong.
* `FACTS`: what the tables repeat from the graph is changed in the tables. The checker has not seen the graph; to
  it a table that says "kernel 2" is a kernel of 2. The C is printed from the same table, so that it takes other
  rows than the operator needs: comparing results finds that, tags do not. Facts that are not printed at all
  (row_bytes, owners, scratch_bytes, port lists) do no harm by themselves, but blind the checker. What no kernel
  can use at all (rows that do not exist, a step that writes rows it does not own) it refuses.

Is a mutant wrong? `sound_by_running.runs_right` says so, without the checker. One that is not wrong is *equivalent*:
a row moved into free bytes, independent tasks swapped. A few of these are refused all the same, where the checker
asks for more than a right result: a task that nobody needs must not read rubbish either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from broken_plans import NETS, with_read, with_step
from random_nets import random_net
from sound_by_running import runs_right
from tiny_models import Net

from vmcu.errors import Exit, VmcuError
from vmcu.ir.quantized import QuantizedGraph, Tensor
from vmcu.memory import plan as plan_module
from vmcu.memory.blocks import Block
from vmcu.memory.check import check
from vmcu.memory.plan import MemoryPlan, lower_bound, make_plan
from vmcu.memory.tables import Range, Tables, make_tables
from vmcu.ops.base import Kernel
from vmcu.ops.conv import Conv2D
from vmcu.pipeline import load
from vmcu.schedule import flow as flow_module
from vmcu.schedule.again import compute_again, repeatable
from vmcu.schedule.aliases import Segment, segments_read
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, layer_by_layer, streamed
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.tiles import tile_columns

SEARCH_WORK = 200_000  # of a placement here: plans need not be the best, only tight
MODELS = Path(__file__).parents[1] / "models"


# ---- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A sound plan.

    Attributes:
        graph, schedule: what is planned, and how; together they give the plan again.
        plan, tables: the result.
    """

    graph: QuantizedGraph
    schedule: Callable[[QuantizedGraph], Schedule]
    plan: MemoryPlan
    tables: Tables


def planned(schedule: Schedule, split: bool = False) -> MemoryPlan:
    """A plan made in little time; `split`: over two arrays, the first twice as large."""
    with patch("vmcu.memory.puzzle.SEARCH_WORK", SEARCH_WORK):
        return make_plan(schedule, split_bytes=lower_bound(schedule) // 6 * 4 if split else 0)


def least(graph: QuantizedGraph) -> Schedule:
    """The streamed schedule that needs least."""
    return min(streamed(graph), key=lower_bound)


def odd() -> Net:
    """Rows of 15 bytes beside sums and a result of int32."""
    net = Net()
    x = net.qdq(net.input("x", (1, 3, 7, 5)))
    y = net.qdq(net.node("Conv", [x, net.weights((5, 3, 3, 3))], pads=[1, 0, 1, 0]), 0.1)
    net.node("ArgMax", [y], "most", axis=1, keepdims=0)
    net.output("most", np.int64, (1, 7, 3))
    net.node("Identity", [net.qdq(net.node("GlobalAveragePool", [y]), 0.1)], "mean")
    net.output("mean", shape=(1, 5, 1, 1))
    return net


def residual() -> Net:
    """Wide images for tiles: halos, a stride, an addition, a pool."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 10, 12)))
    a = net.qdq(net.node("Conv", [x, net.weights((6, 2, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
    b = net.qdq(net.node("Conv", [a, net.weights((6, 1, 5, 5))], pads=[2, 2, 2, 2], group=6), 0.1)
    c = net.qdq(net.node("Add", [a, b]), 0.1)
    d = net.qdq(net.node("MaxPool", [c], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), 0.1)
    e = net.qdq(net.node("Conv", [d, net.weights((2, 6, 1, 1))]), 0.1)
    net.node("Identity", [net.qdq(net.node("GlobalAveragePool", [e]), 0.1)], "y")
    net.output("y", shape=(1, 2, 1, 1))
    return net


def bottleneck() -> Net:
    """Expand, filter, project: the filter's input is computed again."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 9, 12)))
    a = net.qdq(net.node("Conv", [x, net.weights((6, 2, 1, 1))]), 0.1)
    b = net.qdq(net.node("Conv", [a, net.weights((6, 1, 5, 5))], pads=[2, 2, 2, 2], group=6), 0.1)
    net.node("Identity", [net.qdq(net.node("Conv", [b, net.weights((3, 6, 1, 1))]), 0.1)], "y")
    net.output("y", shape=(1, 3, 9, 12))
    return net


class Hungry(Conv2D):
    """A convolution that wants working memory, as no kernel does today."""

    def kernel(self, ins: tuple[Tensor, ...], out: Tensor) -> Kernel:
        return replace(Conv2D.kernel(self, ins, out), scratch_bytes=20)


def _hungry(graph: QuantizedGraph) -> QuantizedGraph:
    ops = [
        Hungry(**{f.name: getattr(op, f.name) for f in fields(op)}) if isinstance(op, Conv2D) else op
        for op in graph.ops
    ]
    return replace(graph, ops=tuple(ops))


def _tiled(graph: QuantizedGraph, tiles: int = 3) -> QuantizedGraph:
    return tile_columns(by_rows(graph), graph.tensors, tiles)


def _again(graph: QuantizedGraph, band: int = 2) -> QuantizedGraph:
    (name,) = repeatable(graph)
    return compute_again(graph, name, band)


def _rows(graph: QuantizedGraph) -> QuantizedGraph:
    return stream_inputs(by_rows(graph), [ALL_INPUTS])


HAND_MADE: Mapping[
    str,
    tuple[
        Callable[[], Net], Callable[[QuantizedGraph], QuantizedGraph], Callable[[QuantizedGraph], Schedule]
    ],
] = {
    "branches, layers": (NETS["branches"], lambda g: g, layer_by_layer),
    "branches, streamed": (NETS["branches"], lambda g: g, least),
    "state": (NETS["stream"], lambda g: g, least),
    "sums": (NETS["average"], by_rows, least),
    "odd sums": (odd, by_rows, least),
    "scratch": (residual, _hungry, least),
    "scratch, layers": (NETS["branches"], _hungry, layer_by_layer),
    "rows": (residual, by_rows, least),
    "tiles": (residual, _tiled, least),
    "tiles, layers": (residual, _tiled, layer_by_layer),
    "again": (bottleneck, _again, least),
    "again, tiles": (bottleneck, lambda g: _tiled(_again(g)), least),
    "streamed input": (residual, _rows, least),
    "streamed inputs": (NETS["branches"], _rows, least),
    "branches, split": (NETS["branches"], lambda g: g, layer_by_layer),
    "state, split": (NETS["stream"], lambda g: g, least),
    "tiles, split": (residual, _tiled, least),
    "rows, split": (residual, _rows, least),
    "scratch, split": (residual, _hungry, least),
}
RANDOM = (1, 4, 6, 8, 11, 17)  # seeds of random networks
COMMITTED = ("gesture", "mnist_cnn")
CASES = (*HAND_MADE, *(f"random {seed}" for seed in RANDOM), *COMMITTED)


@cache
def case(name: str) -> Case:
    """A plan of `CASES`."""
    how: Callable[[QuantizedGraph], Schedule] = least
    with tempfile.TemporaryDirectory() as folder:
        if name in HAND_MADE:
            net, change, how = HAND_MADE[name]
            graph = change(load(net().save(Path(folder))))
        elif name in COMMITTED:
            graph = by_rows(load(MODELS / name / "model.onnx"))
        else:
            seed = int(name.split()[1])
            # With all channels: the plan is what is changed here, and a small network has few to change.
            net_of_seed = random_net(Random(seed).choice, 6, seed)
            graph = load(net_of_seed.save(Path(folder)), dead_channels=False)
    plan = planned(how(graph), name.endswith("split"))
    assert bool(plan.split_bytes) == name.endswith("split")
    tables = make_tables(plan)
    check(tables)
    assert runs_right(tables, tables)
    return Case(graph, how, plan, tables)


# ---- changes of tables ---------------------------------------------------------------------------

Row = tuple[int, int]  # (tensor, row) by number
Change = Callable[[Random, Tables], Tables | None]
"""A sound plan with one thing changed, or None where it has no such thing."""


def _with_tensor(tables: Tables, index: int, **changes: Any) -> Tables:
    tensors = list(tables.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(tables, tensors=tuple(tensors))


def _own_row(rng: Random, tables: Tables) -> Row:
    """A row that owns its bytes."""
    own = [
        (t, r)
        for t, table in enumerate(tables.tensors)
        for r, owner in enumerate(table.owners)
        if owner == (t, r)
    ]
    return rng.choice(own)


def _placed(tables: Tables, where: Mapping[Row, int]) -> Tables:
    """Rows at other addresses, with their aliases, and the next state with the current one."""
    current = {n: c for c, n in tables.states}

    def address(t: int, r: int, owner: Row, old: int) -> int:
        return where.get((current[t], r) if t in current else owner, old)

    return replace(
        tables,
        tensors=tuple(
            replace(
                table,
                addresses=tuple(
                    address(t, r, owner, old)
                    for r, (owner, old) in enumerate(zip(table.owners, table.addresses, strict=True))
                ),
            )
            for t, table in enumerate(tables.tensors)
        ),
    )


def _at(tables: Tables, segment: Row) -> int:
    return tables.tensors[segment[0]].addresses[segment[1]]


def row_moved_a_little(rng: Random, tables: Tables) -> Tables:
    segment = _own_row(rng, tables)
    return _placed(tables, {segment: _at(tables, segment) + rng.choice([-4, -3, -2, -1, 1, 2, 3, 4])})


def row_moved_anywhere(rng: Random, tables: Tables) -> Tables:
    segment = _own_row(rng, tables)
    return _placed(tables, {segment: rng.randrange(tables.pool_bytes)})


def row_onto_another(rng: Random, tables: Tables) -> Tables:
    return _placed(tables, {_own_row(rng, tables): _at(tables, _own_row(rng, tables))})


def row_onto_what_lives_beside_it(rng: Random, tables: Tables) -> Tables:
    """Another row of its own tensor, or of one that is read or written together with it."""
    step = rng.choice(tables.steps)
    near = [step.output, *(r.tensor for r in step.reads)]
    one, other = rng.choice(near), rng.choice(near)
    target = rng.choice(tables.tensors[other].addresses)
    row = rng.randrange(len(tables.tensors[one].addresses))
    return _placed(tables, {tables.tensors[one].owners[row]: target})


def rows_exchanged(rng: Random, tables: Tables) -> Tables:
    one, other = _own_row(rng, tables), _own_row(rng, tables)
    return _placed(tables, {one: _at(tables, other), other: _at(tables, one)})


def row_out_of_the_pool(rng: Random, tables: Tables) -> Tables:
    segment = _own_row(rng, tables)
    size = tables.tensors[segment[0]].row_bytes
    beyond = tables.pool_bytes - size + rng.randrange(1, size + 9)
    return _placed(tables, {segment: rng.choice([-rng.randrange(1, 9), beyond])})


def tensor_shifted(rng: Random, tables: Tables) -> Tables:
    index = rng.randrange(len(tables.tensors))
    by = rng.choice([-1, 1]) * rng.randrange(1, 2 * tables.tensors[index].row_bytes)
    return _placed(tables, {(index, r): a + by for r, a in enumerate(tables.tensors[index].addresses)})


def entry_of_one_table(rng: Random, tables: Tables) -> Tables:
    """One number, while its aliases, or the owner, stay."""
    index = rng.randrange(len(tables.tensors))
    addresses = list(tables.tensors[index].addresses)
    addresses[rng.randrange(len(addresses))] = rng.randrange(tables.pool_bytes)
    return _with_tensor(tables, index, addresses=tuple(addresses))


def _ordered(tables: Tables, order: Iterable[Range]) -> Tables:
    return replace(tables, order=tuple(order))


def _task_ranges(tables: Tables) -> list[Range]:
    """The order, a task each."""
    return [Range(r.step, row, row + 1) for r in tables.order for row in range(r.first, r.end)]


def ranges_exchanged(rng: Random, tables: Tables) -> Tables:
    order = list(tables.order)
    i, j = rng.randrange(len(order)), rng.randrange(len(order))
    order[i], order[j] = order[j], order[i]
    return _ordered(tables, order)


def neighbours_exchanged(rng: Random, tables: Tables) -> Tables:
    """Two tasks that follow each other."""
    order = _task_ranges(tables)
    if len(order) < 2:
        return tables
    i = rng.randrange(len(order) - 1)
    order[i], order[i + 1] = order[i + 1], order[i]
    return _ordered(tables, order)


def task_earlier(rng: Random, tables: Tables) -> Tables:
    order = _task_ranges(tables)
    i = rng.randrange(len(order))
    order.insert(max(0, i - rng.randrange(1, 6)), order.pop(i))
    return _ordered(tables, order)


def task_later(rng: Random, tables: Tables) -> Tables:
    order = _task_ranges(tables)
    i = rng.randrange(len(order))
    order.insert(i + rng.randrange(1, 6), order.pop(i))
    return _ordered(tables, order)


def range_removed(rng: Random, tables: Tables) -> Tables:
    order = list(tables.order)
    del order[rng.randrange(len(order))]
    return _ordered(tables, order)


def range_repeated(rng: Random, tables: Tables) -> Tables:
    order = list(tables.order)
    order.insert(rng.randrange(len(order) + 1), rng.choice(order))
    return _ordered(tables, order)


def range_turned_round(rng: Random, tables: Tables) -> Tables | None:
    """Split in two, the second part first."""
    long = [i for i, r in enumerate(tables.order) if r.end - r.first > 1]
    if not long:
        return None
    i = rng.choice(long)
    part = tables.order[i]
    middle = rng.randrange(part.first + 1, part.end)
    halves = (replace(part, first=middle), replace(part, end=middle))
    return _ordered(tables, (*tables.order[:i], *halves, *tables.order[i + 1 :]))


def _range_changed(tables: Tables, i: int, **changes: int) -> Tables:
    return _ordered(tables, (*tables.order[:i], replace(tables.order[i], **changes), *tables.order[i + 1 :]))


def range_begins_elsewhere(rng: Random, tables: Tables) -> Tables:
    i = rng.randrange(len(tables.order))
    return _range_changed(tables, i, first=tables.order[i].first + rng.choice([-2, -1, 1, 2]))


def range_ends_elsewhere(rng: Random, tables: Tables) -> Tables:
    i = rng.randrange(len(tables.order))
    return _range_changed(tables, i, end=tables.order[i].end + rng.choice([-2, -1, 1, 2]))


def range_of_another_step(rng: Random, tables: Tables) -> Tables:
    i = rng.randrange(len(tables.order))
    return _range_changed(tables, i, step=rng.randrange(-1, len(tables.steps) + 1))


def pool_smaller(rng: Random, tables: Tables) -> Tables:
    return replace(tables, pool_bytes=tables.pool_bytes - rng.randrange(1, 1 + min(64, tables.pool_bytes)))


def states_of_another_size(rng: Random, tables: Tables) -> Tables:
    return replace(
        tables, state_bytes=max(0, tables.state_bytes + rng.choice([-9, -1, 1, 9, tables.pool_bytes]))
    )


def split_elsewhere(rng: Random, tables: Tables) -> Tables | None:
    """The first array ends earlier or later than the plan thinks."""
    if not tables.split_bytes:
        return None
    by = rng.choice([-1, 1]) * rng.choice([1, 2, 4, 8, rng.randrange(tables.pool_bytes)])
    return replace(tables, split_bytes=max(1, tables.split_bytes + by))


def row_across_the_split(rng: Random, tables: Tables) -> Tables | None:
    segment = _own_row(rng, tables)
    size = tables.tensors[segment[0]].row_bytes
    if not tables.split_bytes or size < 2:
        return None
    return _placed(tables, {segment: tables.split_bytes - rng.randrange(1, size)})


def scratch_moved(rng: Random, tables: Tables) -> Tables | None:
    users = [i for i, step in enumerate(tables.steps) if step.scratch_bytes]
    if not users:
        return None
    where = rng.randrange(-4, tables.pool_bytes + 4)
    return with_step(
        tables, rng.choice(users), scratch_address=where if rng.random() < 0.3 else where // 4 * 4
    )


def row_dropped(rng: Random, tables: Tables) -> Tables | None:
    """The planner forgets one: the first, the last or another."""
    several = [i for i, t in enumerate(tables.tensors) if t.rows > 1]
    if not several:
        return None
    index = rng.choice(several)
    last = tables.tensors[index].rows - 1
    return _without(tables, index, rng.choice([0, last, rng.randrange(last)]))


def row_added(rng: Random, tables: Tables) -> Tables:
    return _with_one_more(tables, rng.randrange(len(tables.tensors)))


def _without(tables: Tables, index: int, row: int) -> Tables:
    """A tensor of fewer rows; its own rows are numbered anew."""
    table = tables.tensors[index]
    rows = [r for r in range(table.rows) if r != row]
    owners = tuple(
        (index, n) if table.owners[r] == (index, r) else table.owners[r] for n, r in enumerate(rows)
    )
    return _with_tensor(tables, index, addresses=tuple(table.addresses[r] for r in rows), owners=owners)


def _with_one_more(tables: Tables, index: int) -> Tables:
    """A tensor with another row behind the last one."""
    table = tables.tensors[index]
    step = table.addresses[-1] - table.addresses[-2] if table.rows > 1 else table.row_bytes
    own = table.owners[-1] == (index, table.rows - 1)
    owner = (index, table.rows) if own else table.owners[-1]
    addresses = (*table.addresses, table.addresses[-1] + (step if own else 0))
    return _with_tensor(tables, index, addresses=addresses, owners=(*table.owners, owner))


# ---- what the planner sees wrongly ---------------------------------------------------------------

View = Callable[[Random, Case], Tables | None]


def _replanned(one: Case, module: object, name: str, wrong: Any, again: bool = False) -> Tables:
    """Tables of a plan made with function `name` replaced; `again`: the order is made anew, too."""
    with patch.object(module, name, wrong):
        schedule = one.schedule(one.graph) if again else one.plan.schedule
        return make_tables(planned(schedule))


def _lifetimes(rng: Random, one: Case, change: Callable[[int, int], tuple[int, int]]) -> Tables | None:
    true = plan_module.segment_lifetimes(one.plan.schedule)
    states = {s.current for s in one.graph.states}
    able = [s for s, span in true.items() if s[0] not in states and change(*span) != span]
    if not able:
        return None
    chosen = rng.choice(able)
    wrong = {**true, chosen: change(*true[chosen])}
    return _replanned(one, plan_module, "segment_lifetimes", lambda schedule: dict(wrong))


def lifetime_ends_too_early(rng: Random, one: Case) -> Tables | None:
    by = rng.choice([1, 1, 2, 5, 1000])
    return _lifetimes(rng, one, lambda born, died: (born, max(born, died - by)))


def lifetime_begins_too_late(rng: Random, one: Case) -> Tables | None:
    by = rng.choice([1, 1, 2, 5, 1000])
    return _lifetimes(rng, one, lambda born, died: (min(died, born + by), died))


def read_overlooked(rng: Random, one: Case) -> Tables | None:
    """One row that one task reads."""
    task = rng.choice([t for t in one.plan.schedule.tasks if t.reads] or [None])
    if task is None:
        return None
    name, row, lost = one.plan.schedule.steps[task.step].output, task.row, rng.choice(task.reads)

    def wrong(graph: QuantizedGraph, op: Any, aliases: Any) -> list[tuple[Segment, ...]]:
        return [
            tuple(s for s in found if (op.output, number, s) != (name, row, lost))
            for number, found in enumerate(segments_read(graph, op, aliases))
        ]

    return _replanned(one, flow_module, "segments_read", wrong, again=True)


def kernel_a_row_short(rng: Random, one: Case) -> Tables | None:
    """The first, or the last, row that the tasks of one step read."""
    output = rng.choice([s.output for s in one.plan.schedule.steps])
    kept = rng.choice([slice(1, None), slice(None, -1)])

    def wrong(graph: QuantizedGraph, op: Any, aliases: Any) -> list[tuple[Segment, ...]]:
        tasks = segments_read(graph, op, aliases)
        return [found[kept] if op.output == output and len(found) > 1 else found for found in tasks]

    return _replanned(one, flow_module, "segments_read", wrong, again=True)


def rows_a_task_apart(rng: Random, one: Case) -> Tables | None:
    """The tasks of one step are thought to read what their neighbour reads: stride or pad is off by one."""
    output = rng.choice([s.output for s in one.plan.schedule.steps])
    by = rng.choice([-1, 1])

    def wrong(graph: QuantizedGraph, op: Any, aliases: Any) -> list[tuple[Segment, ...]]:
        tasks = segments_read(graph, op, aliases)
        if op.output != output:
            return tasks
        return [tasks[min(max(0, number + by), len(tasks) - 1)] for number in range(len(tasks))]

    return _replanned(one, flow_module, "segments_read", wrong, again=True)


def block_too_small(rng: Random, one: Case) -> Tables:
    """Something is thought to have fewer bytes: a row, or working memory."""
    true = plan_module.make_blocks
    seed = rng.random()

    def wrong(schedule: Schedule, lifetimes: Any, whole: bool) -> list[Block]:
        blocks = true(schedule, lifetimes, whole)
        inner = Random(seed)
        i = inner.randrange(len(blocks))
        parts = [(o, max(1, size - inner.randrange(1, 9)), b, d) for o, size, b, d in blocks[i].parts]
        blocks[i] = replace(blocks[i], parts=tuple(parts))
        return blocks

    return _replanned(one, plan_module, "make_blocks", wrong)


def alignment_forgotten(rng: Random, one: Case) -> Tables:
    """Of one thing that has to be aligned."""
    true, seed = plan_module.make_blocks, rng.random()

    def wrong(schedule: Schedule, lifetimes: Any, whole: bool) -> list[Block]:
        blocks = true(schedule, lifetimes, whole)
        aligned = [i for i, b in enumerate(blocks) if b.align > 1]
        if aligned:
            i = Random(seed).choice(aligned)
            blocks[i] = replace(blocks[i], align=1)
        return blocks

    return _replanned(one, plan_module, "make_blocks", wrong)


# ---- changes of facts ----------------------------------------------------------------------------


def _read_at(rng: Random, tables: Tables, *kinds: str) -> tuple[int, int] | None:
    able = [(i, k) for i, s in enumerate(tables.steps) for k, r in enumerate(s.reads) if r.kind in kinds]
    return rng.choice(able) if able else None


def window_changed(rng: Random, tables: Tables) -> Tables | None:
    place = _read_at(rng, tables, "window", "patch")
    if place is None:
        return None
    read = tables.steps[place[0]].reads[place[1]]
    word = rng.choice(["kernel", "stride", "pad", "dilation"])
    return with_read(tables, *place, **{word: max(0, getattr(read, word) + rng.choice([-1, 1]))})


def patch_changed(rng: Random, tables: Tables) -> Tables | None:
    place = _read_at(rng, tables, "patch")
    if place is None:
        return None
    read = tables.steps[place[0]].reads[place[1]]
    word = rng.choice(["tiles", "tiles_out", "left", "count"])
    least_value = 0 if word == "left" else 1
    return with_read(tables, *place, **{word: max(least_value, getattr(read, word) + rng.choice([-1, 1]))})


def table_changed(rng: Random, tables: Tables) -> Tables | None:
    able = [(i, k) for i, s in enumerate(tables.steps) for k, r in enumerate(s.reads) if r.rows]
    if not able:
        return None
    place = rng.choice(able)
    rows = [list(r) for r in tables.steps[place[0]].reads[place[1]].rows]
    row = rng.randrange(len(rows))
    rows[row][rng.randrange(len(rows[row]))] += rng.choice([-1, 1])
    return with_read(tables, *place, rows=tuple(tuple(r) for r in rows))


def every_becomes_window(rng: Random, tables: Tables) -> Tables | None:
    place = _read_at(rng, tables, "every")
    return None if place is None else with_read(tables, *place, kind="window", kernel=1, stride=1, dilation=1)


def other_input(rng: Random, tables: Tables) -> Tables | None:
    place = _read_at(rng, tables, "window", "patch", "every", "table")
    return None if place is None else with_read(tables, *place, tensor=rng.randrange(len(tables.tensors)))


def accumulates_flipped(rng: Random, tables: Tables) -> Tables | None:
    able = [i for i, s in enumerate(tables.steps) if s.reads]
    if not able:
        return None
    i = rng.choice(able)
    return with_step(tables, i, accumulates=not tables.steps[i].accumulates)


def moves_rows_flipped(rng: Random, tables: Tables) -> Tables:
    i = rng.randrange(len(tables.steps))
    return with_step(tables, i, moves_rows=not tables.steps[i].moves_rows)


def row_fewer_everywhere(rng: Random, tables: Tables) -> Tables | None:
    """The graph itself seems to have one row less."""
    changed = row_dropped(rng, tables)
    if changed is None:
        return None
    return replace(changed, tensors=tuple(replace(t, rows=len(t.addresses)) for t in changed.tensors))


def row_more_everywhere(rng: Random, tables: Tables) -> Tables:
    changed = row_added(rng, tables)
    return replace(changed, tensors=tuple(replace(t, rows=len(t.addresses)) for t in changed.tensors))


def row_bytes_changed(rng: Random, tables: Tables) -> Tables:
    index = rng.randrange(len(tables.tensors))
    size = tables.tensors[index].row_bytes + rng.choice([-2, -1, 1, 2])
    return _with_tensor(tables, index, row_bytes=max(0, size))


def owner_changed(rng: Random, tables: Tables) -> Tables:
    index = rng.randrange(len(tables.tensors))
    owners = list(tables.tensors[index].owners)
    owners[rng.randrange(len(owners))] = _own_row(rng, tables)
    return _with_tensor(tables, index, owners=tuple(owners))


def scratch_size_changed(rng: Random, tables: Tables) -> Tables:
    i = rng.randrange(len(tables.steps))
    return with_step(tables, i, scratch_bytes=max(0, tables.steps[i].scratch_bytes + rng.choice([-4, 4])))


def ports_changed(rng: Random, tables: Tables) -> Tables:
    """An input or output more, or less."""
    field_name = rng.choice(["inputs", "outputs"])
    ports = list(getattr(tables, field_name))
    if ports and rng.random() < 0.5:
        del ports[rng.randrange(len(ports))]
    else:
        ports.append(rng.randrange(len(tables.tensors)))
    return replace(tables, **{field_name: tuple(ports)})


def _named(*functions: Callable[..., Any]) -> dict[str, Any]:
    return {f.__name__.replace("_", " "): f for f in functions}


def _on_tables(change: Change) -> View:
    return lambda rng, one: change(rng, one.tables)


DECISIONS: dict[str, View] = {
    name: _on_tables(change)
    for name, change in _named(
        row_moved_a_little,
        row_moved_anywhere,
        row_onto_another,
        row_onto_what_lives_beside_it,
        rows_exchanged,
        row_out_of_the_pool,
        tensor_shifted,
        entry_of_one_table,
        ranges_exchanged,
        neighbours_exchanged,
        task_earlier,
        task_later,
        range_removed,
        range_repeated,
        range_turned_round,
        range_begins_elsewhere,
        range_ends_elsewhere,
        range_of_another_step,
        pool_smaller,
        states_of_another_size,
        split_elsewhere,
        row_across_the_split,
        scratch_moved,
        row_dropped,
        row_added,
    ).items()
}
VIEWS: dict[str, View] = _named(
    lifetime_ends_too_early,
    lifetime_begins_too_late,
    read_overlooked,
    kernel_a_row_short,
    rows_a_task_apart,
    block_too_small,
    alignment_forgotten,
)
FACTS: dict[str, View] = {
    name: _on_tables(change)
    for name, change in _named(
        window_changed,
        patch_changed,
        table_changed,
        every_becomes_window,
        other_input,
        accumulates_flipped,
        moves_rows_flipped,
        row_fewer_everywhere,
        row_more_everywhere,
        row_bytes_changed,
        owner_changed,
        scratch_size_changed,
        ports_changed,
    ).items()
}
KINDS = {**DECISIONS, **VIEWS, **FACTS}

BLIND: Mapping[str, str] = {
    "window changed": "the table is the only place that tells the checker what a kernel is",
    "patch changed": "as with windows",
    "table changed": "the row it names exists and is alive, or is declared padding",
    "every becomes window": "one row of those that are alive",
    "other input": "the other tensor has as many rows, all alive",
    "row fewer everywhere": "what lies beside a tensor is padding, and the row that is gone now does",
    "row more everywhere": "where all rows are read: one more of an input, which the caller seems to give",
}
"""Facts whose mutants may survive, and why. The C printed from them computes something else."""

STRICTER: Mapping[str, str] = {
    "row added": "an address too many is not used, but nothing good can have led to it",
}
"""Decisions and views whose equivalent mutants may be refused, and why."""


# ---- verdicts ------------------------------------------------------------------------------------


@dataclass
class Score:
    """Of one kind of change.

    Attributes:
        equivalent: mutants that compute the same, and keep every promise.
        refused: those among them that the checker refuses.
        killed: wrong mutants that the checker refuses.
        survivors: wrong mutants that it accepts, as (case, number).
    """

    equivalent: int = 0
    refused: int = 0
    killed: int = 0
    survivors: list[tuple[str, int]] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Mutants that must be caught."""
        return self.killed + len(self.survivors)


def mutant(kind: str, name: str, number: int) -> Tables | None:
    """Mutant `number` of a case; the same one every time. None where the kind does not apply."""
    changed = KINDS[kind](Random(f"{kind}, {name}, {number}"), case(name))
    return None if changed == case(name).tables else changed


def accepts(tables: Tables) -> bool:
    """The checker's verdict; it never fails but by refusing."""
    try:
        check(tables)
    except VmcuError as error:
        assert error.code is Exit.BUG
        return False
    return True


def score(kind: str, names: Iterable[str], count: int) -> Score:
    """Up to `count` mutants of each case."""
    found = Score()
    for name in names:
        for number in range(count):
            changed = mutant(kind, name, number)
            if changed is None:
                continue
            meant = changed if kind in VIEWS else case(name).tables
            right, accepted = runs_right(meant, changed), accepts(changed)
            if right:
                found.equivalent += 1
                found.refused += not accepted
            elif accepted:
                found.survivors.append((name, number))
            else:
                found.killed += 1
    return found
