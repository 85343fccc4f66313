"""Rows that are computed again for each band of rows that reads them: the same bits, and no more than was allowed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from click.testing import CliRunner
from dead_layers import Layers
from host_library import HostModel
from tiny_models import Net

import vmcu
from vmcu.batch import random_batch
from vmcu.cli import cli
from vmcu.codegen.project import make_project
from vmcu.errors import VmcuError
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.check import check
from vmcu.memory.plan import lower_bound, make_plan
from vmcu.memory.tables import Tables, make_tables
from vmcu.ops.conv import Conv2D
from vmcu.pipeline import Compiled, load
from vmcu.planning.cost import executed_macs
from vmcu.planning.repeating import repeated
from vmcu.quant.reference import Reference
from vmcu.schedule.again import compute_again, repeatable
from vmcu.schedule.schedule import Schedule, staged, streamed
from vmcu.schedule.tiles import tile_columns, tile_counts

SEEDS = range(16)
SEARCH_WORK = 100_000


def make_graph(seed: int) -> QuantizedGraph:
    """Expand, filter, project; then mostly a filter on top, a branch that is added or a second block."""
    rng = Random(seed)
    net, channels, height = Net(), rng.choice((3, 4)), rng.choice((13, 18))
    x = net.qdq(net.input("image", (1, channels, height, rng.choice((16, 24)))), 0.05, 3)

    def conv(x: str, channels: int, grown: int, kernel: int, depthwise: bool = False) -> str:
        nonlocal height
        stride = rng.choice((1, 1, 2)) if kernel > 1 else 1
        dilation = rng.choice((1, 1, 2)) if kernel == 3 else 1
        reach = (kernel - 1) * dilation + 1
        pad = rng.choice((0, 1, 1)) * (reach // 2) if height > reach else reach // 2
        height = (height + 2 * pad - reach) // stride + 1
        made = net.node(
            "Conv",
            [x, net.weights((grown, 1 if depthwise else channels, kernel, kernel))],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[pad] * 4,
            group=channels if depthwise else 1,
        )
        return net.qdq(made, 0.1, -4)

    for _ in range(rng.randint(1, 2)):
        wide = channels * rng.choice((2, 4))
        x = conv(x, channels, wide, rng.choice((1, 1, 3)))
        x = conv(x, wide, wide, rng.choice((2, 3, 3)), depthwise=True)
        channels = rng.choice((4, 6))
        x = conv(x, wide, channels, 1)
    if rng.random() < 0.5:
        x = net.qdq(net.node("Add", [x, conv(x, channels, channels, 1)]), 0.1)
    net.node("Identity", [x], "y")
    net.output("y")
    with tempfile.TemporaryDirectory() as folder:
        return load(net.save(Path(folder)))


def computed_again(graph: QuantizedGraph, rng: Random, tiled: bool) -> Schedule:
    """One or all tensors that can be, in bands of any height, in rows or in tiles."""
    names = repeatable(graph)
    for name in reversed(rng.choice((names, names[:1], names[-1:]))):
        graph = compute_again(graph, name, rng.choice((1, 1, 2, 3, 5)))
    if tiled:
        graph = tile_columns(graph, graph.tensors, rng.choice(tile_counts(graph)))
    count = len(graph.ops)
    cut = rng.choice((count, count, rng.randint(1, count)))
    return staged(graph, tuple(s for s in ((0, cut), (cut, count)) if s[0] < s[1]))


def with_program(schedule: Schedule) -> Compiled:
    with patch("vmcu.memory.puzzle.SEARCH_WORK", SEARCH_WORK):
        plan = make_plan(schedule)
    tables = make_tables(plan)
    return Compiled(schedule.graph, plan, tables, check(tables), make_project(plan, tables, "net"))


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_bands(seed: int, tiled: bool, tmp_path: Path) -> None:
    graph = make_graph(seed)
    schedule = computed_again(graph, Random(seed), tiled)
    model, whole, bands = (
        HostModel(with_program(schedule), tmp_path),
        Reference(graph),
        Reference(schedule.graph),
    )
    for batch in random_batch(graph, 2).tensors:
        expected, found = whole.run_tensors(batch), bands.run_tensors(batch)
        for name in expected.keys() & found.keys():
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        for name, values in model.run(batch).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_most_of_these_compute_something_again() -> None:
    more = [computed_again(g := make_graph(s), Random(s), False).graph.macs > g.macs for s in SEEDS]
    assert sum(more) > len(SEEDS) // 2


def bottleneck(rows: int, cols: int) -> Net:
    """The output's rows are longer than the image's, and the filter's longer still."""
    net = Net()
    x = net.qdq(net.input("image", (1, 4, rows, cols)), 0.05, 3)
    x = net.qdq(net.node("Conv", [x, net.weights((24, 4, 1, 1))]), 0.1)
    way = {"pads": [2, 2, 2, 2], "kernel_shape": [5, 5], "group": 24}
    x = net.qdq(net.node("Conv", [x, net.weights((24, 1, 5, 5))], **way), 0.1)
    x = net.qdq(net.node("Conv", [x, net.weights((6, 24, 1, 1))]), 0.1)
    net.node("Identity", [x], "y")
    net.output("y")
    return net


