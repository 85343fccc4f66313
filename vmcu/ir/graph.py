"""The imported network: ONNX semantics with explicit QuantizeLinear / DequantizeLinear nodes.

Everything the file format allows to be written in several ways is written in one way here: QOperator
nodes are expanded to DequantizeLinear -> op -> QuantizeLinear, `Constant` nodes and initialisers are
`constants`, shapes are static. Names are the model's own and therefore untrusted text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import internal

Array = NDArray[np.generic]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor computed by the network or given to it.

    Attributes:
        name: unique in the graph.
        shape: static, every dimension >= 1; () is a scalar.
        dtype: NumPy name ("float32", "int8", "uint8", "int32", "int64", "bool").
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the default ONNX domain.

    Attributes:
        op: operator type ("Conv").
        name: the node's name in the file, or one made from its first output; for messages.
        inputs: tensor names; "" is an input left out.
        outputs: tensor names; "" is an output not wanted.
        attributes: only those present in the file; defaults are the operator's business.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def input(self, index: int) -> str:
        """Name of input `index`, "" where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True, slots=True)
class State:
    """An output that becomes an input of the next run."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A network in ONNX semantics, nodes in topological order.

    Attributes:
        name: of the model (untrusted).
        opset: version of the default domain the nodes follow.
        inputs, outputs: in file order; states are among them.
        nodes: topologically sorted.
        constants: name -> read-only array.
        values: every non-constant tensor, graph inputs included.
        states: pairs whose memory persists between runs.
        sha256: of the model file.
    """

    name: str
    opset: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    values: Mapping[str, Value]
    states: tuple[State, ...]
    sha256: str

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of any tensor, constant or not."""
        if name in self.constants:
            return tuple(self.constants[name].shape)
        return self.values[name].shape

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> nodes that read it, in order; graph outputs are not listed."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(n for n in node.inputs if n):
                readers.setdefault(name, []).append(node)
        return readers

    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that computes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def with_nodes(self, nodes: Iterator[Node] | tuple[Node, ...] | list[Node], **changes: object) -> Graph:
        """A copy with other nodes (and other fields named in `changes`)."""
        return replace(self, nodes=tuple(nodes), **changes)  # type: ignore[arg-type]

    def verify(self) -> Graph:
        """Checks the invariants above; returns self.

        Raises:
            VmcuError: (BUG) one does not hold. Import errors of the user's file are found earlier.
        """
        known = set(self.constants) | {v.name for v in self.inputs}
        for node in self.nodes:
            for name in node.inputs:
                if name and name not in known:
                    raise internal(f"tensor '{name}' is read before it is computed", node.name)
            for name in node.outputs:
                if name in known:
                    raise internal(f"tensor '{name}' has two producers", node.name)
                if name and name not in self.values:
                    raise internal(f"tensor '{name}' has no shape", node.name)
                known.add(name)
        for value in self.outputs:
            if value.name not in known:
                raise internal(f"output '{value.name}' is not computed", "graph")
        for name, array in self.constants.items():
            if array.flags.writeable:
                raise internal(f"constant '{name}' is writeable", "graph")
        return self

    def to_text(self) -> str:
        """For `--dump-after`: one line a tensor or node, no weights."""
        lines = [f"graph {self.name!r} opset {self.opset}"]
        lines += [f"  input  {v.name!r} {v.dtype}{list(v.shape)}" for v in self.inputs]
        for name, array in self.constants.items():
            digest = sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
            lines.append(f"  const  {name!r} {array.dtype}{list(array.shape)} sha256 {digest}")
        for node in self.nodes:
            attrs = ", ".join(
                f"{k}={v if not isinstance(v, np.ndarray) else v.shape}"
                for k, v in sorted(node.attributes.items())
            )
            outs = ", ".join(f"{n!r}{list(self.shape(n))}" for n in node.outputs if n)
            lines.append(f"  {outs} = {node.op}({', '.join(map(repr, node.inputs))}) {{{attrs}}}")
        lines += [f"  output {v.name!r} {v.dtype}{list(v.shape)}" for v in self.outputs]
        lines += [f"  state  {s.input!r} <- {s.output!r}" for s in self.states]
        return "\n".join(lines) + "\n"


def frozen_array(array: Array) -> Array:
    """A read-only, C-contiguous view or copy of `array`."""
    out = np.ascontiguousarray(array).reshape(array.shape)
    if out.flags.writeable:
        out = out.copy() if out.base is not None or out is array else out
        out.flags.writeable = False
    return out


def frozen_mapping(items: Mapping[str, Array]) -> Mapping[str, Array]:
    """A read-only mapping of read-only arrays."""
    return MappingProxyType({name: frozen_array(array) for name, array in items.items()})
