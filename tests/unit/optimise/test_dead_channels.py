"""Which channels of convolutions go and which stay, rule by rule, in both numerics: constants, unread ones, twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dead_layers import SCALE, ZERO, Layers, checked, kept, with_zero_filter

from vmcu.batch import random_batch
from vmcu.ir.quantized import Numerics
from vmcu.ops.conv import Conv2D
from vmcu.optimise import drop_dead_channels
from vmcu.quant.reference import Reference


def test_a_zero_filter_goes_and_its_constant_moves_into_the_next_bias(
    tmp_path: Path, numerics: Numerics
) -> None:
    net = Layers()
    y = net.conv(with_zero_filter(net, net.image(2)), net.filters(3, 4, 1, 1))
    graph = net.graph(tmp_path, numerics, y)
    found = checked(graph)
    assert kept(found) == [(0, 2, 3), (0, 1, 2)]
    assert (graph.macs, found.macs) == (25 * (8 + 12), 25 * (6 + 9))
    assert found.original is graph and found.channels_removed == 1
    first, second = found.ops
    old, new = graph.ops[1].bias, second.bias  # type: ignore[attr-defined]
    constant = ZERO + round(0.3 / SCALE)
    np.testing.assert_array_equal(new - old, graph.ops[1].weights[:, 0, 0, 1].astype(int) * constant)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first.weights, graph.ops[0].weights[[0, 2, 3]])  # type: ignore[attr-defined]


def test_nothing_to_do_is_the_same_network(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    graph = net.graph(tmp_path, numerics, net.conv(net.image(2), net.filters(3, 2, 3, 3)))
    assert drop_dead_channels(graph) is graph
    assert graph.original is graph and graph.channels_removed == 0


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_constant_before_a_window(tmp_path: Path, numerics: Numerics, bias: float, pad: int) -> None:
    """Padding holds the zero point. Another constant adds less at the borders, and has to stay."""
    net = Layers()
    y = net.conv(with_zero_filter(net, net.image(2), bias), net.filters(3, 4, 3, 3), pad=pad)
    found = checked(net.graph(tmp_path, numerics, y))
    assert kept(found)[0] == ((0, 1, 2, 3) if pad and bias else (0, 2, 3))


def test_a_window_that_reads_a_constant_only_inside_the_image(tmp_path: Path, numerics: Numerics) -> None:
    """The constant's weights lie in the middle of the window, or add up to nothing at every border."""
    net = Layers()
    weights = net.filters(3, 4, 3, 3)
    weights[:, 1] = 0
    weights[:, 1, 1, 1] = (5, -7, 9)
    y = net.conv(with_zero_filter(net, net.image(2)), weights, pad=1)
    assert kept(checked(net.graph(tmp_path, numerics, y)))[0] == (0, 2, 3)

    net = Layers()
    weights = net.filters(3, 4, 1, 3)
    weights[:, 1, 0] = (0, 4, 0)
    weights[2, 1, 0] = (3, 4, 0)  # of one output the left tap lies outside at the left border
    x = with_zero_filter(net, net.image(2))
    inputs = [x, net.dq(net.const(weights, np.int8), 0.01, 0)]
    y = net.qdq(net.node("Conv", inputs, kernel_shape=[1, 3], pads=[0, 1, 0, 1]), SCALE, ZERO)
    assert kept(checked(net.graph(tmp_path, numerics, y)))[0] == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("bias", "pad", "weight", "goes"),
    [
        (0.0, 1, 40, True),  # the constant is the zero point
        (0.3, 0, 40, True),  # no window touches the padding
        (0.3, 1, 40, False),  # borders differ
        (0.3, 1, 1, True),  # by less than half a step of the output
    ],
)
def test_a_constant_through_a_depthwise_layer(
    tmp_path: Path, numerics: Numerics, bias: float, pad: int, weight: int, goes: bool
) -> None:
    net = Layers()
    x = with_zero_filter(net, net.image(2), bias)
    depthwise = net.filters(4, 1, 3, 3)
    depthwise[1] = weight
    y = net.conv(x, depthwise, pad=pad, group=4, scale=0.1)
    z = net.conv(y, net.filters(2, 4, 1, 1))
    graph = net.graph(tmp_path, numerics, z)
    found = checked(graph)
    left = (0, 2, 3) if goes else (0, 1, 2, 3)
    assert kept(found)[:2] == [left, left]
    outputs = Reference(graph).run_tensors(random_batch(graph, 1).tensors[0])[graph.ops[1].output]
    assert (len(np.unique(outputs[:, :, 1])) == 1) == goes


