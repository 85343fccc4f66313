"""A plan with tiles of columns on cores in both emulators, and on this machine with a tagged pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mutations import Case, case
from shared_models import NEEDS_SHARED, path_of
from tiny_project import need

from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.errors import Exit, VmcuError
from vmcu.memory.check import check
from vmcu.memory.tables import Tables
from vmcu.pipeline import compile_schedule, load
from vmcu.quant.reference import Reference
from vmcu.run import RunReport, run
from vmcu.schedule.schedule import streamed
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs
from vmcu.schedule.tiles import copy_streamed, tile_columns
from vmcu.targets import load_target
from vmcu.toolchain import Firmware, build, build_host, find_compiler

INFERENCES = 3


@cache
def tiles() -> Case:
    """Two convolutions with halos, an addition, a strided pool and a mean, everything in three tiles."""
    one = case("tiles")
    patches = [r for s in one.tables.steps for r in s.reads if r.kind == "patch"]
    assert any(r.tiles == r.tiles_out and r.count > 1 for r in patches)
    return one


def check_answers(report: RunReport) -> None:
    graph = tiles().graph
    reference = Reference(graph)
    batch = random_batch(graph, INFERENCES).tensors
    assert len(report.outputs) == len(batch)
    for given, found in zip(batch, report.outputs, strict=True):
        expected = reference.run_tensors(given)
        for port, data in zip(graph.outputs, found, strict=True):
            np.testing.assert_array_equal(np.frombuffer(data, np.int8), expected[port.tensor].reshape(-1))


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_cores(core: str, tmp_path: Path) -> None:
    """QEMU and Unicorn agree with the reference, and with each other on the number of instructions."""
    need("gcc", "qemu", "unicorn")
    project = make_project(tiles().plan, tiles().tables, "net")
    firmware: Firmware = build(project, load_target(core), find_compiler("gcc"), workdir=tmp_path)
    payload = random_batch(tiles().graph, INFERENCES).payload(tiles().graph)
    reports = [run(firmware, payload, engine=engine) for engine in ("qemu", "unicorn")]
    for report in reports:
        check_answers(report)
    assert reports[0].instructions == reports[1].instructions


@NEEDS_SHARED
def test_loops_in_loops_that_may_end_early(tmp_path: Path) -> None:
    """Rows come from the caller, who may fail, and tiles repeat within rows: compilers take what stands in front of such loops."""
    need("gcc")
    graph = copy_streamed(stream_inputs(load(path_of("person_detect")), [ALL_INPUTS]))
    graph = tile_columns(replace(graph, isa="armv7e-m"), list(graph.tensors), 12)
    project = compile_schedule(streamed(graph)[0], "net").project
    assert project.files["net.c"].count("if (caller->status != 0) {\n                        break;") > 10
    build(project, load_target("cortex-m4"), find_compiler("gcc"), workdir=tmp_path)


def run_tagged(tables: Tables, folder: Path) -> RunReport:
    firmware = build_host(make_project(tiles().plan, tables, "net"), workdir=folder, tags=True)
    return run(firmware, random_batch(tiles().graph, INFERENCES).payload(tiles().graph))


def test_tagged_pool_runs_clean(tmp_path: Path) -> None:
    check_answers(run_tagged(tiles().tables, tmp_path))


def broken() -> Iterator[tuple[str, Tables]]:
    """A tile of the first halo where its neighbour lies; a tile one byte off."""
    tables = tiles().tables
    reader = next(s for s in tables.steps for r in s.reads if r.tiles == r.tiles_out and r.count > 1)
    index = reader.reads[0].tensor
    table = tables.tensors[index]
    for what, address in (("onto its neighbour", table.addresses[3]), ("a byte off", table.addresses[4] + 1)):
        addresses = (*table.addresses[:4], address, *table.addresses[5:])
        tensors = list(tables.tensors)
        tensors[index] = replace(table, addresses=addresses)
        yield what, replace(tables, tensors=tuple(tensors))


@pytest.mark.parametrize("what", ["onto its neighbour", "a byte off"])
def test_a_misplaced_tile_traps(what: str, tmp_path: Path) -> None:
    tables = dict(broken())[what]
    with pytest.raises(VmcuError, match="wrong memory plan"):
        check(tables)
    with pytest.raises(VmcuError, match="the plan is wrong: tensor") as error:
        run_tagged(tables, tmp_path)
    assert error.value.code is Exit.BUG
