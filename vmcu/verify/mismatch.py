"""Where two computations of the same thing first differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vmcu.codegen.names import c_comment
from vmcu.ir.graph import Array

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Values that differ.

    Attributes:
        what: layer or output.
        inference: number of the input, from 0.
        differing, total: counts of values.
        largest: largest difference.
        indices: of the first differing values.
        expected, found: those values.
    """

    what: str
    inference: int
    differing: int
    total: int
    largest: float
    indices: tuple[tuple[int, ...], ...]
    expected: tuple[float, ...]
    found: tuple[float, ...]

    def text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"first difference: {self.what}, inference {self.inference}: "
            f"{self.differing:,} of {self.total:,} values, by up to {self.largest:g}"
        ]
        for index, e, f in zip(self.indices, self.expected, self.found, strict=True):
            lines.append(f"  at {list(index)}: expected {e:g}, found {f:g}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "what": self.what,
            "inference": self.inference,
            "differing": self.differing,
            "total": self.total,
            "largest": self.largest,
            "values": [
                {"index": list(i), "expected": e, "found": f}
                for i, e, f in zip(self.indices, self.expected, self.found, strict=True)
            ],
        }


def compare(what: str, inference: int, expected: Array, found: Array) -> Mismatch | None:
    """None where equal. Shapes must agree."""
    unequal = expected != found
    if not unequal.any():
        return None
    where = np.argwhere(unequal)[:SHOWN]
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    return Mismatch(
        c_comment(what),
        inference,
        int(unequal.sum()),
        int(expected.size),
        float(difference.max()),
        tuple(tuple(int(i) for i in row) for row in where),
        tuple(float(expected[tuple(row)]) for row in where),
        tuple(float(found[tuple(row)]) for row in where),
    )
