"""Functions of one element, sums and products, Softmax in `tflm` numerics equal TFLite Micro bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracles.tflite_model import Quant
from oracles.twin import Twin, f32
from oracles.twin_ops import Case, binary, name, prelu, softmax, unary

from vmcu.errors import VmcuError
from vmcu.quant.reference import Reference

# Two operands: shapes, (scale, zero point) of a, b and the output.
SHAPES = [
    ((1, 4, 5, 3), (1, 4, 5, 3)),
    ((1, 4, 5, 3), (1, 1, 1, 3)),
    ((1, 1, 1, 3), (1, 4, 5, 3)),
    ((1, 4, 5, 3), (1, 4, 5, 1)),
    ((1, 4, 1, 3), (1, 1, 5, 3)),
    ((1, 4, 5, 3), (1, 1, 1, 1)),
    ((1, 40), (1, 40)),
    ((1, 8, 6), (1, 8, 1)),
    ((2, 3, 7), (2, 3, 7)),
]
SCALES: list[Case] = [
    {"a": (0.05, 3), "b": (0.05, 3), "out": (0.1, -2)},
    {"a": (0.05, -128), "b": (0.011, 127), "out": (0.06, 100)},
    {"a": (0.003, 127), "b": (0.3, -128), "out": (0.2, -100)},
    {"a": (1e-4, 0), "b": (2.0, -1), "out": (0.5, 5)},
    {"a": (7.3, 0), "b": (5.1, 64), "out": (9.0, 0), "mul": 4000.0},
    {"a": (0.05, 3), "b": (0.04, 3), "out": (0.03, -128), "activation": "relu"},
    {"a": (0.05, 3), "b": (0.04, 3), "out": (0.03, -128), "activation": "relu6"},
]
WHATS = ("Add", "Sub", "Mul")


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcast(what: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], tmp_path: Path) -> None:
    t = Twin()
    y = binary(t, what, t.input(shapes[0], 0.05, 3), t.input(shapes[1], 0.03, -9))
    t.check(tmp_path, y)


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("case", SCALES, ids=name)
def test_binary_scales(what: str, case: Case, tmp_path: Path) -> None:
    """Every pair of values, in one tensor."""
    t = Twin()
    shape = (1, 1, 256, 256)
    a, b = t.input(shape, *case["a"]), t.input(shape, *case["b"])
    scale, zero = case["out"]
    scale = case.get("mul", scale) if what == "Mul" else scale
    y = binary(t, what, a, b, scale=scale, zero=zero, activation=case.get("activation", ""))
    t.check(tmp_path, y, feeds=1)


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (1, 1, 1, 3), (1, 4, 5, 1), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("first", [False, True])
def test_constant_operand(what: str, shape: tuple[int, ...], first: bool, tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 4, 5, 3), 0.05, 3)
    c = t.const(t.random(shape), 0.04, -6)
    t.check(tmp_path, binary(t, what, *((c, x) if first else (x, c))))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("what", WHATS)
def test_scales_drawn_at_random(what: str, seed: int, tmp_path: Path) -> None:
    t = Twin(seed)
    a, b = (
        t.input((1, 1, 8, 512), 10 ** t.rng.uniform(-3, 0), int(t.rng.integers(-128, 128))) for _ in range(2)
    )
    natural = a.quant.scale * b.quant.scale * 100 if what == "Mul" else max(a.quant.scale, b.quant.scale)
    scale = natural * 2 ** t.rng.uniform(-1, 1)
    y = binary(t, what, a, b, scale=scale, zero=int(t.rng.integers(-128, 128)))
    t.check(tmp_path, y, feeds=1, distinct=2)


# All 256 values at once. `onnx` are the node's attributes, `options` and the rest those of the .tflite.
UNARY: list[Case] = [
    {"code": "LOGISTIC", "op": "Sigmoid", "quant": Quant(1 / 256, -128)},
    {"code": "TANH", "op": "Tanh", "quant": Quant(1 / 128, 0)},
    {"code": "HARD_SWISH", "op": "HardSwish", "quant": Quant(0.04, -100)},
    {"code": "HARD_SWISH", "op": "HardSwish", "quant": Quant(0.3, 100)},
    {"code": "ELU", "op": "Elu", "quant": Quant(0.03, -90), "onnx": {"alpha": 1.0}},
    {"code": "RELU", "op": "Relu", "quant": Quant(0.02, -128)},
    {"code": "RELU", "op": "Relu", "quant": Quant(0.07, 10)},
    {"code": "QUANTIZE", "op": "Identity", "quant": Quant(0.07, 10)},
    {"code": "QUANTIZE", "op": "Identity", "quant": Quant(0.013, -60)},
    *(
        {
            "code": "LEAKY_RELU",
            "op": "LeakyRelu",
            "quant": Quant(0.05, -7),
            "options": "LeakyReluOptions",
            "onnx": {"alpha": alpha},
            "alpha": alpha,
        }
        for alpha in (f32(0.01), f32(0.3), 1.5)
    ),
]
INPUTS = [(0.05, 3), (0.2, -128), (0.004, 100), (0.024, 0), (1.5, -17)]


@pytest.mark.parametrize("source", INPUTS, ids=str)
@pytest.mark.parametrize("case", UNARY, ids=name)
def test_unary(case: Case, source: tuple[float, int], tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 16, 16, 16), *source)
    t.check(tmp_path, unary(t, x=x, **case), distinct=2)


@pytest.mark.parametrize("source", INPUTS, ids=str)
def test_relu6(source: tuple[float, int], tmp_path: Path) -> None:
    """TFLM's own Relu6 clamps without rescaling."""
    t = Twin()
    x = t.input((1, 300), *source)
    bounds = [t.onnx.const(b, np.float32) for b in (0.0, 6.0)]
    y = t.emit("RELU6", [x], x.shape, x.quant, t.onnx.node("Clip", [x.name, *bounds]))
    t.check(tmp_path, y, distinct=1)


