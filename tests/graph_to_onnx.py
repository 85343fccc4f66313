"""Graph -> ModelProto and a run in onnxruntime: the oracle for the importer and for every pass.

Graphs as imported are written as they are; canonical forms (parameters as attributes) are written back as operands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from vmcu.importer.onnx_form import node_proto
from vmcu.ir.graph import Graph, Node

_OPERANDS = {
    "Reshape": [("shape", np.int64)],
    "Expand": [("shape", np.int64)],
    "Slice": [("starts", np.int64), ("ends", np.int64), ("axes", np.int64), ("steps", np.int64)],
    "Split": [("split", np.int64)],
    "Gather": [("indices", np.int64)],
    "Pad": [("pads", np.int64), ("value", np.float32)],
    "Clip": [("min", np.float32), ("max", np.float32)],
    "ReduceMean": [("axes", np.int64)],
    "ReduceMax": [("axes", np.int64)],
    "ReduceMin": [("axes", np.int64)],
    "ReduceSum": [("axes", np.int64)],
}


def graph_to_onnx(graph: Graph) -> onnx.ModelProto:
    """A valid model with the graph's meaning."""
    nodes, tensors = [], {name: np.asarray(array) for name, array in graph.constants.items()}
    for node in graph.nodes:
        nodes.append(node_proto(_as_file(node, graph, tensors)))
        if node.op in ("QuantizeLinear", "DequantizeLinear") and graph.opset < 13:
            nodes[-1].domain = "com.microsoft"  # the default domain has no axis there
    kinds = {np.dtype(t): e for t, e in _ELEM.items()}
    ports = [
        [helper.make_tensor_value_info(v.name, kinds[np.dtype(v.dtype)], v.shape) for v in values]
        for values in (graph.inputs, graph.outputs)
    ]
    proto = helper.make_graph(
        nodes, "graph", *ports, [numpy_helper.from_array(a, name) for name, a in tensors.items()]
    )
    opsets = [helper.make_opsetid("", graph.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=10)


_ELEM = {
    np.float32: onnx.TensorProto.FLOAT,
    np.int8: onnx.TensorProto.INT8,
    np.uint8: onnx.TensorProto.UINT8,
    np.int32: onnx.TensorProto.INT32,
    np.int64: onnx.TensorProto.INT64,
    np.bool_: onnx.TensorProto.BOOL,
}


def _as_file(node: Node, graph: Graph, tensors: dict[str, np.ndarray]) -> Node:
    """`node` with canonical attributes turned back into operands."""
    operands = _OPERANDS.get(node.op, [])
    if node.op == "Resize" and "sizes" in node.attributes:
        return _resize(node, graph, tensors)
    if not operands or len(node.inputs) > 1 or operands[0][0] not in node.attributes:
        return node
    if node.op.startswith("Reduce") and graph.opset < (13 if node.op == "ReduceSum" else 18):
        return node
    if node.op == "Split" and graph.opset < 13:
        return node
    attributes = dict(node.attributes)
    inputs = list(node.inputs)
    for name, dtype in operands:
        value = np.asarray(attributes.pop(name), dtype)
        if node.op == "Gather":
            axis, rank = attributes["axis"], len(graph.shape(node.input(0)))
            out = graph.shape(node.outputs[0])
            value = value.reshape(out[axis : len(out) - (rank - axis - 1)])
        if node.op == "Slice" and name == "ends":
            steps = node.attributes["steps"]
            value = np.where((np.asarray(steps) < 0) & (value < 0), np.iinfo(np.int64).min, value)
        if value.ndim == 0 and not math.isfinite(value):
            inputs.append("")
            continue
        inputs.append(_operand(f"{node.outputs[0]}:{name}", value, tensors))
    return replace(node, inputs=tuple(inputs), attributes=attributes)


def _operand(name: str, value: np.ndarray, tensors: dict[str, np.ndarray]) -> str:
    tensors[name] = value
    return name


def _resize(node: Node, graph: Graph, tensors: dict[str, np.ndarray]) -> Node:
    attributes = {k: v for k, v in node.attributes.items() if k not in ("sizes", "scales")}
    scales, sizes = np.asarray(node.attributes["scales"]), node.attributes["sizes"]
    shape = graph.shape(node.input(0))
    base = node.outputs[0]
    if tuple(np.floor(np.asarray(shape) * scales.astype(np.float32)).astype(int)) == tuple(sizes):
        operand = _operand(f"{base}:scales", scales.astype(np.float32), tensors)
        return replace(node, inputs=(node.input(0), "", operand), attributes=attributes)
    operand = _operand(f"{base}:sizes", np.asarray(sizes, np.int64), tensors)
    return replace(node, inputs=(node.input(0), "", "", operand), attributes=attributes)


def run_onnx(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """onnxruntime's outputs without graph optimisation: QDQ models then run in float, operator by operator."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, dict(feeds))]


def run_graph(graph: Graph, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """onnxruntime's outputs of a graph."""
    return run_onnx(graph_to_onnx(graph), feeds)


def random_feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Values for every input that reach both ends of its range."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in graph.inputs:
        if value.dtype == "float32":
            feeds[value.name] = rng.normal(0, 1.5, value.shape).astype(np.float32)
        else:
            info = np.iinfo(value.dtype)
            feeds[value.name] = rng.integers(info.min, info.max + 1, value.shape).astype(value.dtype)
    return feeds
