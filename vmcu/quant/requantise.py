"""Fixed-point rescaling of int32 accumulators to int8, bit for bit as SPEC.md section 2 says.

Two rules, one interface: `Requant.apply` is the reference, `Requant.c_expr` the C that equals it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import Unsupported, fail
from vmcu.ir.quantized import Numerics

Ints = NDArray[np.int64]


class OutRange(Protocol):
    """Quantisation of an output, activation included."""

    @property
    def scale(self) -> float: ...
    @property
    def zero_point(self) -> int: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...


def saturate(x: Any, low: int, high: int) -> NDArray[np.int8]:
    """Integers limited to low..high, as int8."""
    return np.asarray(np.clip(x, low, high), np.int8)


@dataclass(frozen=True, slots=True)
class Requant:
    """Rescales accumulators of one tensor.

    Attributes:
        numerics: which rule.
        multipliers: per channel, or one for all; int32 values.
        shifts: `tflm`: per channel, exponent of 2 (positive = left). `onnx`: one element, the right
            shift s in 33..54.
        pre_shift: `onnx`: left shift of the accumulator before the product.
        clamp_acc: `onnx`: |acc| is limited to this first (0: not needed), so that the shift cannot overflow.
        zero_point: of the output.
        low, high: of the output, activation included.

    Source: SPEC.md section 2; `tflm`: gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT.
    """

    numerics: Numerics
    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    pre_shift: int
    clamp_acc: int
    zero_point: int
    low: int
    high: int

    @property
    def per_channel(self) -> bool:
        """More than one multiplier."""
        return len(self.multipliers) > 1

    def apply(self, acc: NDArray[np.integer]) -> NDArray[np.int8]:
        """int32 accumulators, channels last -> int8 of the same shape."""
        wide = acc.astype(np.int64)
        m = np.array(self.multipliers, np.int64)
        if self.numerics == "tflm":
            y = multiply_tflm(wide, m, np.array(self.shifts, np.int64)) + self.zero_point
        else:
            if self.clamp_acc:
                wide = np.clip(wide, -self.clamp_acc, self.clamp_acc)
            shift = self.shifts[0] - 32
            high = ((wide << self.pre_shift) * m) >> 32
            y = (high + (self.zero_point << shift) + (1 << (shift - 1))) >> shift
        return saturate(y, self.low, self.high)

    def c_expr(self, acc: str, multiplier: str, shift: str) -> str:
        """C expression of type int8_t.

        Args:
            acc: C expression, int32_t.
            multiplier, shift: C expressions for the channel (`shift` is used by `tflm` only).
        """
        if self.numerics == "tflm":
            return (
                f"vmcu_requant_tflm({acc}, {multiplier}, {shift}, {self.zero_point}, {self.low}, {self.high})"
            )
        if self.clamp_acc:
            acc = f"vmcu_clamp({acc}, {-self.clamp_acc}, {self.clamp_acc})"
        if self.pre_shift:
            acc = f"({acc}) * {1 << self.pre_shift}"
        right = self.shifts[0] - 32
        add = (self.zero_point << right) + (1 << (right - 1))
        return f"vmcu_requant_onnx({acc}, {multiplier}, {add}, {right}, {self.low}, {self.high})"


@dataclass(frozen=True, slots=True)
class Sum:
    """Rescales the weighted sum of two int8 operands, zero points subtracted.

    Attributes:
        numerics: which rule.
        multipliers: of the operands; `onnx`: signed, scaled by 2^shift.
        shifts: `tflm`: exponents of the operands' multipliers.
        signs: +1 or -1 per operand (`tflm`; `onnx` has them in the multipliers).
        shift: `onnx`: right shift of the 64-bit sum. `tflm`: exponent of `out_multiplier`.
        out_multiplier: `tflm`.
        zero_point, low, high: of the output.

    Source: SPEC.md section 2.4; `tflm`: TFLite's AddElementwise with left_shift 20.
    """

    numerics: Numerics
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    signs: tuple[int, int]
    shift: int
    out_multiplier: int
    zero_point: int
    low: int
    high: int

    def apply(self, a: Ints, b: Ints) -> NDArray[np.int8]:
        """Operands in -SUM_OPERAND..SUM_OPERAND -> int8."""
        if self.numerics == "tflm":
            total = sum(
                sign * multiply_tflm(x << TFLM_LEFT_SHIFT, m, s)
                for x, m, s, sign in zip((a, b), self.multipliers, self.shifts, self.signs, strict=True)
            )
            y = multiply_tflm(np.asarray(total, np.int64), self.out_multiplier, self.shift) + self.zero_point
        else:
            acc = a * self.multipliers[0] + b * self.multipliers[1]
            y = (acc + (self.zero_point << self.shift) + (1 << (self.shift - 1))) >> self.shift
        return saturate(y, self.low, self.high)

    def c_expr(self, a: str, b: str) -> str:
        """C expression of type int8_t from the operands' C expressions (int32_t)."""
        if self.numerics == "tflm":
            terms = [
                f"vmcu_multiply_tflm({x} * {1 << TFLM_LEFT_SHIFT}, {m}, {s})"
                for x, m, s in zip((a, b), self.multipliers, self.shifts, strict=True)
            ]
            total = (
                ("-" if self.signs[0] < 0 else "")
                + terms[0]
                + (" - " if self.signs[1] < 0 else " + ")
                + terms[1]
            )
            rest = f"{self.out_multiplier}, {self.shift}, {self.zero_point}, {self.low}, {self.high}"
            return f"vmcu_requant_tflm({total}, {rest})"
        add = (self.zero_point << self.shift) + (1 << (self.shift - 1))
        m, n = self.multipliers
        return f"vmcu_requant_sum({a}, {m}, {b}, {n}, INT64_C({add}), {self.shift}, {self.low}, {self.high})"


