"""Weights of products on DSP cores, in the order in which `matmul.py` reads them.

Output channels come in blocks of four, the depth in steps of two, in the order in which SXTB16 unpacks
activations: bytes (0, 2), then (1, 3) of every four. A step of a block has the words

* "half": two channels in a halfword, h = 256 * w1 + w0. SMLAD with h sums S = 256 * D1 + D0, and with SXTB16(h) it sums
  T = D0; then D1 = (S - T) >> 8, exact while |D1| < 2^23. One word is unpacked by one instruction instead of two.
* "folded": the same weights, for sums beyond that. D1 is taken out at the end of every run of the depth, of which it is
  exact, and collected in memory. Only `single` does it.
* "bytes": the same bytes, unpacked by two; no bound.
* "wide": weights beyond int8, a word per channel.

Starting values stand in front of a block's weights, what requantises it behind them, so that one pointer passes all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.dsp.rescale import Rescale, Scaled, words

Form = Literal["half", "folded", "bytes", "wide"]
BLOCK = 4  # output channels
WORD = 4  # activations
MOST_UNROLLED = 8  # steps, or words
SHARED, SHORT = 4, 1  # the same, where text is dear, and where it is dearest
MOST_FOLDS = 8  # parts of a run
MOST_HIGH = 1 << 23  # the sum of the upper of two channels that share a halfword stays below


@dataclass(frozen=True, slots=True)
class Product:
    """What the text of a product with weights (channels, depth) depends on.

    Attributes:
        form: of the weights.
        rescale: of the accumulators.
        channels, depth: padded to multiples of BLOCK and WORD.
        unrolled: steps or words in the body of a loop, see `unrolled`.
    """

    form: Form
    rescale: Rescale
    channels: int
    depth: int
    unrolled: int = 0

    @property
    def blocks(self) -> int:
        """Groups of channels."""
        return self.channels // BLOCK

    @property
    def words_per_block(self) -> int:
        """32-bit words of starting values, weights and requantisation."""
        weights = self.depth // 2 * (4 if self.form == "wide" else 2)
        if self.rescale.numerics == "onnx":
            return weights + 2 * BLOCK + 1
        return weights + BLOCK * (1 + self.rescale.words) - (2 if self.has_offset_in_sum else 0)

    @property
    def has_offset_in_sum(self) -> bool:
        """Is the offset of the second of two channels in its sum, which is 256 times its own?"""
        return self.form == "half" and self.rescale.once


def make_product(
    weights: NDArray[np.integer[Any]], scaled: Scaled, depth: int, unrolled: int = 0, folds: bool = False
) -> Product:
    """How these kernels compute it.

    Args:
        weights: (channels, any), zero point subtracted.
        scaled: their sums.
        depth: of a channel's weights as they will be laid out.
        unrolled: see there.
        folds: "folded" may be chosen: `fold` has said that its runs are short enough.
    """
    m = weights.shape[0]
    form: Form = "wide"
    if weights.dtype != np.int16:
        if overflows(weights.reshape(m, -1)):
            form = "bytes"
        elif _fits(scaled):
            form = "half"
        else:
            form = "folded" if folds else "bytes"
    return Product(form, scaled.rescale, -(-m // BLOCK) * BLOCK, -(-depth // WORD) * WORD, unrolled)


def _fits(scaled: Scaled) -> bool:
    """Are the sums of the channels that come second exact in "half"?"""
    return int(scaled.bounds[1::2].max(initial=0)) < MOST_HIGH


def fold(weights: NDArray[np.integer[Any]], scaled: Scaled) -> int:
    """In how many parts each run has to be read: 1 where the whole fits, 0 where no number of whole words does.

    Args:
        weights: (channels, runs, bytes of a run), zero point subtracted.
    """
    if _fits(scaled):
        return 1
    run = weights.shape[2]
    sizes = 128 * np.abs(weights[1::2].astype(np.int64)).reshape(-1)
    for parts in range(1, MOST_FOLDS + 1):
        whole = parts == 1 or run % (parts * WORD) == 0
        if whole and sizes.reshape(-1, run // parts).sum(axis=1).max() < MOST_HIGH:
            return parts
    return 0


def overflows(weights: NDArray[np.integer[Any]]) -> bool:
    """256 * w1 + w0 is no halfword: w1 is -128 and w0 negative."""
    odd = weights[1::2]
    return bool(np.any((odd == -128) & (weights[0::2][: len(odd)] < 0)))


def blocks_of(product: Product, channels: int) -> dict[str, object]:
    """What templates print of the blocks: whole ones are written where they belong, a part of one through a few bytes of
    stack."""
    whole, part = divmod(channels, BLOCK)
    return {
        "blocks": whole > 0,
        "words": whole * product.words_per_block,
        "part": part,
        "done": whole * BLOCK,
        "all_words": product.blocks * product.words_per_block,
    }


def pack_runs(
    weights: NDArray[np.integer[Any]], order: Sequence[int], scaled: Scaled, product: Product
) -> NDArray[np.int32]:
    """What the kernels read, in the order in which they do: starting values, weights and requantisation of each block.

    Args:
        weights: (channels, runs, bytes of a run).
        order: of a run, see `run_order`.
    """
    where = np.array(order)
    rows = np.where(where < 0, 0, weights.astype(np.int64)[:, :, np.maximum(where, 0)])
    starts, after = _parameters(scaled, product)
    return words(
        np.concatenate([starts, lay_out(rows.reshape(len(weights), -1), product.form), after], axis=1)
    )


def lay_out(rows: NDArray[np.integer[Any]], form: Form) -> NDArray[np.int64]:
    """Words of each block, in the order of the steps.

    Args:
        rows: (channels, depth), each laid out as the activations are.
    """
    channels, depth = rows.shape
    w = np.zeros((-(-channels // BLOCK) * BLOCK, -(-depth // WORD) * WORD), np.int64)
    w[:channels, :depth] = rows
    # (block, step, channel in block, half)
    pairs = w.reshape(-1, BLOCK, w.shape[1] // WORD, WORD)[..., [0, 2, 1, 3]]
    halves = pairs.reshape(-1, BLOCK, w.shape[1] // 2, 2).transpose(0, 2, 1, 3)
    if form != "wide":
        even, odd = halves[:, :, 0::2], halves[:, :, 1::2]
        halves = 256 * odd + even if form in ("half", "folded") else (odd & 0xFF) << 8 | even & 0xFF
    found: NDArray[np.int64] = (halves[..., 0] & 0xFFFF) | (halves[..., 1] & 0xFFFF) << 16
    return found.reshape(len(w) // BLOCK, -1)


def _parameters(scaled: Scaled, product: Product) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starting values and requantisation, words per block."""
    channels = len(scaled.bias)
    padded = np.zeros(product.channels, np.int64)
    padded[:channels] = scaled.starts
    starts = padded.reshape(-1, BLOCK).copy()
    if product.form == "half" and not product.rescale.packed:  # else two instructions do it
        starts[:, 1::2] = starts[:, 1::2] * 256 + starts[:, 0::2]
    if product.has_offset_in_sum:
        offsets = np.zeros(product.channels, np.int64)
        offsets[:channels] = scaled.parameters[:, 1]
        starts[:, 1::2] += offsets.reshape(-1, BLOCK)[:, 1::2]
    after = np.ones((product.channels, product.rescale.words), np.int64)
    after[:channels] = scaled.parameters
    after = after.reshape(product.blocks, -1)
    if product.rescale.numerics == "onnx":  # the addend is read once a block, with the first two multipliers
        after = after[:, [0, 2, 1, 4, 6]]
        after[:, 2] = scaled.parameters[0, 1]
    if product.has_offset_in_sum:
        after = after[:, [0, 1, 2, 4, 5, 6]]
    return starts, after


def unrolled(count: int, given: int = 0) -> int:
    """How much text a loop of `count` trips has: a divisor.

    Args:
        given: 0: the largest that is not too much; else what it has in common with this, so that counts share text.
    """
    return gcd(count, given) if given else max(d for d in range(1, MOST_UNROLLED + 1) if count % d == 0)
