"""Nodes and arrays -> onnx protobufs: for shape inference and for evaluating constants. Nothing else writes ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vmcu.ir.graph import Array, Attribute, Node

QDQ_OPSET = 13
"""Quantize/DequantizeLinear always follow at least this opset here: older ones know no `axis`."""


def opset_of(node: Node, opset: int) -> int:
    """The opset whose definition of `node` holds."""
    return max(opset, QDQ_OPSET) if node.op in ("QuantizeLinear", "DequantizeLinear") else opset


def tensor_proto(name: str, array: Array) -> onnx.TensorProto:
    """An initialiser."""
    return numpy_helper.from_array(np.asarray(array), name)


def node_proto(node: Node) -> onnx.NodeProto:
    """`node` as it could stand in a file."""
    proto = onnx.NodeProto(op_type=node.op, name=node.name, input=node.inputs, output=node.outputs)
    for name, value in node.attributes.items():
        proto.attribute.append(_attribute(name, value))
    return proto


def _attribute(name: str, value: Attribute) -> onnx.AttributeProto:
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, tensor_proto("", value))
    if value == ():
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS)
    return helper.make_attribute(name, value)


def evaluate(node: Node, opset: int, inputs: Mapping[str, Array]) -> Sequence[Array]:
    """The outputs of one node (those with a name) on constant inputs, by onnx's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    names = [name for name in dict.fromkeys(node.inputs) if name]
    graph = helper.make_graph(
        [node_proto(node)],
        "constants",
        [_port(name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype)) for name in names],
        [_port(name, 0) for name in node.outputs if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset_of(node, opset))])
    session = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        results = session.run(None, {name: inputs[name] for name in names})
    return [np.asarray(result) for result in results]


def _port(name: str, elem_type: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, None)
