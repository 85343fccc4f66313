"""Pixels times a matrix of weights, with VMLADAV: sixteen products an instruction, summed in a general register.

Two pixels and four output channels at a time: eight sums in the even registers, so that a vector of weights serves twice. The
weights come in the order in which they are read. A block is eight channels, first the even, then the odd: their results then
fall into the bottom and top halves of one vector of halfwords, and eight bytes are stored at once.

The depth is cut into vectors. If it is no multiple of sixteen, the last one overlaps the one before (its weights are zero
there), or, below sixteen, is loaded under a predicate: no byte beyond the pixel is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Reg
from vmcu.kernels.matmul import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.rescale import BLOCK, Limits, Rescale, make_rescale, parameters, rescale_words
from vmcu.quant.requantise import Requant

VECTOR = 16  # bytes
CHANNELS = 2 * BLOCK  # of a block
MOST_UNROLLED = 8  # vectors that an offset reaches
LONGEST = 4095  # bytes that an immediate reaches


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix of weights, its bias and requantisation, prepared for these kernels.

    Attributes:
        rescale: of the sums.
        channels: of the output.
        depth: bytes of a pixel in memory.
    """

    rescale: Rescale
    channels: int
    depth: int

    @property
    def offsets(self) -> list[int]:
        """Where the vectors of a pixel begin."""
        if self.depth < VECTOR:
            return [0]
        whole = list(range(0, self.depth - VECTOR + 1, VECTOR))
        return whole if self.depth % VECTOR == 0 else [*whole, self.depth - VECTOR]

    @property
    def blocks(self) -> int:
        """Of output channels."""
        return -(-self.channels // CHANNELS)

    @property
    def weight_bytes(self) -> int:
        """Packed."""
        return self.blocks * CHANNELS * VECTOR * len(self.offsets)


def make_product(weights: NDArray[np.integer[Any]], requant: Requant, depth: int) -> Product | None:
    """How these kernels compute it, or None where they cannot.

    Args:
        weights: output channels first, zero point subtracted.
        depth: bytes of a pixel in memory, maybe more than there are weights.
    """
    rescale = make_rescale(requant)
    if rescale is None or weights.dtype != np.int8 or depth > LONGEST:
        return None
    return Product(rescale, weights.shape[0], depth)


def pack_weights(rows: NDArray[np.int8], product: Product) -> NDArray[np.int8]:
    """Weights in the order in which the kernels read them.

    Args:
        rows: (channels, at most depth), as the activations lie in memory.
    """
    blocks, offsets = product.blocks, product.offsets
    w = np.zeros((blocks * CHANNELS, max(product.depth, VECTOR)), np.int8)
    w[: rows.shape[0], : rows.shape[1]] = rows
    vectors = np.stack([w[:, o : o + VECTOR] for o in offsets])  # (vector, channel, byte)
    if len(offsets) > 1:
        vectors[-1, :, : offsets[-2] + VECTOR - offsets[-1]] = 0
    # (block, half, vector, channel of the half, byte)
    split = vectors.reshape(len(offsets), blocks, BLOCK, 2, VECTOR).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(split).reshape(-1)


def pack_parameters(bias: NDArray[np.int32], requant: Requant, product: Product) -> NDArray[np.int32]:
    """Bias and requantisation of every block, in the order in which the kernels read them."""
    rows = parameters(bias, requant, product.blocks * CHANNELS)
    split = rows.reshape(product.blocks, BLOCK, 2, -1).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(split).reshape(-1)


@lru_cache(maxsize=512)
def pixels(product: Product, together: int, step: int, count: int) -> Routine:
    """A row of pixels.

    The function is f(x, weights, parameters, out, x_end, weights_end).

    Args:
        together: pixels at a time, 1 or 2.
        step: bytes from a pixel to the next.
        count: pixels of a call, for `instructions`.
    """
    p = Helium(
        f"mve_pixels_{together}",
        [f"Pixels times a matrix of weights, {together} at a time, four channels at a time."],
        [
            *(("x", "const int8_t *"), ("weights", "const int8_t *"), ("parameters", "const int32_t *")),
            *(("out", "int8_t *"), ("x_end", "const int8_t *"), ("weights_end", "const int8_t *")),
        ],
    )
    text = _Text(p, product, together)
    x, w, m = text.x, text.w, product.channels
    spare = p.number("spare", 0)
    text.limits = Limits(p, product.rescale, spare)
    part, short = m % CHANNELS, product.depth < VECTOR
    p.get(x[0], "x")
    p.get(text.to[0], "out")
    if short and not part:
        p.only_first(product.depth, 8, spare)
    with p.until("pixel", x[0], "x_end", p.source("x_stop", 0)):
        if short and part:
            p.only_first(product.depth, 8, spare)
        if together == 2:
            text.point(x[1], x[0], step)
            text.point(text.to[1], text.to[0], m)
        p.get(w, "weights")
        p.get(text.source, "parameters")
        whole = m // CHANNELS
        if whole > 1:
            stop = "weights_end"
            with p.until("block", w, stop, p.source("w_stop", 0)):
                text.block(0, whole)
        elif whole:
            text.block(0, 1)
        if part:
            text.block(part, 1)
        text.forward(x[0], step * together)
        if together == 2:
            text.forward(text.to[0], m)
    passes = count // together
    trips = {"pixel": passes, "block": passes * (m // CHANNELS)}
    trips.update({name: passes * n for name, n in text.loops.items()})
    return Routine(p.function(), p.count(trips))


class _Text:
    """Registers of `pixels`, and its inner parts."""

    def __init__(self, p: Helium, product: Product, together: int) -> None:
        self._p, self._product = p, product
        numbers = ((0, 2, 4, 6), (8, 10, 12, 13))
        self.accs = [p.numbers(f"acc{i}_", numbers[i]) for i in range(together)]
        self.x = [p.source(f"x{i}", n) for i, n in ((0, 1), (1, 3))][:together]
        self.to = [p.target(f"to{i}", n) for i, n in ((0, 5), (1, 7))][:together]
        self.w, self.source = p.source("w", 9), p.source("rest", 11)
        self.limits: Limits
        count = len(product.offsets)
        whole = count - (product.depth % VECTOR != 0)
        self.trips, self.unrolled, self.rest = 0, 1, 0
        self.loops: dict[str, int] = {}  # how often the bodies of inner loops run per pass over the pixels
        if count > MOST_UNROLLED:
            self.unrolled = min(range(4, 7), key=lambda u: (whole - 1) % u)
            self.trips, self.rest = divmod(whole - 1, self.unrolled)

    def point(self, to: Reg, base: Reg, by: int) -> None:
        """to = base + by."""
        if by <= LONGEST:
            self._p.point(to, base, by)
        else:
            big = self._p.number("distance", 0)
            self._p.move(big, by)
            self._p.point(to, base, big)

    def forward(self, pointer: Reg, by: int) -> None:
        """pointer += by."""
        if by <= LONGEST:
            self._p.advance(pointer, by)
        else:
            big = self._p.number("distance", 0)
            self._p.move(big, by)
            self._p.advance(pointer, big)

    def block(self, part: int, times: int) -> None:
        """Eight channels; part: fewer of them are stored; times: it runs per pass over the pixels."""
        p, results = self._p, [self._p.vec(4), self._p.vec(5)][: len(self.to)]
        for top in (False, True):
            self._multiply(times)
            q = [p.vec(0), p.vec(1)][: len(self.to)]
            for to, acc in zip(q, self.accs, strict=True):
                p.collect(to, acc)
            rescale_words(p, self._product.rescale, q, results, self.source, top)
        self.limits.finish(results, p.number("spare", 0))
        if part:
            p.only_first(part, 16, p.number("spare", 0))
            with p.masked():
                for q, to in zip(results, self.to, strict=True):
                    p.store_lanes(q, to, 16)
            for to in self.to:
                p.advance(to, part)
        else:
            for q, to in zip(results, self.to, strict=True):
                p.store_lanes(q, to, 16, step=CHANNELS)

    def _multiply(self, times: int) -> None:
        """Four channels."""
        p, product, x = self._p, self._product, self.x
        offsets = product.offsets
        if not self.trips:
            for i, offset in enumerate(offsets):
                self._vector([offset], fresh=i == 0, masked=product.depth < VECTOR)
            return
        borrowed = self.to[0] if len(x) == 2 else None
        end = p.source("x_last", 5 if borrowed else 7)
        self._vector(None, fresh=True)
        p.point(end, x[0], VECTOR * self.unrolled * self.trips)
        name = f"vector{len(self.loops)}"
        self.loops[name] = times * self.trips
        with p.until(name, x[0], end):
            for _ in range(self.unrolled):
                self._vector(None)
        if borrowed:
            p.behind(borrowed, self.to[1], product.channels)
        done = 1 + self.unrolled * self.trips
        for i in range(self.rest):
            self._vector([VECTOR * i])
        if product.depth % VECTOR:
            self._vector([product.depth - VECTOR - VECTOR * done])
        for pointer in x:
            p.back(pointer, VECTOR * done)

    def _vector(self, offset: Sequence[int] | None, fresh: bool = False, masked: bool = False) -> None:
        """Sixteen of the depth: at an offset, or where the pointers are, which then move on."""
        p = self._p
        qs = [p.vec(0), p.vec(1)]
        with p.masked() if masked else nullcontext():
            for q, x in zip(qs, self.x, strict=False):
                if offset is None:
                    p.load_bytes(q, x, step=VECTOR)
                else:
                    p.load_bytes(q, x, offset=offset[0])
        for channel in range(BLOCK):
            w = p.vec(2 + channel % 2)
            p.load_bytes(w, self.w, step=VECTOR)
            for q, acc in zip(qs, self.accs, strict=False):
                p.dot_bytes(acc[channel], q, w, fresh)