@pytest.mark.parametrize("alpha_shape", [(1, 1, 1, 6), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("alpha_quant", [(0.002, 0), (0.01, -128), (0.01, 127)], ids=str)
def test_prelu(alpha_shape: tuple[int, ...], alpha_quant: tuple[float, int], tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 4, 5, 6), 0.05, 3)
    t.check(tmp_path, prelu(t, x, t.const(t.random(alpha_shape), *alpha_quant), Quant(0.04, -20)))


SOFTMAX: list[Case] = [
    {"shape": (1, 10), "scale": 0.1},
    {"shape": (1, 2), "scale": 0.01},
    {"shape": (1, 12), "scale": 0.6, "zero": -128},
    {"shape": (1, 500), "scale": 0.05, "zero": 127},  # from 512 equal inputs on TFLM aborts or is undefined
    {"shape": (7, 33), "scale": 0.003},
    {"shape": (1, 3, 4, 5), "scale": 0.03},
    {"shape": (1, 6, 9), "scale": 2.0},
    {"shape": (1, 10), "scale": 3e-5},
]


@pytest.mark.parametrize("case", SOFTMAX, ids=name)
def test_softmax(case: Case, tmp_path: Path) -> None:
    t = Twin()
    x = t.input(case["shape"], case["scale"], case.get("zero", 3))
    t.check(tmp_path, softmax(t, x), feeds=30, distinct=1)


def test_softmax_of_many_classes(tmp_path: Path) -> None:
    """Without the inputs whose exponentials add up to 512 or more: there TFLM itself aborts."""
    t = Twin()
    t.check(tmp_path, softmax(t, t.input((1, 1000), 0.3)), extremes=False, distinct=4)


def test_softmax_beyond_the_accumulator_is_refused(tmp_path: Path) -> None:
    t = Twin()
    y = softmax(t, t.input((1, 4096), 0.3))
    with pytest.raises(VmcuError, match="4095 is the limit"):
        t.quantised(tmp_path, "tflm", y)


@pytest.mark.parametrize(
    ("op", "function", "scale", "zero"),
    [
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x)), 0.0035, -128),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x)), 1 / 256, -127),
        ("Tanh", np.tanh, 0.0079, 0),
        ("HardSigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1), 0.004, -128),
    ],
)
def test_quantisations_that_tflm_has_not(
    op: str, function: Callable[[np.ndarray], np.ndarray], scale: float, zero: int, tmp_path: Path
) -> None:
    """Its kernels fix the output's scale: another one gets the exact function, rounded once."""
    t = Twin()
    x = t.input((1, 256), 0.04, 3)
    y = unary(t, "ELU", op, x, Quant(scale, zero))
    data = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    got = Reference(t.quantised(tmp_path, "tflm", y)).run({"x0": data})["y0"]
    real = (data.astype(np.float64) - 3) * x.quant.scale
    want = np.clip(np.rint(function(real) / y.quant.scale) + zero, -128, 127)
    assert np.array_equal(got, want)