def test_a_depthwise_filter_of_zeros_takes_what_feeds_it_along(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    depthwise = net.filters(4, 1, 3, 3)
    depthwise[2] = 0
    x = net.conv(net.conv(net.image(2), net.filters(5, 2, 1, 1)), net.filters(4, 5, 1, 1))
    y = net.conv(x, depthwise, [0, 0, 0.4, 0], pad=1, group=4)
    found = checked(net.graph(tmp_path, numerics, net.conv(y, net.filters(2, 4, 1, 1))))
    assert kept(found) == [(0, 1, 2, 3, 4), (0, 1, 3), (0, 1, 3), (0, 1)]
    assert [op.groups for op in found.ops if isinstance(op, Conv2D)] == [1, 1, 3, 1]


def test_a_depthwise_multiplier_goes_by_groups(tmp_path: Path, numerics: Numerics) -> None:
    """Two outputs an input: a group goes only as a whole."""
    net = Layers()
    depthwise = net.filters(6, 1, 3, 3)
    depthwise[[0, 2, 3]] = 0
    x = net.conv(net.image(2), net.filters(3, 2, 1, 1))
    y = net.conv(net.conv(x, depthwise, group=3), net.filters(2, 6, 1, 1))
    found = checked(net.graph(tmp_path, numerics, y))
    assert kept(found)[:2] == [(0, 2), (0, 1, 4, 5)]


def test_groups_of_several_channels(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    x = net.conv(net.image(2), net.filters(6, 2, 1, 1))
    y = net.conv(x, net.filters(6, 2, 3, 3), group=3, pad=1)
    last = net.filters(2, 6, 1, 1)
    last[:, [2, 3, 4]] = 0  # group 1 is not read, of group 2 one channel is
    found = checked(net.graph(tmp_path, numerics, net.conv(y, last)))
    assert kept(found)[:2] == [(0, 1, 4, 5), (0, 1, 4, 5)]


def test_saturation_and_clamps_make_constants(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    small = np.ones((4, 2, 1, 1), np.int8)
    small[1], small[2] = 2, 3
    x = net.conv(net.image(2), small, [0.0, 900.0, -900.0, 0.1])
    found = checked(net.graph(tmp_path, numerics, net.conv(x, net.filters(2, 4, 1, 1))))
    assert kept(found)[0] == (0, 3)

    net = Layers()
    x = net.conv(net.image(2), net.filters(4, 2, 1, 1), clip=(0.5, 0.5))
    found = checked(net.graph(tmp_path, numerics, net.conv(x, net.filters(2, 4, 1, 1))))
    assert kept(found)[0] == (0,), "a tensor keeps one channel"


def test_a_channel_that_almost_always_saturates_stays(tmp_path: Path, numerics: Numerics) -> None:
    """127 for every input but the least."""
    net = Layers()
    ones = np.ones((2, 1, 1, 1), np.int8)
    ones[1] = 2
    least = (-128 - ZERO) * SCALE * 0.01 * 1
    exact = 137 * SCALE - least - 0.6 * SCALE
    x = net.conv(net.image(1), ones, [exact, 0.0], zero=-10)
    graph = net.graph(tmp_path, numerics, net.conv(x, net.filters(2, 2, 1, 1)))
    values = Reference(graph).run_tensors({graph.inputs[0].tensor: np.full((5, 5, 1), -128, np.int8)})
    assert values[graph.ops[0].output][0, 0, 0] == 126
    assert kept(checked(graph))[0] == (0, 1)


def test_a_channel_that_nobody_reads(tmp_path: Path, numerics: Numerics) -> None:
    """And all that is computed for it alone."""
    net = Layers()
    first, second, last = net.filters(4, 2, 3, 3), net.filters(3, 4, 1, 1), net.filters(2, 3, 1, 1)
    last[:, 1] = 0
    second[[0, 2], 3] = 0
    y = net.conv(net.conv(net.conv(net.image(2), first, pad=1), second), last)
    found = checked(net.graph(tmp_path, numerics, y))
    assert kept(found) == [(0, 1, 2), (0, 2), (0, 1)]


@pytest.mark.parametrize(("first", "second"), [(20, 60), (67, 60), (68, 60), (-68, -60), (-69, -60)])
def test_equal_filters_are_computed_once(tmp_path: Path, numerics: Numerics, first: int, second: int) -> None:
    """Where the sum of what reads them fits their type: -128..127."""
    net = Layers()
    weights = net.filters(4, 2, 3, 3)
    weights[3] = weights[1]
    x = net.conv(net.image(2), weights, [0.1, 0.2, 0.3, 0.2], pad=1)
    reader = net.filters(2, 4, 3, 3)
    reader[0, 1, 0, 0], reader[0, 3, 0, 0] = first, second
    graph = net.graph(tmp_path, numerics, net.conv(x, reader, pad=1))
    found = checked(graph)
    if not -128 <= first + second <= 127:
        assert found is graph
        return
    assert kept(found)[0] == (0, 1, 2)
    merged = graph.ops[1].weights[..., 1].astype(int) + graph.ops[1].weights[..., 3]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found.ops[1].weights[..., 1], merged)  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["weights", "bias", "scale", "scale doubled"])
def test_almost_equal_filters_stay(tmp_path: Path, numerics: Numerics, what: str) -> None:
    net = Layers()
    weights = net.filters(4, 2, 1, 1)
    weights[3] = weights[1]
    scales = [0.01, 0.01, 0.01, {"scale": 0.011, "scale doubled": 0.02}.get(what, 0.01)]
    if what == "weights":
        weights[3, 0, 0, 0] += 1
    bias = net.const([0, 0, 0, 0.3 if what == "bias" else 0], np.float32)
    parameters = [net.const(scales, np.float32), net.const(np.zeros(4), np.int8)]
    w = net.node("DequantizeLinear", [net.const(weights, np.int8), *parameters], axis=0)
    x = net.qdq(net.node("Conv", [net.image(2), w, bias], kernel_shape=[1, 1]), SCALE, ZERO)
    graph = net.graph(tmp_path, numerics, net.conv(x, net.filters(2, 4, 1, 1)))
    assert checked(graph) is graph


def test_equal_filters_whose_readers_cancel(tmp_path: Path, numerics: Numerics) -> None:
    """The pair adds nothing to anything: in the second round nobody reads what is left of it."""
    net = Layers()
    weights = net.filters(4, 2, 1, 1)
    weights[3] = weights[1]
    reader = net.filters(2, 4, 1, 1)
    reader[:, 3] = -reader[:, 1]
    found = checked(net.graph(tmp_path, numerics, net.conv(net.conv(net.image(2), weights), reader)))
    assert kept(found)[0] == (0, 2)


def test_equal_channels_through_a_depthwise_layer(tmp_path: Path, numerics: Numerics) -> None:
    net = Layers()
    weights, depthwise = net.filters(4, 2, 1, 1), net.filters(4, 1, 3, 3)
    weights[3] = weights[1]
    weights[2] = weights[0]
    depthwise[3] = depthwise[1]  # but not 2 and 0
    x = net.conv(net.conv(net.image(2), weights), depthwise, group=4, pad=1)
    found = checked(net.graph(tmp_path, numerics, net.conv(x, net.filters(2, 4, 1, 1))))
    assert kept(found)[:2] == [(0, 1, 2)] * 2


@pytest.mark.parametrize("op", ["Conv", "Mul", "PRelu"])
@pytest.mark.parametrize("same", [True, False])
def test_equal_channels_through_layers_with_a_weight_a_channel(
    tmp_path: Path, numerics: Numerics, op: str, same: bool
) -> None:
    """Equal stay only those that are weighted alike; and what is weighted alike is equal only if its inputs are."""
    net = Layers()
    weights = net.filters(4, 2, 1, 1)
    weights[3] = weights[1]
    factors = np.array([30, 40, 30, 40 if same else 41], np.int8)  # 0 and 2 read channels that differ
    x = net.conv(net.image(2), weights)
    if op == "Conv":
        y = net.conv(x, factors.reshape(4, 1, 1, 1), group=4)
    else:
        shape = (1, 4, 1, 1) if op == "Mul" else (4, 1, 1)
        y = net.qdq(net.node(op, [x, net.dq(net.const(factors.reshape(shape)), 0.02, 0)]), SCALE, ZERO)
    graph = net.graph(tmp_path, numerics, net.conv(y, net.filters(2, 4, 1, 1)))
    assert kept(checked(graph))[:2] == [(0, 1, 2) if same else (0, 1, 2, 3)] * 2
