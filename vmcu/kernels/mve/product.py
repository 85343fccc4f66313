"""Pixels times a matrix of weights, with VMLADAV: sixteen products an instruction, summed in a general register.

Two pixels and four output channels at a time: eight sums in the even registers, so that a vector of weights serves twice. The
weights come in the order in which they are read. A block is eight channels, first the even, then the odd: their results then
fall into the bottom and top halves of one vector of halfwords, and eight bytes are stored at once.

The depth is cut into vectors. If it is no multiple of sixteen, the last one overlaps the one before (its weights are zero
there), or, below sixteen, is loaded under a predicate: no byte beyond the pixel is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.rescale import BLOCK, Limits, Rescale, by_fours, make_rescale, parameters, rescale_words
from vmcu.ops.base import Function
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
        return vector_offsets(self.depth)

    @property
    def blocks(self) -> int:
        """Of output channels."""
        return -(-self.channels // CHANNELS)

    @property
    def weight_bytes(self) -> int:
        """Packed."""
        return self.blocks * CHANNELS * VECTOR * len(self.offsets)


def vector_offsets(depth: int) -> list[int]:
    """Where the vectors of so many bytes begin."""
    if depth < VECTOR:
        return [0]
    whole = list(range(0, depth - VECTOR + 1, VECTOR))
    return whole if depth % VECTOR == 0 else [*whole, depth - VECTOR]


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
    return pack_vectors([rows], product.depth)


def pack_vectors(parts: Sequence[NDArray[np.int8]], depth: int) -> NDArray[np.int8]:
    """The same of a depth in several parts, `depth` bytes each in memory."""
    offsets = vector_offsets(depth)
    blocks = -(-parts[0].shape[0] // CHANNELS)
    found = []
    for rows in parts:
        w = np.zeros((blocks * CHANNELS, max(depth, VECTOR)), np.int8)
        w[: rows.shape[0], : rows.shape[1]] = rows
        vectors = np.stack([w[:, o : o + VECTOR] for o in offsets])  # (vector, channel, byte)
        if len(offsets) > 1:
            vectors[-1, :, : offsets[-2] + VECTOR - offsets[-1]] = 0
        found.append(vectors)
    # (block, half, vector, channel of the half, byte)
    split = np.concatenate(found).reshape(-1, blocks, BLOCK, 2, VECTOR).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(split).reshape(-1)


def pack_parameters(bias: NDArray[np.int32], requant: Requant, product: Product) -> NDArray[np.int32]:
    """Bias and requantisation of every block, in the order in which the kernels read them."""
    rows = parameters(bias, requant, product.blocks * CHANNELS)
    split = rows.reshape(product.blocks, BLOCK, 2, -1).transpose(0, 2, 1, 3)
    return by_fours(split.reshape(2 * product.blocks, BLOCK, -1))


@dataclass(frozen=True, slots=True)
class Shape:
    """What the text of `pixels` depends on; products that differ in other things share it.

    Attributes:
        depth: bytes of a pixel.
        whole: blocks of eight channels: none, one, or 2 for more.
        part: channels of a last block that is not whole.
        rescale: of the sums, its zero point left open.
    """

    depth: int
    whole: int
    part: int
    rescale: Rescale


@lru_cache(maxsize=512)
def pixels(product: Product, together: int, count: int) -> Routine:
    """A row of pixels.

    The function is f(x, weights, parameters, out, out_end, weights_end, step, out_step, zero_point): `step` is from a pixel to
    the next, `out_step` the number of output channels; `weights_end` ends the whole blocks of channels.

    Args:
        together: pixels at a time, 1 or 2.
        count: pixels of a call, for `instructions`.
    """
    whole, part = divmod(product.channels, CHANNELS)
    text = _pixels(
        Shape(product.depth, min(whole, 2), part, replace(product.rescale, zero_point=0)), together
    )
    passes = count // together
    trips = {"pixel": passes, "block": passes * whole}
    trips.update({name: passes * n * (whole if many else 1) for name, (n, many) in text.loops.items()})
    return Routine(text.function, text.count(trips))


@dataclass(frozen=True, slots=True)
class _Made:
    function: Function
    count: Callable[[dict[str, int]], int]
    loops: dict[str, tuple[int, bool]]


@lru_cache(maxsize=512)
def _pixels(shape: Shape, together: int) -> _Made:
    p = Helium(
        f"mve_pixels_{together}",
        [f"Pixels times a matrix of weights, {together} at a time, four channels at a time."],
        [
            *(("x", "const int8_t *"), ("weights", "const int8_t *"), ("parameters", "const int32_t *")),
            *(("out", "int8_t *"), ("out_end", "int8_t *"), ("weights_end", "const int8_t *")),
            *(("step", "int32_t"), ("out_step", "int32_t"), ("zero_point", "int32_t")),
        ],
    )
    text = Text(p, shape, together)
    x, w = text.x, text.w
    spare = p.number("spare", 0)
    short = shape.depth < VECTOR
    p.get(x[0], "x")
    p.get(text.to[0], "out")
    if short and not shape.part:
        p.only_first(shape.depth, 8, spare)
    with p.until("pixel", text.to[0], "out_end", p.target("out_stop", 0)):
        if short and shape.part:
            p.only_first(shape.depth, 8, spare)
        if together == 2:
            p.get(spare, "step")
            p.point(x[1], x[0], spare)
            p.get(spare, "out_step")
            p.point(text.to[1], text.to[0], spare)
        p.get(w, "weights")
        p.get(text.source, "parameters")
        if shape.whole > 1:
            with p.until("block", w, "weights_end", p.source("w_stop", 0)):
                text.block(0, many=True)
        elif shape.whole:
            text.block(0)
        if shape.part:
            text.block(shape.part)
        p.get(spare, "step")
        p.point(x[0], x[-1], spare)
        if together == 2:
            p.get(spare, "out_step")
            p.advance(text.to[0], spare)
    return _Made(p.function(), p.count, text.loops)


class Text:
    """Registers of `pixels`, and its inner parts."""

    def __init__(self, p: Helium, shape: Shape, together: int) -> None:
        self._p, self._shape = p, shape
        numbers = ((0, 2, 4, 6), (8, 10, 12, 13))
        self.accs = [p.numbers(f"acc{i}_", numbers[i]) for i in range(together)]
        self.x = [p.source(f"x{i}", n) for i, n in ((0, 1), (1, 11))][:together]
        self.to = [p.target(f"to{i}", n) for i, n in ((0, 5), (1, 7))][:together]
        self.w, self.source = p.source("w", 9), p.source("rest", 3)
        self.offsets = vector_offsets(shape.depth)
        whole = shape.depth // VECTOR
        self.trips, self.unrolled, self.rest = 0, 1, 0
        # How often the bodies of inner loops run per block of channels, and whether that is in the loop over blocks.
        self.loops: dict[str, tuple[int, bool]] = {}
        if len(self.offsets) > MOST_UNROLLED:
            self.unrolled = min(range(4, 7), key=lambda u: (whole - 1) % u)
            self.trips, self.rest = divmod(whole - 1, self.unrolled)
        self.limits = Limits(p, shape.rescale, "zero_point", p.number("spare", 0))

    def block(self, part: int, many: bool = False) -> None:
        """Eight channels; part: fewer of them are stored; many: in a loop over blocks."""
        p, results = self._p, [self._p.vec(4), self._p.vec(5)][: len(self.to)]
        for top in (False, True):
            self._multiply(many)
            sums = [p.vec(0), p.vec(1)][: len(self.to)]
            for vector, acc in zip(sums, self.accs, strict=True):
                p.collect(vector, acc)
            rescale_words(p, self._shape.rescale, sums, results, self.source, top)
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

    def _multiply(self, many: bool) -> None:
        """Four channels."""
        p, depth, x = self._p, self._shape.depth, self.x
        if not self.trips:
            for i, offset in enumerate(self.offsets):
                self._vector([offset], fresh=i == 0, masked=depth < VECTOR)
            return
        borrowed = self.to[0] if len(x) == 2 else None
        end = p.source("x_last", 5 if borrowed else 7)
        self._vector(None, fresh=True)
        p.point(end, x[0], VECTOR * self.unrolled * self.trips)
        name = f"vector{len(self.loops)}"
        self.loops[name] = (self.trips, many)
        with p.until(name, x[0], end):
            for _ in range(self.unrolled):
                self._vector(None)
        if borrowed:
            p.get(p.number("out_bytes", 5), "out_step")
            p.behind(borrowed, self.to[1], p.number("out_bytes", 5))
        done = 1 + self.unrolled * self.trips
        for i in range(self.rest):
            self._vector([VECTOR * i])
        if depth % VECTOR:
            self._vector([depth - VECTOR - VECTOR * done])
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
