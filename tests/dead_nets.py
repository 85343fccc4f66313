"""Random networks with something to leave out: filters of zeros, filters that occur twice, channels that nobody reads."""

from __future__ import annotations

import onnx
from onnx import numpy_helper
from random_nets import Pick, random_net

from vmcu.ir.graph import Array

INJURIES = ("zero filter", "zero filter", "twice", "unread", "saturates", "none")
BEYOND = 5000.0  # a bias that no input makes up for; its accumulators still fit int32


def dead_net(pick: Pick, operators: int, seed: int = 0) -> onnx.ModelProto:
    """A network of `random_net` in which some weights of some layers were overwritten."""
    return injure(random_net(pick, operators, seed).model(), pick)


def injure(model: onnx.ModelProto, pick: Pick) -> onnx.ModelProto:
    """Changes weights, biases and scales in place; returns the model."""
    constants = {t.name: t for t in model.graph.initializer}
    dequantised = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        source = dequantised[node.input[1]]
        weights = _array(constants, source.input[0])
        by_output = weights.T if node.op_type == "MatMul" else weights  # views: filters first
        vectors = [_array(constants, name) for name in (source.input[1], *node.input[2:3]) if name]
        for _ in range(pick([1, 2, 3])):
            _injure(
                by_output, [v for v in vectors if v.shape == (len(by_output),)], len(node.input) > 2, pick
            )
        for name, array in (
            (source.input[0], weights),
            *zip((source.input[1], *node.input[2:3]), vectors, strict=True),
        ):
            constants[name].CopyFrom(numpy_helper.from_array(array, name))
    return model


def _injure(weights: Array, vectors: list[Array], has_bias: bool, pick: Pick) -> None:
    at, other = pick(range(len(weights))), pick(range(len(weights)))
    what = pick(INJURIES)
    if what == "zero filter":
        weights[at] = 0
    elif what == "twice":
        for array in (weights, *vectors):
            array[at] = array[other]
    elif what == "unread":
        weights[:, pick(range(weights.shape[1]))] = 0
    elif what == "saturates" and has_bias and vectors:
        vectors[-1][at] = pick([BEYOND, -BEYOND])


def _array(constants: dict[str, onnx.TensorProto], name: str) -> Array:
    return numpy_helper.to_array(constants[name]).copy()
