"""The same network in the words of every opset from 11 to the newest: imported, and equal to onnxruntime.

What changed between opsets is in it: axes and splits as attributes or operands, the meaning of Softmax, `axis` of
Quantize/DequantizeLinear, Clip of scalars, HardSwish, ReduceMean's and Pad's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from lockstep import lockstep
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, NotImplemented
from quantising import onnxruntime_session, random_feeds, reference_of
from tiny_models import Net

from vmcu.importer.structure import MIN_OPSET

NEWEST = onnx.defs.onnx_opset_version()
LAST_IN_ONNXRUNTIME = 25
"""At least: onnxruntime 1.24 and later run the opsets up to this one."""
INPUT = (1, 4, 8, 8)
RUNS = 3


def ints(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


class Builder:
    """A network under construction in one opset and one integer type."""

    def __init__(self, opset: int, dtype: type) -> None:
        self.net = Net(opset)
        self.dtype, self.zero = dtype, 3 if dtype is np.int8 else 131
        if opset >= 21:
            self.net.domains = {}  # not every exporter declares com.microsoft

    def qdq(self, x: str, scale: float = 0.05137) -> str:
        """Scales are odd numbers, so that no real value is a tie."""
        return self.net.qdq(x, scale, self.zero, self.dtype)

    def weights(self, shape: Sequence[int]) -> str:
        """A scale a channel, where the opset knows `axis`."""
        return self.net.weights(shape, 0 if self.net.opset >= 13 else None)

    def bias(self, count: int) -> str:
        return self.net.dq(
            self.net.const(self.net.rng.integers(-900, 900, count), np.int32), 0.000531, 0, np.int32
        )

    def with_axes(self, op: str, x: str, axes: Sequence[int], since: int, **attributes: object) -> str:
        """Axes as attribute before opset `since`, as operand from there on."""
        if self.net.opset < since:
            return self.net.node(op, [x], axes=list(axes), **attributes)
        return self.net.node(op, [x, ints(self.net, *axes)], **attributes)

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        outputs = [self.net.name("part") for _ in sizes]
        if self.net.opset < 13:
            node = helper.make_node("Split", [x], outputs, name="split", axis=1, split=list(sizes))
        else:
            node = helper.make_node("Split", [x, ints(self.net, *sizes)], outputs, name="split", axis=1)
        self.net.nodes.append(node)
        return outputs


def network(opset: int, dtype: type) -> Net:
    b = Builder(opset, dtype)
    net = b.net
    x = b.qdq(net.input("x", INPUT), 0.03119)
    conv = net.node("Conv", [x, b.weights((6, 4, 3, 3)), b.bias(6)], auto_pad="SAME_UPPER", strides=[2, 2])
    conv = b.qdq(net.node("Clip", [conv, net.const(-2.0, np.float32), net.const(6.0, np.float32)]))
    if opset >= 14:
        conv = b.qdq(net.node("HardSwish", [conv]))
    left, right = b.split(conv, (2, 4))
    right = net.node("Conv", [b.qdq(right), b.weights((4, 1, 3, 3))], group=4, pads=[1, 1, 1, 1])
    right = b.qdq(net.node("Relu", [right]))
    joined = b.qdq(net.node("Concat", [b.qdq(left), right], axis=1))
    added = b.qdq(net.node("Add", [joined, conv]), 0.07193)
    pooled = b.qdq(net.node("MaxPool", [added], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 0.07193)
    wide = net.node(
        "Resize",
        [pooled, net.const([], np.float32) if opset < 13 else "", net.const([1, 1, 2, 2], np.float32)],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    padded = net.node("Pad", [b.qdq(wide, 0.07193), ints(net, 0, 0, 1, 0, 0, 0, 0, 1)])
    mean = b.qdq(b.with_axes("ReduceMean", b.qdq(padded, 0.07193), (2, 3), 18, keepdims=0))
    column = b.with_axes("Unsqueeze", mean, (2,), 13)
    row = b.with_axes("Squeeze", b.qdq(column), (2,), 13)
    dense = b.qdq(net.node("Gemm", [b.qdq(row), b.weights((5, 6)), b.bias(5)], transB=1, alpha=0.5), 0.0917)
    soft = b.qdq(net.node("Softmax", [dense], axis=1), 0.003917)
    cut = net.node("Slice", [soft, ints(net, 1), ints(net, 5), ints(net, 1)])
    net.nodes.append(helper.make_node("Identity", [b.qdq(cut, 0.003917)], ["y"], name="last"))
    net.output("y", np.float32)
    return net


def test_the_newest_are_met() -> None:
    assert MIN_OPSET == 11 and NEWEST >= LAST_IN_ONNXRUNTIME >= 21


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("opset", range(MIN_OPSET, NEWEST + 1))
def test_equals_onnxruntime(opset: int, dtype: type, tmp_path: Path) -> None:
    net = network(opset, dtype)
    path = net.save(tmp_path)
    reference = reference_of(path)
    feeds = random_feeds({"x": INPUT}, RUNS, 3)
    got = [reference.run(feed)["y"] for feed in feeds]
    assert len(np.unique(got[0])) > 1
    oracle = path
    try:
        session = onnxruntime_session(oracle)
    except (Fail, InvalidArgument, NotImplemented):
        assert opset > LAST_IN_ONNXRUNTIME
        # Between it and here none of these operators changed: the same nodes, declared with an opset it knows.
        oracle = network(LAST_IN_ONNXRUNTIME, dtype).save(tmp_path, "older.onnx")
        session = onnxruntime_session(oracle)
    for feed, mine in zip(feeds, got, strict=True):
        want = session.run(None, feed)[0]
        assert mine.shape == want.shape
        np.testing.assert_array_equal(mine, want)
    found = lockstep(oracle, feeds, tmp_path)
    assert not found.deviations and found.operators >= 15 * RUNS
