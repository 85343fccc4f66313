"""The reference on eleven networks trained by others: TFLite Micro's outputs and onnxruntime's.

`tflm` numerics: every output of every golden input, bit for bit. `onnx` numerics: equal too, but for
inferences in which onnxruntime's float32 met a tie; that such a tie is the only cause is shown operator by
operator on the same integers (`lockstep`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lockstep import Lockstep, lockstep
from shared_models import FOLDER, NAMES, NEEDS_SHARED, STATEFUL, golden_of, path_of

from vmcu.importer import import_model
from vmcu.ir.graph import Array
from vmcu.passes import canonicalise
from vmcu.pipeline import load
from vmcu.quant.lowering import quantise
from vmcu.quant.reference import Reference

pytestmark = NEEDS_SHARED

TIE_LSB = 1e-3
"""Farthest that the real result of a differing value may lie from k + 1/2."""
DIFFERING_INFERENCES = {"mcunet_vww": 1, "mlperf_resnet8": 7, "person_detect": 3}
"""End to end, `onnx` against outputs_ort_qdq; all others: none."""


def outputs_of(name: str, numerics: str, file: str = "model_qdq_int8io.onnx") -> Array:
    """The reference on all golden inputs in order, states carried over."""
    graph = load(path_of(name, file), numerics=numerics)  # type: ignore[arg-type]
    reference = Reference(graph)
    (given,), (out,) = graph.inputs, graph.outputs
    return np.stack([reference.run({given.name: x})[out.name] for x in golden_of(name).inputs])


def test_every_shared_model_is_known() -> None:
    assert {p.name for p in FOLDER.iterdir() if p.is_dir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tflm_equals_tflite_micro(name: str) -> None:
    golden = golden_of(name)
    assert len(golden.inputs) == (110 if name == STATEFUL else 20)
    np.testing.assert_array_equal(outputs_of(name, "tflm"), golden.tflm)


def test_tflm_of_the_variant_with_pad_nodes() -> None:
    found = outputs_of("mcunet_vww", "tflm", "model_qdq_int8io_pad.onnx")
    np.testing.assert_array_equal(found, golden_of("mcunet_vww").tflm)


@pytest.mark.parametrize("name", NAMES)
def test_float_ends_change_nothing(name: str) -> None:
    """`model_qdq.onnx` takes and gives floats; int8 inputs are taken as they are."""
    graph = load(path_of(name, "model_qdq.onnx"), numerics="tflm")
    (out,) = graph.outputs
    tensor = graph.tensors[out.tensor]
    real = outputs_of(name, "tflm", "model_qdq.onnx")
    assert real.dtype == np.float32
    steps = np.rint(real / np.float32(tensor.scale)).astype(int) + tensor.zero_point
    shift = 128 if golden_of(name).tflm.dtype == np.uint8 else 0
    np.testing.assert_array_equal(steps + shift, golden_of(name).tflm)


def compare_operators(name: str, inferences: list[int], folder: Path) -> Lockstep:
    """onnxruntime and the reference on the same integers, on these golden inputs."""
    path = path_of(name)
    inputs = golden_of(name).inputs
    if name != STATEFUL:
        (port,) = load(path).inputs
        return lockstep(path, [{port.name: inputs[i]} for i in inferences], folder)

    def stateless(file: Path) -> Reference:
        return Reference(quantise(canonicalise(import_model(file, states=[])), "onnx"))

    graph, reference = load(path), stateless(path)
    feed = {port.name: inputs[0] for port in graph.inputs}
    for link in graph.states:
        state = next(p for p in reference.graph.inputs if p.name == link.input)
        feed[link.input] = np.full(state.layout.shape, graph.tensors[link.current].zero_point, np.int8)
    feeds = []
    for x in inputs:
        feed = {**feed, **{port.name: x for port in graph.inputs}}
        feeds.append(feed)
        given = reference.run(feed)
        feed = {**feed, **{link.input: given[link.output] for link in graph.states}}
    return lockstep(path, [feeds[i] for i in inferences], folder, stateless)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_equals_onnxruntime_but_for_ties(name: str, tmp_path: Path) -> None:
    golden = golden_of(name)
    steps = outputs_of(name, "onnx").astype(int) - golden.onnx
    differing = [i for i, step in enumerate(steps) if step.any()]
    every = compare_operators(name, list(range(len(golden.inputs))), tmp_path)
    ties = sum(d.elements for d in every.deviations)
    print(
        f"{name}: {len(differing)} of {len(steps)} inferences differ end to end; operator by operator "
        f"{ties} of {every.elements:,} values, each by 1 LSB, at a float tie"
    )
    for deviation in every.deviations:
        assert deviation.steps == 1, deviation
        assert deviation.off_tie is not None and deviation.off_tie <= TIE_LSB, deviation
    for inference in differing:
        assert compare_operators(name, [inference], tmp_path).deviations, f"inference {inference} met no tie"
    assert len(differing) == DIFFERING_INFERENCES.get(name, 0)
    assert ties <= 1e-5 * every.elements
