"""A wrong plan must trap: tables the checker would refuse are compiled all the same, and the tagged pool stops them.

Every pool byte of such a program remembers whose it is. The sound plan runs to its end under it and under
AddressSanitizer and UndefinedBehaviorSanitizer, with the reference's answers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken_plans import BROKEN, NETS, Broken, compiled

from vmcu.batch import random_batch
from vmcu.codegen.project import make_project
from vmcu.errors import Exit, VmcuError
from vmcu.memory.tables import Tables
from vmcu.quant.reference import Reference
from vmcu.run import RunReport, run
from vmcu.toolchain import build_host

TRAPS = [b for b in BROKEN if b.traps]
MESSAGE = r"the plan is wrong: tensor \d+ row \d+: (pool offset \d+ holds (tensor|nothing)|(read|write) of \d+ bytes outside)"
INFERENCES = 3


def run_tagged(net: str, tables: Tables, folder: Path) -> RunReport:
    """The network, generated from these tables, on this machine."""
    one = compiled(net)
    project = make_project(one.plan, tables, net)
    firmware = build_host(project, workdir=folder, tags=True)
    return run(firmware, random_batch(one.graph, INFERENCES).payload(one.graph))


@pytest.mark.parametrize("net", NETS)
def test_sound_plan_runs_clean(net: str, tmp_path: Path) -> None:
    graph = compiled(net).graph
    reference = Reference(graph)
    report = run_tagged(net, compiled(net).tables, tmp_path)
    for given, found in zip(random_batch(graph, INFERENCES).tensors, report.outputs, strict=True):
        expected = reference.run_tensors(given)
        for port, data in zip(graph.outputs, found, strict=True):
            np.testing.assert_array_equal(np.frombuffer(data, np.int8), expected[port.tensor].reshape(-1))


def test_there_are_plans_to_break() -> None:
    assert len(TRAPS) >= 10


@pytest.mark.parametrize("broken", TRAPS, ids=lambda b: b.name)
def test_broken_plan_traps(broken: Broken, tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=MESSAGE) as error:
        run_tagged(broken.net, broken.change(compiled(broken.net).tables), tmp_path)
    assert error.value.code is Exit.BUG
