"""The same int8 network written twice: as .tflite for TFLite Micro and as ONNX QDQ for vmcu.

Shapes are TFLite's. Tensors of rank 4 are NHWC there and NCHW in the ONNX model; others are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from oracles.tflite_model import Quant, TfliteNet, Tflm
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.passes import canonicalise
from vmcu.quant.lowering import quantise
from vmcu.quant.reference import Reference

ACTIVATIONS = {"": (0, 0.0, 0.0), "relu": (1, 0.0, np.inf), "relu_n1": (2, -1.0, 1.0), "relu6": (3, 0.0, 6.0)}
RANDOM_STD = 74.0
"""Of uniform int8: random accumulators have RANDOM_STD^2 * sqrt(depth) steps."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One tensor in both models: index in the .tflite, float tensor in ONNX, quantisation."""

    index: int
    name: str
    shape: tuple[int, ...]
    quant: Quant


def to_onnx(array: np.ndarray) -> np.ndarray:
    """NHWC -> NCHW for rank 4."""
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def from_onnx(array: np.ndarray) -> np.ndarray:
    """NCHW -> NHWC for rank 4."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def onnx_axis(axis: int, rank: int) -> int:
    """A TFLite axis in the ONNX tensor."""
    axis %= rank
    return (0, 2, 3, 1)[axis] if rank == 4 else axis


def f32(value: float) -> float:
    """As the files hold it."""
    return float(np.float32(value))


class Twin:
    """Two models under construction."""

    def __init__(self, seed: int = 0, opset: int = 18) -> None:
        self.onnx = Net(opset)
        self.tfl = TfliteNet()
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Pair] = []
        self.weight_limit = 127

    def input(self, shape: Sequence[int], scale: float = 0.05, zero: int = 3) -> Pair:
        """An int8 input of both."""
        quant = Quant(f32(scale), zero)
        index = self.tfl.input(shape, quant)
        name = f"x{len(self.inputs)}"
        self.onnx.input(name, to_onnx(np.empty(shape)).shape, np.int8)
        pair = Pair(index, self.onnx.dq(name, quant.scale, zero), tuple(shape), quant)
        self.inputs.append(pair)
        return pair

    def const(self, values: np.ndarray, scale: float, zero: int = 0) -> Pair:
        """An int8 constant operand of both."""
        quant = Quant(f32(scale), zero)
        index = self.tfl.const(values.astype(np.int8), quant)
        name = self.onnx.dq(self.onnx.const(to_onnx(values), np.int8), quant.scale, zero)
        return Pair(index, name, values.shape, quant)

    def random(self, shape: Sequence[int]) -> np.ndarray:
        """int8 values over the whole range."""
        return self.rng.integers(-128, 128, tuple(shape)).astype(np.int8)

    def emit(
        self,
        code: str,
        inputs: Sequence[Pair | int],
        shape: Sequence[int],
        quant: Quant,
        real: str,
        options: str = "",
        activation: str = "",
        **fields: object,
    ) -> Pair:
        """Ends an operator: the TFLite one is added, and the ONNX result `real` is clamped and quantised."""
        number, low, high = ACTIVATIONS[activation]
        quant = Quant(f32(quant.scale), quant.zero)
        index = self.tfl.tensor(shape, quant)
        if activation:
            fields["fusedActivationFunction"] = number
            if high == np.inf:
                real = self.onnx.node("Relu", [real])
            else:
                bounds = [self.onnx.const(b, np.float32) for b in (low, high)]
                real = self.onnx.node("Clip", [real, *bounds])
        self.tfl.op(code, [i.index if isinstance(i, Pair) else i for i in inputs], [index], options, **fields)
        quantised = self.onnx.q(real, quant.scale, quant.zero)
        return Pair(index, self.onnx.dq(quantised, quant.scale, quant.zero), tuple(shape), quant)

    # ---- operators with weights -----------------------------------------------------------------------

    def weights(
        self, real_shape: Sequence[int], channels: int, axis: int, per_channel: bool, spread: float = 3.0
    ) -> tuple[np.ndarray, Quant]:
        """Random weights and their scales: one, or one per channel within a factor of `spread`."""
        scales = 0.01 * np.exp(self.rng.uniform(-1, 1, channels) * np.log(spread))
        scales = scales.astype(np.float32) if per_channel else scales[:1].astype(np.float32)
        return self._weights(real_shape), Quant(scales, 0, axis)

    def _weights(self, shape: Sequence[int]) -> np.ndarray:
        return self.rng.integers(-self.weight_limit, self.weight_limit + 1, tuple(shape)).astype(np.int8)

    def constant_weights(self, values: np.ndarray, scales: np.ndarray, axis: int) -> str:
        """ONNX side of weights: DequantizeLinear per tensor or along `axis`."""
        q = self.onnx.const(values, values.dtype)
        zero = np.zeros(scales.size, values.dtype)
        if scales.size == 1:
            return self.onnx.node(
                "DequantizeLinear", [q, self.onnx.const(scales[0]), self.onnx.const(zero[0])]
            )
        return self.onnx.node(
            "DequantizeLinear", [q, self.onnx.const(scales), self.onnx.const(zero)], axis=axis
        )

    def bias(self, x: Pair, scales: np.ndarray, channels: int, size: int) -> tuple[list[int], str]:
        """A random int32 bias up to `size` with the product of the scales; none where `size` is 0."""
        if not size:
            return [], ""
        values = self.rng.integers(-size, size + 1, channels).astype(np.int32)
        product = np.float32(x.quant.scale) * scales
        index = self.tfl.const(values, Quant(product, 0))
        return [index], self.constant_weights(values, product, 0)

    # ---- comparison -----------------------------------------------------------------------------------

    def check(
        self, folder: Path, *results: Pair, feeds: int = 3, distinct: int = 8, extremes: bool = True
    ) -> None:
        """Runs both on random and extreme inputs; every bit of every output must agree.

        Args:
            folder: for the ONNX file.
            results: outputs of the models.
            feeds: random inputs besides the extreme ones.
            extremes: inputs of -128 and 127 only, too.
            distinct: different values that the random outputs must have at least, lest the case be void.
        """
        reference = Reference(self.quantised(folder, "tflm", *results))
        oracle = Tflm(self.tfl.model([r.index for r in results]))
        seen: list[np.ndarray] = []
        inputs = patterns([p.shape for p in self.inputs], self.rng, feeds)
        for number, arrays in enumerate(inputs if extremes else islice(inputs, feeds)):
            wanted = oracle.run(arrays)
            given = {f"x{i}": to_onnx(a) for i, a in enumerate(arrays)}
            got = reference.run(given)
            for i, want in enumerate(wanted):
                assert_same(from_onnx(got[f"y{i}"]), want, f"output {i}, input {number}")
                seen += [want] if number < feeds else []
        values = np.unique(np.concatenate([s.reshape(-1) for s in seen])).size
        assert values >= distinct, f"a void case: its outputs have only {values} different values"

    def quantised(
        self,
        folder: Path,
        numerics: Numerics,
        *results: Pair,
        raw: Mapping[str, tuple[type, Sequence[int]]] | None = None,
    ) -> QuantizedGraph:
        """The ONNX model through vmcu; its outputs are called y0, y1... `raw` are outputs that are not quantised."""
        for number, (tensor, (dtype, shape)) in enumerate((raw or {}).items(), len(results)):
            node = next(n for n in self.onnx.nodes if n.output[0] == tensor)
            node.output[0] = self.onnx.output(f"y{number}", dtype, shape)
        for number, result in enumerate(results):
            shape = to_onnx(np.empty(result.shape)).shape
            self._expose(result, self.onnx.output(f"y{number}", np.int8, shape))
        return quantise(canonicalise(import_model(self.onnx.save(folder))), numerics)

    def _expose(self, result: Pair, output: str) -> None:
        """The int8 tensor behind `result` is called `output`; its DequantizeLinear stays where it is read."""
        nodes = self.onnx.nodes
        last = next(n for n in nodes if n.output[0] == result.name)
        quantised = last.input[0]
        next(n for n in nodes if n.output[0] == quantised).output[0] = output
        last.input[0] = output
        if not any(result.name in n.input for n in nodes):
            nodes.remove(last)


def assert_same(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Equality, with the first differences in the message."""
    assert got.shape == want.shape, f"{what}: shape {got.shape}, TFLM {want.shape}"
    wrong = np.argwhere(got != want)
    first = [(tuple(map(int, i)), int(got[tuple(i)]), int(want[tuple(i)])) for i in wrong[:5]]
    assert not len(wrong), f"{what}: {len(wrong)} of {want.size} differ; (index, vmcu, TFLM): {first}"


def patterns(
    shapes: Sequence[Sequence[int]], rng: np.random.Generator, count: int
) -> Iterator[list[np.ndarray]]:
    """Random inputs over the whole range (the first) or a part of it, then both ends mixed, then each end alone."""
    for number in range(count):
        low, high = np.sort(rng.integers(-128, 128, 2)) if number else (-128, 127)
        yield [rng.integers(low, high + 1, tuple(s)).astype(np.int8) for s in shapes]
    yield [rng.choice(np.array([-128, 127], np.int8), tuple(s)) for s in shapes]
    for first in (-128, 127):
        for rest in (-128, 127)[: len(shapes)]:
            yield [np.full(tuple(s), first if i == 0 else rest, np.int8) for i, s in enumerate(shapes)]
