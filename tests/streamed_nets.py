"""Networks whose outputs are worth streaming."""

from __future__ import annotations

import numpy as np
from tiny_models import Net

FRAME = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}


def segmenter(height: int = 32, width: int = 40) -> Net:
    """An image in, scores of five classes and the best class per pixel out: an encoder, a decoder, no state."""
    net = Net()
    x = net.qdq(net.input("image", (1, 3, height, width)), 0.02, -5)
    down = net.node("Relu", [net.node("Conv", [x, net.weights((8, 3, 3, 3), 0)], strides=[2, 2], **FRAME)])
    deep = net.qdq(net.node("Conv", [net.qdq(down, 0.05, -128), net.weights((8, 8, 3, 3), 0)], **FRAME), 0.1)
    twice = net.const([1, 1, 2, 2], np.float32)
    way = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    up = net.qdq(net.node("Resize", [deep, "", twice], **way), 0.1)
    scores = net.qdq(net.node("Conv", [up, net.weights((5, 8, 3, 3), 0)], **FRAME), 0.1)
    net.node("Identity", [scores], "scores")
    net.output("scores", shape=(1, 5, height, width))
    net.node("ArgMax", [scores], "mask", axis=1, keepdims=0)
    net.output("mask", np.int64, (1, height, width))
    return net


def heads() -> Net:
    """Outputs of all kinds: one that others read, a concatenation of whole rows, a vector, the input itself."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 12, 10)))
    first = net.qdq(net.node("Conv", [x, net.weights((4, 2, 3, 3))], **FRAME), 0.1)
    second = net.qdq(net.node("Conv", [first, net.weights((4, 4, 3, 3))], **FRAME), 0.1)
    stacked = net.qdq(net.node("Concat", [second, first], axis=2), 0.1)
    mean = net.qdq(net.node("GlobalAveragePool", [second]), 0.1)
    for name, tensor, shape in (
        ("first", first, (1, 4, 12, 10)),
        ("stacked", stacked, (1, 4, 24, 10)),
        ("mean", mean, (1, 4, 1, 1)),
        ("same", x, (1, 2, 12, 10)),
    ):
        net.node("Identity", [tensor], name)
        net.output(name, shape=shape)
    return net
