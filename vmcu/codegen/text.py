"""Numbers as C text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE_CHARS = 100


def c_values(values: Iterable[int]) -> str:
    """Comma-separated numbers, wrapped, indented by four."""
    lines, line = [], "   "
    for value in values:
        word = f" {value},"
        if len(line) + len(word) > LINE_CHARS:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line])


def c_array(name: str, values: NDArray[np.integer[Any]]) -> str:
    """`static const <type> name[n] = {...};`; its type is the array's."""
    flat = values.reshape(-1).tolist()
    if flat and not any(flat):
        return f"static const {values.dtype}_t {name}[{len(flat)}] = {{0}};"
    return f"static const {values.dtype}_t {name}[{len(flat)}] = {{\n{c_values(flat)}\n}};"


def c_float(value: float) -> str:
    """A float literal that reads back as the same float32."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"
