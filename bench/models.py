"""Quantised networks with seeded random weights, built node by node as QDQ ONNX files: what the benchmarks run.

RAM does not depend on the values of weights, but exactness can only be shown on values that move: every
scale is derived from the second moments of what flows through the network, so that activations use their
int8 range and are not mostly saturated. Weights have a scale per output channel. Inputs and outputs are int8.

Convolutions are padded by kernel // 2 on each side. BatchNorm is taken as folded into the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

UNIFORM_INT8_RMS = 73.3  # of integers from -127 to 127
INPUT_SCALE = 1 / 64
SIGMAS = 3.5  # how far an activation's range reaches


@dataclass(frozen=True, slots=True)
class Value:
    """A real tensor of the network under construction.

    Attributes:
        name: of the ONNX tensor.
        scale: of its quantised form.
        rms: root mean square, expected.
        channels, size: of the image (height = width).
    """

    name: str
    scale: float
    rms: float
    channels: int
    size: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """An inverted bottleneck: 1x1 convolution, depthwise, 1x1 convolution; residual where shapes allow it.

    Attributes:
        size: height and width of the input.
        cin, cmid, cout: channels.
        kernel: of the depthwise convolution.
        strides: of the three convolutions.
        first_kernel: of the first convolution (3 where it is the stem of a network).
    """

    size: int
    cin: int
    cmid: int
    cout: int
    kernel: int
    strides: tuple[int, int, int] = (1, 1, 1)
    first_kernel: int = 1

    @property
    def has_residual(self) -> bool:
        """Input and output agree in shape."""
        return self.cin == self.cout and self.strides == (1, 1, 1) and self.first_kernel == 1


class QdqNet:
    """A QDQ network under construction; layers take and return a `Value`."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, channels: int, size: int, width: int | None = None) -> Value:
        """The image: int8 noise, square unless it has a width."""
        shape = [1, channels, size, size if width is None else width]
        self._inputs.append(helper.make_tensor_value_info("image", onnx.TensorProto.INT8, shape))
        real = self._node("DequantizeLinear", ["image", *self._quantisation(INPUT_SCALE, 0)])
        return Value(real, INPUT_SCALE, 74 * INPUT_SCALE, channels, size)

    def conv(self, x: Value, channels: int, kernel: int = 1, stride: int = 1, *, relu: bool = True) -> Value:
        """Convolution over all channels."""
        return self._conv(x, channels, kernel, stride, 1, relu)

    def depthwise(self, x: Value, kernel: int, stride: int) -> Value:
        """Depthwise convolution with Relu."""
        return self._conv(x, x.channels, kernel, stride, x.channels, True)

    def add(self, a: Value, b: Value) -> Value:
        """Residual connection."""
        rms = sqrt(a.rms**2 + b.rms**2)
        return self._requantise(self._node("Add", [a.name, b.name]), rms, a.channels, a.size)

    def bottleneck(self, x: Value, block: Bottleneck) -> Value:
        """See `Bottleneck`; its `size` and `cin` are those of `x`."""
        first, second, third = block.strides
        y = self.conv(x, block.cmid, block.first_kernel, first)
        y = self.depthwise(y, block.kernel, second)
        y = self.conv(y, block.cout, 1, third, relu=False)
        return self.add(x, y) if block.has_residual else y

    def classifier(self, x: Value, classes: int) -> Value:
        """Global average, then a dense layer."""
        mean = self._node("GlobalAveragePool", [x.name])
        pooled = self._requantise(mean, 0.8 * x.rms, x.channels, 1)
        flat = self._node("Flatten", [pooled.name])
        return self._linear("Gemm", replace(pooled, name=flat), (classes, x.channels), 1, False, transB=1)

    def dense(self, x: Value, units: int) -> Value:
        """Dense layer over a vector, with Relu."""
        flat = replace(x, name=self._node("Flatten", [x.name]))
        return self._linear("Gemm", flat, (units, x.channels), 1, True, transB=1)

    def model(self, result: Value) -> onnx.ModelProto:
        """The file, with the int8 form of `result` as its only output."""
        last = self._nodes.pop()
        assert last.output[0] == result.name
        output = helper.make_tensor_value_info(last.input[0], onnx.TensorProto.INT8, None)
        graph = helper.make_graph(self._nodes, "net", self._inputs, [output], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def _conv(self, x: Value, channels: int, kernel: int, stride: int, groups: int, relu: bool) -> Value:
        pad = kernel // 2
        size = (x.size + 2 * pad - kernel) // stride + 1
        shape = (channels, x.channels // groups, kernel, kernel)
        return self._linear("Conv", x, shape, size, relu, strides=[stride] * 2, pads=[pad] * 4, group=groups)

    def _linear(
        self, op: str, x: Value, shape: tuple[int, ...], size: int, relu: bool, **attributes: object
    ) -> Value:
        """Random weights whose scales keep the second moment as it is, and a small bias."""
        channels, fan_in = shape[0], int(np.prod(shape[1:]))
        gains = self._random.uniform(0.7, 1.3, channels)
        scales = (gains / (sqrt(fan_in) * UNIFORM_INT8_RMS)).astype(np.float32)
        weights = self._per_channel(self._random.integers(-127, 128, shape).astype(np.int8), scales)
        bias_scales = (np.float32(x.scale) * scales).astype(np.float32)
        bias = self._random.uniform(-0.2, 0.2, channels) * x.rms
        biases = self._per_channel(np.rint(bias / bias_scales).astype(np.int32), bias_scales)
        real = self._node(op, [x.name, weights, biases], **attributes)
        if relu:
            real = self._node("Relu", [real])
        return self._requantise(real, x.rms, channels, size, relu=relu)

    def _requantise(self, real: str, rms: float, channels: int, size: int, *, relu: bool = False) -> Value:
        """Q and DQ with a scale for values of this second moment (before Relu)."""
        reach = SIGMAS * rms
        scale = float(np.float32(reach / 255 if relu else 2 * reach / 255))
        parameters = self._quantisation(scale, -128 if relu else int(self._random.integers(-8, 9)))
        quantised = self._node("QuantizeLinear", [real, *parameters])
        name = self._node("DequantizeLinear", [quantised, *parameters])
        return Value(name, scale, rms / sqrt(2) if relu else rms, channels, size)

    def _node(self, op: str, inputs: Sequence[str], **attributes: object) -> str:
        number = len(self._nodes)
        self._nodes.append(helper.make_node(op, inputs, [f"t{number}"], name=f"{op}{number}", **attributes))
        return f"t{number}"

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _quantisation(self, scale: float, zero_point: int) -> list[str]:
        return [
            self._constant(np.asarray(scale, np.float32)),
            self._constant(np.asarray(zero_point, np.int8)),
        ]

    def _per_channel(self, values: NDArray[Any], scales: NDArray[np.float32]) -> str:
        zeros = np.zeros(len(scales), values.dtype)
        constants = [self._constant(values), self._constant(scales), self._constant(zeros)]
        return self._node("DequantizeLinear", constants, axis=0)


def pointwise(size: int, cin: int, cout: int, seed: int = 1) -> onnx.ModelProto:
    """One 1x1 convolution with Relu."""
    net = QdqNet(seed)
    return net.model(net.conv(net.input(cin, size), cout))


def inverted_bottleneck(block: Bottleneck, seed: int = 1) -> onnx.ModelProto:
    """One inverted bottleneck as a network."""
    net = QdqNet(seed)
    return net.model(net.bottleneck(net.input(block.cin, block.size), block))


# Output channels, expansion, kernel, stride of the depthwise convolution.
MCUNET_IN3 = (
    (16, 3, 7, 2),
    (16, 5, 3, 1),
    (16, 5, 7, 1),
    (16, 4, 5, 1),
    (24, 5, 5, 2),
    (24, 5, 5, 1),
    (24, 5, 5, 1),
    (40, 5, 3, 2),
    (40, 6, 7, 1),
    (40, 4, 5, 1),
    (48, 5, 5, 1),
    (48, 5, 7, 1),
    (48, 5, 3, 1),
    (96, 6, 3, 2),
    (96, 5, 7, 1),
    (96, 4, 3, 1),
    (160, 5, 7, 1),
)


def mcunet_in3(seed: int = 1) -> onnx.ModelProto:
    """MCUNet-320KB-ImageNet at 176x176, random weights.

    Known from the paper's Table 2 (B1 to B17) with the corrections of the real network: all blocks but the
    last. Not in that table, taken from public definitions of `mcunet-320kb-1mb_imagenet`: the stem is a 3x3
    convolution of stride 2 (the table calls it the first 1x1 of B1), an 18th block 96 -> 160 (expansion 5,
    kernel 7) follows B17, there is no further 1x1 convolution before the global average, and the classifier
    has 160 inputs. Inferred: symmetric padding, Relu in place of Relu6 (a clamp that quantisation contains).
    """
    net = QdqNet(seed)
    x = net.conv(net.input(3, 176), 16, 3, 2)
    x = net.conv(net.depthwise(x, 3, 1), 8, relu=False)
    for cout, expansion, kernel, stride in MCUNET_IN3:
        block = Bottleneck(x.size, x.channels, x.channels * expansion, cout, kernel, (1, stride, 1))
        x = net.bottleneck(x, block)
    return net.model(net.classifier(x, 1000))


# Expansion, output channels, repetitions, stride of the first (Sandler et al., CVPR 2018, table 2).
MOBILENET_V2 = (
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(seed: int = 1) -> onnx.ModelProto:
    """MobileNetV2 1.0 at 224x224, random weights, Relu in place of Relu6."""
    net = QdqNet(seed)
    x = net.conv(net.input(3, 224), 32, 3, 2)
    x = net.conv(net.depthwise(x, 3, 1), 16, relu=False)
    for expansion, cout, repeats, first_stride in MOBILENET_V2:
        for n in range(repeats):
            stride = first_stride if n == 0 else 1
            x = net.bottleneck(
                x, Bottleneck(x.size, x.channels, x.channels * expansion, cout, 3, (1, stride, 1))
            )
    return net.model(net.classifier(net.conv(x, 1280), 1000))
