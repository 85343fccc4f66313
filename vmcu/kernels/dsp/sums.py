"""Sums and differences of two tensors, element by element, on DSP cores: four elements of each a word.

There are 65,536 pairs of elements, so whether a shorter formula is equal can be seen by computing them all. This one is two MLA and SSAT, in
32 bits:

    y = limit(sat8((a * m + b * n + add) / 2^right)), rounded down

The roundings of either numerics move a sum by less than 2^-18 of a step, and that far from a step's end there is hardly a pair unless
scales are equal or simple multiples. `short_sum` finds the addends with which every pair is right, for multipliers nearby, or says
that there are none; then the rule is computed as it is written.

`onnx` (SPEC.md, section 2.4) is one 64-bit sum: two SMLAL onto the rounded zero point. In `tflm` the operand of the larger
scale is only shifted (its multiplier is one half), the other goes through two roundings, the sum through two more; see `rescale.py`
for how these are done.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import frexp
from typing import Literal

import numpy as np

from vmcu.kernels.assembly import Program, Reg, Routine
from vmcu.kernels.dsp.rescale import MOST_SHIFT, limit
from vmcu.ops.base import Kernel
from vmcu.quant.requantise import TFLM_LEFT_SHIFT, Sum, real_factors

WORD = 4
HALF = 1 << 30  # the multiplier 0.5
AROUND = 20  # instructions of the C around the routine
MOST_UNROLLED = 4  # words
SHARED_RIGHT = 20  # a shift that layers share, where it does
NEARBY = 2  # multipliers that are tried on either side
FAR = 1 << 40

Role = Literal["shifted", "rounded"]


def sum_kernels(total: Sum, zeros: tuple[int, int], count: int) -> tuple[Kernel, ...]:
    """Kernels of a sum of two rows of `count` elements; none where the routine cannot.

    Args:
        zeros: zero points of the operands.
    """
    if count < WORD:
        return ()
    numbers = short_sum(total, zeros)
    if numbers is not None:
        whole = count // WORD
        u = 1 if count % WORD else max(d for d in range(1, MOST_UNROLLED + 1) if whole % d == 0)
        right, *rest = numbers
        short = tuple((add_short(right, total.low, total.high, n, u), rest) for n in (whole, 1))
        return (_kernel(short[0], short[1][0], count),)
    make = _onnx if total.numerics == "onnx" else _tflm
    made, last = make(total, zeros, count), make(total, zeros, WORD)
    if made is None or last is None:
        return ()
    return (_kernel(made, last[0], count),)


def _kernel(made: tuple[Routine, list[int]], last: Routine, count: int) -> Kernel:
    """A row: whole words, and if something is left, the last word once more."""
    routine, numbers = made
    context = {"whole": count // WORD * WORD, "part": count % WORD, "last": count - WORD, "numbers": numbers}
    work = routine.instructions + AROUND + (last.instructions + AROUND) * (count % WORD > 0)
    return Kernel("sum_dsp", context, functions={"add": routine.function}, instructions=work)


@lru_cache(maxsize=256)
def short_sum(total: Sum, zeros: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """right, m, n and add of the short formula; None where it is not equal for all pairs of elements."""
    values = np.arange(-128, 128)
    wanted = total.apply(values[:, None] - zeros[0], values[None] - zeros[1]).astype(np.int64)
    factors = real_factors(total)
    most = sum(abs(f) * 255 for f in factors) + 128
    largest = 31 - frexp(most)[1]  # then the sum fits a word
    for right in dict.fromkeys((min(SHARED_RIGHT, largest), largest)):
        if not 1 <= right <= 31:
            continue
        near = range(-NEARBY, NEARBY + 1)
        for apart in sorted(product(near, near), key=lambda pair: abs(pair[0]) + abs(pair[1])):
            m, n = (round(f * 2.0**right) + d for f, d in zip(factors, apart, strict=True))
            base = values[:, None] * m + values[None] * n
            # Every sum has to be in the step of its output; the first and the last step have one end.
            least = np.where(wanted > total.low, (wanted << right) - base, -FAR).max()
            top = np.where(wanted < total.high, ((wanted + 1) << right) - base - 1, FAR).min()
            if least <= top:
                add = int(top if least == -FAR else least if top == FAR else (least + top) >> 1)
                if np.abs(base + add).max() < 1 << 31:
                    return right, m, n, add
    return None


@lru_cache(maxsize=64)
def add_short(right: int, low: int, high: int, count: int, unrolled: int) -> Routine:
    """The function is f(a, b, out, a_end, m, n, add)."""
    p = Program(
        "add",
        [f"Two rows, scaled and added in 32 bits, shifted by {right}."],
        [
            *(("a", "const int8_t *"), ("b", "const int8_t *"), ("out", "int8_t *")),
            ("a_end", "const int8_t *"),
            *(("m", "int32_t"), ("n", "int32_t"), ("add", "int32_t")),
        ],
    )
    (x, y), to, end = _pointers(p), p.target("to", 2), p.source("end", 3)
    p.get(end, "a_end")
    m, n, add = p.numbers("c", (4, 5, 6))
    for reg, name in zip((m, n, add), ("m", "n", "add"), strict=True):
        p.get(reg, name)
    a, b, s, t = p.numbers("v", (7, 8, 9, 10))
    with p.until("word", x, end), p.repeat(unrolled):
        p.load(a, x, step=WORD)
        p.load(b, y, step=WORD)
        for i in range(WORD):
            p.signed_byte(s, a, i)
            p.signed_byte(t, b, i)
            p.mla_words(s, s, m, add)
            p.mla_words(s, t, n, s)
            p.saturate(s, s, right)
            limit(p, low, high, s)
            p.store_byte(s, to, step=1)
    return Routine(p.function(), p.count({"word": max(count // unrolled, 1)}))


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
