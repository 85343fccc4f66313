"""Sums and differences of two tensors, element by element, on DSP cores: four elements of each a word.

`onnx` (SPEC.md, section 2.4) is one 64-bit sum: two SMLAL onto the rounded zero point. In `tflm` the operand of the larger
scale is only shifted (its multiplier is one half), the other goes through two roundings, the sum through two more; see `rescale.py`
for how these are done.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.rescale import MOST_SHIFT, limit
from vmcu.ops.base import Kernel
from vmcu.quant.requantise import TFLM_LEFT_SHIFT, Sum

WORD = 4
HALF = 1 << 30  # the multiplier 0.5
AROUND = 20  # instructions of the C around the routine

Role = Literal["shifted", "rounded"]


def sum_kernels(total: Sum, zeros: tuple[int, int], count: int) -> tuple[Kernel, ...]:
    """Kernels of a sum of two rows of `count` elements; none where the routine cannot.

    Args:
        zeros: zero points of the operands.
    """
    if count < WORD:
        return ()
    make = _onnx if total.numerics == "onnx" else _tflm
    made, last = make(total, zeros, count), make(total, zeros, WORD)
    if made is None or last is None:
        return ()
    routine, numbers = made
    context = {"whole": count // WORD * WORD, "part": count % WORD, "last": count - WORD, "numbers": numbers}
    work = routine.instructions + AROUND + (last[0].instructions + AROUND) * (count % WORD > 0)
    return (Kernel("sum_dsp", context, functions={"add": routine.function}, instructions=work),)


def _onnx(total: Sum, zeros: tuple[int, int], count: int) -> tuple[Routine, list[int]] | None:
    m, n = total.multipliers
    add = (total.zero_point << total.shift) + (1 << (total.shift - 1)) - zeros[0] * m - zeros[1] * n
    low = add & 0xFFFFFFFF
    numbers = [m, n, low - (1 << 32) if low >> 31 else low, add >> 32]
    return add_onnx(total.shift, total.low, total.high, count // WORD), numbers


def _tflm(total: Sum, zeros: tuple[int, int], count: int) -> tuple[Routine, list[int]] | None:
    if not 1 <= -total.shift <= MOST_SHIFT or total.out_multiplier < 0:
        return None
    roles: list[Role] = []
    for multiplier, shift in zip(total.multipliers, total.shifts, strict=True):
        if multiplier == HALF and shift == 0:
            roles.append("shifted")
        elif 1 <= -shift <= 30 and multiplier > 0:
            roles.append("rounded")
        else:
            return None
    if roles == ["rounded", "rounded"]:
        return None
    other = roles.index("rounded") if "rounded" in roles else 1
    first = 1 - other
    sign, sign2 = total.signs[first], total.signs[other]
    start = -sign * (zeros[first] << (TFLM_LEFT_SHIFT - 1))
    shift = -total.shifts[other]
    if roles[other] == "shifted":
        start -= sign2 * (zeros[other] << (TFLM_LEFT_SHIFT - 1))
        shift = 0
    numbers = [
        start,
        -(zeros[other] << (TFLM_LEFT_SHIFT + 1)),
        total.multipliers[other],
        1 << (shift - 1) if shift else 0,
        total.out_multiplier,
        (total.zero_point << -total.shift) + (1 << (-total.shift - 1)),
    ]
    routine = add_tflm(
        (first, other), (sign, sign2), shift, -total.shift, total.low, total.high, count // WORD
    )
    return routine, numbers


@lru_cache(maxsize=64)
def add_onnx(shift: int, low: int, high: int, count: int) -> Routine:
    """The function is f(a, b, out, a_end, m, n, low, high)."""
    p = Program(
        "add",
        [f"Two rows, scaled and added in 64 bits, shifted by {shift}."],
        [
            *(
                ("a", "const int8_t *"),
                ("b", "const int8_t *"),
                ("out", "int8_t *"),
                ("a_end", "const int8_t *"),
            ),
            *(("m", "int32_t"), ("n", "int32_t"), ("low", "int32_t"), ("high", "int32_t")),
        ],
    )
    (x, y), to, end = _pointers(p), p.target("to", 2), p.source("end", 3)
    p.get(end, "a_end")
    m, n, start_low, start_high = p.numbers("c", (4, 5, 6, 7))
    for reg, name in zip((m, n, start_low, start_high), ("m", "n", "low", "high"), strict=True):
        p.get(reg, name)
    a, b, s, t, sum_low, sum_high = p.numbers("v", (8, 9, 10, 11, 12, 13))
    with p.until("word", x, end):
        p.load(a, x, step=WORD)
        p.load(b, y, step=WORD)
        for i in range(WORD):
            p.signed_byte(s, a, i)
            p.signed_byte(t, b, i)
            p.move(sum_low, start_low)
            p.move(sum_high, start_high)
            p.long_mla(sum_low, sum_high, s, m)
            p.long_mla(sum_low, sum_high, t, n)
            if shift < 32:
                p.funnel(s, sum_low, sum_high, shift)
                p.saturate(s, s)
            else:
                p.saturate(s, sum_high, shift - 32)
            limit(p, low, high, s)
            p.store_byte(s, to, step=1)
    return Routine(p.function(), p.count({"word": count}))


@lru_cache(maxsize=64)
def add_tflm(
    order: tuple[int, int], signs: tuple[int, int], shift: int, right: int, low: int, high: int, count: int
) -> Routine:
    """The function is f(a, b, out, a_end, start, start2, multiplier, half, out_multiplier, add).

    Args:
        order: the operand that is only shifted, and the other.
        signs: of these.
        shift: second rounding of the other; 0: it is only shifted, too.
        right: last shift.
    """
    names = ("start", "start2", "multiplier", "half", "out_multiplier", "add")
    p = Program(
        "add",
        [f"Two rows, scaled and added as TFLite Micro does; shifts {shift} and {right}."],
        [
            *(
                ("a", "const int8_t *"),
                ("b", "const int8_t *"),
                ("out", "int8_t *"),
                ("a_end", "const int8_t *"),
            ),
            *((name, "int32_t") for name in names),
        ],
    )
    x, y = _pointers(p)
    to = p.target("to", 2)
    numbers = p.numbers("c", (3, 4, 5, 6, 7, 8))
    for reg, name in zip(numbers, names, strict=True):
        p.get(reg, name)
    start, start2, multiplier, half, out_multiplier, add = numbers
    words = p.numbers("v", (9, 10))
    s, t, sign = p.numbers("t", (11, 12, 13))
    with p.until("word", x, "a_end", p.source("end", 9)):
        p.load(words[0], x, step=WORD)
        p.load(words[1], y, step=WORD)
        for i in range(WORD):
            p.signed_byte(s, words[order[0]], i)
            p.signed_byte(t, words[order[1]], i)
            p.add_left(s, start, s, TFLM_LEFT_SHIFT - 1, negative=signs[0] < 0)
            if shift:
                p.add_left(t, start2, t, TFLM_LEFT_SHIFT + 1)
                p.add(sign, half, t, asr=31)
                p.high_mla(t, t, multiplier, sign, rounded=True)
                if signs[1] > 0:
                    p.add(s, s, t, asr=shift)
                else:
                    p.sub_shifted(s, s, t, shift)
            else:
                p.add_left(s, s, t, TFLM_LEFT_SHIFT - 1, negative=signs[1] < 0)
            p.shift_left(s, s, 1)
            p.add(sign, add, s, asr=31)
            p.high_mla(s, s, out_multiplier, sign, rounded=True)
            p.saturate(s, s, right)
            limit(p, low, high, s)
            p.store_byte(s, to, step=1)
    return Routine(p.function(), p.count({"word": count}))


def _pointers(p: Program) -> tuple[Reg, Reg]:
    x, y, to = p.source("x", 0), p.source("y", 1), p.target("to", 2)
    p.get(x, "a")
    p.get(y, "b")
    p.get(to, "out")
    return x, y
