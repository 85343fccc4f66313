"""Quantised ONNX models of one operator, run by onnxruntime and by vmcu in `onnx` numerics.

With graph optimisation off onnxruntime computes QDQ models in float32, and QOperator nodes in its integer kernels,
which saturate on x86 without VNNI unless weights stay within 7 bits (SAFE_WEIGHT). The float that y is rounded from is
an output too, so that every difference can be judged by how near that float lies to a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from oracles.twin import f32, patterns
from tiny_models import Net

from vmcu.importer import import_model
from vmcu.passes import canonicalise
from vmcu.quant.lowering import quantise
from vmcu.quant.reference import Reference

MAX_LSB = 1
"""The only tolerance: one step of the output, and that only next to a tie of the float result."""
TIE = 1e-3
"""How near to a tie (in steps of the output) the float result has to be for a difference."""

SAFE_WEIGHT = 63
"""Two products of uint8 and such an int8 fit int16."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A quantised tensor of a model."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int


class QuantNet(Net):
    """A model with activations of type `dtype`; zero points are given for int8 and shifted for uint8."""

    def __init__(self, dtype: type = np.int8, opset: int = 18, seed: int = 0) -> None:
        super().__init__(opset, seed)
        self.dtype = dtype
        self.feeds: list[Activation] = []
        self.oracle: list[onnx.NodeProto] = []  # nodes that only the oracle runs
        self._key: tuple[object, ...] = ()

    def zero(self, zero: int) -> int:
        """An int8 zero point in `dtype`."""
        return zero + 128 if self.dtype == np.uint8 else zero

    def activation(self, shape: Sequence[int], scale: float = 0.05, zero: int = 3) -> Activation:
        """A quantised input x0, x1..."""
        name = self.input(f"x{len(self.feeds)}", shape, self.dtype)
        self.feeds.append(Activation(name, tuple(shape), f32(scale), self.zero(zero)))
        return self.feeds[-1]

    def real(self, x: Activation) -> str:
        """`x` dequantised."""
        return self.dq(x.name, x.scale, x.zero, self.dtype)

    @contextmanager
    def only_oracle(self) -> Iterator[None]:
        """Nodes added inside are not in vmcu's model."""
        main, self.nodes = self.nodes, self.oracle
        yield
        self.nodes = main

    def calibrated(self, real: str) -> tuple[float, int]:
        """Scale and zero point that fit float tensor `real` for random inputs, as quantize_static chooses them."""
        got = self.run(*self.arrays(1), outputs={real: np.float32})[0]
        low, high = min(float(got.min()), 0.0), max(float(got.max()), 0.0)
        scale = f32((high - low) / 255) or 1.0
        return scale, self.zero(int(np.clip(round(-128 - low / scale), -128, 127)))

    def arrays(self, count: int) -> Iterator[dict[str, np.ndarray]]:
        """`count` random inputs and the extreme ones."""
        rng = np.random.default_rng(len(self.nodes))
        for number, arrays in enumerate(patterns([x.shape for x in self.feeds], rng, count)):
            if count == 1 and number == 1:
                return
            shift = self.dtype == np.uint8
            values = [(a.astype(np.int16) + 128).astype(np.uint8) if shift else a for a in arrays]
            yield {x.name: a for x, a in zip(self.feeds, values, strict=True)}

    def run(self, feed: dict[str, np.ndarray], outputs: dict[str, type]) -> list[np.ndarray]:
        """onnxruntime's `outputs`, all nodes included."""
        key = (*outputs, len(self.nodes), len(self.oracle))
        if key != self._key:
            self._key, self._session = key, self._open(outputs)
        return [np.asarray(a) for a in self._session.run(list(outputs), feed)]

    def _open(self, outputs: dict[str, type]) -> ort.InferenceSession:
        main, ports = self.nodes, self.outputs
        self.nodes, self.outputs = main + self.oracle, []
        for name, dtype in outputs.items():
            self.output(name, dtype)
        model = self.model()
        self.nodes, self.outputs = main, ports
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def quantised_output(self, real: str, scale: float, zero: int, name: str = "y") -> None:
        """Ends a QDQ model."""
        self.q(real, scale, zero, self.dtype, output=name)

    def reference(self, folder: Path, shape: Sequence[int], dtype: type | None = None) -> Reference:
        """vmcu on the nodes outside `only_oracle`; the output is y."""
        self.outputs.clear()
        self.output("y", dtype or self.dtype, shape)
        return Reference(quantise(canonicalise(import_model(self.save(folder))), "onnx"))


@dataclass(slots=True)
class Tally:
    """How often vmcu and onnxruntime differ, by one step each, next to a tie."""

    values: int = 0
    differences: int = 0


def compare(
    net: QuantNet,
    folder: Path,
    real: str,
    scale: float,
    zero: int,
    *,
    tie: float = TIE,
    oracle_tie: float = 0.0,
    feeds: int = 3,
    distinct: int = 8,
) -> Tally:
    """y of vmcu and of onnxruntime agree but for ties of the float tensor `real`.

    Args:
        net: finished: y is quantised with `scale` and `zero`.
        folder: for the ONNX file.
        real: float tensor, of the model or of the oracle's part, that y is rounded from.
        tie: see TIE.
        oracle_tie: the same, where onnxruntime's own kernel is less exact than `tie`.
        feeds: random inputs besides the extreme ones.
        distinct: different values the outputs must have at least, lest the case be void.
    """
    seen, tally = [], Tally()
    reference = None
    for feed in net.arrays(feeds):
        exact, want = net.run(feed, {real: np.float32, "y": net.dtype})
        if reference is None:
            reference = net.reference(folder, exact.shape)
        got = reference.run(feed)["y"]
        assert got.dtype == want.dtype and got.shape == want.shape
        steps = exact.astype(np.float64) / f32(scale) + zero
        info = np.iinfo(net.dtype)
        rounded = np.clip(np.rint(steps), info.min, info.max)
        _judge(got, rounded, steps, tie, "the rounded float")
        difference = _judge(got, want, steps, max(tie, oracle_tie), "onnxruntime")
        tally.values += difference.size
        tally.differences += int(difference.sum())
        seen.append(got.reshape(-1))
    values = np.unique(np.concatenate(seen)).size
    assert values >= distinct, f"a void case: its outputs have only {values} different values"
    return tally


def _judge(got: np.ndarray, want: np.ndarray, steps: np.ndarray, tie: float, what: str) -> np.ndarray:
    """Differences; all are of MAX_LSB and next to a tie of `steps`."""
    difference = np.abs(got.astype(int) - want.astype(int))
    distance = np.abs(steps - np.floor(steps) - 0.5)
    wrong = (difference > MAX_LSB) | ((difference > 0) & (distance > tie))
    first = [
        (int(got[tuple(i)]), int(want[tuple(i)]), float(steps[tuple(i)])) for i in np.argwhere(wrong)[:5]
    ]
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size}; (vmcu, {what}, exact): {first}"
    return difference
