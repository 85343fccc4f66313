"""TFLite Micro's own fixed-point functions, bit for bit: what `tflm` numerics means beyond rescaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import frexp
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import Unsupported
from vmcu.quant import fixedpoint as fx
from vmcu.quant.requantise import multiply_tflm, quantise_multiplier, round_half_away

if TYPE_CHECKING:
    from vmcu.quant.lowering import OutQuant, View

Ints = NDArray[np.int64]

_CURVE_INPUT_BITS = 4
_SOFTMAX_DIFF_BITS = 5
_SOFTMAX_SUM_BITS = 12


def unary_table_tflm(
    op: str, attributes: Mapping[str, object], source: View, out: OutQuant
) -> NDArray[np.int64] | None:
    """Table of 256 values (unclamped int8 range) as TFLM's kernel for `op` computes them.

    None where TFLM has no int8 kernel of its own for these parameters: the exact table serves.
    """
    q = np.arange(-128, 128, dtype=np.int64) - source.zero_point
    match op:
        case "Requantise" | "Relu" | "Clip":
            return _rescaled(q, source.scale / out.scale) + out.zero_point
        case "LeakyRelu":
            return (
                leaky_relu_tflm(q, source.scale, _number(attributes, "alpha", 0.01), out.scale)
                + out.zero_point
            )
        case "Sigmoid" if (out.scale, out.zero_point) == (1 / 256, -128):
            return sigmoid_tflm(q, source.scale)
        case "Tanh" if (out.scale, out.zero_point) == (1 / 128, 0):
            return tanh_tflm(q, source.scale)
        case "HardSwish":
            table = hard_swish_tflm(q, source.scale, out.scale)
            return None if table is None else table + out.zero_point
        case "Elu" if _number(attributes, "alpha", 1.0) == 1.0:
            return elu_tflm(q, source.scale, out.scale, out.zero_point)
    return None


def _number(attributes: Mapping[str, object], name: str, default: float) -> float:
    return float(attributes.get(name, default))  # type: ignore[arg-type]


def _float_ratio(a: float, b: float) -> float:
    """a / b rounded to float32, as C computes it from two float members."""
    with np.errstate(over="ignore"):  # infinity: `quantise_multiplier` refuses it
        return float(np.float32(a) / np.float32(b))


def _rescaled(q: Ints, real: float) -> Ints:
    multiplier, shift = quantise_multiplier(real)
    return multiply_tflm(q, multiplier, shift)


# ---- functions of one element -------------------------------------------------------------------------


def leaky_relu_tflm(q: Ints, input_scale: float, alpha: float, output_scale: float) -> Ints:
    """LeakyRelu of values without zero point; the output zero point is still to be added.

    Source: TFLM kernels leaky_relu_common.cc, reference/leaky_relu.h.
    """
    identity = _rescaled(q, input_scale / output_scale)
    scaled = _rescaled(q, input_scale * float(np.float32(alpha)) / output_scale)
    return np.asarray(np.where(q >= 0, identity, scaled), np.int64)


def sigmoid_tflm(q: Ints, input_scale: float) -> Ints:
    """Logistic of values without zero point; output scale 1/256, zero point -128.

    Source: TFLM kernels logistic_common.cc, reference/integer_ops/logistic.h.
    """
    curve = fx.divide_by_pot(fx.logistic(_curve_input(q, input_scale), _CURVE_INPUT_BITS), 31 - 8) - 128
    return _outside(q, input_scale, curve)


def tanh_tflm(q: Ints, input_scale: float) -> Ints:
    """Tanh of values without zero point; output scale 1/128, zero point 0.

    Source: TFLM kernels tanh.cc, reference/integer_ops/tanh.h.
    """
    curve = fx.divide_by_pot(fx.tanh(_curve_input(q, input_scale), _CURVE_INPUT_BITS), 31 - 7)
    return _outside(q, input_scale, curve)


def _curve_multiplier(input_scale: float) -> tuple[int, int]:
    mantissa, shift = frexp(float(np.float32(input_scale)) * (1 << (31 - _CURVE_INPUT_BITS)))
    return round_half_away(mantissa * (1 << 31)), shift


def _curve_input(q: Ints, input_scale: float) -> Ints:
    return multiply_tflm(q, *_curve_multiplier(input_scale))


def _outside(q: Ints, input_scale: float, curve: Ints) -> Ints:
    """`curve` where the input fits its fixed-point format, the ends of int8 where it does not."""
    radius = _input_radius(_CURVE_INPUT_BITS, _curve_multiplier(input_scale)[1])
    ends = np.where(q <= -radius, -128, np.where(q >= radius, 127, curve))
    return np.asarray(np.clip(ends, -128, 127), np.int64)


def _input_radius(integer_bits: int, left_shift: int) -> int:
    """Largest |input| whose rescaled value fits; source: TFLite's CalculateInputRadius."""
    return int(np.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**left_shift))


