"""The file's network as plain Python before shapes are known: what the importer's steps hand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vmcu.ir.graph import Array, Attribute, Node


@dataclass(frozen=True, slots=True)
class Port:
    """A graph input or output as declared.

    Attributes:
        dims: ints where fixed, text where symbolic ("" unnamed); None if no shape is declared.
        elem_type: onnx.TensorProto.DataType, 0 if not a tensor.
    """

    name: str
    elem_type: int
    dims: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A network in ONNX terms; operators of other domains are named "domain.op"."""

    name: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]

    def pruned(self) -> Draft:
        """Without nodes and constants no output needs; inputs stay, they are the interface."""
        needed = {port.name for port in self.outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        constants = {name: array for name, array in self.constants.items() if name in needed}
        return replace(self, nodes=tuple(reversed(kept)), constants=constants)


@dataclass(slots=True)
class Builder:
    """Collects nodes and constants while a step rewrites a draft; makes names nobody has."""

    taken: set[str]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, draft: Draft) -> Builder:
        """Empty of nodes, with the draft's constants and all its names taken."""
        names = {port.name for port in (*draft.inputs, *draft.outputs)} | set(draft.constants)
        names |= {name for node in draft.nodes for name in (*node.inputs, *node.outputs)}
        return cls(names, [], dict(draft.constants))

    def fresh(self, base: str) -> str:
        """A tensor name not used yet that starts with `base`."""
        name, number = base, 1
        while name in self.taken or not name:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        """Adds a constant; returns its name."""
        name = self.fresh(base)
        self.constants[name] = array
        return name

    def node(
        self,
        op: str,
        name: str,
        inputs: Iterable[str],
        output: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Adds a node of one output; returns the output's name."""
        self.nodes.append(Node(op, name, tuple(inputs), (output,), dict(attributes or {})))
        return output
