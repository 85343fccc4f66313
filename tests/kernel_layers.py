"""Random layers side by side in one graph, each with an input and an output of its own: one build tests many kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vmcu.batch import Batch
from vmcu.ir.layout import row_major
from vmcu.ir.quantized import Interface, Numerics, QuantizedGraph, Tensor
from vmcu.ops.base import QOp
from vmcu.ops.binary import Binary
from vmcu.ops.conv import Conv2D
from vmcu.ops.dense import Dense
from vmcu.quant.reference import Reference
from vmcu.quant.requantise import Requant, make_requant, make_sum
from vmcu.run import RunReport

Shape = tuple[int, int, int]
Layer = tuple[QOp, Shape, Shape]  # operator on tensors "x" and "y", shapes of both


class Range:
    """Quantisation of an output."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = 1.0
        self.zero_point = int(rng.choice([-128, -3, 0, 17, 127]))
        self.low, self.high = [(-128, 127), (-128, 127), (self.zero_point, 127), (-50, 60), (0, 127)][
            rng.integers(5)
        ]


def weights_of(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Of several kinds, extremes among them."""
    kind = rng.integers(5)
    if kind == 0:
        return np.full(shape, rng.choice([-128, 127]), np.int8)
    if kind == 1:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    values = rng.integers(-128, 128, shape).astype(np.int8)
    if kind == 2:
        values[rng.integers(shape[0])] = 0  # a channel that is constant
    return values


def requant_of(
    rng: np.random.Generator, numerics: Numerics, weights: np.ndarray, bias: np.ndarray, zero: int
) -> tuple[Requant, int]:
    """A requantisation under which outputs vary and sometimes saturate, and the output's zero point."""
    m = len(bias)
    sizes = np.abs(weights.reshape(m, -1).astype(np.int64)).sum(axis=1)
    reals = rng.uniform(0.1, 2.0, m) / np.sqrt(
        (weights.reshape(m, -1).astype(float) ** 2).sum(axis=1).max() + 1
    )
    bounds = 255 * sizes + np.abs(bias.astype(np.int64))
    if rng.integers(2):
        reals, bounds = reals[:1], bounds.max(keepdims=True)
    q = Range(rng)
    made = make_requant(
        numerics,
        [float(r) for r in reals],
        q.zero_point,
        q.low,
        q.high,
        acc_bound=[int(b) for b in bounds],
        where="test",
    )
    return made, q.zero_point


def conv(
    rng: np.random.Generator,
    numerics: Numerics,
    x: Shape,
    out_channels: int,
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Layer:
    """A convolution."""
    weights = weights_of(rng, (out_channels, *kernel, x[2] // groups))
    zero = int(rng.integers(-128, 128))
    bias = rng.integers(-3000, 3000, out_channels).astype(np.int32)
    bias -= zero * weights.reshape(out_channels, -1).sum(axis=1, dtype=np.int32)
    requant, _ = requant_of(rng, numerics, weights, bias, zero)
    op = Conv2D(
        name="conv",
        inputs=("x",),
        output="y",
        weights=weights,
        bias=bias,
        strides=strides,
        dilations=dilations,
        pads=pads,
        groups=groups,
        input_zero_point=zero,
        requant=requant,
    )
    size = [
        (x[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(2)
    ]
    assert min(size) > 0
    return op, x, (size[0], size[1], out_channels)


def dense(
    rng: np.random.Generator,
    numerics: Numerics,
    x: Shape,
    units: int,
    per_pixel: bool,
    choices: Sequence[int] = (),
) -> Layer:
    """A dense layer; its weights are of these choices, where there are some."""
    shape = (units, x[2] if per_pixel else x[0] * x[1] * x[2])
    weights = rng.choice(np.array(choices, np.int8), shape) if choices else weights_of(rng, shape)
    bias = rng.integers(-3000, 3000, units).astype(np.int32)
    requant, _ = requant_of(rng, numerics, weights, bias, 0)
    op = Dense(
        name="dense",
        inputs=("x",),
        output="y",
        weights=weights,
        bias=bias,
        per_pixel=per_pixel,
        requant=requant,
    )
    return op, x, ((x[0], x[1], units) if per_pixel else (1, 1, units))


def add(rng: np.random.Generator, numerics: Numerics, x: Shape) -> Layer:
    """A sum of two tensors of any two scales."""
    scales = [float(s) for s in 2.0 ** rng.uniform(-6, 0, 2)]
    if rng.integers(4) == 0:
        scales[1] = scales[0]
    q = Range(rng)
    q.scale = float(max(scales) * 2.0 ** rng.uniform(-1, 1))
    rule = make_sum(numerics, scales[0], scales[1], (1, 1), q, where="test")
    zeros = (int(rng.integers(-128, 128)), int(rng.integers(-128, 128)))
    op = Binary(
        name="add", inputs=("x", "z"), output="y", what="Add", shapes=(x, x), zero_points=zeros,
        constant=None, sum=rule, requant=None,
    )  # fmt: skip
    return op, x, x


def side_by_side(layers: Sequence[Layer], numerics: Numerics) -> QuantizedGraph:
    """All layers in one graph; layer i reads x<i> and writes y<i>."""
    tensors: dict[str, Tensor] = {}
    ops, inputs, outputs = [], [], []
    for i, (op, x, y) in enumerate(layers):
        requant = getattr(op, "requant", None)
        zero = requant.zero_point if requant else 0
        names = tuple(f"{n}{i}" for n in op.inputs)
        for name in names:
            tensors[name] = Tensor(name, *x, 1.0, 0)
            inputs.append(Interface(name, name, row_major(x), "int8"))
        tensors[f"y{i}"] = Tensor(f"y{i}", *y, 1.0, zero)
        ops.append(replace(op, inputs=names, output=f"y{i}"))
        outputs.append(Interface(f"y{i}", f"y{i}", row_major(y), "int8"))
    return QuantizedGraph(
        "layers", numerics, tensors, tuple(ops), tuple(inputs), tuple(outputs), (), "0" * 64
    ).verify()


def followed(graph: QuantizedGraph, rng: np.random.Generator) -> QuantizedGraph:
    """The same with a pointwise convolution behind every output, which is then an output no more."""
    tensors, ops, outputs = dict(graph.tensors), list(graph.ops), []
    for port in graph.outputs:
        y = tensors[port.tensor]
        op, _, shape = conv(rng, graph.numerics, y.shape, 3, (1, 1))
        assert isinstance(op, Conv2D)
        name = f"{y.name}.more"
        tensors[name] = Tensor(name, *shape, 1.0, op.requant.zero_point)
        ops.append(replace(op, inputs=(y.name,), output=name))
        outputs.append(Interface(name, name, row_major(shape), "int8"))
    return replace(graph, tensors=tensors, ops=tuple(ops), outputs=tuple(outputs)).verify()


def extreme_batch(graph: QuantizedGraph, rng: np.random.Generator) -> list[Mapping[str, np.ndarray]]:
    """All -128, all 127, both at random, and noise."""

    def fill(make: object) -> dict[str, np.ndarray]:
        return {i.tensor: make(graph.tensors[i.tensor].shape) for i in graph.inputs}  # type: ignore[operator]

    return [
        fill(lambda s: np.full(s, -128, np.int8)),
        fill(lambda s: np.full(s, 127, np.int8)),
        fill(lambda s: rng.choice(np.array([-128, 127], np.int8), s)),
        fill(lambda s: rng.integers(-128, 128, s).astype(np.int8)),
    ]


def payload_of(graph: QuantizedGraph, given: Sequence[Mapping[str, np.ndarray]]) -> list[list[bytes]]:
    """The payload of a run."""
    return Batch(tuple(given), False).payload(graph)


def check_answers(
    graph: QuantizedGraph, given: Sequence[Mapping[str, np.ndarray]], report: RunReport
) -> None:
    """Every output of every inference equals the reference."""
    reference = Reference(graph)
    assert len(report.outputs) == len(given)
    for values, found in zip(given, report.outputs, strict=True):
        expected = reference.run_tensors(values)
        for port, data in zip(graph.outputs, found, strict=True):
            want = expected[port.tensor].reshape(-1)
            got = np.frombuffer(data, np.int8)
            if not np.array_equal(got, want):
                op = next(o for o in graph.ops if o.output == port.tensor)
                raise AssertionError(
                    f"{port.tensor}: {op.kind} {[graph.tensors[n].shape for n in op.inputs]} -> "
                    f"{graph.tensors[port.tensor].shape}: {np.flatnonzero(got != want)[:8]} {op}"
                )
