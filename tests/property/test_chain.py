"""Random networks through the whole chain: the checker accepts every plan, C equals the reference."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from host_library import HostModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_nets import random_net

from vmcu.batch import random_batch
from vmcu.ir.quantized import Numerics
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference

INFERENCES = 3
ALL = "*"  # every input, or every output


def check_chain(net_bytes: bytes, numerics: Numerics, folder: Path, streamed: tuple[bool, bool]) -> None:
    path = folder / "net.onnx"
    path.write_bytes(net_bytes)
    inputs, outputs = ([ALL] if wanted else [] for wanted in streamed)
    graph = load(path, numerics=numerics)
    compiled = compile_graph(graph, "net", streamed=inputs, streamed_outputs=outputs)
    model, reference = HostModel(compiled, folder), Reference(compiled.graph.original)
    for batch in random_batch(compiled.graph, INFERENCES).tensors:
        expected = reference.run_tensors(batch)
        for name, found in model.run(batch).items():
            np.testing.assert_array_equal(found, expected[name], err_msg=name)


def _property(data: st.DataObject, numerics: Numerics, operators: int) -> None:
    def pick(options: object) -> object:
        return data.draw(st.sampled_from(list(options)))  # type: ignore[call-overload]

    net = random_net(pick, operators)
    streamed = (data.draw(st.booleans()), data.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as folder:
        check_chain(net.model().SerializeToString(), numerics, Path(folder), streamed)


COMMON = {
    "deadline": None,
    "derandomize": True,  # the same networks on every machine; a failing one is kept by its example
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
}


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@settings(max_examples=25, **COMMON)
@given(data=st.data())
def test_random_networks(numerics: Numerics, data: st.DataObject) -> None:
    _property(data, numerics, operators=6)


@pytest.mark.slow
@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@settings(max_examples=150, **COMMON)
@given(data=st.data())
def test_many_random_networks(numerics: Numerics, data: st.DataObject) -> None:
    _property(data, numerics, operators=12)
