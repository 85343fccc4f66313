"""Random networks with dead channels: the optimised network, and its C, compute what the whole network does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest
from dead_nets import dead_net
from host_library import HostModel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chain import ALL, COMMON

from vmcu.batch import Batch, random_batch
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.optimise import drop_dead_channels
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference
from vmcu.verify.original import compare_original

NETWORKS = 60


def read(model: onnx.ModelProto, numerics: Numerics, folder: Path) -> QuantizedGraph:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path, numerics=numerics, dead_channels=False)


def batch_of(graph: QuantizedGraph) -> Batch:
    """Noise, and the extremes."""
    shapes = {p.tensor: graph.tensors[p.tensor].shape for p in graph.inputs}
    ends = tuple({n: np.full(s, v, np.int8) for n, s in shapes.items()} for v in (-128, 127))
    return Batch((*random_batch(graph, 2).tensors, *ends), False)


def check(graph: QuantizedGraph, folder: Path, streamed: bool) -> QuantizedGraph:
    """Every channel that is left in every layer, and the outputs of the C, against the whole network."""
    found = drop_dead_channels(graph)
    batch = batch_of(graph)
    if found is not graph:
        assert compare_original(found, batch)[0] == []
    wanted = [ALL] if streamed else []
    model = HostModel(compile_graph(found, "net", streamed=wanted, streamed_outputs=wanted), folder)
    reference = Reference(graph)
    for one in batch.tensors:
        expected = reference.run_tensors(one)
        for name, got in model.run(one).items():
            np.testing.assert_array_equal(got, expected[name], err_msg=name)
    return found


def _property(data: st.DataObject, numerics: Numerics, operators: int) -> None:
    def pick(options: object) -> object:
        return data.draw(st.sampled_from(list(options)))  # type: ignore[call-overload]

    with tempfile.TemporaryDirectory() as folder:
        graph = read(dead_net(pick, operators), numerics, Path(folder))
        check(graph, Path(folder), data.draw(st.booleans()))


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@settings(max_examples=25, **COMMON)
@given(data=st.data())
def test_random_networks(numerics: Numerics, data: st.DataObject) -> None:
    _property(data, numerics, operators=6)


@pytest.mark.slow
@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@settings(max_examples=200, **COMMON)
@given(data=st.data())
def test_many_random_networks(numerics: Numerics, data: st.DataObject) -> None:
    _property(data, numerics, operators=12)


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
def test_there_is_something_to_leave_out(numerics: Numerics, tmp_path: Path) -> None:
    """In over a third of these networks; without C, so that many can be compared."""
    smaller = 0
    for seed in range(NETWORKS):
        graph = read(dead_net(Random(seed).choice, 10, seed), numerics, tmp_path)
        found = drop_dead_channels(graph)
        smaller += found is not graph
        if found is not graph:
            assert compare_original(found, batch_of(graph))[0] == [], seed
    assert smaller > NETWORKS // 3, smaller
