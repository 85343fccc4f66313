"""Ways QDQ and QOperator files are written beyond what quantize_static writes: the same integers as onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from lockstep import lockstep
from onnx import helper
from quantising import input_shapes, onnxruntime_session, random_feeds, reference_of
from tiny_models import Net

SHAPE = (1, 4, 6, 6)
A, B = 0.05137, 0.03911  # scales: odd numbers, so that no real value is a tie


def weights(net: Net, shape: tuple[int, ...], axis: int | None = 0) -> str:
    return net.weights(shape, axis)


def floats(net: Net, *shape: int) -> str:
    return net.const(net.rng.uniform(-0.5, 0.7, shape), np.float32)


def conv(net: Net, x: str, *bias: str, channels: int = 4) -> str:
    return net.node("Conv", [x, weights(net, (4, channels, 3, 3)), *bias], pads=[1, 1, 1, 1])


def float_bias(net: Net, x: str) -> str:
    return conv(net, net.qdq(x, A), floats(net, 4))


def bias_behind_add(net: Net, x: str) -> str:
    return net.node("Relu", [net.node("Add", [conv(net, net.qdq(x, A)), floats(net, 4, 1, 1)])])


def doubled(net: Net, x: str) -> str:
    x = net.qdq(net.qdq(net.qdq(x, A), A), A)
    return net.qdq(net.qdq(conv(net, x), B), B)


def doubled_with_another_scale(net: Net, x: str) -> str:
    return net.qdq(net.qdq(conv(net, net.qdq(x, A)), 2 * B), 0.7 * B)


def shared(net: Net, x: str) -> str:
    """One Q read by two DQs, one DQ by two operators."""
    q = net.q(x, A)
    a, b = net.dq(q, A), net.dq(q, A)
    return net.node(
        "Add", [net.qdq(conv(net, a), B), net.qdq(net.node("Relu", [net.node("Mul", [a, b])]), B)]
    )


def relu_and_clip(net: Net, x: str) -> str:
    y = net.node("Relu", [conv(net, net.qdq(x, A))])
    return net.node("Clip", [y, net.const(0.11, np.float32), net.const(3.3, np.float32)])


def gemm_factors(net: Net, x: str) -> str:
    flat = net.node("Flatten", [net.qdq(x, A)])
    bias = net.dq(net.const(net.rng.integers(-900, 900, 5), np.int32), 0.000531, 0, np.int32)
    return net.node("Gemm", [flat, weights(net, (144, 5), 1), bias], alpha=-0.3, beta=2.0)


def gemm_trans_a(net: Net, x: str) -> str:
    column = net.node("Reshape", [net.qdq(x, A), net.const([144, 1], np.int64)])
    return net.node("Gemm", [column, weights(net, (5, 144))], transA=1, transB=1)


def sequence(net: Net, x: str) -> str:
    y = net.node("Reshape", [net.qdq(x, A), net.const([1, 4, 36], np.int64)])
    return net.node("Add", [net.node("MatMul", [y, weights(net, (36, 5), 1)]), floats(net, 5)])


def channels_last(net: Net, x: str) -> str:
    """As converters from TensorFlow write it: Transpose of the float input, and back."""
    y = net.qdq(conv(net, net.qdq(net.node("Transpose", [x], perm=[0, 3, 1, 2]), A), channels=6), B)
    return net.node("Transpose", [y], perm=[0, 2, 3, 1])


def pool_before_quantise(net: Net, x: str) -> str:
    y = net.node("MaxPool", [conv(net, net.qdq(x, A))], kernel_shape=[2, 2], strides=[2, 2])
    return net.node("Relu", [y])


def constant_nodes(net: Net, x: str) -> str:
    names = {t.name for t in net.initialisers}
    y = conv(net, net.qdq(x, A))
    late = [t for t in net.initialisers if t.name not in names]
    net.initialisers = [t for t in net.initialisers if t.name in names]
    net.nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in late] + net.nodes
    return y


def integer_concat(net: Net, x: str) -> str:
    q = net.q(x, A)
    y = net.q(conv(net, net.dq(q, A)), A)
    return net.dq(net.node("Concat", [q, y], axis=1), A)


def integer_movement(net: Net, x: str) -> str:
    q = net.node("Transpose", [net.q(x, A)], perm=[0, 2, 3, 1])
    q = net.node("Slice", [q, net.const([1], np.int64), net.const([5], np.int64), net.const([2], np.int64)])
    q = net.node("MaxPool", [q], kernel_shape=[2, 2])
    return net.dq(net.node("Clip", [q, net.const(-40, np.int8), net.const(30, np.int8)]), A)


def no_zero_point(net: Net, x: str) -> str:
    q = net.node("QuantizeLinear", [x, net.const(A, np.float32)])
    return conv(net, net.node("DequantizeLinear", [q, net.const(A, np.float32)]))


def vector_scales(net: Net, x: str) -> str:
    parameters = [net.const([A], np.float32), net.const([3], np.int8)]
    q = net.node("QuantizeLinear", [x, *parameters])
    return conv(net, net.node("DequantizeLinear", [q, *parameters]))


def transposed_weights(net: Net, x: str) -> str:
    """PyTorch's dynamic-shape Linear: weights behind DequantizeLinear and Transpose."""
    w = net.node("Transpose", [weights(net, (5, 144))], perm=[1, 0])
    return net.node("MatMul", [net.node("Flatten", [net.qdq(x, A)]), w])


NETWORKS: dict[str, Callable[[Net, str], str]] = {
    f.__name__: f
    for f in (
        float_bias,
        bias_behind_add,
        doubled,
        doubled_with_another_scale,
        shared,
        relu_and_clip,
        gemm_factors,
        gemm_trans_a,
        sequence,
        channels_last,
        pool_before_quantise,
        constant_nodes,
        integer_concat,
        integer_movement,
        no_zero_point,
        vector_scales,
        transposed_weights,
    )
}


DENSE_STEP = 0.5137  # sums of 144 products need a larger step
FLOAT_BIAS_LSB = 0.5 * A * 0.02 / B
"""A float bias becomes a whole number of accumulator steps (input step * weight step, at most 0.02): half of that, in
output steps, is how far off a tie its results may round the other way."""


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    net = Net(14)
    y = NETWORKS[name](net, net.input("x", SHAPE))
    step = DENSE_STEP if any(n.op_type in ("Gemm", "MatMul") for n in net.nodes) else B
    net.output(net.dq(net.q(y, step), step))
    path = net.save(tmp_path)
    reference, session = reference_of(path), onnxruntime_session(path)
    feeds = random_feeds(input_shapes(onnx.load(path)), 6, 4)
    found = lockstep(path, feeds, tmp_path)
    allowed = FLOAT_BIAS_LSB if name in ("float_bias", "bias_behind_add", "sequence") else 0.0
    assert all(d.steps == 1 and d.off_tie is not None and d.off_tie <= allowed for d in found.deviations)
    assert sum(d.elements for d in found.deviations) <= 0.02 * found.elements
    for feed, tensors in zip(feeds, found.outputs, strict=True):
        (got,), want = reference.run(feed).values(), session.run(None, feed)[0]
        assert got.shape == want.shape and len(np.unique(got)) > 2
        np.testing.assert_array_equal(got, tensors[session.get_outputs()[0].name])
        assert np.abs(got - want).max() <= (step * 1.01 if found.deviations else 0.0)
