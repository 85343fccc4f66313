"""Tensors and attributes of the file -> NumPy and Python values, with every length and range checked."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from vmcu.errors import Problem
from vmcu.importer.messages import damaged, quoted
from vmcu.ir.graph import Array, Attribute

MAX_ELEMENTS = 1 << 26
"""Of one tensor, constant or computed: 64 M, far above any microcontroller."""
MAX_RANK = 8

ELEM_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.BOOL: "bool",
}

_SMALL_RANGES: dict[int, tuple[int, int]] = {
    onnx.TensorProto.INT8: (-128, 127),
    onnx.TensorProto.UINT8: (0, 255),
    onnx.TensorProto.BOOL: (0, 1),
}


def type_name(elem_type: int) -> str:
    """For messages: "INT4", or the number where onnx does not know it."""
    try:
        return str(onnx.TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return f"number {elem_type}"


def type_fix(elem_type: int) -> str:
    """What to do about a type that is not supported."""
    name = type_name(elem_type)
    if name.startswith(("int", "uint", "float8", "float4")):
        return "quantise weights and activations to int8 or uint8 (QuantType.QInt8 in onnxruntime's quantize_static)"
    if name.startswith(("float", "double", "bfloat")):
        return "export the model in float32 before quantising it"
    return "remove it from the model"


def shape_problem(dims: tuple[int, ...], allow_empty: bool) -> str | None:
    """What is wrong with a static shape, or None."""
    if len(dims) > MAX_RANK:
        return f"has rank {len(dims)}, the limit is {MAX_RANK}"
    if any(d < 0 for d in dims):
        return f"has a negative dimension: {list(dims)}"
    if not allow_empty and 0 in dims:
        return f"has a dimension of size zero: {list(dims)}"
    if math.prod(dims) > MAX_ELEMENTS:
        return f"has {math.prod(dims)} elements ({list(dims)}), the limit is {MAX_ELEMENTS}"
    return None


def decoded(tensor: onnx.TensorProto, where: str) -> Array | Problem:
    """The array of a dense tensor whose data is in the file."""
    if tensor.data_type not in ELEM_TYPES:
        what = f"has type {type_name(tensor.data_type)}, which is not supported"
        return Problem(what, where, type_fix(tensor.data_type))
    wrong = shape_problem(tuple(tensor.dims), allow_empty=True)
    if wrong:
        return Problem(wrong, where, "export the model again")
    if tensor.HasField("segment"):
        return Problem("is stored in segments", where, "export the model again")
    low, high = _SMALL_RANGES.get(tensor.data_type, (-(2**31), 2**31 - 1))
    if any(not low <= number <= high for number in tensor.int32_data):
        what = f"holds a value outside the range {low} to {high} of its type {type_name(tensor.data_type)}"
        return Problem(what, where, "quantise the model again")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:
        return damaged(where, f"its data does not fit its shape {list(tensor.dims)}", error)
    if array.shape != tuple(tensor.dims):
        what = f"declares shape {list(tensor.dims)} but holds {array.size} elements"
        return Problem(what, where, "export the model again")
    return np.ascontiguousarray(array).reshape(array.shape).astype(array.dtype.newbyteorder("="), copy=False)


def attributes_of(proto: onnx.NodeProto, where: str) -> Mapping[str, Attribute] | Problem:
    """A node's attributes as Python values, or the first that cannot be one."""
    kinds = onnx.AttributeProto
    result: dict[str, Attribute] = {}
    for a in proto.attribute:
        if a.ref_attr_name:
            return Problem(
                f"attribute {quoted(a.name)} refers to a function's", where, "export the model again"
            )
        if a.name in result:
            return Problem(f"attribute {quoted(a.name)} is given twice", where, "export the model again")
        if a.type == kinds.INT:
            result[a.name] = int(a.i)
        elif a.type == kinds.FLOAT:
            result[a.name] = float(a.f)
        elif a.type == kinds.STRING:
            result[a.name] = a.s.decode("utf-8", "backslashreplace")
        elif a.type == kinds.INTS:
            result[a.name] = tuple(int(i) for i in a.ints)
        elif a.type == kinds.FLOATS:
            result[a.name] = tuple(float(f) for f in a.floats)
        elif a.type == kinds.STRINGS:
            result[a.name] = tuple(s.decode("utf-8", "backslashreplace") for s in a.strings)
        elif a.type == kinds.TENSOR:
            array = decoded(a.t, f"{where}, attribute {quoted(a.name)}")
            if isinstance(array, Problem):
                return array
            result[a.name] = array
        else:
            what = f"attribute {quoted(a.name)} is a graph, type or sparse tensor, which is not supported"
            return Problem(what, where, "replace the operator by plain ones before export")
    return result
