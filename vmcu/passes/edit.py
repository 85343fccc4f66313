"""How a pass rewrites a graph: one walk in order, each node kept, replaced or dropped, dead parts swept at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from vmcu.errors import Problem
from vmcu.importer.messages import at
from vmcu.ir.graph import Array, Attribute, Graph, Node, Value, frozen_mapping


class Refused(Exception):
    """A node that has no canonical form; becomes a Problem that names it."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)

    def problem(self, node: Node) -> Problem:
        """For the user."""
        return Problem(self.what, at(node), self.fix)


class Edit:
    """A graph under change. `walk`, then `emit` or `alias` for each node, then `finish`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = dict(graph.constants)
        self.values: dict[str, Value] = dict(graph.values)
        self.producer: dict[str, Node] = {}  # of what is emitted so far
        self._alias: dict[str, str] = {}
        self._outputs = {value.name for value in graph.outputs}
        self._inputs = {value.name for value in graph.inputs}

    def walk(self) -> Iterator[Node]:
        """The old nodes in order, reading what their inputs have become."""
        for node in self.graph.nodes:
            yield replace(node, inputs=tuple(self._alias.get(name, name) for name in node.inputs))

    # ---- reading ---------------------------------------------------------------------------------

    def shape(self, name: str) -> tuple[int, ...]:
        """Of any tensor, old or new."""
        return tuple(self.constants[name].shape) if name in self.constants else self.values[name].shape

    def dtype(self, name: str) -> str:
        """Of any tensor, old or new."""
        return str(self.constants[name].dtype) if name in self.constants else self.values[name].dtype

    def real(self, name: str) -> Array | None:
        """The real value of a constant, or of DequantizeLinear of constants; None where it is computed."""
        if name in self.constants:
            return self.constants[name]
        node = self.producer.get(name)
        if node is None or node.op != "DequantizeLinear" or node.input(0) not in self.constants:
            return None
        return dequantised(node, self.constants)

    def same_parameters(self, a: Node, b: Node) -> bool:
        """Do two Quantize/DequantizeLinear nodes mean the same scale, zero point and axis?"""
        pairs = [(self.constants.get(a.input(i)), self.constants.get(b.input(i))) for i in (1, 2)]
        if a.attributes.get("axis") != b.attributes.get("axis"):
            return False
        return all(
            x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs
        )

    # ---- writing ---------------------------------------------------------------------------------

    def emit(self, node: Node, **attributes: Attribute) -> None:
        """Keeps `node`, with `attributes` changed or added."""
        if attributes:
            node = replace(node, attributes={**node.attributes, **attributes})
        self.nodes.append(node)
        self.producer |= {name: node for name in node.outputs if name}

    def fresh(self, base: str) -> str:
        """A tensor name not used yet that starts with `base`."""
        name, number = base, 1
        while name in self.constants or name in self.values or not name:
            number += 1
            name = f"{base}_{number}"
        return name

    def constant(self, base: str, array: Array) -> str:
        """Adds a constant; returns its name."""
        name = self.fresh(base)
        self.constants[name] = np.asarray(array)
        return name

    def tensor(self, base: str, shape: tuple[int, ...], dtype: str = "float32") -> str:
        """Declares a tensor that a new node will compute; returns its name."""
        name = self.fresh(base)
        self.values[name] = Value(name, shape, dtype)
        return name

    def into_constant(self, name: str, array: Array) -> None:
        """A computed tensor becomes a constant (a graph output too: outputs may be constants)."""
        self.constants[name] = np.asarray(array)
        self.values.pop(name, None)

    def alias(self, node: Node, new: str) -> None:
        """Drops `node`: whoever reads its first output reads `new` instead.

        A graph output keeps its name: the producer of `new` takes it over. Where nobody can, because
        `new` is an input, a constant or an output itself, an Identity stays (of integers, `node`).
        """
        old = node.outputs[0]
        if old not in self._outputs:
            self._alias[old] = new
            return
        if new not in self.producer or new in self._outputs:
            integer = node.op == "QuantizeLinear"  # stays as it is: data movement is of real values here
            self.emit(node if integer else Node("Identity", node.name, (new,), (old,), {}))
            return

        def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(old if name == new else name for name in names)

        self.nodes = [replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in self.nodes]
        self.producer = {name: n for n in self.nodes for name in n.outputs if name}
        self._alias = {key: old if name == new else name for key, name in self._alias.items()}
        self._alias[new] = old
        self.values[old] = replace(self.values.pop(new), name=old)

    def finish(self, **changes: object) -> Graph:
        """The new graph: what no output needs is gone; graph inputs stay, they are the interface."""
        needed = set(self._outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        kept.reverse()
        computed = self._inputs | {name for node in kept for name in node.outputs if name}
        return self.graph.with_nodes(
            kept,
            constants=frozen_mapping({k: v for k, v in self.constants.items() if k in needed}),
            values=MappingProxyType({k: v for k, v in self.values.items() if k in computed}),
            **changes,
        )


def dequantised(node: Node, constants: Mapping[str, Array]) -> Array:
    """What DequantizeLinear of constants means, in float32 as onnxruntime computes it."""
    data = constants[node.input(0)]
    scale = along(constants[node.input(1)], node, data.ndim)
    zero = along(constants[node.input(2)], node, data.ndim) if node.input(2) else np.zeros((), data.dtype)
    steps = data.astype(np.int64) - zero.astype(np.int64)
    return np.asarray(steps.astype(np.float32) * scale.astype(np.float32))


def along(parameter: Array, node: Node, rank: int) -> Array:
    """A scale or zero point, shaped to broadcast against the tensor it belongs to."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = axis_of(node, rank)
    return parameter.reshape(tuple(parameter.size if i == axis else 1 for i in range(rank)))


def axis_of(node: Node, rank: int, default: int = 1) -> int:
    """Attribute `axis`, counted from the front."""
    axis = node.attributes.get("axis", default)
    assert isinstance(axis, int)
    if not -rank <= axis < max(rank, 1):
        raise Refused(f"its axis {axis} is not one of a tensor of rank {rank}", "export the model again")
    return axis % max(rank, 1)
