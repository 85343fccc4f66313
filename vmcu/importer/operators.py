"""Which nodes the importer can hand on at all; what lowering supports is not decided here."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from vmcu.errors import Problem
from vmcu.importer.messages import quoted, shorten

QUANTISE_STATIC = (
    "quantise it statically: from onnxruntime.quantization import quantize_static, CalibrationDataReader, "
    "QuantFormat, QuantType; quantize_static('model.onnx', 'model_int8.onnx', reader, "
    "quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True) "
    "where reader.get_next() returns {input_name: array} for about 100 real samples, then None"
)

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")

_DYNAMIC = (
    "computes its quantisation at run time (dynamic quantisation)",
    QUANTISE_STATIC,
)

_REFUSED = {
    "ConvInteger": _DYNAMIC,
    "MatMulInteger": _DYNAMIC,
    "DynamicQuantizeLinear": _DYNAMIC,
    "com.microsoft.DynamicQuantizeMatMul": _DYNAMIC,
    "com.microsoft.MatMulIntegerToFloat": _DYNAMIC,
    "com.microsoft.DynamicQuantizeLSTM": _DYNAMIC,
    "com.microsoft.MatMulNBits": (
        "has weights of 4 bits in blocks",
        "quantise to int8 weights with quantize_static",
    ),
    "com.microsoft.QLinearWhere": (
        "selects between two quantised tensors",
        "replace it by Mul and Add of masks",
    ),
}

EXPANDED = frozenset(
    f"com.microsoft.{name}"
    for name in (
        *(
            "QLinearAdd",
            "QLinearMul",
            "QLinearLeakyRelu",
            "QLinearSigmoid",
            "QLinearSoftmax",
            "QLinearConcat",
        ),
        *("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean", "QLinearConv", "QGemm"),
        *("QuantizeLinear", "DequantizeLinear"),
    )
)
"""Operators of other domains that `qoperator` turns into default ones."""

_QUANTISED = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")


def node_problems(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> list[Problem]:
    """All nodes that are refused, with reason and remedy; and a model that is not quantised at all."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
    opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=0)
    problems = []
    for proto in nodes:
        found = _refusal(proto, opset) or _checked(proto, context)
        if found:
            problems.append(Problem(found[0], where(proto), found[1]))
    if not _has_integer_data(model, nodes) and not any(full_op(n) in _REFUSED for n in nodes):
        weights = any(n.op_type == "DequantizeLinear" for n in nodes)
        what = "quantises only its weights" if weights else "is a float model"
        what += ": it has no QuantizeLinear node, and vmcu computes in integers"
        problems.append(Problem(what, "model", QUANTISE_STATIC))
    return problems


def _has_integer_data(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> bool:
    """Is anything but constants quantised?"""
    constants = {t.name for t in model.graph.initializer}
    constants.update(o for n in nodes if n.op_type == "Constant" for o in n.output)
    return any(
        n.op_type in _QUANTISED
        or n.op_type.startswith(("QLinear", "QGemm"))
        or (n.op_type == "DequantizeLinear" and n.input[0] not in constants)
        for n in nodes
    )


def full_op(proto: onnx.NodeProto) -> str:
    """Operator type, with its domain unless that is the default one."""
    return f"{proto.domain}.{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type


def label(proto: onnx.NodeProto) -> str:
    """What a node is called in messages and in the graph."""
    return proto.name or f"{proto.op_type}:{next((o for o in proto.output if o), '')}"


def where(proto: onnx.NodeProto) -> str:
    """Where a problem of a node of the file is."""
    return f"node {quoted(label(proto))} ({shorten(proto.op_type, 40)})"


def _refusal(proto: onnx.NodeProto, opset: int) -> tuple[str, str] | None:
    op = full_op(proto)
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if op in _CONTROL_FLOW or any(a.type in graphs or a.HasField("g") for a in proto.attribute):
        return (
            "holds a subgraph: control flow has no static memory plan",
            "export without it (torch.jit.trace, constant conditions folded by onnxsim)",
        )
    if op in _REFUSED:
        return _REFUSED[op]
    if (
        opset < 13
        and op in ("QuantizeLinear", "DequantizeLinear")
        and any(a.name == "axis" for a in proto.attribute)
    ):
        return (
            f"has a scale a channel (attribute axis), which opset {opset} does not know",
            "convert the float model before quantising it (onnx.version_converter.convert_version(model, 13)), or "
            "quantise with per_channel=False",
        )
    if op == proto.op_type or op in EXPANDED:
        return None
    domain = quoted(proto.domain)
    if proto.domain == "com.microsoft":
        return (
            f"is an operator of domain {domain} that is not understood",
            "turn off graph optimisation before quantising (optimize_model=False), or use QuantFormat.QDQ",
        )
    return (
        f"is an operator of the unknown domain {domain}",
        "replace it by standard ONNX operators before export",
    )


def _checked(proto: onnx.NodeProto, context: onnx.checker.C.CheckerContext) -> tuple[str, str] | None:
    """onnx.checker's verdict: unknown operator or attribute, missing attribute, wrong number of inputs."""
    try:
        onnx.checker.check_node(proto, context)
    except Exception as error:
        reason = shorten(str(error).split("==> Context")[0])
        return f"is not valid ONNX: {reason}", "export the model again, or replace the operator"
    return None
