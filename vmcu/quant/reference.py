"""The integer reference: runs a QuantizedGraph in NumPy, operator by operator.

It is the truth that generated C is compared with, and is itself compared with TFLite Micro and
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.graph import Array
from vmcu.ir.quantized import Interface, QuantizedGraph, Tensor
from vmcu.quant.interface import from_tensor, to_tensor

Int8s = NDArray[np.int8]


class Reference:
    """A network and its state.

    Attributes:
        graph: what it computes.
        tensors: after a run: every tensor by name, shape (rows, cols, channels).
    """

    def __init__(self, graph: QuantizedGraph) -> None:
        self.graph = graph
        self.tensors: dict[str, Any] = {}
        self._states: dict[str, Int8s] = {}
        self.reset()

    def reset(self) -> None:
        """States as after `<name>_reset`: real zero."""
        for link in self.graph.states:
            tensor = self.graph.tensors[link.current]
            self._states[link.current] = np.full(tensor.shape, tensor.zero_point, np.int8)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference.

        Args:
            inputs: by the names of the model file; see `interface.to_tensor` for types and shapes.

        Returns:
            Outputs by name, in the file's types and shapes.
        """
        ports = self.graph.inputs
        given = {p.tensor: to_tensor(inputs[p.name], p, self._tensor(p)) for p in ports}
        self.run_tensors(given)
        return {p.name: from_tensor(self.tensors[p.tensor], p, self._tensor(p)) for p in self.graph.outputs}

    def run_tensors(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """One inference on tensors as they lie in memory; returns all tensors by name."""
        self.tensors = {**self._states, **given}
        for op in self.graph.ops:
            if op.is_input:
                continue
            out = self.graph.tensors[op.output]
            self.tensors[op.output] = op.reference(tuple(self.tensors[n] for n in op.inputs), out)
        for link in self.graph.states:
            self._states[link.current] = self.tensors[link.next]
        return self.tensors

    def _tensor(self, port: Interface) -> Tensor:
        return self.graph.tensors[port.tensor]
