"""Random networks whose rows are cut into tiles of columns: plans are accepted, and C equals the reference.

Tiles are forced on everything that allows them, whether or not they save memory, and on random tensors only,
so that whole and tiled tensors meet in every combination.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from host_library import HostModel
from random_nets import wide_net

from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.memory.check import check
from vmcu.memory.plan import lower_bound, make_plan
from vmcu.memory.tables import Tables, make_tables
from vmcu.pipeline import Compiled, load
from vmcu.quant.reference import Reference
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, layer_by_layer, streamed
from vmcu.schedule.tiles import tile_columns, tile_counts

INFERENCES = 2
SEARCH_WORK = 100_000  # of a placement: whether it is the best does not matter here
QUICK, MANY = range(16), range(16, 80)
OPERATORS = 5


@cache
def graph_of(seed: int) -> QuantizedGraph:
    numerics: Numerics = "tflm" if seed % 4 == 3 else "onnx"
    with tempfile.TemporaryDirectory() as folder:
        path = wide_net(Random(seed).choice, OPERATORS, seed).save(Path(folder))
        graph = load(path, numerics=numerics)
    return by_rows(graph) if seed % 2 else graph


def schedules(seed: int, most: int | None) -> Iterator[tuple[str, Schedule]]:
    """Every number of tiles (`most` of them), streamed and layer by layer, on all tensors and on some."""
    graph, rng = graph_of(seed), Random(seed)
    counts = tile_counts(graph)
    if most is not None:
        counts = sorted(rng.sample(counts, min(most, len(counts))))
    for tiles in counts:
        some = [name for name in graph.tensors if rng.random() < 0.7]
        names: dict[str, Collection[str]] = {"all": graph.tensors, "some": some}
        for which, chosen in names.items():
            cut = tile_columns(graph, chosen, tiles)
            if cut.tensors == graph.tensors:
                continue
            yield f"{tiles} tiles of {which}, streamed", min(streamed(cut), key=lower_bound)
            if which == "all" or most is None:
                yield f"{tiles} tiles of {which}, layers", layer_by_layer(cut)


def combinations(schedule: Schedule, tables: Tables) -> set[str]:
    """Which ways of reading tiles occur, and which kernels read or write tiles."""
    found = set()
    for op, step in zip(schedule.steps, tables.steps, strict=True):
        ins, out = schedule.graph.ins(op), schedule.graph.tensors[op.output]
        if any(t.tiles > 1 for t in (*ins, out)):
            found.add(op.kernel(ins, out).template)
        for read in step.reads:
            if read.kind != "patch":
                continue
            if read.tiles == read.tiles_out:
                right = read.count - read.left - 1
                found.add("halo" if read.count > 1 else "own tile")
                found |= (
                    {"left only"} if read.left > right else {"right only"} if right > read.left else set()
                )
                found |= {"far"} if max(read.left, right) > 1 else set()
            else:
                found.add("whole to tiles" if read.tiles == 1 else "tiles to whole")
            found |= {"strided"} if read.stride > 1 else set()
            found |= {"dilated"} if read.dilation > 1 else set()
    return found


def check_schedule(schedule: Schedule, folder: Path) -> Tables:
    with patch("vmcu.memory.puzzle.SEARCH_WORK", SEARCH_WORK):
        plan = make_plan(schedule)
    tables = make_tables(plan)
    tasks = check(tables)
    graph = schedule.graph
    compiled = Compiled(graph, plan, tables, tasks, make_project(plan, tables, "net"))
    model, reference = HostModel(compiled, folder), Reference(graph)
    for batch in random_batch(graph, INFERENCES).tensors:
        expected = reference.run_tensors(batch)
        for name, found in model.run(batch).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
    return tables


def check_seed(seed: int, folder: Path, most: int | None) -> list[set[str]]:
    seen = []
    for number, (what, schedule) in enumerate(schedules(seed, most)):
        place = folder / str(number)
        place.mkdir()
        try:
            seen.append(combinations(schedule, check_schedule(schedule, place)))
        except Exception as error:
            error.add_note(f"seed {seed}: {what}")
            raise
    return seen


def shares(seeds: Iterable[int], folder: Path, most: int | None) -> dict[str, float]:
    """Checks all seeds; the share of plans that hold each combination."""
    seen: list[set[str]] = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        seen += check_seed(seed, place, most)
    counts = Counter(what for one in seen for what in one)
    print(len(seen), "plans:", ", ".join(f"{what} {count}" for what, count in counts.most_common()))
    return {what: count / len(seen) for what, count in counts.items()}


LEAST = {
    "halo": 0.25,
    "whole to tiles": 0.1,
    "tiles to whole": 0.5,
    "own tile": 0.05,
    "strided": 0.15,
    "dilated": 0.15,
    "far": 0.05,
    "left only": 0.02,
    "right only": 0.02,
    "depthwise": 0.3,
    "conv": 0.3,
    "max_pool": 0.2,
    "binary": 0.03,
    "lookup": 0.02,
    "sum_rows": 0.03,
}
"""Shares below which the networks no longer test what they are made for."""


def test_random_networks_in_tiles(tmp_path: Path) -> None:
    found = shares(QUICK, tmp_path, most=2)
    assert {what: share for what, share in LEAST.items() if found.get(what, 0) < share} == {}


@pytest.mark.slow
def test_many_random_networks_in_tiles(tmp_path: Path) -> None:
    found = shares(MANY, tmp_path, most=None)
    least = {**LEAST, "prelu": 0.01}
    assert {what: share for what, share in least.items() if found.get(what, 0) < share} == {}
