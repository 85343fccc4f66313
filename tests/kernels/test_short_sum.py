"""Sums in 32 bits: every pair of elements, and where they are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from vmcu.ir.quantized import Numerics
from vmcu.kernels.dsp.sums import short_sum
from vmcu.quant.requantise import Sum, make_sum

VALUES = np.arange(-128, 128)


def rule(
    numerics: Numerics, scales: tuple[float, float], out: float, zero: int, low: int, sign: int = 1
) -> Sum:
    q = SimpleNamespace(scale=out, zero_point=zero, low=low, high=127)
    return make_sum(numerics, *scales, (1, sign), q, where="test")


@pytest.mark.parametrize("numerics", get_args(Numerics))
def test_every_pair(numerics: Numerics) -> None:
    """Rules with scales as they are trained: nearly all have a short form, and it is right."""
    rng = np.random.default_rng(3)
    found = 0
    for i in range(40):
        a, b = (float(s) for s in rng.uniform(0.01, 0.1, 2))
        zero = int(rng.integers(-128, 20))
        total = rule(
            numerics,
            (a, b),
            float(max(a, b) * rng.uniform(0.7, 2)),
            zero,
            [-128, zero][i % 2],
            [1, -1][i % 3 == 0],
        )
        zeros = (int(rng.integers(-128, 128)), int(rng.integers(-128, 128)))
        numbers = short_sum(total, zeros)
        if numbers is None:
            continue
        found += 1
        right, m, n, add = numbers
        acc = VALUES[:, None] * m + VALUES[None] * n + add
        assert np.abs(acc).max() < 1 << 31
        got = np.clip(np.clip(acc >> right, -128, 127), total.low, total.high)
        assert np.array_equal(got, total.apply(VALUES[:, None] - zeros[0], VALUES[None] - zeros[1]))
    assert found >= 36


def test_ties() -> None:
    """Half of the pairs end in a tie. `onnx` rounds it up, `tflm` away from zero: a slope that is a trace steeper does."""
    for numerics in get_args(Numerics):
        total = rule(numerics, (0.5, 0.5), 1.0, 0, -128)
        numbers = short_sum(total, (0, 0))
        assert numbers is not None
        right, m, n, add = numbers
        got = np.clip((VALUES[:, None] * m + VALUES[None] * n + add) >> right, -128, 127)
        assert np.array_equal(got, total.apply(VALUES[:, None], VALUES[None]))


def test_refused() -> None:
    """Ties everywhere, of multipliers that no word holds."""
    for numerics in get_args(Numerics):
        assert short_sum(rule(numerics, (1 / 10, 1 / 11), 1.0, 0, -128), (0, 0)) is None