def hard_swish_tflm(q: Ints, input_scale: float, output_scale: float) -> Ints | None:
    """HardSwish of values without zero point; the output zero point is still to be added.

    None where TFLM refuses the scales (the output may not be finer than 1/128 of the input).

    Source: TFLM kernels hard_swish_common.cc, reference/hard_swish.h.
    """
    hires_scale = np.float32(1 / 128) * np.float32(input_scale)
    out_multiplier, out_exponent = quantise_multiplier(_float_ratio(float(hires_scale), output_scale))
    gate_multiplier, gate_exponent = quantise_multiplier(_float_ratio(float(hires_scale), 3 / 32768))
    if out_exponent > 0:
        return None
    hires = q * 128
    value = fx.high_mul_16(hires, _narrow(out_multiplier))
    gate = hires
    if gate_exponent > 0:
        gate = fx.shift_left_16(gate, gate_exponent - 1)
    gate = fx.high_mul_16(gate, _narrow(gate_multiplier))
    if gate_exponent > 0:
        gate = fx.shift_left_16(gate, 1)
    elif gate_exponent < 0:
        gate = fx.divide_by_pot(gate, -gate_exponent)
    gate = (gate + (1 << 15)) >> 1  # -1..1 to 0..1
    product = gate * value
    swished = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return fx.divide_by_pot(swished, -out_exponent)


def _narrow(multiplier: int) -> int:
    """int32 multiplier as int16, rounded."""
    return 32767 if multiplier >= fx.INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16


def elu_tflm(q: Ints, input_scale: float, output_scale: float, output_zero_point: int) -> Ints:
    """Elu (alpha 1) of values without zero point, by a table computed in float32.

    Source: TFLM kernels elu.cc.
    """
    real = (np.float32(input_scale) * q.astype(np.float32)).astype(np.float32)
    negative = np.exp(np.minimum(real, 0).astype(np.float64)).astype(np.float32) - np.float32(1)
    scaled = np.where(real < 0, negative, real) * (np.float32(1) / np.float32(output_scale))
    rounded = np.sign(scaled) * np.floor(np.abs(scaled).astype(np.float64) + 0.5)
    return fx.to_raw(rounded) + output_zero_point


# ---- Softmax ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SoftmaxParameters:
    """The integers of TFLM's Softmax.

    Attributes:
        multiplier: int32.
        left_shift: (x - max) * 2^left_shift * multiplier / 2^31 is the difference with 5 integer bits.
        diff_min: inputs further below the maximum than this give 0.
    """

    multiplier: int
    left_shift: int
    diff_min: int


def softmax_parameters_tflm(input_scale: float, beta: float = 1.0) -> SoftmaxParameters:
    """Integers of Softmax for an input scale.

    Raises:
        Unsupported: TFLM has none, the scale is so small that all results are equal.

    Source: TFLM kernels softmax_common.cc, PreprocessSoftmaxScaling.
    """
    real = float(np.float32(beta)) * float(np.float32(input_scale)) * (1 << (31 - _SOFTMAX_DIFF_BITS))
    if real <= 1.0:
        raise Unsupported(
            f"an input scale of {input_scale:g} in tflm numerics", "use onnx numerics, or a larger scale"
        )
    # Half the factor, with one more shift: the largest factor shifts by 31, which no int32 but 0 survives.
    multiplier, shift = quantise_multiplier(min(real, (1 << 31) - 1.0) / 2)
    shift += 1
    return SoftmaxParameters(multiplier, shift, -_input_radius(_SOFTMAX_DIFF_BITS, shift))


def softmax_exps_tflm(parameters: SoftmaxParameters) -> NDArray[np.int32]:
    """exp(-d * scale) with 31 fractional bits for d = max - x = 0..255; 0 beyond diff_min.

    A kernel that reads this table equals one that computes the exponentials: a value that TFLM skips adds 0
    to the sum and gives -128, as 0 does.
    """
    d = -np.arange(256, dtype=np.int64)
    rescaled = fx.high_mul(d * (1 << parameters.left_shift), parameters.multiplier)
    inside = d >= parameters.diff_min
    exps = fx.exp_on_negative_values(np.where(inside, rescaled, 0), _SOFTMAX_DIFF_BITS)
    return np.where(inside, exps, 0).astype(np.int32)


def softmax_tflm(x: NDArray[np.int8], input_scale: float, beta: float = 1.0) -> NDArray[np.int8]:
    """Softmax over the last axis (at most 4,095 long); output scale 1/256, zero point -128.

    TFLM is undefined where the exponentials add up to 512 or more (512 equal inputs); here that gives -128.

    Shapes: (..., n) -> (..., n).

    Source: TFLM kernels reference/softmax.h.
    """
    table = softmax_exps_tflm(softmax_parameters_tflm(input_scale, beta)).astype(np.int64)
    wide = x.astype(np.int64)
    exps = table[wide.max(axis=-1, keepdims=True) - wide]
    total = fx.divide_by_pot(exps, _SOFTMAX_SUM_BITS).sum(axis=-1, keepdims=True)
    headroom = fx.leading_zeros(total)
    scale = fx.one_over_one_plus_x((total << headroom) - (1 << 31))
    shifted = fx.divide_by_pot(fx.high_mul(exps, scale), _SOFTMAX_SUM_BITS - headroom + 31 - 8)
    return np.clip(shifted - 128, -128, 127).astype(np.int8)
