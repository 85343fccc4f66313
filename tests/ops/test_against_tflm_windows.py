"""Pooling, reductions, resizing and ArgMax in `tflm` numerics equal TFLite Micro bit for bit."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
from oracles.tflite_model import Quant, Tflm
from oracles.twin import Twin, onnx_axis, to_onnx
from oracles.twin_ops import Case, name, pool, reduce, resize

from vmcu.quant.reference import Reference

POOL: list[Case] = [
    {"shape": (1, 8, 8, 3)},
    {"shape": (1, 9, 7, 3), "kernel": (3, 3), "stride": (2, 2), "padding": "SAME"},
    {"shape": (1, 9, 7, 3), "kernel": (3, 3), "stride": (1, 1), "padding": "SAME"},
    {"shape": (1, 8, 7, 3), "kernel": (3, 2), "stride": (2, 3)},
    {"shape": (1, 5, 25, 2), "kernel": (5, 25), "stride": (5, 25)},
    {"shape": (1, 6, 6, 4), "kernel": (6, 6), "stride": (1, 1)},
    {"shape": (1, 7, 7, 4), "kernel": (4, 4), "stride": (3, 3), "padding": "SAME", "zero": -128},
    {"shape": (1, 6, 6, 2), "activation": "relu", "zero": -20},
    {"shape": (1, 6, 6, 2), "activation": "relu6", "zero": -128},
    {"shape": (1, 6, 6, 2), "activation": "relu", "zero": 60},
    {"shape": (1, 1, 40, 2), "kernel": (1, 4), "stride": (1, 2), "zero": 127},
    {"shape": (1, 6, 6, 2), "kernel": (1, 1), "stride": (2, 2)},
]


@pytest.mark.parametrize("what", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("case", POOL, ids=name)
def test_pool(what: str, case: Case, tmp_path: Path) -> None:
    t = Twin()
    arguments = dict(case)
    x = t.input(arguments.pop("shape"), 0.05, arguments.pop("zero", 3))
    t.check(tmp_path, pool(t, what, x, **arguments), feeds=12, distinct=4)


REDUCE: list[Case] = [
    {"shape": (1, 7, 5, 6), "axes": (1, 2)},
    {"shape": (1, 7, 5, 6), "axes": (1, 2), "keep": False},
    {"shape": (1, 7, 5, 6), "axes": (2, 1), "keep": False, "quant": Quant(0.011, -4)},
    {"shape": (1, 8, 8, 6), "axes": (1, 2), "quant": Quant(0.1, 60), "zero": -128},
    {"shape": (1, 3, 3, 6), "axes": (1, 2), "quant": Quant(0.1, -30), "zero": 127},
    {"shape": (1, 6, 5, 4), "axes": (1,)},
    {"shape": (1, 6, 5, 4), "axes": (2,), "quant": Quant(0.03, 9)},
    {"shape": (1, 6, 5, 4), "axes": (3,)},
    {"shape": (1, 6, 5, 4), "axes": (3,), "keep": False, "quant": Quant(0.03, 9)},
    {"shape": (1, 6, 5, 4), "axes": (1, 2, 3), "keep": False, "quant": Quant(0.01, 9)},
    {"shape": (1, 6, 5, 4), "axes": (1, 3)},
    {"shape": (1, 30, 8), "axes": (1,), "keep": False},
    {"shape": (1, 30, 8), "axes": (2,), "quant": Quant(0.03, 9)},
    {"shape": (1, 30, 8), "axes": (-1,), "keep": False},
    {"shape": (4, 50), "axes": (1,), "quant": Quant(0.004, 1)},
    {"shape": (1, 96, 96, 1), "axes": (1, 2), "quant": Quant(0.05, 0)},
]


@pytest.mark.parametrize("code", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("case", REDUCE, ids=name)
def test_reduce(code: str, case: Case, tmp_path: Path) -> None:
    t = Twin()
    arguments = dict(case)
    x = t.input(arguments.pop("shape"), 0.05, arguments.pop("zero", 3))
    quant = arguments.pop("quant", x.quant)
    if code == "SUM":
        count = prod(x.shape[a] for a in case["axes"])
        quant = Quant(quant.scale * count / 2, quant.zero)
    if code in ("REDUCE_MAX", "REDUCE_MIN"):
        quant = x.quant  # TFLM does not rescale here
    t.check(tmp_path, reduce(t, code, x, quant=quant, **arguments), feeds=12, distinct=4)


RESIZE: list[Case] = [
    {"shape": (1, 4, 5, 3), "size": (8, 10)},
    {"shape": (1, 4, 5, 3), "size": (9, 7)},
    {"shape": (1, 9, 8, 2), "size": (4, 3)},
    {"shape": (1, 4, 5, 3), "size": (8, 10), "half": True},
    {"shape": (1, 5, 7, 3), "size": (12, 9), "half": True},
    {"shape": (1, 9, 8, 2), "size": (3, 5), "half": True},
    {"shape": (1, 4, 5, 3), "size": (7, 9), "align": True},
    {"shape": (1, 6, 6, 2), "size": (4, 9), "align": True},
    {"shape": (1, 1, 1, 3), "size": (4, 4)},
    {"shape": (1, 4, 4, 2), "size": (1, 1)},
    {"shape": (1, 3, 3, 2), "size": (3, 3)},
]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("case", RESIZE, ids=name)
def test_resize(mode: str, case: Case, tmp_path: Path) -> None:
    t = Twin()
    arguments = dict(case)
    x = t.input(arguments.pop("shape"), 0.05, -11)
    t.check(tmp_path, resize(t, mode, x, **arguments), distinct=6)


@pytest.mark.parametrize("code", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((1, 30), 1), ((1, 5, 6, 7), 3), ((1, 5, 40), 2), ((1, 40, 5), 1)]
)
def test_arg_max(code: str, shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    """Indices, the first among equals."""
    t = Twin()
    x = t.input(shape)
    op = {"ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin"}[code]
    real = t.onnx.node(
        op, [t.onnx.qdq(x.name, x.quant.scale, x.quant.zero)], axis=onnx_axis(axis, len(shape)), keepdims=0
    )
    kept = tuple(s for i, s in enumerate(shape) if i != axis)
    index = t.tfl.tensor(kept, None, "int32")
    t.tfl.op(code, [x.index, t.tfl.const(np.array(axis, np.int32))], [index], f"{op}Options", outputType=2)
    oracle = Tflm(t.tfl.model([index]))
    reference = Reference(t.quantised(tmp_path, "tflm", raw={real: (np.int64, kept)}))
    for limit in (2, 5, 128):  # many ties, then few
        data = t.rng.integers(-limit, limit, shape).astype(np.int8)
        want = oracle.run([data])[0]
        assert np.unique(want).size > 1 or want.size == 1
        assert np.array_equal(reference.run({"x0": to_onnx(data)})["y0"], want)
