"""Additions and subtractions of two tensors, four elements at a time, exactly as SPEC.md, section 2.4, says.

* `onnx` sums two products in 64 bits. Here every multiplier is H * 2^20 + L with 0 <= L < 2^20: the lower sums fit 32 bits,
  what they exceed 2^20 by is added to the upper ones, and the rounding shift of those is the shift of the whole.
* `tflm` scales each operand, shifted left by 20, to the larger one's scale. The larger one's multiplier is then 1/2, which
  is a shift by 19. Negative ties of RDP are treated as in `rescale.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vmcu.kernels.assembly import Reg, Routine
from vmcu.kernels.mve.helium import Helium, Vec
from vmcu.kernels.mve.rescale import clamp_words
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import TFLM_LEFT_SHIFT, Sum

LOW_BITS = 20
HALF = 1 << 30  # a multiplier of 1/2
LANES = 4
CALL = 14


@dataclass(frozen=True, slots=True)
class Form:
    """What the text of a sum depends on.

    Attributes:
        numerics: rule.
        right: `onnx`: shift of the upper sums.
        halves: `tflm`, per operand: its multiplier is 1/2 and its exponent 0.
        shifted: `tflm`, per operand: its exponent is not 0.
        minus: `tflm`, per operand: it is subtracted.
        away: `tflm`: negative ties of the result matter.
        low, high: of the output.
    """

    numerics: str
    right: int
    halves: tuple[bool, bool]
    shifted: tuple[bool, bool]
    minus: tuple[bool, bool]
    away: bool
    low: int
    high: int


def sum_kernel(rule: Sum, zero_points: tuple[int, int], count: int) -> Kernel | None:
    """The kernel, or None where its instructions do not cover the rule.

    Args:
        zero_points: of the operands.
        count: elements of a row.
    """
    made = _onnx(rule, zero_points) if rule.numerics == "onnx" else _tflm(rule, zero_points)
    if made is None:
        return None
    form, numbers = made
    text = routine(form, count)
    return Kernel(
        "sum_mve",
        {"count": count},
        (ConstArray("numbers", np.array(numbers, np.int32), "tables"),),
        functions={"sum": text.function},
        instructions=text.instructions + CALL,
    )


def _onnx(rule: Sum, zero_points: tuple[int, int]) -> tuple[Form, list[int]] | None:
    if not LOW_BITS < rule.shift <= LOW_BITS + 31:
        return None
    mask = (1 << LOW_BITS) - 1
    constant = -sum(m * zero for m, zero in zip(rule.multipliers, zero_points, strict=True))
    numbers = [*rule.multipliers, constant]
    form = Form("onnx", rule.shift - LOW_BITS, *((False, False),) * 3, False, rule.low, rule.high)
    return form, [*(n & mask for n in numbers), *(n >> LOW_BITS for n in numbers), rule.zero_point]


def _tflm(rule: Sum, zero_points: tuple[int, int]) -> tuple[Form, list[int]] | None:
    away = rule.low < rule.zero_point
    if any(not -31 <= s <= 0 for s in rule.shifts) or not -31 <= rule.shift <= (-1 if away else 0):
        return None
    halves = [m == HALF and s == 0 for m, s in zip(rule.multipliers, rule.shifts, strict=True)]
    form = Form(
        "tflm",
        0,
        (halves[0], halves[1]),
        (rule.shifts[0] < 0, rule.shifts[1] < 0),
        (rule.signs[0] < 0, rule.signs[1] < 0),
        away,
        rule.low,
        rule.high,
    )
    numbers = []
    for half, zero, m, s in zip(halves, zero_points, rule.multipliers, rule.shifts, strict=True):
        numbers += [-zero << (TFLM_LEFT_SHIFT - 1 if half else TFLM_LEFT_SHIFT), m, s]
    return form, [*numbers, rule.out_multiplier, rule.shift, rule.zero_point]


@lru_cache(maxsize=64)
def routine(form: Form, count: int) -> Routine:
    """The function f(a, b, out, numbers, count): `numbers` are those of `_onnx` and `_tflm`.

    Args:
        count: elements, for `instructions`.
    """
    p = Helium(
        "mve_sum",
        ["The rescaled sum of two rows, element by element."],
        [
            *(("a", "const int8_t *"), ("b", "const int8_t *"), ("out", "int8_t *")),
            *(("numbers", "const int32_t *"), ("count", "int32_t")),
        ],
        saves=False,
    )
    a, b, to = p.source("x", 0), p.source("y", 1), p.target("dest", 2)
    numbers = p.numbers("number", (4, 5, 6, 7, 8, 9, 10, 11, 12)[: 7 if form.numerics == "onnx" else 9])
    source, left = p.source("rest", 3), p.number("left", 3)
    p.get(source, "numbers")
    p.load_all(numbers, source)
    p.get(a, "a")
    p.get(b, "b")
    p.get(to, "out")
    p.get(left, "count")
    q = [p.vec(i) for i in range(4)]
    with p.bytes_of("vector", left, 32):
        p.widen_bytes(q[0], a, 32, step=LANES)
        p.widen_bytes(q[1], b, 32, step=LANES)
        if form.numerics == "onnx":
            _add_onnx(p, form, q, numbers)
        else:
            _add_tflm(p, form, q, numbers)
        clamp_words(p, q[0], q[1], p.number("limit", 3), form.low, form.high)
        p.store_lanes(q[0], to, 32, step=LANES)
    return Routine(p.function(), p.count({"vector": -(-count // LANES)}))


def _add_onnx(p: Helium, form: Form, q: list[Vec], numbers: tuple[Reg, ...]) -> None:
    """q0, q1 -> q0, without clamp."""
    low, high = numbers[:3], numbers[3:6]
    p.mul_vec(q[2], q[0], low[0])
    p.mla_vec(q[2], q[1], low[1])
    p.add_vec(q[2], q[2], low[2])
    p.shift_right_vec(q[2], q[2], LOW_BITS)
    p.mla_vec(q[2], q[0], high[0])
    p.mla_vec(q[2], q[1], high[1])
    p.add_vec(q[2], q[2], high[2])
    p.shift_right_rounded(q[2], q[2], form.right)
    p.add_vec(q[0], q[2], numbers[6])


def _add_tflm(p: Helium, form: Form, q: list[Vec], numbers: tuple[Reg, ...]) -> None:
    """q0, q1 -> q0, without clamp."""
    for i in (0, 1):
        offset, multiplier, exponent = numbers[3 * i : 3 * i + 3]
        p.shift_left_vec(q[i], q[i], TFLM_LEFT_SHIFT - form.halves[i])
        p.add_vec(q[i], q[i], offset)
        if form.halves[i]:
            continue
        p.doubling_high_product(q[i], q[i], multiplier)
        if form.shifted[i]:
            p.sign_vec(q[2], q[i])
            p.add_vec(q[i], q[i], q[2])
            p.shift_rounded_all(q[i], exponent)
    if form.minus[0]:
        p.sub_vec(q[0], q[1], q[0])  # never both
    elif form.minus[1]:
        p.sub_vec(q[0], q[0], q[1])
    else:
        p.add_vec(q[0], q[0], q[1])
    p.doubling_high_product(q[0], q[0], numbers[6])
    if form.away:
        p.sign_vec(q[2], q[0])
        p.add_vec(q[0], q[0], q[2])
    p.shift_rounded_all(q[0], numbers[7])
    p.add_vec(q[0], q[0], numbers[8])
