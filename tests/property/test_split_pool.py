"""Random networks with their pool split over two arrays, anywhere: nothing lies across, C equals the reference."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from host_library import HostModel
from random_nets import random_net
from sound_by_bytes import is_sound

from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.memory.check import check
from vmcu.memory.plan import lower_bound, make_plan
from vmcu.memory.tables import make_tables
from vmcu.pipeline import Compiled, load
from vmcu.quant.reference import Reference
from vmcu.run import run
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import layer_by_layer, streamed
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.stream_outputs import ALL_OUTPUTS, stream_outputs
from vmcu.schedule.tiles import tile_columns
from vmcu.toolchain import build_host

INFERENCES = 3


def split_net(seed: int, folder: Path) -> Compiled:
    rng = Random(seed)
    graph = load(random_net(rng.choice, 6, seed).save(folder, f"{seed}.onnx"))
    if seed % 5 == 0:
        graph = stream_outputs(stream_inputs(graph, [ALL_INPUTS]), [ALL_OUTPUTS])
    kind = seed % 3
    if kind == 2:
        graph = tile_columns(by_rows(graph), graph.tensors, 2)
    schedule = layer_by_layer(graph) if kind == 0 else min(streamed(by_rows(graph)), key=lower_bound)
    base = -(-sum(graph.tensors[s.current].size_bytes for s in graph.states) // 4) * 4
    wall = max(base, 4, int(lower_bound(schedule) * rng.uniform(0.1, 0.95)) // 4 * 4)
    with patch("vmcu.memory.puzzle.SEARCH_WORK", 200_000):
        plan = make_plan(schedule, split_bytes=wall)
    assert plan.split_bytes == (wall if plan.pool_bytes > wall else 0)
    tables = make_tables(plan)
    assert is_sound(tables)
    return Compiled(graph, plan, tables, check(tables), make_project(plan, tables, "net"))


def check_outputs(compiled: Compiled, folder: Path) -> None:
    model, reference = HostModel(compiled, folder), Reference(compiled.graph)
    for batch in random_batch(compiled.graph, INFERENCES).tensors:
        expected = reference.run_tensors(batch)
        for name, found in model.run(batch).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)


def check_seeds(seeds: range) -> int:
    split = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            compiled = split_net(seed, Path(folder))
            check_outputs(compiled, Path(folder))
            split += compiled.plan.split_bytes > 0
    return split


def test_random_networks() -> None:
    assert check_seeds(range(30)) >= 25


@pytest.mark.slow
def test_many_random_networks() -> None:
    assert check_seeds(range(30, 330)) >= 250


@pytest.mark.parametrize("seed", range(4))
def test_tagged_and_sanitized(seed: int, tmp_path: Path) -> None:
    """Each array is a heap block of exactly its size, and every byte knows whose it is."""
    compiled = split_net(seed, tmp_path)
    assert compiled.plan.split_bytes
    firmware = build_host(compiled.project, workdir=tmp_path, tags=True)
    batch, reference = random_batch(compiled.graph, INFERENCES), Reference(compiled.graph)
    report = run(firmware, batch.payload(compiled.graph), engine="host")
    for given, found in zip(batch.tensors, report.outputs, strict=True):
        expected = reference.run_tensors(given)
        for port, data in zip(compiled.graph.outputs, found, strict=True):
            want = expected[port.tensor]
            np.testing.assert_array_equal(np.frombuffer(data, want.dtype), want.reshape(-1))
