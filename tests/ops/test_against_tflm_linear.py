"""Convolutions and dense layers in `tflm` numerics equal TFLite Micro bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.twin import Twin
from oracles.twin_ops import Case, conv, dense, depthwise, name, pad

# `shape`, `scale` and `in_zero` are the input's, `limit` is the largest weight; the rest are arguments of the operator.
CONV: list[Case] = [
    {"shape": (1, 8, 8, 3), "channels": 5},
    {"shape": (1, 7, 9, 4), "channels": 8, "kernel": (1, 1)},
    {"shape": (1, 9, 8, 3), "channels": 4, "kernel": (5, 3), "padding": "VALID"},
    {"shape": (1, 9, 8, 3), "channels": 4, "kernel": (3, 3), "stride": (2, 2)},
    {"shape": (1, 10, 10, 2), "channels": 4, "kernel": (3, 3), "stride": (2, 1), "padding": "VALID"},
    {"shape": (1, 11, 6, 2), "channels": 3, "kernel": (2, 4), "stride": (3, 2)},
    {"shape": (1, 10, 9, 2), "channels": 3, "dilation": (2, 2)},
    {"shape": (1, 12, 9, 2), "channels": 3, "dilation": (3, 1), "padding": "VALID"},
    {"shape": (1, 6, 6, 8), "channels": 6, "groups": 2},
    {"shape": (1, 5, 5, 6), "channels": 6, "groups": 3, "stride": (2, 2)},
    {"shape": (1, 6, 6, 3), "channels": 4, "activation": "relu"},
    {"shape": (1, 6, 6, 3), "channels": 4, "activation": "relu6", "zero": -128},
    {"shape": (1, 6, 6, 3), "channels": 4, "activation": "relu_n1", "scale": 0.002},
    {"shape": (1, 6, 6, 3), "channels": 4, "per_channel": False},
    {"shape": (1, 6, 6, 3), "channels": 4, "bias": 0},
    {"shape": (1, 6, 6, 3), "channels": 4, "in_zero": -128, "zero": 127},
    {"shape": (1, 6, 6, 3), "channels": 4, "in_zero": 127, "zero": -128},
    {"shape": (1, 6, 6, 64), "channels": 16, "spread": 100.0},
    {"shape": (1, 4, 4, 3), "channels": 4, "kernel": (1, 1), "gain": 1 / 6, "spread": 1.0},
    {"shape": (1, 4, 4, 1), "channels": 4, "kernel": (1, 1), "gain": 300.0, "bias": 4, "limit": 1},
    {
        "shape": (1, 4, 4, 1),
        "channels": 4,
        "kernel": (1, 1),
        "gain": 3e5,
        "bias": 4,
        "limit": 1,
        "distinct": 3,
    },
    {"shape": (1, 4, 4, 1), "channels": 4, "kernel": (1, 1), "gain": 2e8, "bias": 4, "distinct": 2},
    {"shape": (1, 4, 4, 3), "channels": 4, "kernel": (1, 1), "scale": 3e-6},
    {"shape": (1, 4, 4, 3), "channels": 4, "kernel": (1, 1), "scale": 900.0},
    {"shape": (1, 4, 4, 3), "channels": 16, "kernel": (1, 1), "bias": 2**26, "gain": 1e-4},
    {"shape": (1, 1, 30, 4), "channels": 4, "kernel": (1, 9), "stride": (1, 2)},
    {"shape": (1, 1, 1, 16), "channels": 10, "kernel": (1, 1)},
]

DEPTHWISE: list[Case] = [
    {"shape": (1, 8, 8, 4)},
    {"shape": (1, 8, 7, 4), "stride": (2, 2)},
    {"shape": (1, 8, 8, 3), "multiplier": 2},
    {"shape": (1, 9, 8, 1), "multiplier": 8, "kernel": (4, 3), "stride": (2, 2)},
    {"shape": (1, 9, 9, 2), "multiplier": 3, "kernel": (5, 5), "padding": "VALID"},
    {"shape": (1, 10, 9, 3), "dilation": (2, 2)},
    {"shape": (1, 10, 9, 3), "dilation": (1, 3), "padding": "VALID"},
    {"shape": (1, 6, 6, 3), "activation": "relu"},
    {"shape": (1, 6, 6, 3), "activation": "relu6", "zero": -128},
    {"shape": (1, 6, 6, 3), "per_channel": False},
    {"shape": (1, 6, 6, 3), "bias": 0, "in_zero": 127, "zero": 127},
    {"shape": (1, 6, 6, 8), "spread": 100.0, "in_zero": -128},
    {"shape": (1, 25, 5, 2), "kernel": (25, 5), "padding": "VALID", "multiplier": 4},
]

DENSE: list[Case] = [
    {"shape": (1, 16), "units": 10},
    {"shape": (1, 300), "units": 7},
    {"shape": (1, 16), "units": 10, "per_channel": True},
    {"shape": (1, 16), "units": 10, "activation": "relu"},
    {"shape": (1, 16), "units": 10, "activation": "relu6", "zero": -128, "scale": 0.002},
    {"shape": (1, 16), "units": 10, "bias": 0},
    {"shape": (1, 16), "units": 10, "matmul": True},
    {"shape": (1, 16), "units": 10, "in_zero": -128, "zero": 127},
    {"shape": (1, 16), "units": 10, "in_zero": 127, "zero": -128},
    {"shape": (1, 1), "units": 32},
    {"shape": (1, 5), "units": 9, "scale": 700.0},
    {"shape": (1, 5), "units": 9, "scale": 2e-6},
    {"shape": (1, 5), "units": 9, "bias": 2**26, "gain": 1e-4},
    {"shape": (1, 4), "units": 9, "gain": 300.0, "bias": 4, "limit": 1},
    {"shape": (1, 6, 16), "units": 5, "matmul": True},
    {"shape": (6, 16), "units": 5, "matmul": True},
]


@pytest.mark.parametrize("case", CONV, ids=name)
def test_conv(case: Case, tmp_path: Path) -> None:
    _run(conv, case, tmp_path)


@pytest.mark.parametrize("case", DEPTHWISE, ids=name)
def test_depthwise(case: Case, tmp_path: Path) -> None:
    _run(depthwise, case, tmp_path)


@pytest.mark.parametrize("case", DENSE, ids=name)
def test_dense(case: Case, tmp_path: Path) -> None:
    _run(dense, case, tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_scales_drawn_at_random(seed: int, tmp_path: Path) -> None:
    """Multipliers in every binade near 1, and zero points anywhere."""
    t = Twin(seed)
    draw = t.rng.uniform
    x = t.input((1, 5, 5, 3), scale=10 ** draw(-4, 1), zero=int(t.rng.integers(-128, 128)))
    zero = int(t.rng.integers(-128, 128))
    y = conv(
        t,
        x,
        6,
        gain=2 ** draw(-1, 2),
        zero=zero,
        spread=2 ** draw(0, 6),
        activation="relu" if seed % 2 else "",
    )
    t.check(tmp_path, y, feeds=2, distinct=2)


@pytest.mark.parametrize("seed", range(4))
def test_large_biases_are_taken_as_they_are(seed: int, tmp_path: Path) -> None:
    """int32 biases near the ends: their real value has more digits than float32 holds."""
    t = Twin(seed)
    x = t.input((1, 3), scale=float(t.rng.uniform(0.001, 0.1)), zero=0)
    y = dense(t, x, 50, bias=2**30)
    (op,) = t.quantised(tmp_path, "tflm", y).ops
    bias = t.tfl.buffers[-2].data.view(np.int32)
    assert np.array_equal(op.bias, bias)


def test_asymmetric_padding(tmp_path: Path) -> None:
    """A Pad before a VALID convolution, as exporters write stride 2 of PyTorch."""
    t = Twin()
    x = t.input((1, 9, 8, 3), zero=-17)
    y = conv(t, pad(t, x, [(0, 0), (1, 2), (0, 1), (0, 0)]), 4, stride=(2, 2), padding="VALID")
    t.check(tmp_path, y)


def test_several_layers(tmp_path: Path) -> None:
    """Rounding errors of a first layer would spread here."""
    t = Twin()
    x = t.input((1, 12, 12, 3), zero=-128)
    y = conv(t, x, 8, stride=(2, 2), activation="relu6", zero=-128, per_channel=False)
    y = depthwise(t, y, activation="relu", zero=-128)
    y = conv(t, y, 12, (1, 1), zero=4)
    t.check(tmp_path, y)


def _run(operator: object, case: Case, folder: Path) -> None:
    t = Twin()
    arguments = dict(case)
    t.weight_limit = arguments.pop("limit", 127)
    x = t.input(arguments.pop("shape"), arguments.pop("scale", 0.05), arguments.pop("in_zero", 3))
    distinct = arguments.pop("distinct", 8)
    t.check(folder, operator(t, x, **arguments), distinct=distinct)
