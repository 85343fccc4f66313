"""What the requantisation of the Helium kernels relies on: how its instructions round, beside the rules of SPEC.md."""

from __future__ import annotations

import numpy as np
import pytest

from vmcu.quant.requantise import multiply_tflm

NEAR_ZERO = np.arange(
    -(1 << 16), (1 << 16) + 1, dtype=np.int64
)  # with 1/2 as multiplier, every second one a tie
FAR = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, 50_000)
EXTREMES = np.array([-(1 << 31), -(1 << 31) + 1, (1 << 31) - 1, -(1 << 30), 1 << 30])
VALUES = np.concatenate([NEAR_ZERO, FAR, EXTREMES])
MULTIPLIERS = (1 << 30, (1 << 30) + 1, (1 << 31) - 1, 1518500250, 0, -(1 << 30), -(1 << 31) + 1)


def vqrdmulh(a: np.ndarray, b: int) -> np.ndarray:
    """Source: Armv8-M Architecture Reference Manual, VQRDMULH: (2ab + 2^31) >> 32, saturated."""
    return np.clip((a * b + (1 << 30)) >> 31, -(1 << 31), (1 << 31) - 1)


def vrshl(x: np.ndarray, right: int) -> np.ndarray:
    """Source: the same, VRSHL by a negative number."""
    return (x + (1 << (right - 1))) >> right if right else x


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_doubling_high_product(multiplier: int) -> None:
    np.testing.assert_array_equal(vqrdmulh(VALUES, multiplier), multiply_tflm(VALUES, multiplier, 0))


def test_doubling_high_product_saturates() -> None:
    """The single case that does not fit."""
    low = np.array([-(1 << 31)])
    assert vqrdmulh(low, -(1 << 31)) == multiply_tflm(low, -(1 << 31), 0) == (1 << 31) - 1


@pytest.mark.parametrize("right", range(1, 32))
def test_adding_the_sign_rounds_negative_ties_away(right: int) -> None:
    for multiplier in MULTIPLIERS:
        x = vqrdmulh(VALUES, multiplier)
        np.testing.assert_array_equal(vrshl(x + (x >> 31), right), multiply_tflm(VALUES, multiplier, -right))


def test_without_the_sign_ties_differ() -> None:
    """So the addition is needed where negative results matter."""
    x = vqrdmulh(NEAR_ZERO, 1 << 30)
    assert (vrshl(x, 1) != multiply_tflm(NEAR_ZERO, 1 << 30, -1)).any()


@pytest.mark.parametrize("right", range(32))
def test_a_relu_needs_no_sign(right: int) -> None:
    """Negative results are at most 0 either way, and below the clamp."""
    for multiplier in MULTIPLIERS:
        exact = np.maximum(multiply_tflm(VALUES, multiplier, -right), 0)
        np.testing.assert_array_equal(np.maximum(vrshl(vqrdmulh(VALUES, multiplier), right), 0), exact)