def test_rows_of_a_band() -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = load(bottleneck(9, 8).save(Path(folder)))
    (name,) = repeatable(graph)
    again = compute_again(graph, name, 4)
    expand, filtered, _ = (op for op in again.ops if isinstance(op, Conv2D))
    # Bands of rows 0 to 3, 4 to 7 and 8 read rows 0 to 5, 2 to 8 and 6 to 8.
    assert expand.rows == tuple((r,) for r in (*range(6), *range(2, 9), *range(6, 9)))
    assert filtered.rows[0] == (-1, -1, 0, 1, 2) and filtered.rows[4] == (6, 7, 8, 9, 10)
    assert filtered.rows[8] == (13, 14, 15, -1, -1)
    assert expand.band == 0 and filtered.band == 4
    assert again.macs - graph.macs == (16 - 9) * 8 * 24 * 4


def test_keeps_to_its_factor(tmp_path: Path) -> None:
    graph = load(bottleneck(30, 32).save(tmp_path))
    rows = streamed(graph)
    assert repeated(graph, rows, 1.0) == []
    before = min(map(lower_bound, rows))
    bounds = [before]
    for most in (1.2, 1.5, 2.5):
        found = repeated(graph, rows, most)
        assert found and all(1 < executed_macs(s) / graph.macs <= most for s in found)
        assert all(lower_bound(s) < before for s in found)
        bounds.append(min(map(lower_bound, found)))
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] < bounds[1]
    # Of five rows of the filter's input, each four times as wide as one of the output, next to nothing is kept.
    wanted = graph.tensors[graph.outputs[0].tensor].size_bytes
    assert bounds[0] - wanted > 4 * 32 * 24 > 2 * (bounds[-1] - wanted)


@pytest.fixture(scope="module")
def tables() -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        graph = load(bottleneck(10, 8).save(Path(folder)))
    again = compute_again(graph, repeatable(graph)[0], 2)
    again = tile_columns(again, again.tensors, 4)
    return make_tables(make_plan(staged(again, ((0, 3),)), search=False))


@pytest.mark.parametrize("row", [-2, 10_000])
def test_the_checker_refuses_rows_that_do_not_exist(tables: Tables, row: int) -> None:
    check(tables)
    step = tables.steps[1]
    read = step.reads[0]
    assert read.kind == "patch" and read.rows
    for wrong in ((row, *read.rows[1][1:]), read.rows[1][1:]):
        rows = (read.rows[0], wrong, *read.rows[2:])
        changed = replace(step, reads=(replace(read, rows=rows),))
        with pytest.raises(VmcuError, match="not in the access table"):
            check(replace(tables, steps=(tables.steps[0], changed, *tables.steps[2:])))


@pytest.mark.parametrize("row", range(1, 9))
def test_the_checker_misses_a_row_of_another_band(tables: Tables, row: int) -> None:
    """A row of the tensor that the plan did not keep for this window holds something else by then, or not yet."""
    step = tables.steps[1]
    read = step.reads[0]
    other = read.rows[9 if row < 5 else 0]
    changed = replace(step, reads=(replace(read, rows=(*read.rows[:row], other, *read.rows[row + 1 :])),))
    with pytest.raises(VmcuError, match="reads row"):
        check(replace(tables, steps=(tables.steps[0], changed, *tables.steps[2:])))


@pytest.mark.qemu
def test_verified_layer_by_layer_where_channels_are_left_out(tmp_path: Path) -> None:
    """Layers are compared with those of the whole network under the names that the model gives them."""
    net = Layers()
    filters = net.filters(24, 4, 1, 1)
    filters[[3, 8, 20]] = 0
    x = net.conv(net.image(4, 16), filters)
    x = net.conv(x, net.filters(24, 1, 5, 5), pad=2, group=24)
    net.output(net.conv(x, net.filters(6, 24, 1, 1)))
    path = net.save(tmp_path)
    made = vmcu.compile(path, "cortex-m4", name="net", allow_recompute=2.0)
    assert made.compiled.graph.channels_removed > 0
    assert executed_macs(made.compiled.plan.schedule) > made.compiled.macs == made.compiled.network.macs
    found = CliRunner().invoke(cli, ["verify", str(path), "--target", "cortex-m4", "--allow-recompute", "2"])
    assert found.exit_code == 0, found.output
    assert "optimised = whole network, random inputs" in found.output


@pytest.mark.qemu
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55", "cortex-m0plus"])
def test_on_a_core(target: str, tmp_path: Path) -> None:
    path = bottleneck(16, 16).save(tmp_path)
    plain = vmcu.compile(path, target, name="net")
    again = vmcu.compile(path, target, name="net", allow_recompute=2.0)
    assert (
        again.compiled.choice is not None
        and again.compiled.choice.chosen.name == "streamed, rows computed again"
    )
    assert again.compiled.plan.pool_bytes < plain.compiled.plan.pool_bytes
    batch = random_batch(plain.compiled.graph, 2)
    assert again.run_batch(batch).outputs == plain.run_batch(batch).outputs
    report = again.make_report(measure=False)
    assert plain.compiled.macs == report["macs"] < report["macs_executed"] <= 2 * report["macs"]
