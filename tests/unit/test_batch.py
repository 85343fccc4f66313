"""The user's arrays to inferences and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import Net

from vmcu.batch import make_batch, random_batch, unpack
from vmcu.errors import Exit, VmcuError
from vmcu.ir.quantized import QuantizedGraph
from vmcu.pipeline import load

SCALE, ZERO = 0.5, 3


def graph_of(folder: Path, *shapes: tuple[int, ...], dtype: Any = np.float32) -> QuantizedGraph:
    """Inputs x0, x1, ... and an output of each, passed on after Relu."""
    net = Net()
    for i, shape in enumerate(shapes):
        x = net.input(f"x{i}", shape, dtype)
        real = net.qdq(x, SCALE, ZERO) if dtype is np.float32 else net.dq(x, SCALE, ZERO, dtype)
        q = net.q(net.node("Relu", [real]), SCALE, ZERO, np.int8 if dtype is np.float32 else dtype)
        if dtype is np.float32:
            q = net.dq(q, SCALE, ZERO)
        net.node("Identity", [q], f"y{i}")
        net.output(f"y{i}", dtype, shape)
    return load(net.save(folder))


@pytest.mark.parametrize(
    ("model", "given", "count", "single"),
    [
        ((1, 3, 4, 5), (1, 3, 4, 5), 1, True),
        ((1, 3, 4, 5), (3, 4, 5), 1, True),
        ((1, 3, 4, 5), (7, 3, 4, 5), 7, False),
        ((1, 3, 4, 5), (7, 1, 3, 4, 5), 7, False),
        ((1, 1, 4, 5), (1, 4, 5), 1, True),
        ((1, 1, 4, 5), (2, 1, 4, 5), 2, False),
        ((1, 1), (6, 1, 1), 6, False),
        ((1, 1), (6, 1), 6, False),
        ((1, 1), (1,), 1, True),
        ((2, 6), (2, 6), 1, True),
        ((2, 6), (4, 2, 6), 4, False),
    ],
)
def test_shapes(
    model: tuple[int, ...], given: tuple[int, ...], count: int, single: bool, tmp_path: Path
) -> None:
    graph = graph_of(tmp_path, model)
    data = np.arange(np.prod(given)).reshape(given).astype(np.int8)
    batch = make_batch(graph, data)
    assert len(batch) == count and batch.single is single
    flat = data.reshape(count, -1)
    for tensors, expected in zip(batch.tensors, flat, strict=True):
        (port,) = graph.inputs
        found = port.layout.from_memory(tensors[port.tensor].reshape(-1))
        np.testing.assert_array_equal(found.reshape(-1), expected)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((3, 4), "has shape 3x4"),
        ((0, 3, 4, 5), "has shape 0x3x4x5"),
        ((5, 4, 3), "has shape 5x4x3"),
        ((2, 2, 3, 4, 5), "has shape 2x2x3x4x5"),
        ((), r"has shape \(\)"),
    ],
)
def test_wrong_shapes(given: tuple[int, ...], text: str, tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=text) as error:
        make_batch(graph_of(tmp_path, (1, 3, 4, 5)), np.zeros(given, np.float32))
    assert error.value.code is Exit.INPUT and "n x 3x4x5" in str(error.value)


def test_floats_are_quantised_half_to_even_and_saturated(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 6))
    batch = make_batch(graph, np.array([0, 0.25, 0.75, -0.25, 1e9, -1e9], np.float32))
    assert batch.tensors[0][graph.inputs[0].tensor].reshape(-1).tolist() == [3, 3, 5, 3, 127, -128]


def test_float64_counts_as_float32(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 2))
    one, two = (make_batch(graph, np.array([0.3, -7.1], t)) for t in (np.float32, np.float64))
    assert one.payload(graph) == two.payload(graph)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, complex, "U1"])
def test_types_that_could_mean_two_things(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=r"has type .*, the model takes float32"):
        make_batch(graph_of(tmp_path, (1, 2)), np.zeros((1, 2), dtype))


def test_uint8_models(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 4), dtype=np.uint8)
    data = np.array([[0, 3, 128, 255]], np.uint8)
    batch = make_batch(graph, data)
    assert batch.tensors[0][graph.inputs[0].tensor].reshape(-1).tolist() == [-128, -125, 0, 127]
    out = unpack(graph, batch.payload(graph), True)["y0"]
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, data)
    with pytest.raises(VmcuError, match="has type int8, the model takes uint8"):
        make_batch(graph, data.astype(np.int8))


def test_several_inputs(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 2), (1, 3))
    batch = make_batch(graph, {"x1": np.zeros((4, 3), np.int8), "x0": np.ones((4, 2), np.int8)})
    assert [[len(data) for data in inputs] for inputs in batch.payload(graph)] == [[2, 3]] * 4
    assert batch.payload(graph)[0] == [b"\x01\x01", b"\0\0\0"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.zeros((1, 2)), "one array for 2 inputs"),
        ({"x0": np.zeros((1, 2))}, r"missing \['x1'\]"),
        ({"x0": np.zeros((1, 2)), "x1": np.zeros((1, 3)), "q": np.zeros(1)}, r"unknown \['q'\]"),
        ({"x0": np.zeros((2, 2)), "x1": np.zeros((3, 3))}, "batch sizes differ: {'x0': 2, 'x1': 3}"),
    ],
)
def test_wrong_names_and_sizes(data: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=text):
        make_batch(graph_of(tmp_path, (1, 2), (1, 3)), data)


def test_random_batch_is_the_same_again(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, (1, 3, 4, 5))
    first, again, other = (random_batch(graph, 2, seed).payload(graph) for seed in (0, 0, 1))
    assert first == again != other and first[0] != first[1]


@pytest.mark.parametrize(("single", "shape"), [(True, (1, 3, 4, 5)), (False, (2, 3, 4, 5))])
def test_unpack(single: bool, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Channels lie last in memory, second in the file; bytes become floats."""
    graph = graph_of(tmp_path, (1, 3, 4, 5))
    data = np.arange(60, dtype=np.int8).reshape(1, 3, 4, 5)
    (inputs,) = make_batch(graph, data).payload(graph)
    found = unpack(graph, [inputs] * (1 if single else 2), single)["y0"]
    assert found.shape == shape and found.dtype == np.float32
    np.testing.assert_array_equal(found[0], (data[0] - ZERO) * SCALE)
