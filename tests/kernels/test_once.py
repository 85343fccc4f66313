"""One rounding instead of two: every accumulator of many channels, and where it has to be refused."""

from __future__ import annotations

import numpy as np
import pytest

from vmcu.ir.quantized import Numerics
from vmcu.kernels.dsp.once import ACC_BITS, Once, make_once
from vmcu.kernels.dsp.rescale import make_scaled
from vmcu.quant.requantise import Requant, make_requant


def requant_of(
    weights: np.ndarray,
    bias: np.ndarray,
    reals: list[float],
    zero: int,
    low: int,
    numerics: Numerics = "tflm",
) -> Requant:
    sizes = 255 * np.abs(weights.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
    bound = [int(sizes.max())] if len(reals) == 1 else [int(b) for b in sizes]
    return make_requant(numerics, reals, zero, low, 127, acc_bound=bound, where="test")


def reach(weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest accumulator of each channel."""
    ends = [127 * weights.astype(np.int64), -128 * weights.astype(np.int64)]
    return bias + np.minimum(*ends).sum(axis=1), bias + np.maximum(*ends).sum(axis=1)


def computed(one: Once, channel: int, acc: np.ndarray, requant: Requant) -> np.ndarray:
    """As SMMUL and SSAT do."""
    x = (acc << ACC_BITS) + one.offsets[channel]
    assert np.abs(x).max() < 1 << 31
    y = (x * one.multipliers[channel] >> 32) >> one.right
    return np.clip(np.clip(y, -128, 127), requant.low, requant.high)


def wanted(requant: Requant, channel: int, acc: np.ndarray) -> np.ndarray:
    which = [np.broadcast_to(np.array(v), channel + 1)[channel] if len(v) == 1 else v[channel]
             for v in (requant.multipliers, requant.shifts)]  # fmt: skip
    one = Requant(
        "tflm", (int(which[0]),), (int(which[1]),), 0, 0, requant.zero_point, requant.low, requant.high
    )
    return one.apply(acc).astype(np.int64)


CASES = [(taps, zero, low, seed) for taps in (1, 9, 64) for zero, low in ((-128, -128), (-128, -100), (0, 0), (17, 20))
         for seed in range(3)]  # fmt: skip


@pytest.mark.parametrize(("taps", "zero", "low", "seed"), CASES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_every_accumulator(taps: int, zero: int, low: int, seed: int, per_channel: bool) -> None:
    rng = np.random.default_rng([taps, seed])
    weights = rng.integers(-128, 128, (12, taps)).astype(np.int8)
    weights[3] = 0
    bias = rng.integers(-4000, 4000, 12).astype(np.int32)
    reals = rng.uniform(0.3, 3.0, 12) / (64 * np.sqrt(taps) * 8)
    reals[0], reals[5], reals[6] = 0.04 / np.sqrt(taps), 2.0**-15, 2.0**-13  # many steps, hardly any, few
    requant = requant_of(weights, bias, [float(r) for r in reals[: 12 if per_channel else 1]], zero, low)
    one = make_once(weights, bias, requant)
    assert one is not None
    least, most = reach(weights, bias)
    for channel in range(12):
        acc = np.arange(least[channel], most[channel] + 1)
        given = acc if weights[channel].any() else acc * 0
        assert np.array_equal(computed(one, channel, given, requant), wanted(requant, channel, acc)), channel


def test_all_channels_are_found_in_layers_as_they_are_trained() -> None:
    """None is refused, though most need a search."""
    rng = np.random.default_rng(5)
    for taps in (9, 25, 64, 144):
        weights = np.clip(np.rint(rng.laplace(0, 30, (60, taps))), -127, 127).astype(np.int8)
        weights[:, 0] = 127
        bias = rng.integers(-3000, 3000, 60).astype(np.int32)
        reals = [float(r) for r in np.exp2(rng.uniform(-11, -8.5, 60))]
        assert make_once(weights, bias, requant_of(weights, bias, reals, -128, -128)) is not None


def test_refused() -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-128, 128, (4, 16)).astype(np.int8)
    bias = np.zeros(4, np.int32)

    def found(low: int, real: float = 0.002, numerics: Numerics = "tflm", b: np.ndarray = bias) -> bool:
        return make_once(weights, b, requant_of(weights, b, [real], -3, low, numerics)) is not None

    assert found(-3)
    assert not found(-128)  # values below the zero point
    assert not found(-3, numerics="onnx")
    assert not found(-3, real=3.0)  # a shift to the left
    assert not found(-3, b=np.full(4, 1 << 24, np.int32), real=1e-5)  # 256 times that is no word
    wide = weights.astype(np.int16)
    rule = requant_of(weights, bias, [0.002], -3, -3)
    assert [make_scaled(w, bias, rule).rescale.once for w in (weights, wide)] == [True, False]  # type: ignore[union-attr]
    assert not make_scaled(weights, bias, rule, compact=True).rescale.once  # type: ignore[union-attr]
