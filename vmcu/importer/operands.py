"""Operands that disagree with each other in ways onnx's shape inference lets pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from vmcu.errors import Problem
from vmcu.importer.decode import ELEM_TYPES, type_name
from vmcu.importer.draft import Draft
from vmcu.importer.messages import at, quoted
from vmcu.ir.graph import Node, Value

Shape = tuple[int, ...]
Shapes = list[Shape | None]  # of a node's inputs, None where left out; its first output's last


def operand_problems(draft: Draft, values: Mapping[str, Value]) -> list[Problem]:
    """Weights, biases and parameters that do not fit, and outputs declared otherwise than they are."""
    problems = []
    for node in draft.nodes:
        check = _CHECKS.get(node.op)
        what = (
            check(node, [_shape(name, draft, values) for name in (*node.inputs, node.outputs[0])])
            if check
            else None
        )
        if what:
            problems.append(Problem(what, at(node), "check the weights: export or quantise the model again"))
    for port in draft.outputs:
        shape = _shape(port.name, draft, values) or ()
        where = f"output {quoted(port.name)}"
        declared = port.dims if port.dims is not None else shape
        fits = len(declared) == len(shape) and all(
            isinstance(d, str) or d == s for d, s in zip(declared, shape, strict=True)
        )
        if not fits:
            problems.append(
                Problem(
                    f"is declared as {list(declared)} but computed as {list(shape)}", where, "export it again"
                )
            )
        array = draft.constants.get(port.name)
        dtype = values[port.name].dtype if array is None else str(array.dtype)
        if port.elem_type and ELEM_TYPES.get(port.elem_type) != dtype:
            what = f"is declared as {type_name(port.elem_type)} but computed as {dtype}"
            problems.append(Problem(what, where, "export it again"))
    return problems


def _shape(name: str, draft: Draft, values: Mapping[str, Value]) -> Shape | None:
    if name in draft.constants:
        return tuple(draft.constants[name].shape)
    return values[name].shape if name else None


def _conv(node: Node, shapes: Shapes) -> str | None:
    x, w, *rest = shapes
    assert x is not None and w is not None
    group = node.attributes.get("group", 1)
    kernel = node.attributes.get("kernel_shape", w[2:])
    if not isinstance(group, int) or group < 1 or w[0] % group:
        return f"has {group} groups for {w[0]} output channels"
    if w[1] * group != x[1]:
        return f"its weights {list(w)} in {group} groups do not fit {x[1]} input channels"
    if kernel != w[2:]:
        return f"its kernel_shape {kernel} does not fit its weights {list(w)}"
    bias = rest[0] if len(rest) > 1 else None
    return (
        None
        if bias is None or bias == (w[0],)
        else f"its bias {list(bias)} does not fit {w[0]} output channels"
    )


def _gemm(node: Node, shapes: Shapes) -> str | None:
    bias, y = shapes[2] if len(shapes) > 3 else None, shapes[-1]
    assert y is not None
    if bias is None or _broadcasts(bias, y):
        return None
    return f"its bias {list(bias)} does not fit its output {list(y)}"


def _prelu(node: Node, shapes: Shapes) -> str | None:
    x, slope = shapes[:2]
    assert x is not None and slope is not None
    return None if _broadcasts(slope, x) else f"its slope {list(slope)} does not fit its input {list(x)}"


def _batchnorm(node: Node, shapes: Shapes) -> str | None:
    x, *parameters = shapes[:5]
    channels = x[1] if x is not None and len(x) > 1 else 1
    wrong = [p for p in parameters if p != (channels,)]
    return f"has a parameter of shape {list(wrong[0] or ())} for {channels} channels" if wrong else None


def _same_size(node: Node, shapes: Shapes) -> str | None:
    x, y = shapes[0], shapes[-1]
    assert x is not None and y is not None
    return None if math.prod(x) == math.prod(y) else f"cannot turn shape {list(x)} into {list(y)}"


def _broadcasts(small: Shape, large: Shape) -> bool:
    return len(small) <= len(large) and all(
        s in (1, d) for s, d in zip(reversed(small), reversed(large), strict=False)
    )


_CHECKS: dict[str, Callable[[Node, Shapes], str | None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "PRelu": _prelu,
    "BatchNormalization": _batchnorm,
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "SpaceToDepth", "DepthToSpace"), _same_size
    ),
}
