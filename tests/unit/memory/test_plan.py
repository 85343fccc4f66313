"""The planner: lifetimes and lower bound derived a second time, placement against an exhaustive search."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from broken_plans import NETS, compiled
from random_nets import random_net
from sound_by_bytes import rows_of
from tiny_models import Net

from vmcu.memory.plan import lower_bound
from vmcu.memory.tables import Tables
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.schedule.schedule import streamed


def lifetimes(tables: Tables) -> dict[tuple[int, int], tuple[int, int]]:
    """Segment -> (task that writes it, last task that reads it), from the printed tables alone.

    Task -1 stands for the caller before the run, the number of tasks for the caller after it.
    """
    tasks = [(r.step, row) for r in tables.order for row in range(r.first, r.end)]
    states = {t for pair in tables.states for t in pair}
    life = {(t, r): (-1, -1) for t in tables.inputs for r in range(len(tables.tensors[t].addresses))}
    for number, (index, row) in enumerate(tasks):
        step = tables.steps[index]
        written = (step.output, 0 if step.accumulates else row)
        life[written] = (life.get(written, (number, number))[0], number)
        for read in step.reads:
            for source in rows_of(read, row, len(tables.tensors[read.tensor].addresses)):
                owner = tables.tensors[read.tensor].owners[source]
                if owner[0] not in states:
                    life[owner] = (life[owner][0], number)
    for index in tables.outputs:
        for row in range(len(tables.tensors[index].addresses)):
            owner = tables.tensors[index].owners[row]
            if owner[0] not in states:
                life[owner] = (life[owner][0], len(tasks))
    return {s: span for s, span in life.items() if s[0] not in states}


def live_bytes(tables: Tables) -> list[int]:
    """Bytes alive before the first task, during each, and after the last."""
    tasks = [(r.step, row) for r in tables.order for row in range(r.first, r.end)]
    states = -(-tables.state_bytes // 4) * 4
    life = lifetimes(tables).items()
    found = [
        states + sum(tables.tensors[t].row_bytes for (t, _), (born, died) in life if born <= time <= died)
        for time in range(-1, len(tasks) + 1)
    ]
    for time, (step, _) in enumerate(tasks):
        found[time + 1] += tables.steps[step].scratch_bytes
    return found


def nets(folder: Path) -> list[Compiled]:
    """The hand-written networks and some random ones."""
    found = [compiled(name) for name in NETS]
    for seed in range(12):
        net = random_net(random.Random(seed).choice, 6, seed)
        found.append(compile_graph(load(net.save(folder, f"{seed}.onnx"))))
    return found


def test_live_bytes_and_lower_bound(tmp_path: Path) -> None:
    for one in nets(tmp_path):
        expected = live_bytes(one.tables)
        assert one.plan.lower_bound_bytes == max(expected)
        assert list(one.plan.live_bytes) == expected[1:-1]
        assert one.plan.lower_bound_bytes <= one.plan.pool_bytes == one.tables.pool_bytes


def test_the_pool_ends_with_its_last_byte(tmp_path: Path) -> None:
    for one in nets(tmp_path):
        ends = [max(t.addresses) + t.row_bytes for t in one.tables.tensors]
        ends += [s.scratch_address + s.scratch_bytes for s in one.tables.steps]
        assert one.tables.pool_bytes == max(*ends, -(-one.tables.state_bytes // 4) * 4)


def test_plans_are_deterministic(tmp_path: Path) -> None:
    path = NETS["branches"]().save(tmp_path)
    assert compile_graph(load(path)).tables == compile_graph(load(path)).tables


def test_rows_of_one_layer_overlap(tmp_path: Path) -> None:
    """The point of segments: a layer's output takes the place of input rows that are no longer read."""
    net = Net()
    x = net.qdq(net.input("x", (1, 4, 8, 8)))
    y = net.qdq(net.node("Conv", [x, net.weights((4, 4, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
    net.node("Identity", [y], "y")
    net.output("y", shape=(1, 4, 8, 8))
    plan = compile_graph(load(net.save(tmp_path))).plan
    image, row = 4 * 8 * 8, 4 * 8
    tiles = plan.schedule.graph.tensors[plan.schedule.graph.outputs[0].tensor].tiles
    assert tiles > 1 and plan.pool_bytes == plan.lower_bound_bytes == image + row + 2 * (row // tiles)
    whole = streamed(load(net.save(tmp_path)))[0]
    assert lower_bound(whole) == image + 2 * row


def dense_dag(pick: Callable[[list[int]], int]) -> Net:
    """Vectors only: each tensor is one segment, so that the exhaustive search below is exact."""
    net = Net()
    shapes = [pick([3, 8, 20])]
    live = [net.qdq(net.input("x", (1, shapes[0])))]
    for _ in range(5):
        source = pick([len(live) - 1, len(live) - 1, 0])
        same = [i for i in range(len(live)) if shapes[i] == shapes[source] and i != source]
        if same and pick([0, 1]):
            out, size = net.node("Add", [live[source], live[pick(same)]]), shapes[source]
        else:
            size = pick([3, 8, 20, 31])
            out = net.node("MatMul", [live[source], net.weights((shapes[source], size))])
        live.append(net.qdq(out, 0.2))
        shapes.append(size)
    net.output(live[-1], shape=(1, shapes[-1]))
    return net


def optimum(tables: Tables) -> int:
    """Least pool over all orders of placing each segment at its lowest address."""
    assert all(s.scratch_bytes == 0 for s in tables.steps)
    spans = [(tables.tensors[t].row_bytes, *span) for (t, _), span in lifetimes(tables).items()]
    assert len(spans) <= 7
    best = sum(size for size, _, _ in spans)
    for order in permutations(spans):
        placed: list[tuple[int, int, int, int]] = []
        for size, born, died in order:
            address = 0
            for start, end, first, last in sorted(placed):
                if first <= died and born <= last and start < address + size:
                    address = max(address, end)
            placed.append((address, address + size, born, died))
        best = min(best, max(end for _, end, _, _ in placed))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_placement_against_exhaustive_search(seed: int, tmp_path: Path) -> None:
    one = compile_graph(load(dense_dag(random.Random(seed).choice).save(tmp_path)))
    assert all(len(t.addresses) == 1 for t in one.tables.tensors)
    best = optimum(one.tables)
    print(f"lower bound {one.plan.lower_bound_bytes}, optimum {best}, pool {one.plan.pool_bytes}")
    assert one.plan.lower_bound_bytes <= best == one.plan.pool_bytes
