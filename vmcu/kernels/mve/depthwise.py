"""Depthwise convolutions: four rows side by side as words, then one VMLADAV per output and sixteen taps.

The rows of a window are interleaved in scratch, so that a word holds the bytes of one channel and column in four rows (a
"plane"; kernels of more rows have several). A gathering load brings the words of a channel in four columns, and VMLADAV
multiplies and sums all taps there are. Where a vector holds the windows of two pixels (3x3 with stride 1), weights moved up by
the stride serve the second. Four outputs of a channel are requantised together and scattered.

Padding is words like all others, written once a row: there are no borders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.kernels.mve.lanes import lane_kernels
from vmcu.kernels.mve.product import LONGEST, VECTOR
from vmcu.kernels.mve.rescale import Rescale, make_rescale, parameters, rescale_one
from vmcu.ops.base import ConstArray, Kernel
from vmcu.quant.requantise import Requant

WORD = 4  # rows of a plane, columns of a vector, outputs requantised together
MOST_VECTORS = 4  # of weights
SMALL_SEGMENT = 8  # pixels
CALL, PER_SEGMENT = 12, 30  # instructions of the C around the routines


@dataclass(frozen=True, slots=True)
class Depthwise:
    """What the text of a depthwise convolution depends on.

    Attributes:
        rescale: of the sums.
        channels, kernel_h, kernel_w, stride: its sizes.
    """

    rescale: Rescale
    channels: int
    kernel_h: int
    kernel_w: int
    stride: int

    @property
    def planes(self) -> int:
        """Fours of rows."""
        return -(-self.kernel_h // WORD)

    @property
    def rows(self) -> int:
        """Of a plane."""
        return min(WORD, self.kernel_h)

    def first_row(self, plane: int) -> int:
        """Of a plane; the last one may repeat rows of the one before, with weights of zero."""
        return min(plane * WORD, self.kernel_h - self.rows)

    @property
    def across(self) -> int:
        """Fours of columns."""
        return -(-self.kernel_w // WORD)

    @property
    def paired(self) -> bool:
        """A vector holds the windows of two pixels."""
        return self.planes == 1 and self.kernel_w + self.stride <= WORD

    def plane_bytes(self, pixels: int) -> int:
        """Scratch of a plane for so many output pixels."""
        return ((pixels - 1) * self.stride + self.across * WORD) * self.channels * WORD


def depthwise_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """Kernels of a depthwise convolution of multiplier 1, the fastest first; none where these routines cannot.

    Args:
        weights: (channels, kernel_h, kernel_w, 1), zero point subtracted.
        bias: input zero point folded in.
        where: the columns a pixel reads (`Columns.context`).
        stride: of columns.
        pad_value: content of the padding.
    """
    lanes = lane_kernels(weights, bias, requant, where, pad_value=pad_value, uses_row=uses_row)
    words = _word_kernels(
        weights, bias, requant, where, stride=stride, pad_value=pad_value, uses_row=uses_row
    )
    best = min((k.instructions or 0 for k in lanes), default=None)
    faster = (k for k in words if best is None or (k.instructions or 0) < best)
    return (*(replace(k, make_leaner=lambda: lanes) for k in faster), *lanes)


def _word_kernels(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    where: Mapping[str, object],
    *,
    stride: int,
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """Those that interleave rows."""
    m, kh, kw, _ = weights.shape
    rescale = make_rescale(requant, bias)
    if (
        rescale is None
        or weights.dtype != np.int8
        or where["dilation"] != 1
        or m * WORD * 2 * stride > LONGEST
    ):
        return ()
    shape = Depthwise(rescale, m, kh, kw, stride)
    if shape.planes * shape.across > MOST_VECTORS or (rescale.numerics == "onnx" and rescale.right > 31):
        return ()
    cols, padded, tiles = int(str(where["out_cols"])), bool(where["padded_cols"]), int(str(where["tiles"]))
    constants = (
        ConstArray("weights", partial(_pack_weights, weights, shape), "weights"),
        ConstArray("parameters", partial(_pack_parameters, bias, requant, rescale), "tables"),
    )
    fill_ = fill()
    found = []
    for segment in dict.fromkeys((cols, min(SMALL_SEGMENT, cols))):
        last, plane = cols % segment, shape.plane_bytes(segment)
        functions, work = {"outputs": outputs(shape, segment, plane).function}, PER_SEGMENT
        work += cols // segment * outputs(shape, segment, plane).instructions
        if last:
            functions["outputs_last"] = outputs(shape, last, plane).function
            work += outputs(shape, last, plane).instructions
        routine = interleave(shape.rows, tiles, ((segment - 1) * stride + kw) * m)
        functions["interleave"] = routine.function
        work += -(-cols // segment) * shape.planes * (routine.instructions + 2 * CALL)
        if padded:
            functions["fill"] = fill_.function
            work += 2 * shape.planes * (CALL + fill_.instructions + m // 2)
        context = {
            **where,
            "channels": m,
            "kernel_h": kh,
            "planes": [{"number": p, "first": shape.first_row(p) * tiles} for p in range(shape.planes)],
            "plane_bytes": plane,
            "segment": segment,
            "stride": stride,
            "last": last,
            "whole": cols - last,
            "total": where["in_cols"] if padded else tiles * int(str(where["tile_cols"])),
            "pad_value": pad_value,
            "weight_bytes": m * shape.planes * shape.across * VECTOR,
        }
        # The last vector of an interleaved row may write beyond it.
        scratch = shape.planes * plane + WORD * VECTOR
        found.append(
            Kernel(
                "depthwise_mve",
                context,
                constants,
                pad_value=pad_value,
                uses_row=uses_row,
                scratch_bytes=scratch,
                functions=functions,
                instructions=work,
            )
        )
    return tuple(found)


def _pack_weights(weights: NDArray[np.integer[Any]], shape: Depthwise) -> NDArray[np.int8]:
    """Per channel its vectors: plane by plane, columns as words of four rows."""
    m, kh, kw, _ = weights.shape
    w = np.zeros((m, shape.planes, WORD, shape.across * WORD), np.int8)
    for plane in range(shape.planes):
        fresh, end = plane * WORD, min((plane + 1) * WORD, kh)
        shift = fresh - shape.first_row(plane)
        w[:, plane, shift : shift + end - fresh, :kw] = weights[:, fresh:end, :, 0]
    split = w.reshape(m, shape.planes, WORD, shape.across, WORD).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(split).reshape(-1)


def _pack_parameters(bias: NDArray[np.int32], requant: Requant, rescale: Rescale) -> NDArray[np.int32]:
    return parameters(bias, requant, rescale, len(bias)).reshape(-1)


@lru_cache(maxsize=256)
def outputs(shape: Depthwise, pixels: int, plane_bytes: int) -> Routine:
    """All channels of some pixels.

    The function is f(words, weights, parameters, out, weights_end).

    Args:
        plane_bytes: from a plane to the next.
    """
    p = Helium(
        "mve_depthwise",
        [f"{pixels} pixels, channel by channel, from words of four rows."],
        [
            *(("words", "const int8_t *"), ("weights", "const int8_t *"), ("parameters", "const int32_t *")),
            *(("out", "int8_t *"), ("weights_end", "const int8_t *")),
        ],
    )
    c = shape.channels
    accs = p.numbers("acc", (0, 2, 4, 6))
    x, other, to = p.source("x", 1), p.source("other", 3), p.target("dest", 5)
    numbers = p.numbers("number", (7, 8, 9) if shape.rescale.exponents else (7, 8))
    spare, w, source = p.number("spare", 10), p.source("w", 11), p.source("rest", 12)
    data, acc, steps = p.vec(0), p.vec(1), p.vec(3)
    vectors = shape.planes * shape.across
    ws = [p.vec(n) for n in ((5, 6, 7, 2) if vectors > 2 else (5, 6, 7))[:vectors]]
    second = p.vec(6)
    groups, rest = divmod(pixels, WORD)
    for i, a in enumerate(accs):
        _big(p, a, i * c)
    p.collect(steps, accs)
    if rest:
        p.only_first(rest, 32, spare)
    p.get(w, "weights")
    p.get(source, "parameters")

    def four(count: int) -> None:
        """The next `count` pixels."""
        done = 0
        while done < count:
            if shape.paired:
                p.gather_scaled(data, x, steps)
                p.dot_bytes(accs[done], data, ws[0], fresh=True)
                if done + 1 < count:
                    p.dot_bytes(accs[done + 1], data, second, fresh=True)
                taken = 2
            else:
                for v in range(vectors):
                    plane, across = divmod(v, shape.across)
                    at = plane * plane_bytes + across * WORD * WORD * c
                    base = x
                    if at:
                        base = other
                        if at <= LONGEST:
                            p.point(other, x, at)
                        else:
                            _big(p, spare, at)
                            p.point(other, x, spare)
                    p.gather_scaled(data, base, steps)
                    p.dot_bytes(accs[done], data, ws[v], fresh=v == 0)
                taken = 1
            done += taken
            if done < count or count == WORD:
                p.advance(x, taken * shape.stride * c * WORD)
        p.collect(acc, [accs[min(i, count - 1)] for i in range(WORD)])
        rescale_one(p, shape.rescale, acc, data, numbers, spare)
        if count == WORD:
            p.scatter_lanes(acc, to, steps)
            p.advance(to, WORD * c)
        else:
            with p.masked():
                p.scatter_lanes(acc, to, steps)

    with p.until("channel", w, "weights_end", p.source("w_stop", 0)):
        for q in ws:
            p.load_bytes(q, w, step=VECTOR)
        if shape.paired:
            p.move(spare, 0)
            p.copy_vec(second, ws[0])
            for _ in range(shape.stride):
                p.move_up(second, spare)
        p.load_all(numbers, source)
        p.get(x, "words")
        p.point(other, x, WORD)
        p.put("words", other)
        p.get(to, "out")
        p.advance(to, 1)
        p.put("out", to)
        p.back(to, 1)
        if groups > 1:
            p.move(accs[0], groups)
            with p.times("group", accs[0]):
                four(WORD)
        elif groups:
            four(WORD)
        if rest:
            four(rest)
    return Routine(p.function(), p.count({"channel": c, "group": c * groups}))


def _big(p: Helium, to: Any, value: int) -> None:
    assert 0 <= value < 1 << 16
    p.move(to, value)


@lru_cache(maxsize=64)
def interleave(rows: int, tiles: int, size: int) -> Routine:
    """The bytes of up to four rows in turn; what would be further rows is left as it happens to be.

    The function is f(in, offset, to, vectors, left): vectors of 16 bytes, then the `left` bytes that remain.

    Args:
        rows: of them.
        tiles: distance of their pointers.
        size: bytes, for `instructions`.
    """
    p = Helium(
        "mve_interleave",
        [f"The bytes of {rows} rows in turn, four to a word."],
        [
            *(
                ("in", "const int8_t *const *"),
                ("offset", "int32_t"),
                ("to", "int8_t *"),
                ("vectors", "int32_t"),
            ),
            ("left", "int32_t"),
        ],
        saves=False,
    )
    pointers, to = p.rows("row", 0), p.target("dest", 1)
    offset, vectors, left = p.number("shift", 2), p.number("full", 3), p.number("rest", 4)
    xs = [p.source(f"x{i}", n) for i, n in zip(range(rows), (5, 6, 7, 8), strict=False)]
    p.get(pointers, "in")
    p.get(offset, "offset")
    p.get(to, "to")
    p.get(vectors, "vectors")
    p.get(left, "left")
    for i, x in enumerate(xs):
        p.row_at(x, pointers, i * tiles)
        p.advance(x, offset)
    with p.unless_zero(vectors), p.times("vector", vectors):
        for i, x in enumerate(xs):
            p.load_bytes(p.vec(i), x, step=VECTOR)
        p.interleave(to)
    with p.unless_zero(left):
        p.only_left(left, 8)
        with p.masked():
            for i, x in enumerate(xs):
                p.load_bytes(p.vec(i), x)
        p.interleave(to)
    return Routine(p.function(), p.count({"vector": size // VECTOR}))


@lru_cache(maxsize=1)
def fill() -> Routine:
    """f(to, value, size): size bytes, at least one, become `value`."""
    p = Helium(
        "mve_fill",
        ["Bytes of one value."],
        [("to", "int8_t *"), ("value", "int32_t"), ("size", "int32_t")],
        saves=False,
    )
    to, value, size = p.target("dest", 0), p.number("byte", 1), p.number("count", 2)
    q = p.vec(0)
    p.get(to, "to")
    p.get(value, "value")
    p.get(size, "size")
    p.spread(q, value, 8)
    with p.bytes_of("vector", size, 8):
        p.store_lanes(q, to, 8, step=VECTOR)
    return Routine(p.function(), p.count({"vector": 1}))
