"""The two roundings of `tflm` as one, where nothing below the zero point is told apart: after a Relu, say.

    y = limit(sat8((256 * acc + offset) * multiplier / 2^(32 + right)), rounded down)

takes SMMUL and SSAT, without a shift of the channel's own. Both are step functions of the accumulator, so they are equal if
each value of y is first reached at the same accumulator. Above the zero point the two roundings are one line with a small shift,

    y >= Y  if and only if  acc * m >= (Y - zero point) * 2^(31 + s) - 2^(30 + s) - 2^30,

but a multiplier that shares its shift with all channels has fewer bits, and an offset in 256ths of the accumulator is coarse. So
for each multiplier near the true one the offsets are computed with which all steps are where they belong. There are none for about one
channel in ten; then a multiplier that is some thousandths of a step off at the far end does it. Nothing is approximated: where no pair
is found, or a sum does not fit, the caller keeps both roundings. Below the zero point they round ties the other way; no line does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.quant.requantise import Requant

ACC_BITS = 8  # left shift of the accumulator
MOST_RIGHT = 21  # then the numbers below fit 64 bits, and a constant its word
FAR = 1 << 62
SEARCHED = (0, 64, 3000)  # multipliers looked at, on either side of the true one
SHARED = 4  # layers whose least shifts are as close have one text, at the price of bits of the multiplier
MOST_SHIFT = 22  # of a channel; then its products fit 64 bits

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Once:
    """The numbers of the formula above.

    Attributes:
        right: shift, of all channels.
        multipliers, offsets: per channel. Where all weights are zero, the offset is for an accumulator of zero.
    """

    right: int
    multipliers: Longs
    offsets: Longs


def make_once(weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], requant: Requant) -> Once | None:
    """The same outputs for all that int8 activations can bring; None where it is not known how.

    Args:
        weights: output channels first.
    """
    w = weights.reshape(len(bias), -1).astype(np.int64)
    least = bias + np.minimum(127 * w, -128 * w).sum(axis=1)
    most = bias + np.maximum(127 * w, -128 * w).sum(axis=1)
    return _found(requant, least.tobytes(), most.tobytes())


@lru_cache(maxsize=512)
def _found(requant: Requant, least: bytes, most: bytes) -> Once | None:
    low, high = np.frombuffer(least, np.int64), np.frombuffer(most, np.int64)
    m = np.broadcast_to(np.array(requant.multipliers, np.int64), low.shape)
    s = -np.broadcast_to(np.array(requant.shifts, np.int64), low.shape)
    if requant.numerics != "tflm" or not requant.zero_point <= requant.low < requant.high:
        return None
    ends = requant.apply(np.stack([low, high])).astype(np.int64)
    used = ends[0] != ends[1]
    if not used.any() or s[used].min() < 1 or s[used].max() > MOST_SHIFT or m[used].min() <= 0:
        return None
    first = int(s[used].min())
    choices = dict.fromkeys((first - first % SHARED or 1, first))
    found = (_with_shift(requant, ends, low, high, m, s, one) for one in choices)
    return next((one for one in found if one is not None), None)


def _with_shift(
    requant: Requant, ends: Longs, low: Longs, high: Longs, m: Longs, s: Longs, first: int
) -> Once | None:
    """The numbers where all channels are shifted to the right as one with a shift of `first` is; none is shifted less."""
    right = first + ACC_BITS - 1
    if right > MOST_RIGHT:
        return None
    used = ends[0] != ends[1]
    values = np.arange(requant.low + 1, requant.high + 1, dtype=np.int64)
    distances = values - requant.zero_point
    pairs: list[tuple[int, int]] = []
    for c in range(len(m)):
        reach = (int(low[c]), int(high[c])) if low[c] < high[c] else (0, 0)
        if used[c]:
            # The accumulators at which the values are reached: a quotient rounded up.
            steps = -((-(distances << (31 + s[c])) + (1 << (30 + s[c])) + (1 << 30)) // m[c])
            true = (int(m[c]) + (1 << (s[c] - first) >> 1)) >> (s[c] - first)
        else:  # at all or at none; the multiplier makes an output's step 2^23
            steps, true = np.where(values <= ends[0, c], -FAR, FAR), 1 << (right + 9)
        last = pairs[-1][0] if pairs else 0  # where all channels have one scale, it is the same again
        pair = _pair(values << (32 + right), steps, int(true), *reach, last)
        if pair is None:
            return None
        pairs.append(pair)
    multipliers, offsets = np.array(pairs, np.int64).T
    return Once(right, multipliers, offsets)


def _pair(
    products: Longs, steps: Longs, true: int, low: int, high: int, first: int
) -> tuple[int, int] | None:
    """Multiplier and offset of a channel whose accumulators are low..high.

    Args:
        products: that the values begin with.
        steps: accumulators at which they have to be reached.
        true: multiplier, as near as its bits allow.
        first: multiplier to try first, where it is near the true one.
    """
    # Where a value is reached it must be so, and one before it must not: as far as accumulators go.
    at = np.where(steps <= high, np.maximum(steps, low) << ACC_BITS, FAR)
    before = np.where(steps > low, np.minimum(steps - 1, high) << ACC_BITS, -FAR)
    hints = [[first]] if 0 < abs(first - true) <= SEARCHED[-1] else []
    ranges = (range(max(true - w, 1), min(true + w, (1 << 31) - 1) + 1) for w in SEARCHED)
    for some in (np.array(r, np.int64) for r in chain(hints, ranges)):
        wanted = -(-products // some[:, None])  # what 256 * acc + offset has to reach
        least, most = (wanted - at).max(axis=1), (wanted - 1 - before).min(axis=1)
        # Where there is no limit on one side, the other.
        offset = np.select([least < -FAR // 2, most > FAR // 2], [most, least], (least + most) >> 1)
        fits = np.flatnonzero(
            (least <= most)
            & (abs((low << ACC_BITS) + offset) < 1 << 31)
            & (abs((high << ACC_BITS) + offset) < 1 << 31)
        )
        if len(fits):
            best = fits[np.abs(some[fits] - true).argmin()]
            return int(some[best]), int(offset[best])
    return None
