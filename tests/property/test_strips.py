"""Random chains of convolutions in strips of columns: the same bits as whole rows, each column computed once."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from host_library import HostModel
from tiny_models import Net

import vmcu
from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.errors import VmcuError
from vmcu.fit import Limits, check_fit
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.check import check
from vmcu.memory.plan import lower_bound, make_plan
from vmcu.memory.tables import make_tables
from vmcu.ops.copy_columns import CopyColumns
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.planning.choose import list_candidates
from vmcu.planning.cost import executed_macs
from vmcu.planning.stripping import is_stripped, recomputed, stripped
from vmcu.quant.reference import Reference
from vmcu.schedule.schedule import Schedule, staged, streamed
from vmcu.schedule.strips import chain, cut_strips

SEEDS = range(14)
SEARCH_WORK = 100_000


def make_graph(seed: int) -> QuantizedGraph:
    """Two to five convolutions in a line, then two branches that are added."""
    rng = Random(seed)
    net, channels = Net(), rng.choice((1, 3))
    x = net.qdq(net.input("image", (1, channels, rng.choice((13, 20)), rng.choice((24, 31, 36)))), 0.05, 3)
    for _ in range(rng.randint(2, 5)):
        kernel, stride = rng.choice(((1, 1), (3, 1), (3, 2), (5, 1), (2, 2), (1, 2)))
        dilation = rng.choice((1, 1, 2)) if kernel == 3 else 1
        pad = rng.choice((0, (kernel - 1) * dilation // 2))
        grown = channels * rng.choice((1, 2))
        groups = channels if rng.random() < 0.5 else 1
        convolution = net.node(
            "Conv",
            [x, net.weights((grown, channels // groups, kernel, kernel))],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[pad] * 4,
            group=groups,
        )
        x, channels = net.qdq(convolution, 0.1, -4), grown
    side = net.qdq(net.node("Conv", [x, net.weights((channels, channels, 1, 1))]), 0.1)
    net.node("Identity", [net.qdq(net.node("Add", [x, side]), 0.1)], "y")
    net.output("y")
    with tempfile.TemporaryDirectory() as folder:
        return load(net.save(Path(folder)))


def random_strips(graph: QuantizedGraph, rng: Random, recompute: bool) -> Schedule | None:
    """Edges anywhere, any number abreast."""
    count = max(rng.randint(1, chain(graph)) for _ in range(3))
    width = graph.tensors[graph.ops[count - 1].output].cols
    if width < 3:
        return None
    inner = sorted(rng.sample(range(1, width), min(width - 1, rng.randint(1, 4))))
    image = graph.tensors[graph.inputs[0].tensor]
    tiles = rng.choice([n for n in range(1, image.cols + 1) if image.cols % n == 0])
    cut = cut_strips(graph, count, [0, *inner, width], rng.choice((1, 1, 2, 3)), tiles, recompute)
    if cut is None:
        return None
    end = len(cut.graph.ops)
    together = cut.stages[-1][1]
    stages = (*cut.stages, (together, together + 1), (together + 1, end))
    return staged(cut.graph, tuple(s for s in stages if s[0] < s[1]), abreast=True)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_strips(seed: int, recompute: bool, tmp_path: Path) -> None:
    graph, rng = make_graph(seed), Random(seed)
    tries = (random_strips(graph, rng, recompute) for _ in range(20))
    schedule = next(s for s in tries if s is not None)
    with patch("vmcu.memory.puzzle.SEARCH_WORK", SEARCH_WORK):
        plan = make_plan(schedule)
    tables = make_tables(plan)
    compiled = Compiled(schedule.graph, plan, tables, check(tables), make_project(plan, tables, "net"))
    model, whole, strips = HostModel(compiled, tmp_path), Reference(graph), Reference(schedule.graph)
    for batch in random_batch(graph, 2).tensors:
        expected, in_strips = whole.run_tensors(batch), strips.run_tensors(batch)
        for name in expected.keys() & in_strips.keys():
            np.testing.assert_array_equal(in_strips[name], expected[name], err_msg=name)
        for name, found in model.run(batch).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
    if not recompute:
        assert schedule.graph.macs <= graph.macs  # columns that no window reaches are left out


def test_what_is_computed_again() -> None:
    """Many of these networks have columns that two strips read."""
    again = 0
    for seed in SEEDS:
        graph = make_graph(seed)
        kept, computed_again = (random_strips(graph, Random(seed), recompute) for recompute in (False, True))
        if kept is not None and computed_again is not None:
            assert executed_macs(kept) <= executed_macs(computed_again)
            again += executed_macs(kept) < executed_macs(computed_again)
    assert again > len(SEEDS) // 4


def large_image() -> Net:
    """Rows of wide tensors would have to lie beside a whole image."""
    net = Net()
    x = net.qdq(net.input("image", (1, 3, 64, 64)), 0.05, 3)
    way = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    x = net.qdq(net.node("Conv", [x, net.weights((16, 3, 3, 3))], strides=[2, 2], **way), 0.1)
    x = net.qdq(net.node("Conv", [x, net.weights((16, 1, 3, 3))], group=16, **way), 0.1)
    x = net.qdq(net.node("Conv", [x, net.weights((48, 16, 1, 1))]), 0.1)
    x = net.qdq(net.node("Conv", [x, net.weights((48, 1, 3, 3))], group=48, strides=[2, 2], **way), 0.1)
    x = net.qdq(net.node("Conv", [x, net.weights((12, 48, 1, 1))]), 0.1)
    for _ in range(2):
        x = net.qdq(net.node("Conv", [x, net.weights((12, 12, 3, 3))], **way), 0.1)
    net.node("Identity", [x], "y")
    net.output("y")
    return net


def test_a_large_image_is_walked_in_strips(tmp_path: Path) -> None:
    graph = load(large_image().save(tmp_path))
    rows = streamed(graph)
    found = stripped(graph, rows)[-1]
    assert is_stripped(found) and not any(map(is_stripped, rows))
    assert lower_bound(found) < min(map(lower_bound, rows)) * 0.9
    assert executed_macs(found) == executed_macs(rows[0]) == graph.macs
    plan = make_plan(found)
    assert check(make_tables(plan)) == len(found.tasks)
    copies = [op for op in found.steps if isinstance(op, CopyColumns)]
    assert len({op.output for op in copies}) == len(copies) > 2
    again = stripped(graph, rows)[-1]
    assert again.tasks == found.tasks
    assert stripped(graph, [found]) == []  # nothing to gain


def test_recomputing_keeps_to_its_factor(tmp_path: Path) -> None:
    graph = load(large_image().save(tmp_path))
    rows = streamed(graph)
    assert recomputed(graph, rows, 1.0) == []
    (found,) = recomputed(graph, rows, 1.5)
    least = executed_macs(found) / graph.macs
    assert 1 < least <= 1.5
    assert lower_bound(found) < lower_bound(stripped(graph, rows)[-1])
    assert all(executed_macs(s) <= 1.001 * graph.macs for s in recomputed(graph, rows, 1.001))
    names = {c.name for c in list_candidates(graph)}
    assert list_candidates(graph, allow_recompute=1.5)[-1].name not in names


def test_the_checker_lets_no_task_run_twice(tmp_path: Path) -> None:
    """What is computed again is a row of another tensor; the rule stays as it is."""
    graph = load(large_image().save(tmp_path))
    (found,) = recomputed(graph, streamed(graph), 1.5)
    tables = make_tables(make_plan(found, search=False))
    check(tables)
    with pytest.raises(VmcuError, match="computed twice"):
        check(replace(tables, order=(*tables.order[:9], *tables.order[8:])))


@pytest.mark.qemu
def test_computed_againon_a_core(tmp_path: Path) -> None:
    path = large_image().save(tmp_path)
    plain = vmcu.compile(path, "cortex-m4", name="net")
    again = vmcu.compile(path, "cortex-m4", name="net", allow_recompute=1.5)
    assert again.compiled.plan.pool_bytes < plain.compiled.plan.pool_bytes
    batch = random_batch(plain.compiled.graph, 2)
    assert again.run_batch(batch).outputs == plain.run_batch(batch).outputs
    report = again.make_report(measure=False)
    assert report["macs"] == plain.make_report(measure=False)["macs"] < report["macs_executed"]
    assert report["macs_executed"] <= 1.5 * report["macs"]
    assert report["planning"]["allow_recompute"] == 1.5


def test_what_does_not_fit_is_told_of_the_option(tmp_path: Path) -> None:
    compiled = compile_graph(load(large_image().save(tmp_path)), "net")
    short = Limits(ram_bytes=compiled.plan.pool_bytes - 1)
    with pytest.raises(VmcuError, match=r"--allow-recompute 1\.5 makes the pool [\d,]+, which is enough"):
        check_fit(compiled, None, None, short)
