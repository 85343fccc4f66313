"""Random networks of several operators equal TFLite Micro: layouts, branches and scales meet here."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from oracles.tflite_model import Quant
from oracles.twin import Pair, Twin
from oracles.twin_ops import (
    binary,
    concat,
    conv,
    dense,
    depthwise,
    pad,
    pool,
    reduce,
    reshape,
    resize,
    softmax,
    unary,
)

MOST_ELEMENTS = 4000


def pick(t: Twin, *choices: object) -> object:
    return choices[int(t.rng.integers(len(choices)))]


def convolution(t: Twin, x: Pair) -> Pair:
    kernel, activation = pick(t, (1, 1), (3, 3), (2, 3)), pick(t, "", "relu")
    padding = "SAME" if min(x.shape[1:3]) < 5 else pick(t, "SAME", "VALID")
    stride = pick(t, (1, 1), (1, 1), (2, 2))
    arguments = {"kernel": kernel, "activation": activation, "padding": padding, "stride": stride}
    if pick(t, True, False):
        return depthwise(t, x, int(pick(t, 1, 1, 2)), **arguments)  # type: ignore[call-overload]
    return conv(t, x, int(t.rng.integers(1, 9)), zero=-128 if activation else 5, **arguments)  # type: ignore[arg-type]


def residual(t: Twin, x: Pair) -> Pair:
    y = conv(t, x, x.shape[3])
    return binary(
        t, str(pick(t, "Add", "Sub")), *pick(t, (x, y), (y, x)), scale=max(x.quant.scale, y.quant.scale)
    )  # type: ignore[misc]


def gate(t: Twin, x: Pair) -> Pair:
    """Squeeze and excitation."""
    mean = reduce(t, "MEAN", x, (1, 2))
    weight = unary(t, "LOGISTIC", "Sigmoid", conv(t, mean, x.shape[3], (1, 1)), Quant(1 / 256, -128))
    return binary(t, "Mul", x, weight, scale=x.quant.scale * 0.7, zero=-3)


def branches(t: Twin, x: Pair) -> Pair:
    again = unary(t, "QUANTIZE", "Identity", conv(t, x, 3), x.quant)
    return concat(t, [again, x] if pick(t, True, False) else [x, again, x], 3)


def curve(t: Twin, x: Pair) -> Pair:
    code, op = pick(t, ("HARD_SWISH", "HardSwish"), ("ELU", "Elu"), ("RELU", "Relu"))  # type: ignore[misc]
    return unary(t, code, op, x, Quant(x.quant.scale, x.quant.zero))


def pooling(t: Twin, x: Pair) -> Pair:
    return pool(t, str(pick(t, "AveragePool", "MaxPool")), x, (2, 2), padding="SAME")


def padding(t: Twin, x: Pair) -> Pair:
    before, after, deep = (int(v) for v in t.rng.integers(0, 3, 3))
    return pad(t, x, [(0, 0), (before, after), (after, before), (0, deep)])


def bigger(t: Twin, x: Pair) -> Pair:
    return resize(t, str(pick(t, "nearest", "linear")), x, (x.shape[1] * 2, x.shape[2] + 1))


def regrouped(t: Twin, x: Pair) -> Pair:
    """Rows and columns change places with channels, in NHWC order."""
    _, h, w, c = x.shape
    return reshape(t, x, (1, w, h * c, 1) if w % 2 else (1, h, w * c, 1))


def head(t: Twin, x: Pair) -> Pair:
    """From an image to classes."""
    match int(t.rng.integers(3)):
        case 0:
            flat = reshape(t, x, (1, prod(x.shape)))
        case 1:
            flat = reduce(t, "MEAN", x, (1, 2), keep=False)
        case _:
            flat = reshape(t, reduce(t, "REDUCE_MAX", x, (1, 2)), (1, x.shape[3]))
    return softmax(t, dense(t, flat, 6)) if pick(t, True, False) else dense(t, flat, 6, activation="relu")


STEPS = (convolution, convolution, residual, gate, branches, curve, pooling, padding, bigger, regrouped)


@pytest.mark.parametrize("seed", range(60))
def test_random_network(seed: int, tmp_path: Path) -> None:
    t = Twin(seed)
    height, width, channels = (int(v) for v in t.rng.integers((4, 4, 1), (10, 10, 6)))
    x = t.input((1, height, width, channels), 0.05, int(t.rng.integers(-128, 128)))
    outputs = []
    for _ in range(int(t.rng.integers(2, 7))):
        y = pick(t, *STEPS)(t, x)  # type: ignore[operator]
        x = y if prod(y.shape) <= MOST_ELEMENTS else x
        if t.rng.random() < 0.1 and x not in [*outputs, *t.inputs]:
            outputs.append(x)
    t.check(tmp_path, *outputs, head(t, x), feeds=2, distinct=2)
