"""Relu and Clip behind operators that keep their input's scale, with no QuantizeLinear in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.ort_model import QuantNet, compare

IMAGE = (1, 4, 6, 5)
KEEPS_SCALE = {
    "Concat": {"axis": 1},
    "MaxPool": {"kernel_shape": [2, 2]},
    "ReduceMax": {"axes": [3]},
    "ReduceMin": {"axes": [3]},
}


@pytest.mark.parametrize("then", [("Relu",), ("Clip", -1.0, 2.0)], ids=lambda t: t[0])
@pytest.mark.parametrize("op", KEEPS_SCALE)
def test_clamp_before_a_convolution(op: str, then: tuple, tmp_path: Path) -> None:
    net = QuantNet()
    attributes = dict(KEEPS_SCALE[op])
    zero = -110 if op == "ReduceMin" else 3  # its results are on both sides of 0
    inputs = [net.real(net.activation(IMAGE, zero=zero)) for _ in range(2 if op == "Concat" else 1)]
    if "axes" in attributes:
        inputs.append(net.const(attributes.pop("axes"), np.int64))
    kept = net.node(op, inputs, **attributes)
    clamped = net.node(then[0], [kept, *(net.const(v, np.float32) for v in then[1:])])
    channels = 8 if op == "Concat" else 4
    real = net.node("Conv", [clamped, net.weights((3, channels, 1, 1))])
    scale, zero = net.calibrated(real)
    net.quantised_output(real, scale, zero)
    compare(net, tmp_path, real, scale, zero)


def test_concat_of_two_scales_is_clamped_in_both_parts(tmp_path: Path) -> None:
    net = QuantNet()
    parts = [net.real(net.activation(IMAGE, scale)) for scale in (0.05, 0.03)]
    real = net.node("Relu", [net.node("Concat", parts, axis=1)])
    net.quantised_output(real, 0.05, 3)
    compare(net, tmp_path, real, 0.05, 3)
