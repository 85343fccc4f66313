"""How a tensor of ONNX dimensions lies in memory.

A network computes on NHWC rows while its file speaks NCHW, transposes and reshapes at will. Instead
of moving bytes, a `Layout` follows what each such node means: dimensions are split into *atoms*,
a dimension is a run of atoms, and memory is one order of all atoms. Transpose permutes dimensions,
Reshape regroups atoms; memory stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Layout:
    """Bijection between ONNX indices and memory positions (in elements).

    Attributes:
        atoms: sizes, each > 1.
        dims: per dimension its atoms, outermost first; () is a dimension of size 1.
        memory: all atoms, outermost first.

    Layouts made by the functions here are in normal form: equal bijections compare equal.
    """

    atoms: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]
    memory: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """ONNX shape."""
        return tuple(prod(self.atoms[a] for a in dim) for dim in self.dims)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.atoms)

    def transpose(self, perm: Sequence[int]) -> Layout:
        """After ONNX Transpose; no byte moves."""
        return _normal(self.atoms, tuple(self.dims[p] for p in perm), self.memory)

    def reshape(self, shape: Sequence[int]) -> Layout | None:
        """After ONNX Reshape to `shape` (same size), or None where that cannot be said of this memory."""
        if self == row_major(self.shape):
            return row_major(shape)
        atoms = list(self.atoms)
        split: dict[int, list[int]] = {a: [a] for a in range(len(atoms))}
        todo = [a for dim in self.dims for a in dim]
        dims: list[tuple[int, ...]] = []
        for size in shape:
            dim: list[int] = []
            while size > 1:
                atom = todo.pop(0)
                if size % atoms[atom] == 0:
                    dim.append(atom)
                    size //= atoms[atom]
                elif atoms[atom] % size == 0:
                    inner = len(atoms)
                    atoms.append(atoms[atom] // size)
                    atoms[atom] = size
                    family = next(f for f in split.values() if atom in f)
                    family.insert(family.index(atom) + 1, inner)
                    dim.append(atom)
                    todo.insert(0, inner)
                    size = 1
                else:
                    return None
            dims.append(tuple(dim))
        return _normal(tuple(atoms), tuple(dims), tuple(b for a in self.memory for b in split[a]))

    def ordered(self, order: Sequence[int]) -> Layout:
        """The same dimensions with memory in the order of the dimensions `order` (outermost first)."""
        return _normal(self.atoms, self.dims, tuple(a for d in order for a in self.dims[d]))

    def memory_dims(self) -> tuple[int, ...] | None:
        """Dimensions of size > 1, outermost in memory first; None where one is scattered in memory."""
        order: list[int] = []
        owner = {a: d for d, dim in enumerate(self.dims) for a in dim}
        for atom in self.memory:
            if not order or order[-1] != owner[atom]:
                order.append(owner[atom])
        flat = tuple(a for d in order for a in self.dims[d])
        return tuple(order) if flat == self.memory else None

    def to_memory(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Elements of `array` (shape `self.shape`) in memory order, flat."""
        logical = [a for dim in self.dims for a in dim]
        split = array.reshape([self.atoms[a] for a in logical])
        return split.transpose([logical.index(a) for a in self.memory]).reshape(-1)

    def from_memory(self, flat: NDArray[np.generic]) -> NDArray[np.generic]:
        """Inverse of `to_memory`."""
        logical = [a for dim in self.dims for a in dim]
        split = flat.reshape([self.atoms[a] for a in self.memory])
        return split.transpose([self.memory.index(a) for a in logical]).reshape(self.shape)


def row_major(shape: Sequence[int]) -> Layout:
    """ONNX order: the last dimension is innermost."""
    atoms = tuple(s for s in shape if s > 1)
    numbers = iter(range(len(atoms)))
    dims = tuple((next(numbers),) if s > 1 else () for s in shape)
    return _normal(atoms, dims, tuple(range(len(atoms))))


def channels_last(shape: Sequence[int]) -> Layout:
    """N, C, spatial... in the file; N, spatial..., C in memory."""
    if len(shape) < 3:
        return row_major(shape)
    return row_major(shape).ordered((0, *range(2, len(shape)), 1))


def _normal(atoms: tuple[int, ...], dims: tuple[tuple[int, ...], ...], memory: tuple[int, ...]) -> Layout:
    """Merges atoms that are neighbours both in a dimension and in memory; numbers atoms by memory."""
    follows = {a: b for dim in dims for a, b in pairwise(dim)}
    runs: list[list[int]] = []
    for atom in memory:
        if runs and follows.get(runs[-1][-1]) == atom:
            runs[-1].append(atom)
        else:
            runs.append([atom])
    number = {run[0]: i for i, run in enumerate(runs)}
    sizes = tuple(prod(atoms[a] for a in run) for run in runs)
    merged = tuple(tuple(number[a] for a in dim if a in number) for dim in dims)
    return Layout(sizes, merged, tuple(range(len(runs))))
