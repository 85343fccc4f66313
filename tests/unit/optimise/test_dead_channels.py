"""Which channels go, which stay, and that what stays has the same bits: rule by rule, in both numerics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Net

from vmcu.batch import Batch, random_batch
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.ops.conv import Conv2D
from vmcu.optimise import drop_dead_channels
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference
from vmcu.verify.original import compare_original

SCALE = 0.05
ZERO = -10  # of every activation, unless a test says otherwise


@pytest.fixture(params=["onnx", "tflm"])
def numerics(request: pytest.FixtureRequest) -> Numerics:
    return request.param  # type: ignore[no-any-return]


class Layers(Net):
    """A network whose weights a test chooses. Methods return dequantised tensors."""

    def image(self, channels: int, size: int = 5) -> str:
        return self.qdq(self.input(f"x{len(self.inputs)}", [1, channels, size, size]), SCALE, ZERO)

    def conv(
        self,
        x: str,
        weights: Array,
        bias: Sequence[float] | None = None,
        *,
        zero: int = ZERO,
        scale: float = SCALE,
        pad: int = 0,
        group: int = 1,
        stride: int = 1,
        clip: tuple[float, float] | None = None,
    ) -> str:
        inputs = [x, self.dq(self.const(weights, np.int8), 0.01, 0)]
        if bias is not None:
            inputs.append(self.const(bias, np.float32))
        kernel = list(weights.shape[2:])
        y = self.node("Conv", inputs, kernel_shape=kernel, pads=[pad] * 4, strides=[stride] * 2, group=group)
        if clip is not None:
            y = self.node("Clip", [y, *(self.const(limit, np.float32) for limit in clip)])
        return self.qdq(y, scale, zero)

    def filters(self, *shape: int) -> Array:
        """Random weights, none of them zero, no two filters alike."""
        signs = self.rng.choice([-1, 1], shape)
        return (signs * self.rng.integers(1, 60, shape)).astype(np.int8)

    def graph(self, folder: Path, numerics: Numerics, *outputs: str) -> QuantizedGraph:
        for name in outputs:
            self.output(name)
        return load(self.save(folder), numerics=numerics, dead_channels=False)


def inputs_of(graph: QuantizedGraph) -> Batch:
    """Noise, and every channel at either end."""
    shapes = {p.tensor: graph.tensors[p.tensor].shape for p in graph.inputs}
    ends = [{n: np.full(s, v, np.int8) for n, s in shapes.items()} for v in (-128, 127)]
    return Batch((*random_batch(graph, 3).tensors, *ends), False)


def checked(graph: QuantizedGraph) -> QuantizedGraph:
    """The optimised network, after every bit of it was compared, and every accumulator bounded as before."""
    found = drop_dead_channels(graph)
    assert drop_dead_channels(found) is found
    if found is graph:
        return found
    batch = inputs_of(graph)
    assert compare_original(found, batch)[0] == []
    one, other = Reference(graph), Reference(found)
    for given in batch.tensors:
        expected, got = one.run_tensors(given), other.run_tensors(given)
        for port in graph.outputs:
            np.testing.assert_array_equal(got[port.tensor], expected[port.tensor])
    for before, after in zip(graph.ops, found.ops, strict=True):
        if hasattr(before, "weights"):
            assert (bounds(after) <= bounds(before)[list(found.origin.kept[after.output])]).all()  # type: ignore[union-attr]
    for link in (*graph.inputs, *graph.outputs):
        assert found.tensors[link.tensor] == graph.tensors[link.tensor]
    compile_graph(found)  # planned and approved by the checker
    return found


def bounds(op: object) -> Array:
    """Of each output: no sum on the way to its accumulator is larger."""
    sizes = np.abs(op.weights.astype(np.int64)).reshape(len(op.bias), -1).sum(axis=1)  # type: ignore[attr-defined]
    return np.asarray(128 * sizes + np.abs(op.bias.astype(np.int64)))  # type: ignore[attr-defined]


def kept(graph: QuantizedGraph) -> list[tuple[int, ...]]:
    """Per operator, the channels that are left of what it writes."""
    if graph.origin is None:
        return [tuple(range(graph.tensors[op.output].channels)) for op in graph.ops]
    return [graph.origin.kept[op.output] for op in graph.ops]


def with_zero_filter(net: Layers, x: str, bias: float = 0.3, **options: object) -> str:
    """Four channels, of which number 1 is the constant `bias`."""
    weights = net.filters(4, 2, 1, 1)
    weights[1] = 0
    return net.conv(x, weights, [0.1, bias, -0.2, 0.05], **options)  # type: ignore[arg-type]


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
