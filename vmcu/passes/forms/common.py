"""Reading attributes and constant operands of nodes that are being normalised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vmcu.ir.graph import Node
from vmcu.passes.edit import Edit, Refused

Form = Callable[[Node, Edit], None]

EXPORT_STATIC = "export the model with fixed sizes, so that the value is constant"


def get_int(node: Node, name: str, default: int) -> int:
    """An integer attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise Refused(f"its attribute {name!r} is not an integer", "export the model again")
    return value


def get_float(node: Node, name: str, default: float) -> float:
    """A float attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise Refused(f"its attribute {name!r} is not a number", "export the model again")
    return float(value)


def get_text(node: Node, name: str, default: str) -> str:
    """A string attribute."""
    value = node.attributes.get(name, default)
    if not isinstance(value, str):
        raise Refused(f"its attribute {name!r} is not text", "export the model again")
    return value


def get_ints(node: Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
    """A list of integers, or `default`."""
    value = node.attributes.get(name, default)
    if value is None:
        return None
    if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
        raise Refused(f"its attribute {name!r} is not a list of integers", "export the model again")
    return tuple(int(v) for v in value)


def constant_ints(node: Node, index: int, edit: Edit, what: str) -> tuple[int, ...] | None:
    """Constant integer operand `index`, flattened; None where it is left out."""
    name = node.input(index)
    if not name:
        return None
    array = edit.constants.get(name)
    if array is None:
        raise Refused(f"its {what} are computed at run time", EXPORT_STATIC)
    return tuple(int(v) for v in array.reshape(-1))


def axes_of(node: Node, index: int, edit: Edit, rank: int) -> tuple[int, ...] | None:
    """Axes given as attribute or as operand `index`, counted from the front, in order; None if not given."""
    axes = constant_ints(node, index, edit, "axes") if node.input(index) else get_ints(node, "axes")
    if axes is None:
        return None
    return tuple(positive(axis, rank) for axis in axes)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise Refused(f"its axis {axis} is not one of a tensor of rank {rank}", "export the model again")
    return axis % rank


def real_scalar(node: Node, index: int, edit: Edit, what: str, default: float) -> float:
    """A constant number given as operand, quantised or not."""
    name = node.input(index)
    if not name:
        return default
    array = edit.real(name)
    if array is None or array.size != 1:
        raise Refused(f"its {what} is not a constant number", EXPORT_STATIC)
    value = float(np.float64(array.reshape(())))
    if np.isnan(value):
        raise Refused(f"its {what} is not a number (NaN)", "export the model again")
    return value
