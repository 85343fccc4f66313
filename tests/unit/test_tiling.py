"""Which rows are cut into tiles: never at the cost of the lower bound, only where it pays, always the same."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from mutations import residual
from random_nets import wide_net

from vmcu.batch import random_batch
from vmcu.ir.quantized import QuantizedGraph
from vmcu.memory.plan import lower_bound
from vmcu.ops.copy_columns import CopyColumns
from vmcu.pipeline import load
from vmcu.planning.choose import choose, list_candidates
from vmcu.planning.tiling import _untile, in_fewer_stages, tiled
from vmcu.quant.reference import Reference
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, streamed
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.tiles import MOST_TILES, copy_streamed, tile_columns, tile_counts

SEEDS = range(10)
NAMES = ("residual", "streamed", *(f"seed {seed}" for seed in SEEDS))
NO_BOUND = 1 << 30


@cache
def graph_of(name: str) -> QuantizedGraph:
    seed = int(name.split()[-1]) if name.startswith("seed") else 0
    with tempfile.TemporaryDirectory() as folder:
        net = wide_net(Random(seed).choice, 6, seed) if name.startswith("seed") else residual()
        graph = by_rows(load(net.save(Path(folder))))
    return stream_inputs(graph, [ALL_INPUTS]) if name == "streamed" else graph


def cut(schedule: Schedule) -> set[str]:
    """Tensors in tiles."""
    return {name for name, t in schedule.graph.tensors.items() if t.tiles > 1}


@pytest.mark.parametrize("name", NAMES)
def test_bounds(name: str) -> None:
    """Below what was asked for, least first, a number of tiles at most once but for a copied input."""
    graph = graph_of(name)
    whole = min(lower_bound(s) for s in streamed(graph))
    for bound in (NO_BOUND, whole, whole * 3 // 4, 1):
        found = tiled(graph, bound)
        bounds = [lower_bound(s) for s in found]
        assert all(b < bound for b in bounds) and bounds == sorted(bounds)
        numbers = [{t.tiles for t in s.graph.tensors.values()} - {1} for s in found]
        assert all(len(n) == 1 for n in numbers) or bound > whole  # no tiles: nothing is gained
        used = [min(n) for n in numbers if n]
        assert len(used) - len(set(used)) <= (name == "streamed")  # one more, with a copy of the input


def test_some_networks_gain() -> None:
    gains = [lower_bound(s) for s in tiled(graph_of("residual"), NO_BOUND)]
    assert min(gains) < min(lower_bound(s) for s in streamed(graph_of("residual")))
    assert tiled(graph_of("residual"), 1) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_needed_is_whole_again(name: str) -> None:
    """Same steps in the same stages, fewer tiles, no more bytes."""
    graph = graph_of(name)
    for tiles in tile_counts(graph):
        everywhere = tile_columns(graph, graph.tensors, tiles)
        if everywhere.tensors == graph.tensors:
            continue
        before = min(streamed(everywhere), key=lower_bound)
        after = _untile(graph, before, tiles, lower_bound(before))
        assert lower_bound(after) <= lower_bound(before)
        assert cut(after) <= cut(before)
        assert after.stages == before.stages
        assert [op.name for op in after.steps] == [op.name for op in before.steps]


def test_tiles_in_fewer_stages() -> None:
    """Between the plan with all tiles and whole rows, in bytes and in tasks."""
    between = 0
    for name in NAMES:
        graph = graph_of(name)
        whole = min(streamed(graph), key=lower_bound)
        for least in tiled(graph, lower_bound(whole))[:1]:
            for part in in_fewer_stages(graph, least, lower_bound(whole)):
                assert lower_bound(least) <= lower_bound(part) < lower_bound(whole)
                assert cut(part) <= cut(least) and part.stages == least.stages
                assert len(part.tasks) <= len(least.tasks)
                between += 0 < len(cut(part)) < len(cut(least))
            assert in_fewer_stages(graph, least, lower_bound(least)) == []
    assert between


def test_the_same_every_time() -> None:
    for name in NAMES[:4]:
        first, second = tiled(graph_of(name), NO_BOUND), tiled(graph_of(name), NO_BOUND)
        assert [s.tasks for s in first] == [s.tasks for s in second]
        assert [cut(s) for s in first] == [cut(s) for s in second]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_caller_sees_has_whole_rows(name: str) -> None:
    """What is streamed; an input or output that lies in memory as a whole may be in tiles."""
    graph = graph_of(name)
    counts = tile_counts(graph)
    assert counts == sorted(set(counts)) and all(2 <= n <= MOST_TILES for n in counts)
    for tiles in counts:
        tensors = tile_columns(graph, graph.tensors, tiles).tensors
        assert all(tensors[p.tensor].tiles == 1 for p in (*graph.inputs, *graph.outputs) if p.streamed)
        assert all(t.tiles in (1, tiles) and t.cols % t.tiles == 0 for t in tensors.values())
        assert tile_columns(graph, [], tiles).tensors == graph.tensors


def test_a_streamed_input_is_copied_into_tiles() -> None:
    graph = graph_of("streamed")
    copied = copy_streamed(graph)
    assert copy_streamed(graph_of("residual")).ops == graph_of("residual").ops
    names = {op.output for op in copied.ops if isinstance(op, CopyColumns)}
    assert len(names) == len(graph.inputs) and copied.macs == graph.macs
    given = {p.tensor for p in graph.inputs}
    readers = [op for op in copied.ops if given & {*op.inputs}]
    assert all(isinstance(op, CopyColumns) for op in readers)
    batch = random_batch(graph, 1).tensors[0]
    expected, found = Reference(graph).run_tensors(batch), Reference(copied).run_tensors(batch)
    assert all(np.array_equal(found[p.tensor], expected[p.tensor]) for p in graph.outputs)


def test_streaming_never_needs_more() -> None:
    """A copied input is given up like a resident one, and most of its rows are not there yet."""
    for name in NAMES[2:6]:
        graph = graph_of(name)
        resident = choose(list_candidates(graph)).pool_bytes
        assert choose(list_candidates(stream_inputs(graph, [ALL_INPUTS]))).pool_bytes <= resident
