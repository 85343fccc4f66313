"""Fixed-point arithmetic on int32 "raw" values: exp, logistic, tanh and reciprocal as TFLite Micro computes them.

A raw value r with i integer bits stands for r / 2^(31-i). Every function here works element by element on
int64 arrays that hold int32 values and has a C twin of the same lines in int32_t/int64_t arithmetic.

Source: gemmlowp, fixedpoint/fixedpoint.h (the formulas; the constants are derived where they stand).
"""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[np.int64]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
ONE_Q0 = INT32_MAX  # 1.0 with no integer bit is not representable: the largest value stands for it
ONE_Q2 = 1 << 29


def _q0(real: float) -> int:
    return round(real * (1 << 31))


EXP_OF_MINUS_ONE_EIGHTH = _q0(exp(-1 / 8))
ONE_THIRD = _q0(1 / 3)
EXP_OF_MINUS_POT = tuple((k, _q0(exp(-(2.0**k)))) for k in range(-2, 5))
"""(k, exp(-2^k)): the factors for the bits of the integer and the two upper fractional digits."""
CONSTANT_48_OVER_17 = round(48 / 17 * ONE_Q2)
CONSTANT_NEG_32_OVER_17 = round(-32 / 17 * ONE_Q2)


def high_mul(a: Raw, b: Raw | int) -> Raw:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31, half away from zero but -0.5 up (C truncation)."""
    return _high_mul(a, b, 31)


def high_mul_16(a: Raw, b: Raw | int) -> Raw:
    """The same for int16: a * b / 2^15."""
    return _high_mul(a, b, 15)


def _high_mul(a: Raw, b: Raw | int, bits: int) -> Raw:
    product = np.asarray(a, np.int64) * b
    total = product + np.where(product >= 0, 1 << (bits - 1), 1 - (1 << (bits - 1)))
    quotient = np.where(total >= 0, total >> bits, -((-total) >> bits))
    return np.asarray(np.minimum(quotient, (1 << bits) - 1), np.int64)


def divide_by_pot(x: Raw, exponent: Raw | int) -> Raw:
    """RoundingDivideByPOT: x / 2^exponent, half away from zero. Exponents above 31 stay exact."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> np.asarray(exponent, np.int64)) + ((x & mask) > threshold), np.int64)


def shift_left(x: Raw, bits: int) -> Raw:
    """x * 2^bits, saturating in int32."""
    return np.asarray(np.clip(np.asarray(x, np.int64) << bits, INT32_MIN, INT32_MAX), np.int64)


def to_raw(x: NDArray[np.floating]) -> Raw:
    """Whole numbers as integers, those beyond int32 at its ends."""
    return np.asarray(np.clip(x, INT32_MIN, INT32_MAX), np.int64)


def shift_left_16(x: Raw, bits: int) -> Raw:
    """x * 2^bits, saturating in int16."""
    bits = min(bits, 16)  # by which all but 0 saturates
    return np.asarray(np.clip(np.asarray(x, np.int64) << bits, -(1 << 15), (1 << 15) - 1), np.int64)


def half_sum(a: Raw, b: int) -> Raw:
    """(a + b) / 2, half away from zero."""
    total = np.asarray(a, np.int64) + b
    return np.asarray(np.where(total >= 0, (total + 1) >> 1, -((1 - total) >> 1)), np.int64)


def exp_on_minus_quarter_to_zero(a: Raw) -> Raw:
    """exp(a) for -1/4 <= a < 0, no integer bits: Taylor expansion of degree 4 around -1/8."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    tail = divide_by_pot(high_mul(divide_by_pot(x4, 2) + x3, ONE_THIRD) + x2, 1)
    return np.asarray(EXP_OF_MINUS_ONE_EIGHTH + high_mul(x + tail, EXP_OF_MINUS_ONE_EIGHTH), np.int64)


def exp_on_negative_values(a: Raw, integer_bits: int) -> Raw:
    """exp(a) for a <= 0.

    Args:
        a: raw with `integer_bits` (at most 5).

    Returns:
        Raw without integer bits.
    """
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    a = np.asarray(a, np.int64)
    rest = (a & (quarter - 1)) - quarter  # in -1/4 <= rest < 0, and a = rest - a multiple of 1/4
    result = exp_on_minus_quarter_to_zero(shift_left(rest, integer_bits))
    digits = rest - a
    for k, factor in EXP_OF_MINUS_POT:
        if k < integer_bits:
            bit = (digits >> (fraction_bits + k)) & 1
            result = np.where(bit == 1, high_mul(result, factor), result)
    return np.asarray(np.where(a == 0, ONE_Q0, result), np.int64)


def _reciprocal(a: Raw) -> Raw:
    """1 / ((1 + a) / 2) with 2 integer bits, 0 <= a <= 1 without: three Newton steps."""
    half = half_sum(a, ONE_Q0)
    x = CONSTANT_48_OVER_17 + high_mul(half, CONSTANT_NEG_32_OVER_17)
    for _ in range(3):
        x = x + shift_left(high_mul(x, ONE_Q2 - high_mul(half, x)), 2)
    return x


def one_over_one_plus_x(a: Raw) -> Raw:
    """1 / (1 + a) for 0 <= a <= 1; raw without integer bits, in and out."""
    return shift_left(_reciprocal(a), 1)


def one_minus_x_over_one_plus_x(a: Raw) -> Raw:
    """(1 - a) / (1 + a) for 0 <= a <= 1; raw without integer bits, in and out."""
    return shift_left(_reciprocal(a) - ONE_Q2, 2)


def logistic(a: Raw, integer_bits: int) -> Raw:
    """1 / (1 + exp(-a)); raw with `integer_bits`, result without."""
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits))
    result = np.where(a > 0, positive, ONE_Q0 - positive)
    return np.asarray(np.where(a == 0, 1 << 30, result), np.int64)


def tanh(a: Raw, integer_bits: int) -> Raw:
    """tanh(a); raw with `integer_bits`, result without. The same raw value with one more bit is 2a."""
    size = one_minus_x_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits + 1))
    return np.asarray(np.where(a == 0, 0, np.where(a < 0, -size, size)), np.int64)


def leading_zeros(x: Raw) -> Raw:
    """Of positive int32 values (C: __builtin_clz)."""
    return np.asarray(32 - np.frexp(np.asarray(x, np.float64))[1], np.int64)
