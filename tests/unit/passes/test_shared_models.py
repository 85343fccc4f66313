"""The shared trained models: imported and canonical in under two seconds, and still the same network."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx

from vmcu.importer import import_model
from vmcu.ir.graph import State
from vmcu.passes import canonicalise

MODELS = Path(__file__).parents[4] / "shared" / "models"
FILES = sorted(MODELS.glob("*/model_qdq*.onnx"))

pytestmark = pytest.mark.skipif(not FILES, reason=f"no shared models: {MODELS} is absent")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_imports_quickly_and_stays_the_same(path: Path) -> None:
    begin = time.perf_counter()
    graph = canonicalise(import_model(path))
    assert time.perf_counter() - begin < 2
    assert not {n.op for n in graph.nodes} & {"Identity", "Pad", "Flatten", "Constant"}
    feeds = random_feeds(graph)
    wanted = run_onnx(onnx.load(path), feeds)
    for got, want in zip(run_graph(graph, feeds), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


def test_merged_pads_give_the_other_file() -> None:
    folder = MODELS / "mcunet_vww"
    merged, plain = (
        canonicalise(import_model(folder / name))
        for name in ("model_qdq_int8io_pad.onnx", "model_qdq_int8io.onnx")
    )
    assert [(n.op, dict(n.attributes)) for n in merged.nodes] == [
        (n.op, dict(n.attributes)) for n in plain.nodes
    ]
    assert [merged.shape(n.outputs[0]) for n in merged.nodes] == [
        plain.shape(n.outputs[0]) for n in plain.nodes
    ]


def test_states_are_found() -> None:
    graph = import_model(MODELS / "mww_okay_nabu" / "model_qdq_int8io.onnx")
    assert State("state_in_stream_7_states", "state_out_stream_7_states") in graph.states
    assert len(graph.states) == 6
