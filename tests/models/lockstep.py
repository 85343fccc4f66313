"""Every operator of a quantised network on the same integers in vmcu and in onnxruntime.

End to end, one float tie early in a network changes much of what follows. Here it cannot: onnxruntime is given
vmcu's own integers as the input of every operator, so that each difference is that operator's own. Its real value
before rounding (the input of QuantizeLinear) then tells whether the difference is a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from quantising import Feeds, onnxruntime_session, reference_of

from vmcu.ir.graph import Array
from vmcu.quant.reference import Reference

_GIVEN = "/given"
_INTEGERS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


@dataclass(frozen=True)
class Deviation:
    """Where one operator differs.

    Attributes:
        tensor: its integer output.
        steps: largest difference in LSB.
        elements: how many of its elements differ.
        off_tie: farthest distance of a differing element's real value from k + 1/2, in LSB; None where
            onnxruntime does not show that value (QOperator form).
    """

    tensor: str
    steps: int
    elements: int
    off_tie: float | None


@dataclass(frozen=True)
class Lockstep:
    """Result of `lockstep`: all operators of all runs.

    Attributes:
        elements, operators: compared, all runs together.
        outputs: vmcu's, a run each: graph outputs and every integer tensor.
    """

    deviations: tuple[Deviation, ...]
    elements: int
    operators: int
    outputs: tuple[dict[str, Array], ...]


def constants_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initialisers and the tensors of Constant nodes."""
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    return {t.name: t for t in model.graph.initializer} | {n.output[0]: n.attribute[0].t for n in nodes}


def integer_activations(model: onnx.ModelProto) -> list[str]:
    """Computed int8/uint8 tensors, in order."""
    constants = constants_of(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    found = []
    for node in model.graph.node:
        if node.op_type.startswith(("QLinear", "QGemm")):
            found.append(node.output[0])
        elif node.op_type != "DequantizeLinear" and not all(name in constants for name in node.input):
            found += [
                o
                for o in node.output
                if o and (kinds.get(o) in _INTEGERS or node.op_type == "QuantizeLinear")
            ]
            if node.input[0] in found and node.op_type not in ("QuantizeLinear", "ArgMax"):
                found += [o for o in node.output if o and o not in found and kinds.get(o, 0) == 0]
    return found


def lockstep(
    path: Path, feeds: list[Feeds], folder: Path, make: Callable[[Path], Reference] = reference_of
) -> Lockstep:
    """Runs both, operator by operator.

    Args:
        feeds: float inputs by name.
        folder: for the model with every integer tensor as an output.
        make: vmcu's side.
    """
    model = onnx.load(path)
    names = integer_activations(model)
    reference = make(_with_outputs(model, names, folder / f"{path.stem}.all.onnx"))
    first = reference.run(feeds[0])
    forced, reals, scales = _forced(model, names, first)
    session = onnxruntime_session(forced.SerializeToString())
    deviations: list[Deviation] = []
    outputs = []
    wanted = [*names, *(real for real in reals.values() if real)]
    for feed in feeds:
        got = reference.run(feed)
        outputs.append(got)
        given = {f"{name}{_GIVEN}": got[name] for name in names}
        want = dict(zip(wanted, session.run(wanted, {**feed, **given}), strict=True))
        for name in names:
            steps = np.abs(got[name].astype(int) - want[name])
            if not steps.any():
                continue
            off = None
            if reals.get(name):
                value = want[reals[name]].astype(np.float64) / scales[name]
                off = float(np.abs(np.abs(value - np.floor(value)) - 0.5)[steps > 0].max())
            deviations.append(Deviation(name, int(steps.max()), int((steps > 0).sum()), off))
    elements = sum(first[name].size for name in names) * len(feeds)
    return Lockstep(tuple(deviations), elements, len(names) * len(feeds), tuple(outputs))


def _with_outputs(model: onnx.ModelProto, names: list[str], path: Path) -> Path:
    """The model with the tensors `names` as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    have = {port.name for port in copy.graph.output}
    zero = _zero_types(model)
    copy.graph.output.extend(helper.make_tensor_value_info(n, zero[n], None) for n in names if n not in have)
    path.write_bytes(copy.SerializeToString())
    return path


def _zero_types(model: onnx.ModelProto) -> dict[str, int]:
    """Integer type of each quantised tensor, from the zero points of the nodes that write or read it."""
    types = {name: tensor.data_type for name, tensor in constants_of(model).items()}
    found: dict[str, int] = {}
    at = {
        "QLinearConv": 7,
        "QLinearMatMul": 7,
        "QGemm": 8,
        "QLinearAdd": 7,
        "QLinearMul": 7,
        "QLinearConcat": 1,
    }
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            found[node.output[0]] = (
                types.get(node.input[2], 0) if len(node.input) > 2 else onnx.TensorProto.UINT8
            )
        elif node.op_type.startswith(("QLinear", "QGemm")):
            found[node.output[0]] = types[node.input[at.get(node.op_type, 4)]]
        elif node.input and node.input[0] in found and node.op_type != "DequantizeLinear":
            found |= {name: found[node.input[0]] for name in node.output if name}
    return found


def _forced(
    model: onnx.ModelProto, names: list[str], shapes: Mapping[str, Array]
) -> tuple[onnx.ModelProto, dict[str, str], dict[str, float]]:
    """The model with each integer tensor read from an input; where known, real value and scale of each."""
    forced = onnx.ModelProto()
    forced.CopyFrom(model)
    graph, chosen = forced.graph, set(names)
    constants = constants_of(model)
    reals: dict[str, str] = {}
    scales: dict[str, float] = {}
    inputs = {port.name for port in graph.input}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in chosen and node.input[0] not in inputs:
            reals[node.output[0]] = node.input[0]
            scales[node.output[0]] = float(numpy_helper.to_array(constants[node.input[1]]).reshape(()))
        for i, name in enumerate(node.input):
            if name in chosen:
                node.input[i] = f"{name}{_GIVEN}"
    types = _zero_types(model)
    graph.input.extend(
        helper.make_tensor_value_info(f"{n}{_GIVEN}", types[n], shapes[n].shape) for n in names
    )
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(n, types[n], None) for n in names)
    graph.output.extend(
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in set(reals.values())
    )
    return forced, reals, scales
