"""Builds small ONNX models for tests: a few lines a model, every part of the file reachable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Net:
    """A model under construction; methods return tensor names."""

    def __init__(self, opset: int = 13, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.domains: dict[str, int] = {"com.microsoft": 1}
        self.rng = np.random.default_rng(seed)
        self._count = 0

    def name(self, base: str) -> str:
        self._count += 1
        return f"{base}{self._count}"

    def input(self, name: str, shape: Sequence[int | str] | None, dtype: object = np.float32) -> str:
        elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, elem, shape))
        return name

    def output(self, name: str, dtype: object = np.float32, shape: Sequence[int] | None = None) -> str:
        elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.outputs.append(helper.make_tensor_value_info(name, elem, shape))
        return name

    def const(self, array: object, dtype: object = None, name: str = "") -> str:
        name = name or self.name("c")
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], output: str = "", domain: str = "", **attributes: object
    ) -> str:
        output = output or self.name(op.lower())
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=self.name("n"), domain=domain, **attributes)
        )
        return output

    def q(self, x: str, scale: float = 0.05, zero: int = 3, dtype: object = np.int8, output: str = "") -> str:
        parameters = [self.const(scale, np.float32), self.const(zero, dtype)]
        return self.node("QuantizeLinear", [x, *parameters], output)

    def dq(self, x: str, scale: float = 0.05, zero: int = 3, dtype: object = np.int8) -> str:
        return self.node("DequantizeLinear", [x, self.const(scale, np.float32), self.const(zero, dtype)])

    def qdq(self, x: str, scale: float = 0.05, zero: int = 3, dtype: object = np.int8) -> str:
        return self.dq(self.q(x, scale, zero, dtype), scale, zero, dtype)

    def weights(self, shape: Sequence[int], axis: int | None = None) -> str:
        """Random int8 weights behind DequantizeLinear, per tensor or per channel."""
        values = self.const(self.rng.integers(-127, 128, shape), np.int8)
        if axis is None:
            return self.dq(values, 0.01, 0)
        scales = self.const(self.rng.uniform(0.005, 0.02, shape[axis]), np.float32)
        zeros = self.const(np.zeros(shape[axis]), np.int8)
        return self.node("DequantizeLinear", [values, scales, zeros], axis=axis)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.initialisers)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def save(self, folder: Path, name: str = "net.onnx") -> Path:
        path = folder / name
        path.write_bytes(self.model().SerializeToString())
        return path


def small_net(opset: int = 13) -> Net:
    """Conv, Relu: what most hostile models are made of. Names: x, w_q, w_scale, w_zero, y."""
    net = Net(opset)
    x = net.qdq(net.input("x", [1, 3, 8, 8]))
    net.const(net.rng.integers(-127, 128, (4, 3, 3, 3)), np.int8, "w_q")
    net.const(np.full(4, 0.01), np.float32, "w_scale")
    net.const(np.zeros(4), np.int8, "w_zero")
    w = net.node("DequantizeLinear", ["w_q", "w_scale", "w_zero"], "w", axis=0)
    conv = net.node("Conv", [x, w], "conv")
    relu = net.node("Relu", [conv], "relu")
    net.node("DequantizeLinear", [net.q(relu), net.const(0.05, np.float32), net.const(3, np.int8)], "y")
    net.output("y", shape=[1, 4, 6, 6])
    return net
