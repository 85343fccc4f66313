"""Writes small int8 .tflite models in memory and runs them with the real TFLite Micro: the oracle of `tflm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

_TYPES = {
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
    "bool": schema.TensorType.BOOL,
}
_ARENA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Quant:
    """Quantisation of a tensor: one scale, or one per slice along `axis`."""

    scale: float | Sequence[float]
    zero: int = 0
    axis: int = 0


@dataclass(slots=True)
class TfliteNet:
    """A model under construction; methods return tensor indices."""

    tensors: list[schema.TensorT] = field(default_factory=list)
    buffers: list[schema.BufferT] = field(default_factory=lambda: [schema.BufferT()])
    codes: list[schema.OperatorCodeT] = field(default_factory=list)
    operators: list[schema.OperatorT] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, shape: Sequence[int], quant: Quant | None = None, dtype: str = "int8") -> int:
        """An activation."""
        tensor = schema.TensorT()
        tensor.shape = np.asarray(shape, np.int32)
        tensor.type = _TYPES[dtype]
        tensor.name = f"t{len(self.tensors)}"
        tensor.buffer = 0
        if quant is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(np.asarray(quant.scale, np.float32))
            tensor.quantization.zeroPoint = np.full(tensor.quantization.scale.size, quant.zero, np.int64)
            tensor.quantization.quantizedDimension = quant.axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def const(self, data: np.ndarray, quant: Quant | None = None) -> int:
        """A constant."""
        data = np.asarray(data)
        index = self.tensor(data.shape, quant, str(data.dtype))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.tensors[index].buffer = len(self.buffers)
        self.buffers.append(buffer)
        return index

    def input(self, shape: Sequence[int], quant: Quant, dtype: str = "int8") -> int:
        """An input of the model."""
        self.inputs.append(self.tensor(shape, quant, dtype))
        return self.inputs[-1]

    def op(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int = 1,
        **fields: object,
    ) -> None:
        """An operator: its builtin code's name, and its options table with the fields that are set."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                if not hasattr(operator.builtinOptions, key):
                    raise AttributeError(f"{options} has no field {key}")
                setattr(operator.builtinOptions, key, value)
        self.operators.append(operator)

    def model(self, outputs: Sequence[int]) -> bytes:
        """The flatbuffer."""
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = np.asarray(self.inputs, np.int32), np.asarray(outputs, np.int32)
        model = schema.ModelT()
        model.version = 3
        model.description = "test"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [graph], self.buffers
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class Tflm:
    """A model in the TFLite Micro interpreter."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)
        self._outputs = schema.Model.GetRootAsModel(model, 0).Subgraphs(0).OutputsLength()

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference."""
        for index, array in enumerate(feeds):
            self._interpreter.set_input(np.ascontiguousarray(array), index)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(index)) for index in range(self._outputs)]
