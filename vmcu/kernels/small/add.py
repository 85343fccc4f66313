"""Addition of two tensors on small cores, element by element.

`tflm`: the operand with the greater scale is halved exactly, so of its three roundings only a shift by 19 remains. The other one and
the sum are rescaled as accumulators are (`common.py`); on Cortex-M0+ the operand's multiplier is cut at bit 11 (the product with a
difference of bytes is short) and the sum and its multiplier at bit 16, the lower half of the sum with its sign.

`onnx`, Cortex-M0+: the sum of 64 bits is built from its upper and its lower half, zero points in the constant. (Cortex-M3 has SMLAL,
and compilers use it.)
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa
from vmcu.kernels.assembly import Reg
from vmcu.kernels.small.assembly import Thumb1, Thumb2, counted
from vmcu.kernels.small.common import SMALL, Routine, Scale, as_words, rescale_thumb2
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Sum

HALF = 1 << 30  # multiplier of an operand that is halved
LEFT = 20  # TFLite's shift of the operands
MOST_SHIFT = 22
PER_ROW = 20


def add_kernel(isa: Isa, rule: Sum, zeros: tuple[int, int], count: int) -> Kernel | None:
    """The sum of two rows of `count` bytes, or None where there is no better one than in C."""
    if isa not in SMALL or rule.signs != (1, 1):
        return None
    thumb1 = isa == "armv6-m"
    scale = Scale(thumb1, rule.numerics, 0, rule.low, rule.high)
    if rule.numerics == "onnx":
        values = _onnx_words(rule, zeros)
        if not thumb1 or values is None:
            return None
        routine = _onnx(scale, rule.shift - 16, count)
        swapped = False
    else:
        halved = [m == HALF and s == 0 for m, s in zip(rule.multipliers, rule.shifts, strict=True)]
        if not any(halved):
            return None
        swapped = not halved[1]
        other = int(swapped)  # the operand that is not known to be halved comes first
        shift, last = -rule.shifts[other], -rule.shift
        if not 0 <= shift <= MOST_SHIFT or not 1 <= last <= MOST_SHIFT:
            return None
        zero = rule.zero_point - (rule.low if thumb1 else 0)
        addend = (zero << last) + (1 << (last - 1))
        m, out = rule.multipliers[other], rule.out_multiplier
        both = (m & 0x7FF, m >> 11, out & 0xFFFF, out >> 16, addend) if thumb1 else (m, out, addend)
        values = np.array(both, np.int64)
        text = _tflm_thumb1 if thumb1 else _tflm_thumb2
        routine = text(scale, (zeros[other], zeros[1 - other]), shift, last, count)
    return Kernel(
        "add_small",
        {"count": count, "first": int(swapped), "second": 1 - int(swapped), "thumb1": thumb1},
        (ConstArray("parameters", partial(as_words, values), "tables"),),
        functions={"add": routine.function},
        instructions=routine.instructions + PER_ROW,
    )


def _names(thumb1: bool) -> list[tuple[str, str]]:
    last = ("index", "int32_t") if thumb1 else ("out_end", "int8_t *")
    source = "const int8_t *"
    return [("a", source), ("b", source), ("out", "int8_t *"), ("parameters", "const int32_t *"), last]


def _unrolled(count: int) -> int:
    return max(d for d in (1, 2, 3, 4) if count % d == 0)


@lru_cache(maxsize=128)
def _tflm_thumb2(scale: Scale, zeros: tuple[int, int], shift: int, last: int, count: int) -> Routine:
    """f(a, b, out, parameters, out_end): b is halved."""
    p = Thumb2("add", ["Sums of two rows, the second with the greater scale."], _names(False))
    a, b, out, end = p.source("from", 0), p.source("other", 1), p.target("to", 2), p.target("stop", 3)
    x, y, t, low = p.number("x", 4), p.number("y", 5), p.number("t", 6), p.number("low", 7)
    m, n, add = p.number("m", 8), p.number("n", 9), p.number("add", 10)
    p.get(p.source("start", 0), "parameters")
    p.load_all((m, n, add), p.source("start", 0))
    for reg, name in ((a, "a"), (b, "b"), (out, "out"), (end, "out_end")):
        p.get(reg, name)
    u = _unrolled(count)
    with p.until("element", out, end), p.repeat(u):
        p.byte(x, a, step=1)
        p.byte(y, b, step=1)
        p.minus(x, zeros[0])
        p.minus(y, zeros[1])
        p.shifted_left(x, LEFT + 1)
        if shift:
            p.power(t, shift - 1)
            p.add(t, t, x, asr=31)
        else:
            p.move(t, 0)
        p.add_upper_rounded(t, x, m, low)
        if shift:
            p.shift_right(t, t, shift)
        p.add_shifted(x, t, y, LEFT - 1)
        rescale_thumb2(p, scale, x, n, add, last, t, low)
        p.store_byte(x, out, step=1)
    return Routine(p.function(), counted(p, {"element": count // u}))


@lru_cache(maxsize=128)
def _tflm_thumb1(scale: Scale, zeros: tuple[int, int], shift: int, last: int, count: int) -> Routine:
    """f(a, b, out, parameters, index): b is halved; pointers to the ends of rows, index minus their length."""
    p = Thumb1("add", ["Sums of two rows, the second with the greater scale."], _names(True))
    a, b, i, out = p.source("from", 0), p.source("other", 1), p.number("i", 2), p.target("to", 3)
    x, t, v, w = p.number("x", 4), p.number("t", 5), p.number("v", 6), p.number("w", 7)
    m0, m1, n0, n1, add = p.numbers("k", (8, 9, 10, 11, 12))
    sign = p.number("sign", 13)
    _start(p, (m0, m1, n0, n1, add), a, b, out, i)
    with p.down_to_zero("element", i):
        p.byte(x, a, i)
        p.plus_constant(x, -zeros[0])
        p.copy(t, m0)
        p.multiply(t, x)
        p.copy(v, m1)
        p.multiply(v, x)
        p.round_right(t, 11, v)
        p.byte(w, b, i)
        p.plus_constant(w, -zeros[1])
        p.left(w, LEFT - 1)
        if shift:
            p.right(x, 31)
            p.plus(t, x)
            p.round_right(t, shift, w)
        else:
            p.plus(t, w)
        # The sum's halves v (lower, with its sign) and t.
        p.copy(w, t)
        p.right(w, 31)
        p.copy(sign, w)
        p.lower_half(v, t)
        p.minus(t, v)
        p.right(t, 16)
        p.copy(x, n0)
        p.multiply(x, v)
        p.right(x, 16)
        p.copy(w, n0)
        p.multiply(w, t)
        p.plus(x, w)
        p.copy(w, n1)
        p.multiply(v, w)
        p.plus(x, v)
        p.multiply(t, w)
        p.left(t, 1)
        p.round_right(x, 15, t)
        p.plus(x, sign)
        p.plus(x, add)
        p.right(x, last)
        p.limit(x, scale.high - scale.low, w)
        p.plus_constant(x, scale.low)
        p.store_at(x, out, i)
        p.plus_constant(i, 1)
    return Routine(p.function(), counted(p, {"element": count}))


def _onnx_words(rule: Sum, zeros: tuple[int, int]) -> NDArray[np.int64] | None:
    """Upper and lower halves of multipliers and constant, or None where they do not fit."""
    if not 17 <= rule.shift <= 47:
        return None
    first, second = rule.multipliers
    constant = ((rule.zero_point - rule.low) << rule.shift) + (1 << (rule.shift - 1))
    constant -= zeros[0] * first + zeros[1] * second
    if abs(constant >> 16) + (1 << 25) >= 1 << 31:
        return None
    words = [v for k in (first, second, constant) for v in (k & 0xFFFF, k >> 16)]
    return np.array(words, np.int64)


@lru_cache(maxsize=128)
def _onnx(scale: Scale, right: int, count: int) -> Routine:
    """f(a, b, out, parameters, index): pointers to the ends of rows, index minus their length."""
    p = Thumb1("add", ["Sums of two rows."], _names(True))
    a, b, i, out = p.source("from", 0), p.source("other", 1), p.number("i", 2), p.target("to", 3)
    x, y, t, v = p.number("x", 4), p.number("y", 5), p.number("t", 6), p.number("v", 7)
    m0, m1, n0, n1, k0, k1 = ks = p.numbers("k", (8, 9, 10, 11, 12, 13))
    _start(p, ks, a, b, out, i)
    with p.down_to_zero("element", i):
        p.byte(x, a, i)
        p.byte(y, b, i)
        p.copy(t, m0)
        p.multiply(t, x)
        p.copy(v, n0)
        p.multiply(v, y)
        p.plus(t, v)
        p.plus(t, k0)
        p.right(t, 16)
        p.copy(v, m1)
        p.multiply(v, x)
        p.plus(t, v)
        p.copy(v, n1)
        p.multiply(v, y)
        p.plus(t, v)
        p.plus(t, k1)
        p.right(t, right)
        p.limit(t, scale.high - scale.low, v)
        p.plus_constant(t, scale.low)
        p.store_at(t, out, i)
        p.plus_constant(i, 1)
    return Routine(p.function(), counted(p, {"element": count}))


def _start(p: Thumb1, constants: tuple[Reg, ...], a: Reg, b: Reg, out: Reg, index: Reg) -> None:
    start = p.source("start", 0)
    p.get(start, "parameters")
    p.load_sums(constants, start, [p.number(f"l{n}", n) for n in (4, 5, 6)])
    for reg, name in ((a, "a"), (b, "b"), (out, "out"), (index, "index")):
        p.get(reg, name)
