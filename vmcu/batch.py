"""Batches of inferences: the user's arrays to pool bytes and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmcu.errors import fail
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Interface, QuantizedGraph
from vmcu.quant.interface import from_tensor, to_tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of several inferences.

    Attributes:
        tensors: per inference: input tensor name -> int8 rows as they lie in the pool.
        single: the caller gave one inference without a batch dimension.
    """

    tensors: tuple[Mapping[str, Array], ...]
    single: bool

    def __len__(self) -> int:
        return len(self.tensors)

    def first(self) -> Batch:
        """The first inference alone."""
        return Batch(self.tensors[:1], self.single)

    def payload(self, graph: QuantizedGraph) -> list[list[bytes]]:
        """Per inference the bytes of every input, in port order."""
        return [[t[p.tensor].tobytes() for p in graph.inputs] for t in self.tensors]


def make_batch(graph: QuantizedGraph, data: Array | Mapping[str, Array]) -> Batch:
    """Reads arrays of shape (n, *model input shape), with or without the model's own leading 1.

    Args:
        data: one array where the model has one input, else arrays by input name.

    Raises:
        VmcuError: (INPUT) a missing or unknown input, a wrong shape or type, different batch sizes.
    """
    ports = graph.inputs
    if not isinstance(data, Mapping):
        if len(ports) != 1:
            names = ", ".join(repr(p.name[:80]) for p in ports)
            raise fail(f"one array for {len(ports)} inputs", "input", f"give arrays by name (.npz): {names}")
        data = {ports[0].name: data}
    unknown = sorted(set(data) - {p.name for p in ports})
    missing = [p.name for p in ports if p.name not in data]
    if missing or unknown:
        names = ", ".join(repr(p.name[:80]) for p in ports)
        text = f"missing {missing}" if missing else f"unknown {unknown}"
        raise fail(f"names do not match the model: {text[:200]}", "input", f"the model's inputs are {names}")
    split = {p.name: _split(np.asarray(data[p.name]), p) for p in ports}
    sizes = {name: len(arrays) for name, (arrays, _) in split.items()}
    if len(set(sizes.values())) > 1:
        raise fail(f"batch sizes differ: {sizes}", "input", "give every input the same number of inferences")
    count = next(iter(sizes.values()), 1)
    tensors = tuple(
        {p.tensor: to_tensor(split[p.name][0][i], p, graph.tensors[p.tensor]) for p in ports}
        for i in range(count)
    )
    return Batch(tensors, all(single for _, single in split.values()))


def random_batch(graph: QuantizedGraph, count: int, seed: int = 0) -> Batch:
    """Uniform int8 noise, the same for the same seed."""
    rng = np.random.default_rng(seed)
    shapes = {p.tensor: graph.tensors[p.tensor].shape for p in graph.inputs}
    return Batch(
        tuple(
            {n: rng.integers(-128, 128, s).astype(np.int8) for n, s in shapes.items()} for _ in range(count)
        ),
        False,
    )


def unpack(graph: QuantizedGraph, outputs: Sequence[Sequence[bytes]], single: bool) -> dict[str, Array]:
    """Output arrays by name: (n, *shape without its own leading 1), or the model's shape where `single`.

    Args:
        outputs: per inference the bytes of every output, in port order.
    """
    found = {}
    for k, port in enumerate(graph.outputs):
        tensor = graph.tensors[port.tensor]
        dtype = np.int8 if tensor.elem_bytes == 1 else np.dtype("<i4")
        arrays = [from_tensor(np.frombuffer(o[k], dtype), port, tensor) for o in outputs]
        if single:
            found[port.name] = arrays[0]
        else:
            core = port.layout.shape[1:] if port.layout.shape[:1] == (1,) else port.layout.shape
            found[port.name] = np.stack([a.reshape(core) for a in arrays])
    return found


def _split(array: Array, port: Interface) -> tuple[list[Array], bool]:
    shape = port.layout.shape
    core = shape[1:] if shape[:1] == (1,) else shape
    if array.shape in (shape, core):
        return [array.reshape(shape)], True
    if array.ndim and array.shape[1:] in (shape, core) and array.shape[0] > 0:
        return [a.reshape(shape) for a in array], False
    wanted = "x".join(map(str, core)) or "1"
    raise fail(
        f"has shape {'x'.join(map(str, array.shape)) or '()'}",
        f"input {port.name[:80]!r}",
        f"give an array of shape n x {wanted} (n inferences)",
    )
