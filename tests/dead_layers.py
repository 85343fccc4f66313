"""Small networks with weights of a test's choice, optimised, and every bit of them compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tiny_models import Net

from vmcu.batch import Batch, random_batch
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.optimise import drop_dead_channels
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference
from vmcu.verify.original import compare_original

SCALE = 0.05
ZERO = -10  # of every activation, unless a test says otherwise


class Layers(Net):
    """A network whose weights a test chooses. Methods return dequantised tensors."""

    def image(self, channels: int, size: int = 5) -> str:
        return self.qdq(self.input(f"x{len(self.inputs)}", [1, channels, size, size]), SCALE, ZERO)

    def conv(
        self,
        x: str,
        weights: Array,
        bias: Sequence[float] | None = None,
        *,
        zero: int = ZERO,
        scale: float = SCALE,
        pad: int = 0,
        group: int = 1,
        stride: int = 1,
        clip: tuple[float, float] | None = None,
    ) -> str:
        inputs = [x, self.dq(self.const(weights, np.int8), 0.01, 0)]
        if bias is not None:
            inputs.append(self.const(bias, np.float32))
        kernel = list(weights.shape[2:])
        y = self.node("Conv", inputs, kernel_shape=kernel, pads=[pad] * 4, strides=[stride] * 2, group=group)
        if clip is not None:
            y = self.node("Clip", [y, *(self.const(limit, np.float32) for limit in clip)])
        return self.qdq(y, scale, zero)

    def filters(self, *shape: int) -> Array:
        """Random weights, none of them zero, no two filters alike."""
        signs = self.rng.choice([-1, 1], shape)
        return (signs * self.rng.integers(1, 60, shape)).astype(np.int8)

    def graph(self, folder: Path, numerics: Numerics, *outputs: str) -> QuantizedGraph:
        for name in outputs:
            self.output(name)
        return load(self.save(folder), numerics=numerics, dead_channels=False)


def inputs_of(graph: QuantizedGraph) -> Batch:
    """Noise, and every channel at either end."""
    shapes = {p.tensor: graph.tensors[p.tensor].shape for p in graph.inputs}
    ends = [{n: np.full(s, v, np.int8) for n, s in shapes.items()} for v in (-128, 127)]
    return Batch((*random_batch(graph, 3).tensors, *ends), False)


def checked(graph: QuantizedGraph) -> QuantizedGraph:
    """The optimised network, after every bit of it was compared, and every accumulator bounded as before."""
    found = drop_dead_channels(graph)
    assert drop_dead_channels(found) is found
    if found is graph:
        return found
    batch = inputs_of(graph)
    assert compare_original(found, batch)[0] == []
    one, other = Reference(graph), Reference(found)
    for given in batch.tensors:
        expected, got = one.run_tensors(given), other.run_tensors(given)
        for port in graph.outputs:
            np.testing.assert_array_equal(got[port.tensor], expected[port.tensor])
    for before, after in zip(graph.ops, found.ops, strict=True):
        if hasattr(before, "weights"):
            assert (bounds(after) <= bounds(before)[list(found.origin.kept[after.output])]).all()  # type: ignore[union-attr]
    for link in (*graph.inputs, *graph.outputs):
        assert found.tensors[link.tensor] == graph.tensors[link.tensor]
    compile_graph(found)  # planned and approved by the checker
    return found


def bounds(op: object) -> Array:
    """Of each output: no sum on the way to its accumulator is larger."""
    sizes = np.abs(op.weights.astype(np.int64)).reshape(len(op.bias), -1).sum(axis=1)  # type: ignore[attr-defined]
    return np.asarray(128 * sizes + np.abs(op.bias.astype(np.int64)))  # type: ignore[attr-defined]


def kept(graph: QuantizedGraph) -> list[tuple[int, ...]]:
    """Per operator, the channels that are left of what it writes."""
    if graph.origin is None:
        return [tuple(range(graph.tensors[op.output].channels)) for op in graph.ops]
    return [graph.origin.kept[op.output] for op in graph.ops]


def with_zero_filter(net: Layers, x: str, bias: float = 0.3, **options: object) -> str:
    """Four channels, of which number 1 is the constant `bias`."""
    weights = net.filters(4, 2, 1, 1)
    weights[1] = 0
    return net.conv(x, weights, [0.1, bias, -0.2, 0.05], **options)  # type: ignore[arg-type]
