"""Scales a float32 rounding away from a tie: here it shows whether TFLM divides in float32 or in float64.

A rescaling factor of exactly k + 1/2 sends every odd input to a tie; the least difference moves all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
from oracles.tflite_model import Quant
from oracles.twin import Pair, Twin
from oracles.twin_ops import binary, prelu, reduce, unary

RATIOS = (1.5, 2.5, 12.5)
SIDES = (-1, 1)


def near(rng: np.random.Generator, ratio: float, side: int, factors: int) -> tuple[float, ...]:
    """float32 scales: (inputs..., output) whose product of inputs over output is `ratio` in float32 arithmetic,
    but a little below (side -1) or above (1) in float64.
    """
    for _ in range(100_000):
        inputs = rng.uniform(0.01, 0.2, factors).astype(np.float32)
        out = np.float32(np.prod(inputs.astype(np.float64)) / ratio)
        single = np.float32(np.prod(inputs)) / out
        exact = prod(float(s) for s in inputs) / float(out)
        if single == np.float32(ratio) and (exact - ratio) * side > 1e-9:
            return (*map(float, inputs), float(out))
    raise AssertionError("no such scales")


def _unary(code: str, op: str, **arguments: object) -> Callable[[Twin, float, float], Pair]:
    def build(t: Twin, source: float, out: float) -> Pair:
        return unary(t, code, op, t.input((1, 1, 4, 256), source, 0), Quant(out, 0), **arguments)  # type: ignore[arg-type]

    return build


ONE_INPUT: dict[str, Callable[[Twin, float, float], Pair]] = {
    "quantize": _unary("QUANTIZE", "Identity"),
    "relu": _unary("RELU", "Relu"),
    "leaky_relu": _unary(
        "LEAKY_RELU", "LeakyRelu", options="LeakyReluOptions", onnx={"alpha": 0.25}, alpha=0.25
    ),
    "leaky_relu_steep": _unary(
        "LEAKY_RELU", "LeakyRelu", options="LeakyReluOptions", onnx={"alpha": 1.1}, alpha=1.1
    ),
    "elu": _unary("ELU", "Elu"),
    "hard_swish": _unary("HARD_SWISH", "HardSwish"),
    "mean": lambda t, source, out: reduce(
        t, "MEAN", t.input((1, 2, 3, 100), source, 0), (1, 2), quant=Quant(out, 0)
    ),
    "mean_1": lambda t, source, out: reduce(
        t, "MEAN", t.input((1, 1, 200), source, 0), (1,), quant=Quant(out, 0)
    ),
    "sum": lambda t, source, out: reduce(
        t, "SUM", t.input((1, 2, 1, 200), source, 0), (1, 2), quant=Quant(out, 0)
    ),
    "add": lambda t, source, out: binary(
        t, "Add", t.input((1, 1, 8, 200), source, 0), t.input((1, 1, 8, 200), source, 0), scale=out
    ),
}


def _weighted(
    kind: str, shape: tuple[int, ...], weights_shape: tuple[int, ...]
) -> Callable[[Twin, float, float, float], Pair]:
    """One input times one weight, so that all products are small."""

    def build(t: Twin, source: float, weight: float, out: float) -> Pair:
        x = t.input(shape, source, 0)
        values = t.rng.integers(-2, 3, weights_shape).astype(np.int8)
        scales = np.array([weight], np.float32)
        index = t.tfl.const(values, Quant(scales))
        if kind == "dense":
            real = t.onnx.node("Gemm", [x.name, t.constant_weights(values, scales, 0)], transB=1)
            code, options, fields = "FULLY_CONNECTED", "FullyConnectedOptions", {}
        elif kind == "conv":
            real = t.onnx.node("Conv", [x.name, t.constant_weights(values.transpose(0, 3, 1, 2), scales, 0)])
            code, options, fields = "CONV_2D", "Conv2DOptions", {"padding": 1, "strideH": 1, "strideW": 1}
        else:
            w = t.constant_weights(values.transpose(3, 0, 1, 2), scales, 0)
            real = t.onnx.node("Conv", [x.name, w], group=shape[3])
            code, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            fields = {"padding": 1, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
        channels = weights_shape[3] if kind == "depthwise" else weights_shape[0]
        return t.emit(code, [x, index], (*shape[:-1], channels), Quant(out, 0), real, options, **fields)

    return build


TWO_FACTORS: dict[str, Callable[[Twin, float, float, float], Pair]] = {
    "dense": _weighted("dense", (1, 1), (300, 1)),
    "conv": _weighted("conv", (1, 1, 300, 1), (2, 1, 1, 1)),
    "depthwise": _weighted("depthwise", (1, 1, 30, 8), (1, 1, 1, 8)),
    "mul": lambda t, a, b, out: binary(
        t,
        "Mul",
        t.input((1, 1, 8, 256), a, 0),
        t.const(t.rng.integers(-2, 3, (1, 1, 1, 256)), b),
        scale=out,
        zero=0,
    ),
    "prelu": lambda t, a, b, out: prelu(
        t, t.input((1, 1, 8, 256), a, 0), t.const(t.rng.integers(-2, 3, (1, 1, 1, 256)), b), Quant(out, 0)
    ),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("operator", ONE_INPUT)
def test_one_input(operator: str, ratio: float, side: int, tmp_path: Path) -> None:
    t = Twin()
    source, out = near(t.rng, ratio, side, 1)
    t.check(tmp_path, ONE_INPUT[operator](t, source, out), feeds=8)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("operator", TWO_FACTORS)
def test_two_factors(operator: str, ratio: float, side: int, tmp_path: Path) -> None:
    t = Twin()
    t.check(tmp_path, TWO_FACTORS[operator](t, *near(t.rng, ratio, side, 2)), feeds=12, distinct=4)


@pytest.mark.parametrize(
    ("activation", "scale"),
    [*(("relu6", s) for s in (2.4, 12 / 9, 12 / 13, 0.8)), *(("relu_n1", s) for s in (0.4, 2 / 3))],
)
def test_clamps(activation: str, scale: float, tmp_path: Path) -> None:
    """Bounds next to a tie: 6 is 2.5, 4.5, 6.5, 7.5 steps of these scales, 1 is 2.5 or 1.5 steps."""
    t = Twin()
    a, b = (t.input((1, 4, 4, 8), scale, 0) for _ in range(2))
    t.check(tmp_path, binary(t, "Add", a, b, scale=scale, zero=0, activation=activation), distinct=2)
