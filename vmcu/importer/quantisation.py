"""Sanity of QuantizeLinear and DequantizeLinear nodes: what every later stage relies on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vmcu.errors import Problem
from vmcu.importer.draft import Draft
from vmcu.importer.messages import at, quoted
from vmcu.ir.graph import Array, Node, Value

QUANTISE_AGAIN = "quantise the model again with a calibration set that reaches this tensor"


def quantisation_problems(draft: Draft, values: Mapping[str, Value]) -> list[Problem]:
    """Everything wrong with scales, zero points, axes and types."""
    problems: list[Problem] = []
    for node in draft.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            problems += [Problem(what, at(node), fix) for what, fix in _check(node, draft.constants, values)]
    return problems


def _check(node: Node, constants: Mapping[str, Array], values: Mapping[str, Value]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    data, scale_name, zero_name = node.input(0), node.input(1), node.input(2)
    scale, zero = constants.get(scale_name), constants.get(zero_name)
    constant_fix = (
        "export the model with constant scales and zero points (freeze the quantisation parameters)"
    )
    if scale is None:
        return [(f"its scale {quoted(scale_name)} is not a constant", constant_fix)]
    if zero_name and zero is None:
        return [(f"its zero point {quoted(zero_name)} is not a constant", constant_fix)]
    if node.attributes.get("block_size", 0) or scale.ndim > 1:
        return [
            ("uses block quantisation", "quantise per tensor or per channel (onnxruntime's quantize_static)")
        ]

    numbers = scale.astype(np.float64).reshape(-1)
    if scale.dtype != np.float32:
        found.append((f"its scale has type {scale.dtype}", "export the model in float32"))
    elif not np.all(np.isfinite(numbers)):
        found.append(
            (f"its scale is not a finite number: {_first(numbers, ~np.isfinite(numbers))}", QUANTISE_AGAIN)
        )
    elif not np.all(numbers > 0):
        found.append((f"its scale is not above zero: {_first(numbers, numbers <= 0)}", QUANTISE_AGAIN))
    found += _check_type(node, data, zero, constants, values)
    if zero is not None and zero.size != scale.size:
        found.append((f"has {scale.size} scales but {zero.size} zero points", "export the model again"))
    if scale.size != 1:
        shape = constants[data].shape if data in constants else values[data].shape
        axis = node.attributes.get("axis", 1)
        assert isinstance(axis, int)
        if not -len(shape) <= axis < len(shape):
            found.append(
                (f"its axis {axis} is not one of a tensor of rank {len(shape)}", "export the model again")
            )
        elif shape[axis] != scale.size:
            what = f"has {scale.size} scales for {shape[axis]} channels (axis {axis} of shape {list(shape)})"
            found.append((what, "export the model again"))
    return found


def _check_type(
    node: Node, data: str, zero: Array | None, constants: Mapping[str, Array], values: Mapping[str, Value]
) -> list[tuple[str, str]]:
    integer = data if node.op == "DequantizeLinear" else node.outputs[0]
    dtype = str(constants[integer].dtype) if integer in constants else values[integer].dtype
    if dtype == "int32" and node.op == "DequantizeLinear":
        if data not in constants:
            return [("dequantises int32 data that is not constant", "quantise activations to int8 or uint8")]
        if zero is not None and np.any(zero != 0):
            return [("has int32 data (a bias) with a zero point other than 0", "quantise the model again")]
        return []
    if dtype not in ("int8", "uint8"):
        return [(f"quantises to {dtype}", "quantise weights and activations to int8 or uint8")]
    if zero is not None and str(zero.dtype) != dtype:
        return [(f"has {dtype} data but a zero point of type {zero.dtype}", "export the model again")]
    return []


def _first(numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]], wrong: object) -> str:
    index = int(np.flatnonzero(wrong)[0])  # type: ignore[arg-type]
    return f"{numbers[index]:g}" + (f" (channel {index})" if numbers.size > 1 else "")
