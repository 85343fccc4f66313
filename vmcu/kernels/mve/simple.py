"""Kernels that multiply nothing: tables, by gathering loads, and the sums of average pooling, channels in lanes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vmcu.kernels.assembly import Routine
from vmcu.kernels.mve.helium import Helium
from vmcu.ops.base import ConstArray, Kernel

VECTOR = 16
HALVES = 8  # lanes
MOST_TAPS = 255  # whose sum fits a halfword
CALL, PER_RESULT = 14, 14  # instructions of the C around the routines


def lookup_kernel(table: NDArray[np.int8], count: int) -> Kernel:
    """Elements through a table.

    Args:
        table: 256 results, that of -128 first.
        count: elements of a row.
    """
    text = look_up(count)
    by_byte = np.roll(table, 128)  # that of 0 first: a byte, taken as unsigned, is its index
    return Kernel(
        "lookup_mve",
        {"count": count},
        (ConstArray("table", by_byte, "tables"),),
        functions={"look_up": text.function},
        instructions=text.instructions + CALL,
    )


@lru_cache(maxsize=64)
def look_up(count: int) -> Routine:
    """The function f(x, out, table, count).

    Args:
        count: elements, for `instructions`.
    """
    p = Helium(
        "mve_look_up",
        ["Bytes through a table of 256."],
        [("x", "const int8_t *"), ("out", "int8_t *"), ("table", "const int8_t *"), ("count", "int32_t")],
        saves=False,
    )
    x, to, table, left = p.source("from", 0), p.target("dest", 1), p.source("results", 2), p.number("left", 3)
    q, found = p.vec(0), p.vec(1)
    p.get(x, "x")
    p.get(to, "out")
    p.get(table, "table")
    p.get(left, "count")
    with p.bytes_of("vector", left, 8):
        p.load_bytes(q, x, step=VECTOR)
        p.gather_table(found, table, q)
        p.store_lanes(found, to, 8, step=VECTOR)
    return Routine(p.function(), p.count({"vector": -(-count // VECTOR)}))


def pool_kernel(plain: Kernel) -> Kernel | None:
    """The kernel of an average pooling, from the plain one; None where this one does not cover it."""
    where = plain.context
    height, width, channels = (int(str(where[k])) for k in ("kernel_h", "kernel_w", "channels"))
    if where["padded_cols"] or where["tiles"] != 1 or where["dilation"] != 1 or height * width > MOST_TAPS:
        return None
    text = tap_sums(height, width, channels)
    cols, taps = int(str(where["out_cols"])), height * width
    return replace(
        plain,
        template="average_pool_mve",
        context={
            **where,
            "all": taps * int(str(where["offset"])),
            "halves": -(-channels // HALVES) * HALVES,
        },
        scratch_bytes=-(-channels // HALVES) * HALVES * 2,
        functions={"tap_sums": text.function},
        instructions=cols * (text.instructions + CALL + PER_RESULT * channels),
    )


@lru_cache(maxsize=64)
def tap_sums(height: int, width: int, channels: int) -> Routine:
    """The function f(in, offset, sums, channels, sums_end, in_end): a halfword per channel, in whole vectors."""
    p = Helium(
        "mve_tap_sums",
        [f"Sums of {height} times {width} pixels, channel by channel."],
        [
            *(("in", "const int8_t *const *"), ("offset", "int32_t"), ("sums", "int8_t *")),
            *(("channels", "int32_t"), ("sums_end", "int8_t *"), ("in_end", "const int8_t *const *")),
        ],
        saves=False,
    )
    row, x, to = p.rows("row", 0), p.source("x", 1), p.target("dest", 2)
    offset, left, count, zero = (
        p.number(n, i) for n, i in zip(("at", "left", "taps", "zero"), range(3, 7), strict=True)
    )
    p.get(to, "sums")
    p.get(offset, "offset")
    p.get(left, "channels")
    p.move(count, width)
    p.move(zero, 0)
    total, q = p.vec(0), p.vec(1)
    with p.until("block", to, "sums_end", p.target("stop", 7)):
        p.only_left(left, 16)
        p.spread(total, zero, 16)
        p.get(row, "in")
        with p.until("row", row, "in_end", p.rows("row_stop", 7)):
            p.next_row(x, row)
            p.advance(x, offset)
            with p.times("tap", count):
                near = channels < 128
                with p.masked():
                    p.widen_bytes(q, x, 16, step=channels if near else 0)
                if not near:
                    p.advance(x, channels)
                p.add_vec(total, total, q, 16)
        p.store_whole(total, to, step=VECTOR)
        p.back(left, HALVES)
        p.add_number(offset, HALVES)
    blocks = -(-channels // HALVES)
    trips = {"block": blocks, "row": blocks * height, "tap": blocks * height * width}
    return Routine(p.function(), p.count(trips))