def real_factors(total: Sum) -> tuple[float, float]:
    """By what the operands are multiplied, roundings aside."""
    if total.numerics == "onnx":
        return total.multipliers[0] / 2.0**total.shift, total.multipliers[1] / 2.0**total.shift
    out = total.out_multiplier * 2.0 ** (total.shift - 31 + TFLM_LEFT_SHIFT)
    a, b = (
        sign * m * 2.0 ** (shift - 31) * out
        for m, shift, sign in zip(total.multipliers, total.shifts, total.signs, strict=True)
    )
    return a, b


SUM_OPERAND = 255  # |operand|, zero point subtracted, for which no intermediate result overflows
TFLM_LEFT_SHIFT = 20
MAX_FACTOR = 2.0**24
MAX_SHIFT = 30  # to the left, of an int32
SATURATING = 255.0  # a factor that sends every accumulator but 0 beyond int8, whatever the zero point


def make_sum(
    numerics: Numerics, scale_a: float, scale_b: float, signs: tuple[int, int], q: OutRange, *, where: str
) -> Sum:
    """The `Sum` that computes (signs[0] * scale_a * a + signs[1] * scale_b * b) / q.scale.

    Raises:
        VmcuError: an operand's scale is too far from the output's.
    """
    if max(scale_a, scale_b) / q.scale >= 2.0**20:
        raise fail("an operand's scale is over 2^20 times the output's", where, "check the scales")
    if numerics == "tflm":
        twice = 2.0 * max(scale_a, scale_b)
        (m_a, s_a), (m_b, s_b) = quantise_multiplier(scale_a / twice), quantise_multiplier(scale_b / twice)
        m_out, s_out = quantise_multiplier(twice / ((1 << TFLM_LEFT_SHIFT) * q.scale))
        return Sum(numerics, (m_a, m_b), (s_a, s_b), signs, s_out, m_out, q.zero_point, q.low, q.high)
    reals = (signs[0] * scale_a / q.scale, signs[1] * scale_b / q.scale)
    shift = min(31 - frexp(max(abs(r) for r in reals))[1], 54)
    m_a, m_b = (min(round(r * 2.0**shift), (1 << 31) - 1) for r in reals)
    return Sum(numerics, (m_a, m_b), (0, 0), (1, 1), shift, 0, q.zero_point, q.low, q.high)


