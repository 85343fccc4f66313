"""Pixels times a matrix of weights, with VMLADAV: sixteen products an instruction, summed in a general register.

Two pixels and four output channels at a time: eight sums in the even registers, so that a vector of weights serves twice. The
weights come in the order in which they are read. A block is eight channels, first the even, then the odd: their results then
fall into the bottom and top halves of one vector of halfwords, and eight bytes are stored at once.

The depth is cut into vectors. If it is no multiple of sixteen, what is left is loaded under a predicate: no byte beyond the pixel
is read, the other lanes are zero, and the weights behind need no gaps.

Where flash is short, one text serves all depths: the loop over vectors is rolled up and takes its end from a parameter, as what is left
of the depth takes its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Reg, Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.rescale import BLOCK, Limits, Rescale, by_fours, make_rescale, parameters, rescale_words
from vmcu.ops.base import Function
from vmcu.quant.requantise import Requant

VECTOR = 16  # bytes
CHANNELS = 2 * BLOCK  # of a block
MOST_UNROLLED = 8  # vectors that an offset reaches
FEW = 2  # vectors that are not worth a loop
LONGEST = 4095  # bytes that an immediate reaches


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix of weights, its bias and requantisation, prepared for these kernels.

    Attributes:
        rescale: of the sums.
        channels: of the output.
        depth: bytes of a pixel in memory.
        rolled: one text for all depths.
    """

    rescale: Rescale
    channels: int
    depth: int
    rolled: bool = False

    @property
    def blocks(self) -> int:
        """Of output channels."""
        return -(-self.channels // CHANNELS)

    @property
    def whole_bytes(self) -> int:
        """Weights of the blocks that are whole."""
        return self.channels // CHANNELS * CHANNELS * self.depth

    @property
    def loop(self) -> Loop:
        """Over the vectors of a pixel."""
        return vector_loop(self.depth, self.rolled)


@dataclass(frozen=True, slots=True)
class Loop:
    """How the vectors of a pixel are gone through: the first, `trips` times `unrolled`, `rest`, and what is less than a vector;
    without trips, all of them at constant offsets."""

    trips: int
    unrolled: int
    rest: int

    @property
    def bytes(self) -> int:
        """Of the first vector and the loop's."""
        return VECTOR * (1 + self.unrolled * self.trips)


def vector_loop(depth: int, rolled: bool) -> Loop:
    """That of so many bytes."""
    whole = depth // VECTOR
    if rolled and whole > FEW:
        return Loop(whole - 1, 1, 0)
    if -(-depth // VECTOR) > MOST_UNROLLED:
        unrolled = min(range(4, 7), key=lambda u: (whole - 1) % u)
        return Loop((whole - 1) // unrolled, unrolled, (whole - 1) % unrolled)
    return Loop(0, 1, whole)


def make_product(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    depth: int,
    rolled: bool = False,
) -> Product | None:
    """How these kernels compute it, or None where they cannot.

    Args:
        weights: output channels first, zero point subtracted.
        bias: input zero point folded in.
        depth: bytes of a pixel in memory, maybe more than there are weights.
        rolled: one text for all depths.
    """
    rescale = make_rescale(requant, bias)
    if rescale is None or weights.dtype != np.int8 or depth > LONGEST:
        return None
    return Product(rescale, weights.shape[0], depth, rolled)


def pack_weights(rows: NDArray[np.int8], product: Product) -> NDArray[np.int8]:
    """Weights in the order in which the kernels read them.

    Args:
        rows: (channels, at most depth), as the activations lie in memory.
    """
    return pack_vectors([rows], product.depth)


def pack_vectors(parts: Sequence[NDArray[np.int8]], depth: int) -> NDArray[np.int8]:
    """The same of a depth in several parts, `depth` bytes each in memory.

    By block, half (even or odd channels), part, vector, channel of the half. A vector that is not whole is read as if it were: zeros
    follow the last.
    """
    found = []
    for first in range(0, parts[0].shape[0], CHANNELS):
        for half in (0, 1):
            for rows in parts:
                some = rows[first + half : first + CHANNELS : 2]
                some = np.pad(some, ((0, 0), (0, depth - some.shape[1])))
                found += [some[:, at : at + VECTOR].reshape(-1) for at in range(0, depth, VECTOR)]
    return np.concatenate([*found, np.zeros(-depth % VECTOR, np.int8)]).astype(np.int8)


def pack_parameters(bias: NDArray[np.int32], requant: Requant, product: Product) -> NDArray[np.int32]:
    """Bias and requantisation of every block, in the order in which the kernels read them."""
    rows = parameters(bias, requant, product.rescale, product.blocks * CHANNELS)
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
        rolled: for every depth that is a multiple of sixteen, or for every one that is not.
    """

    depth: int
    whole: int
    part: int
    rescale: Rescale
    rolled: bool = False


def shape_of(product: Product) -> Shape:
    """Of the text that a product needs."""
    whole, part = divmod(product.channels, CHANNELS)
    rolled = product.rolled and product.loop.trips > 0
    depth = (FEW + 1) * VECTOR + (product.depth % VECTOR > 0) if rolled else product.depth
    several = 2 if product.rolled else min(whole, 2)
    return Shape(depth, several if whole else 0, part, replace(product.rescale, zero_point=0), rolled)


@lru_cache(maxsize=512)
def pixels(product: Product, together: int, count: int) -> Routine:
    """A row of pixels.

    The function is f(x, weights, parameters, out, out_end, weights_end, step, out_step, zero_point[, loop_bytes[, left]]): `step` is
    from a pixel to the next, `out_step` the number of output channels; `weights_end` ends the whole blocks of channels; where the text
    is rolled, `loop_bytes` is `Loop.bytes`, and `left` what is less than a vector.

    Args:
        together: pixels at a time, 1 or 2.
        count: pixels of a call, for `instructions`.
    """
    text = _pixels(shape_of(product), together)
    passes, whole = count // together, product.channels // CHANNELS
    trips, inner = {"pixel": passes, "block": passes * whole}, passes * product.loop.trips
    trips.update({name: inner * (whole if many else 1) for name, many in text.loops.items()})
    return Routine(text.function, text.count(trips))


@dataclass(frozen=True, slots=True)
class _Made:
    function: Function
    count: Callable[[dict[str, int]], int]
    loops: dict[str, bool]


@lru_cache(maxsize=512)
def _pixels(shape: Shape, together: int) -> _Made:
    p = Helium(
        f"mve_pixels_{together}",
        [f"Pixels times a matrix of weights, {together} at a time, four channels at a time."],
        [
            *(("x", "const int8_t *"), ("weights", "const int8_t *"), ("parameters", "const int32_t *")),
            *(("out", "int8_t *"), ("out_end", "int8_t *"), ("weights_end", "const int8_t *")),
            *(("step", "int32_t"), ("out_step", "int32_t"), ("zero_point", "int32_t")),
            *([("loop_bytes", "int32_t")] if shape.rolled else []),
            *([("left", "int32_t")] if shape.rolled and shape.depth % VECTOR else []),
        ],
    )
    text = Text(p, shape, together)
    x, w = text.x, text.w
    spare = p.number("spare", 0)
    p.get(x[0], "x")
    p.get(text.to[0], "out")
    if not shape.part:
        text.set_mask()
    with p.until("pixel", text.to[0], "out_end", p.target("out_stop", 0)):
        if shape.part:
            text.set_mask()
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
        self.loops: dict[str, bool] = {}  # the inner ones: are they in the loop over blocks?
        self.limits = Limits(p, shape.rescale, "zero_point", p.number("spare", 0))

    def set_mask(self) -> None:
        """Of what is less than a vector."""
        left, spare = self._shape.depth % VECTOR, self._p.number("spare", 0)
        if left and self._shape.rolled:
            self._p.get(spare, "left")
            self._p.only_left(spare, 8)
        elif left:
            self._p.only_first(left, 8, spare)

    def block(self, part: int, many: bool = False) -> None:
        """Eight channels; part: fewer of them are stored; many: in a loop over blocks."""
        p, results = self._p, [self._p.vec(4), self._p.vec(5)][: len(self.to)]
        for top in (False, True):
            there = len(range(int(top), part or CHANNELS, 2))
            if not there:
                continue
            for acc in self.accs:
                for missing in acc[there:]:
                    p.move(missing, 0)
            self._multiply(many, there)
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

    def _multiply(self, many: bool, channels: int) -> None:
        """So many channels, one to four."""
        p, depth, x = self._p, self._shape.depth, self.x
        loop, left = vector_loop(depth, self._shape.rolled), depth % VECTOR
        if not loop.trips:
            for i in range(loop.rest):
                self._vector(channels, VECTOR * i, fresh=i == 0)
            if left:
                self._vector(channels, depth - left, fresh=loop.rest == 0, size=left)
            return
        borrowed = self.to[0] if len(x) == 2 else None
        register = 5 if borrowed else 7
        end, size = p.source("x_last", register), p.number("x_bytes", register)
        if self._shape.rolled:
            p.get(size, "loop_bytes")
        p.point(end, x[0], size if self._shape.rolled else loop.bytes)
        self._vector(channels, None, fresh=True)
        name = f"vector{len(self.loops)}"
        self.loops[name] = many
        with p.until(name, x[0], end):
            for _ in range(loop.unrolled):
                self._vector(channels, None)
        for i in range(loop.rest):
            self._vector(channels, VECTOR * i)
        if left and self._shape.rolled:
            p.get(size, "left")
            self._vector(channels, 0, size=size)
        elif left:
            self._vector(channels, VECTOR * loop.rest, size=left)
        if self._shape.rolled:
            p.get(size, "loop_bytes")
        for pointer in x:
            if self._shape.rolled:
                p.behind(pointer, pointer, size)
            else:
                p.back(pointer, loop.bytes)
        if borrowed:
            p.get(p.number("out_bytes", 5), "out_step")
            p.behind(borrowed, self.to[1], p.number("out_bytes", 5))

    def _vector(
        self, channels: int, offset: int | None, fresh: bool = False, size: int | Reg = VECTOR
    ) -> None:
        """Sixteen of the depth, or `size`: at an offset, or where the pointers are, which then move on."""
        p = self._p
        qs = [p.vec(0), p.vec(1)]
        with p.masked() if size != VECTOR else nullcontext():
            for q, x in zip(qs, self.x, strict=False):
                if offset is None:
                    p.load_bytes(q, x, step=VECTOR)
                else:
                    p.load_bytes(q, x, offset=offset)
        for channel in range(channels):
            w = p.vec(2 + channel % 2)
            if isinstance(size, Reg):
                p.load_bytes(w, self.w)
                p.advance(self.w, size)
            else:
                p.load_bytes(w, self.w, step=size)
            for q, acc in zip(qs, self.accs, strict=False):
                p.dot_bytes(acc[channel], q, w, fresh)
