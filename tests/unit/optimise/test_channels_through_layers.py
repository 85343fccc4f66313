"""What a channel that goes means for the layers around it: sums, products, moves, pools, dense layers, the interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dead_layers import SCALE, ZERO, Layers, checked, kept, with_zero_filter

from vmcu.ir.quantized import Numerics


@pytest.mark.parametrize("same", [True, False])
def test_a_residual_goes_where_both_of_its_operands_can(
    tmp_path: Path, numerics: Numerics, same: bool
) -> None:
    """The sum of two constants is one; the sum of a constant and a channel that varies is none."""
    net = Layers()
    image = net.image(2)
    a = with_zero_filter(net, image, 0.0)
    weights = net.filters(4, 2, 3, 3)
    weights[1 if same else 2] = 0
    b = net.conv(image, weights, pad=1)
    total = net.qdq(net.node("Relu", [net.node("Add", [a, b])]), SCALE, -128)
    found = checked(net.graph(tmp_path, numerics, net.conv(total, net.filters(2, 4, 3, 3))))
    assert kept(found)[:3] == [(0, 2, 3) if same else (0, 1, 2, 3)] * 3


def test_a_channel_with_another_reader_stays_for_the_residual_too(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    x = net.conv(net.image(2), net.filters(4, 2, 1, 1))
    total = net.qdq(net.node("Add", [x, net.conv(x, net.filters(4, 4, 3, 3), pad=1)]), SCALE, ZERO)
    last = net.filters(2, 4, 1, 1)
    last[:, 2] = 0
    graph = net.graph(tmp_path, numerics, net.conv(total, last))
    assert checked(graph) is graph


def test_a_product_with_a_factor_a_channel(tmp_path: Path, numerics: Numerics) -> None:
    """A gate computed from the image, and a constant one."""
    net = Layers()
    x = net.conv(net.image(2), net.filters(4, 2, 1, 1))
    gate = net.conv(net.qdq(net.node("GlobalAveragePool", [x]), SCALE, ZERO), net.filters(4, 4, 1, 1))
    gated = net.qdq(net.node("Mul", [x, net.qdq(net.node("Sigmoid", [gate]), 1 / 256, -128)]), SCALE, ZERO)
    scaled = net.qdq(net.node("Mul", [gated, net.weights((1, 4, 1, 1))]), SCALE, ZERO)
    last = net.filters(2, 4, 1, 1)
    last[:, 1] = 0
    found = checked(net.graph(tmp_path, numerics, net.conv(scaled, last)))
    # The image and its mean are read in full by the gate.
    assert all(len(channels) == 4 for channels in kept(found)[:-1])

    net = Layers()
    x = net.conv(net.image(2), net.filters(4, 2, 1, 1))
    scaled = net.qdq(net.node("Mul", [x, net.weights((1, 4, 1, 1))]), SCALE, ZERO)
    found = checked(net.graph(tmp_path, numerics, net.conv(scaled, last)))
    assert kept(found)[:2] == [(0, 2, 3)] * 2


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 0}),
        ("GlobalAveragePool", {}),
        ("ReduceMean", {"axes": [2, 3], "keepdims": 1}),
        ("ReduceMax", {"axes": [3], "keepdims": 1}),
        ("Sigmoid", {}),
        ("PRelu", {}),
        ("Resize", {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ],
)
def test_constants_pass_through(
    tmp_path: Path, numerics: Numerics, op: str, attributes: dict[str, object]
) -> None:
    net = Layers()
    inputs = [with_zero_filter(net, net.image(2))]
    if op == "PRelu":
        inputs.append(net.weights((4, 1, 1)))
    if op == "Resize":
        inputs += ["", net.const([1, 1, 2, 2], np.float32)]
    y = net.qdq(net.node(op, inputs, **attributes), 0.02, 7)
    found = checked(net.graph(tmp_path, numerics, net.conv(y, net.filters(3, 4, 1, 1))))
    assert all(channels == (0, 2, 3) for channels in kept(found)[:-1])


def test_padding_that_counts_changes_a_mean_at_the_borders(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    x = with_zero_filter(net, net.image(2))
    mean = net.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    graph = net.graph(tmp_path, numerics, net.conv(net.qdq(mean, 0.02, 7), net.filters(3, 4, 1, 1)))
    assert checked(graph) is graph


def test_concat_slice_and_split(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    image = net.image(2)
    a, b = with_zero_filter(net, image), with_zero_filter(net, image)
    both = net.qdq(net.node("Concat", [a, b], axis=1), SCALE, ZERO)
    cut = net.node("Slice", [both, *(net.const([v], np.int64) for v in (1, 7, 1))])
    y = net.conv(net.qdq(cut, SCALE, ZERO), net.filters(2, 6, 3, 3))
    found = checked(net.graph(tmp_path, numerics, y))
    # Of a|b channels 1..6 are read; 1 and 5 of them are constant.
    assert kept(found) == [(2, 3), (0, 2), (2, 3, 4, 6), (1, 2, 3, 5), (0, 1)]


def test_rows_put_together_stay_whole_rows(tmp_path: Path, numerics: Numerics) -> None:
    """A concat of rows copies nothing; it stays so."""
    net = Layers()
    image = net.image(2)
    a, b = with_zero_filter(net, image), with_zero_filter(net, image)
    both = net.qdq(net.node("Concat", [a, b], axis=2), SCALE, ZERO)
    found = checked(net.graph(tmp_path, numerics, net.conv(both, net.filters(2, 4, 3, 3))))
    assert kept(found)[:3] == [(0, 2, 3)] * 3
    assert found.ops[2].moves_rows(found.ins(found.ops[2]), found.tensors[found.ops[2].output])
    # Another reader needs channel 3 of the first half.
    other = net.conv(a, net.filters(1, 4, 1, 1))
    last = net.filters(2, 4, 1, 1)
    last[:, 3] = 0
    net.outputs.clear()
    found = checked(net.graph(tmp_path, numerics, net.conv(both, last), other))
    assert kept(found)[:3] == [(0, 2, 3)] * 3


def test_dense_layers(tmp_path: Path, numerics: Numerics) -> None:
    """Over an image, and on a vector."""
    net = Layers()
    x = net.node("Flatten", [with_zero_filter(net, net.image(2))])
    hidden, last = net.filters(6, 100), net.filters(2, 6)
    hidden[4] = 0
    last[:, 0] = 0
    bias = net.const(np.linspace(-1, 1, 6), np.float32)
    weights = [net.dq(net.const(w, np.int8), 0.01, 0) for w in (hidden, last)]
    y = net.qdq(net.node("Gemm", [x, weights[0], bias], transB=1), 0.2, 5)
    graph = net.graph(tmp_path, numerics, net.qdq(net.node("Gemm", [y, weights[1]], transB=1), 0.2, 5))
    found = checked(graph)
    assert kept(found) == [(0, 2, 3), (1, 2, 3, 5), (0, 1)]
    assert found.macs == 25 * 6 + 4 * 75 + 8


def test_what_the_caller_sees_keeps_its_shape(tmp_path: Path, numerics: Numerics) -> None:
    """Outputs with constant channels, inputs with channels that nobody reads, and a softmax."""
    net = Layers()
    first = net.filters(4, 3, 1, 1)
    first[:, 1] = 0
    x = net.conv(net.image(3), first)
    weights = net.filters(4, 4, 1, 1)
    weights[2] = 0
    a = net.conv(x, weights, [0, 0, 0.5, 0])
    b = net.qdq(net.node("Softmax", [net.conv(x, weights)], axis=1), 1 / 256, -128)
    graph = net.graph(tmp_path, numerics, a, b)
    found = checked(graph)
    assert found is graph


def test_states_keep_their_shape(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    state = net.dq(net.input("state_in_0", [1, 4, 5, 5], np.int8), SCALE, ZERO)
    x = with_zero_filter(net, net.image(2))
    total = net.node("Add", [x, state])
    q = net.q(total, SCALE, ZERO, output="state_out_0")
    net.output(q, np.int8, [1, 4, 5, 5])
    graph = net.graph(tmp_path, numerics, net.conv(net.dq(q, SCALE, ZERO), net.filters(2, 4, 1, 1)))
    assert graph.states
    found = checked(graph)
    assert found is graph


def test_int16_weights_may_become_int8(tmp_path: Path, numerics: Numerics) -> None:
    """Weights of uint8 with a zero point may need 9 bits; those that are left may not."""
    net = Layers()
    x = with_zero_filter(net, net.image(2))
    weights = np.full((2, 4, 1, 1), 100, np.uint8)
    weights[:, 1] = 255
    weights[1, 0] = 90
    w = net.dq(net.const(weights, np.uint8), 0.01, 10, np.uint8)
    y = net.qdq(net.node("Conv", [x, w], kernel_shape=[1, 1]), SCALE, ZERO)
    graph = net.graph(tmp_path, numerics, y)
    found = checked(graph)
    kinds = [op.weights.dtype.name for op in (graph.ops[1], found.ops[1])]  # type: ignore[attr-defined]
    assert kinds == ["int16", "int8"]
    assert kept(found)[0] == (0, 2, 3)