def make_requant(
    numerics: Numerics,
    reals: Sequence[float],
    zero_point: int,
    low: int,
    high: int,
    *,
    acc_bound: int | Sequence[int],
    where: str,
) -> Requant:
    """The `Requant` that multiplies by `reals` (one per channel, or one).

    Args:
        numerics: rule.
        reals: positive or negative real factors.
        zero_point, low, high: of the output.
        acc_bound: |accumulator| never exceeds it; of each channel, or of all.
        where: for messages.

    Raises:
        VmcuError: a factor is not finite or too large, accumulators may exceed int32, or the factors are so
            far apart that they cannot share a shift.
    """
    bounds = [acc_bound] * len(reals) if isinstance(acc_bound, int) else list(acc_bound)
    _check_range(reals, max(bounds), where)
    if numerics == "tflm":
        pairs = [quantise_multiplier(r) for r in reals]
        return Requant(
            numerics, tuple(m for m, _ in pairs), tuple(s for _, s in pairs), 0, 0, zero_point, low, high
        )
    factors = [min(max(r, -SATURATING), SATURATING) for r in reals]
    # The largest |factor| gets all 31 bits: M = factor * 2^s / 2^k < 2^31 with s - 32 in 1..22.
    exponent = frexp(max(abs(r) for r in factors))[1]  # |factor| < 2^exponent
    s = 31 - exponent
    k = max(0, 33 - s)
    s = min(max(s, 33), 54)
    multipliers = [round(r * 2.0 ** (s - k)) for r in factors]
    if max(abs(m) for m in multipliers) >= 1 << 31:  # rounding up to 2^31 exactly
        s, k = (s - 1, k) if s > 33 else (s, k + 1)
        multipliers = [round(r * 2.0 ** (s - k)) for r in factors]
    limit = (1 << (31 - k)) - 1
    for real, bound in zip(factors, bounds, strict=True):
        if bound > limit and abs(real) * limit < SATURATING:
            largest = max(abs(r) for r in reals)
            raise fail(
                f"rescaling factors {largest:g} and {abs(real):g} of two channels are too far apart",
                where,
                "use scales of similar size for all channels, or one scale for all",
            )
    clamp = limit if max(bounds) > limit else 0
    return Requant(numerics, tuple(multipliers), (s,), k, clamp, zero_point, low, high)


def _check_range(reals: Sequence[float], acc_bound: int, where: str) -> None:
    """Raises VmcuError where factors or accumulators are too large for any rule."""
    if acc_bound >= 1 << 31:
        raise fail(
            f"accumulators may reach {acc_bound}, beyond int32", where, "use smaller weights or fewer inputs"
        )
    if not np.all(np.isfinite(reals)) or max(abs(r) for r in reals) >= MAX_FACTOR:
        raise fail(f"rescaling factor {max(reals, key=abs):g} is out of range", where, "check the scales")


def make_requant_mean_tflm(real: float, divisor: int, q: OutRange, *, acc_bound: int, where: str) -> Requant:
    """The `Requant` of a sum that is divided by `divisor`, as TFLite Micro builds it.

    Raises:
        VmcuError: as `make_requant`.

    Source: TFLite Micro's QuantizedMeanOrSum: the division by the count goes into the multiplier.
    """
    _check_range([real], acc_bound, where)
    multiplier, shift = quantise_multiplier(real)
    extra = min(divisor.bit_length() - 1, 32, 31 + shift)
    multiplier = (multiplier << extra) // divisor
    return Requant("tflm", (multiplier,), (shift - extra,), 0, 0, q.zero_point, q.low, q.high)


def quantise_multiplier(real: float) -> tuple[int, int]:
    """`real` as (q, shift) with real ~ q * 2^(shift - 31).

    Raises:
        Unsupported: |real| is beyond 2^MAX_SHIFT.

    Source: TFLite's QuantizeMultiplier.
    """
    if real == 0.0:
        return 0, 0
    if not isfinite(real) or frexp(real)[1] > MAX_SHIFT:
        raise Unsupported(f"a rescaling factor of {real:g}", "check the scales of its input and output")
    mantissa, shift = frexp(real)
    q = int(np.floor(abs(mantissa) * (1 << 31) + 0.5)) * (1 if real > 0 else -1)
    if abs(q) == 1 << 31:
        q //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return q, shift


def multiply_tflm(x: Ints, q: Ints | int, shift: Ints | int) -> Ints:
    """MultiplyByQuantizedMultiplier: x * q * 2^(shift-31) with gemmlowp's two roundings.

    Args:
        x: int32 values.
        q, shift: from `quantise_multiplier`, broadcast against `x`.
    """
    q, shift = np.asarray(q, np.int64), np.asarray(shift, np.int64)
    left, right = np.clip(shift, 0, 32), np.clip(-shift, 0, 62)  # beyond these all bits are gone
    wide = (x << left) & 0xFFFFFFFF
    wide = np.where(wide >= 1 << 31, wide - (1 << 32), wide)
    product = wide * q
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    high = np.where(total >= 0, total >> 31, -((-total) >> 31))  # C division truncates
    high = np.clip(high, -(1 << 31), (1 << 31) - 1)
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + ((high & mask) > threshold), np.int64)


def round_half_away(x: float) -> int:
    """TfLiteRound / std::round."""
    return int(np.floor(abs(x) + 0.5)) * (1 if x >= 0 else -1)
