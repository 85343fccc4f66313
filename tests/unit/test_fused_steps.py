"""What takes no step of its own: activations, chains of functions, and pairs of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tiny_models import Net

from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.kernels.dsp.rescale import make_scaled
from vmcu.ops.conv import Conv2D
from vmcu.ops.unary import Lookup
from vmcu.pipeline import load

NUMERICS = pytest.mark.parametrize("numerics", get_args(Numerics))


def loaded(net: Net, x: str, folder: Path, numerics: Numerics) -> QuantizedGraph:
    """The network whose result `x` is."""
    net.output(x)
    return load(net.save(folder), numerics=numerics)


@NUMERICS
def test_a_chain_of_functions_is_one_table(numerics: Numerics, tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", (1, 4, 3, 3)))
    for op in ("Sigmoid", "Tanh", "Relu", "Sigmoid"):
        x = net.node(op, [x])
    graph = loaded(net, net.qdq(x, 0.01), tmp_path, numerics)
    (op,) = graph.ops
    assert isinstance(op, Lookup)
    real = (np.arange(-128, 128) - 3) * 0.05
    inner = np.tanh(1 / (1 + np.exp(-real)))
    wanted = np.rint(1 / (1 + np.exp(-inner)) / np.float32(0.01)) + 3
    assert np.abs(op.table - np.clip(wanted, -128, 127)).max() <= 1


@NUMERICS
def test_a_pair_that_changes_nothing_is_nothing(numerics: Numerics, tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.node("Sigmoid", [net.qdq(net.input("x", (1, 4, 3, 3)))]), 0.01)
    for _ in range(3):
        x = net.qdq(x, 0.01)
    assert [op.kind for op in loaded(net, x, tmp_path, numerics).ops] == ["Lookup"]


@NUMERICS
@pytest.mark.parametrize("then", ["Relu", "Clip"])
def test_an_activation_is_a_limit_and_costs_nothing(numerics: Numerics, then: str, tmp_path: Path) -> None:
    """Where the output's range begins at its lower limit, as converters make it, SSAT limits already."""
    net = Net()
    x = net.qdq(net.input("x", (1, 4, 3, 3)))
    weights = net.dq(net.const(net.rng.integers(-127, 128, (8, 4, 1, 1)), np.int8), 0.02, 0)
    limits = [] if then == "Relu" else [net.const(0.0, np.float32), net.const(6.0, np.float32)]
    y = net.node(then, [net.node("Conv", [x, weights]), *limits])
    (op,) = loaded(net, net.qdq(y, 6 / 255, -128), tmp_path, numerics).ops
    assert isinstance(op, Conv2D)
    assert (op.requant.low, op.requant.high) == (-128, 127)
    assert make_scaled(op.weights, op.bias, op.requant).rescale.once == (numerics == "tflm")  # type: ignore[union-attr]
