"""Float models quantised on the fly as users do it, and the comparison of vmcu's reference with onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from vmcu.importer import import_model
from vmcu.ir.graph import Array
from vmcu.passes import canonicalise
from vmcu.quant.lowering import quantise
from vmcu.quant.reference import Reference

Feeds = dict[str, Array]
CALIBRATION_SAMPLES = 8
logging.getLogger().addFilter(lambda record: record.levelno > logging.WARNING)  # the quantiser is talkative


@dataclass(frozen=True)
class Scheme:
    """How a user calls quantize_static.

    Attributes:
        all_operators: name every operator of the graph to it; by default it leaves HardSwish, Sub and others float.
    """

    format: QuantFormat
    activations: QuantType
    weights: QuantType
    per_channel: bool = False
    symmetric: bool = False
    all_operators: bool = False


_S8, _U8 = QuantType.QInt8, QuantType.QUInt8
SCHEMES = {
    "qdq_s8_per_channel": Scheme(QuantFormat.QDQ, _S8, _S8, per_channel=True),
    "qdq_u8": Scheme(QuantFormat.QDQ, _U8, _U8),
    "qdq_u8s8_per_channel": Scheme(QuantFormat.QDQ, _U8, _S8, per_channel=True),
    "qdq_s8_symmetric": Scheme(QuantFormat.QDQ, _S8, _S8, symmetric=True),
    "qdq_s8_all_operators": Scheme(QuantFormat.QDQ, _S8, _S8, per_channel=True, all_operators=True),
    "qdq_u8_all_operators": Scheme(QuantFormat.QDQ, _U8, _U8, all_operators=True),
    "qoperator_s8": Scheme(QuantFormat.QOperator, _S8, _S8, per_channel=True),
    "qoperator_u8": Scheme(QuantFormat.QOperator, _U8, _U8),
}


def input_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of the graph inputs, a dynamic batch taken as 1."""
    inputs = model.graph.input
    return {i.name: tuple(d.dim_value or 1 for d in i.type.tensor_type.shape.dim) for i in inputs}


def random_feeds(shapes: Mapping[str, tuple[int, ...]], count: int, seed: int) -> list[Feeds]:
    """Normally distributed inputs."""
    rng = np.random.default_rng(seed)
    return [{n: rng.normal(0, 1, s).astype(np.float32) for n, s in shapes.items()} for _ in range(count)]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: list[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def preprocessed(source: Path, folder: Path) -> Path:
    """The float model after quant_pre_process, as onnxruntime's documentation advises."""
    target = folder / f"{source.stem}.pre.onnx"
    quant_pre_process(source, target, skip_symbolic_shape=True)
    return target


def quantised(source: Path, scheme: Scheme, target: Path) -> Path:
    """The model `source` quantised with random calibration data."""
    model = onnx.load(source)
    feeds = random_feeds(input_shapes(model), CALIBRATION_SAMPLES, 1)
    found = {node.op_type for node in model.graph.node} - {"Constant"}  # Resize's scales are no activation
    operators = sorted(found) if scheme.all_operators else None
    quantize_static(
        source,
        target,
        _Reader(feeds),
        quant_format=scheme.format,
        activation_type=scheme.activations,
        weight_type=scheme.weights,
        per_channel=scheme.per_channel,
        op_types_to_quantize=operators,
        extra_options={"ActivationSymmetric": scheme.symmetric, "WeightSymmetric": scheme.symmetric or None},
    )
    return target


def onnxruntime_session(model: Path | bytes) -> ort.InferenceSession:
    """Without graph optimisation: each node as written. x86 kernels for U8S8 products must not saturate."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"]
    )


def reference_of(path: Path) -> Reference:
    """vmcu's integer reference of a quantised model, `onnx` numerics."""
    return Reference(
        quantise(canonicalise(import_model(path, input_shapes=input_shapes(onnx.load(path)))), "onnx")
    )
