"""The bounds on what a weighted sum can give, against all it does give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vmcu.ir.quantized import Numerics, Tensor
from vmcu.ops.conv import Conv2D
from vmcu.ops.dense import Dense
from vmcu.optimise.linear import Linear, linear_of
from vmcu.quant.requantise import Requant, make_requant

EVERY_BYTE = np.arange(-128, 128).astype(np.int8)


def random_conv(rng: np.random.Generator, numerics: Numerics, factor: float) -> tuple[Conv2D, Tensor, Tensor]:
    """Any window, padding, stride, dilation, grouping."""
    groups, depth, per_group = (int(n) for n in rng.integers(1, 4, 3))
    kernel, strides, dilations = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(3))
    top, left, bottom, right = (int(n) for n in rng.integers(0, 3, 4))
    zero = int(rng.integers(-128, 128))
    x = Tensor("x", int(rng.integers(7, 10)), int(rng.integers(7, 10)), groups * depth, 1.0, zero)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    rows = (x.rows + top + bottom - reach[0]) // strides[0] + 1
    cols = (x.cols + left + right - reach[1]) // strides[1] + 1
    outputs = groups * per_group
    weights = rng.integers(-9, 10, (outputs, *kernel, depth)).astype(np.int8)
    reals = [float(r) for r in factor * rng.uniform(0.5, 1.0, outputs)]
    op = Conv2D(
        name="conv",
        inputs=("x",),
        output="y",
        weights=weights,
        bias=rng.integers(-400, 400, outputs).astype(np.int32),
        strides=strides,  # type: ignore[arg-type]
        dilations=dilations,  # type: ignore[arg-type]
        pads=(top, left, bottom, right),
        groups=groups,
        input_zero_point=zero,
        requant=make_requant(numerics, reals, 3, -100, 90, acc_bound=1 << 20, where="here"),
    )
    out = Tensor("y", rows, cols, outputs, 1.0, 3)
    op.verify((x,), out)
    return op, x, out


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@pytest.mark.parametrize("factor", [1e-3, 0.02, 0.3, 200.0])
def test_every_output_lies_in_its_range(numerics: Numerics, factor: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        op, x, out = random_conv(rng, numerics, factor)
        linear = linear_of(op, x, out)
        assert linear is not None
        low = rng.integers(-128, 128, x.channels)
        high = np.minimum(low + rng.integers(0, 90, x.channels), 127)
        bottom, top = linear.output_range(low, high)
        for ends in ((low, high), (low, low), (high, high)):
            y = op.reference((rng.integers(ends[0], ends[1] + 1, x.shape).astype(np.int8),), out)
            assert (y >= bottom).all() and (y <= top).all()


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
def test_the_ends_of_a_range_occur(numerics: Numerics) -> None:
    """One pixel, one input channel: all 256 inputs tell the range, and with it whether it is one value."""
    rng = np.random.default_rng(2)
    x, out = Tensor("x", 256, 1, 1, 1.0, 0), Tensor("y", 256, 1, 6, 1.0, 3)
    constants = 0
    for _ in range(60):
        op, *_ = random_conv(rng, numerics, float(10 ** rng.uniform(-5, 1)))
        requant = replace(op.requant, multipliers=op.requant.multipliers[:1], shifts=op.requant.shifts[:1])
        weights = rng.integers(-9, 10, (6, 1))
        bias = rng.integers(-4000, 4000, 6).astype(np.int32)
        dense = Dense(
            name="d", inputs=("x",), output="y", weights=weights.astype(np.int8), bias=bias, per_pixel=True,
            requant=requant,
        )  # fmt: skip
        linear = linear_of(dense, x, out)
        assert linear is not None
        bottom, top = linear.output_range(np.array([-128]), np.array([127]))
        y = dense.reference((EVERY_BYTE.reshape(256, 1, 1),), out)
        np.testing.assert_array_equal(bottom, y.min(axis=(0, 1)))
        np.testing.assert_array_equal(top, y.max(axis=(0, 1)))
        constants += int((bottom == top).sum())
    assert constants > 20


def test_a_left_shift_beyond_int32_is_not_believed() -> None:
    """TFLite Micro's shift wraps: a sum in between gives what neither of its neighbours gives."""
    requant = Requant("tflm", (1 << 30,), (24,), 0, 0, 0, -128, 127)
    weights, bias = np.array([[1]], np.int8), np.array([129], np.int32)
    dense = Dense(
        name="d", inputs=("x",), output="y", weights=weights, bias=bias, per_pixel=True, requant=requant
    )
    x, out = Tensor("x", 256, 1, 1, 1.0, 0), Tensor("y", 256, 1, 1, 1.0, 0)
    y = dense.reference((EVERY_BYTE.reshape(256, 1, 1),), out)
    assert len(np.unique(y)) > 1 and y[0] == y[127 - 1] == 127
    linear = linear_of(dense, x, out)
    assert linear is not None
    assert [int(v[0]) for v in linear.output_range(np.array([-128]), np.array([-2]))] == [127, 127]
    assert [int(v[0]) for v in linear.output_range(np.array([-128]), np.array([127]))] == [-128, 127]


def test_what_folds_adds_the_same_everywhere() -> None:
    """By brute force: the accumulators of an image that is one value in one channel and 0 in all others."""
    rng = np.random.default_rng(3)
    yes = no = 0
    for _ in range(80):
        op, x, out = random_conv(rng, "onnx", 0.01)
        if op.groups > 1:
            continue
        weights = op.weights.copy()
        weights[:, rng.integers(weights.shape[1]), rng.integers(weights.shape[2])] = 0
        op = replace(op, weights=weights)
        linear = linear_of(op, x, out)
        assert linear is not None
        values = rng.choice([op.input_zero_point, 17, -80], x.channels)
        folds, adds = linear.folds(values), linear.contributions(values)
        for channel, value in enumerate(values):
            image = np.zeros(x.shape, np.int64)
            image[:, :, channel] = value
            sums = accumulators(linear, image, channel, out)
            for o in range(out.channels):
                same = len(np.unique(sums[:, :, o])) == 1
                assert same == folds[o, channel]
                assert not same or sums[0, 0, o] == adds[o, channel]
                yes, no = yes + same, no + (not same)
    assert yes > 30 and no > 30


def accumulators(linear: Linear, image: np.ndarray, channel: int, out: Tensor) -> np.ndarray:
    """What `channel` adds, pixel by pixel, padding included."""
    op = linear.op
    assert isinstance(op, Conv2D)
    top, left, bottom, right = op.pads
    padded = np.pad(image[:, :, channel], ((top, bottom), (left, right)), constant_values=op.input_zero_point)
    found = np.zeros(out.shape, np.int64)
    for r in range(out.rows):
        for c in range(out.cols):
            for ky in range(op.weights.shape[1]):
                for kx in range(op.weights.shape[2]):
                    y, x = r * op.strides[0] + ky * op.dilations[0], c * op.strides[1] + kx * op.dilations[1]
                    found[r, c] += op.weights[:, ky, kx, channel].astype(np.int64) * padded[y, x]
    return found
