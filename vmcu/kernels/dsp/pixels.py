"""1x1 convolutions on DSP cores, two pixels at a time (`matmul.py`): in a whole row, or in one that is cut into tiles."""

from __future__ import annotations

from collections.abc import Mapping

from vmcu.kernels.dsp.gather import gather_pair
from vmcu.kernels.dsp.joined import Shape
from vmcu.kernels.dsp.matmul import DIRECT_STRIDE_LIMIT, pair, single
from vmcu.kernels.dsp.weights import WORD, Product
from vmcu.ops.base import ConstArray, Kernel

PER_PIXEL, PER_ROW = 16, 60  # instructions of the C around the routines
PER_POINTER = 8  # of a pointer to a tile
MOST_ALONE = 2  # the part of a row that is computed pixel by pixel, because copies lie where its results will: half of it at most


def pixel_kernels(
    shape: Shape,
    product: Product,
    context: Mapping[str, object],
    constants: tuple[ConstArray, ...],
    pad_value: int,
    uses_row: bool,
) -> tuple[Kernel, ...]:
    """1x1 convolutions: pixels unpacked ahead into scratch, or while they are multiplied."""
    found = []
    distance = shape.stride * shape.channels
    one, odd = single(product, product.depth // WORD), shape.out_cols % 2
    rest = {"single": one.function} if odd else {}
    around = 2 * PER_PIXEL if context["part"] else PER_PIXEL
    alone = odd * (one.instructions + around)
    if distance <= DIRECT_STRIDE_LIMIT:
        gathered = gather_pair(product.depth, product.unrolled)
        two, straight = pair(product), pair(product, distance)
        pairs = shape.out_cols // 2
        ahead, during = ((gathered, two), 4 * product.depth), ((straight,), 0)
        for routines, scratch in (ahead, during) if pairs else (during,):
            functions = {"matmul_2": routines[-1].function, **rest}
            if scratch:
                functions["gather"] = gathered.function
            found.append(
                Kernel(
                    "pixel_dsp",
                    {**context, "direct": not scratch, "distance": distance},
                    constants,
                    pad_value=pad_value,  # of rows
                    uses_row=uses_row,
                    scratch_bytes=scratch,
                    functions=functions,
                    instructions=pairs * (sum(r.instructions for r in routines) + around) + alone + PER_ROW,
                )
            )
    found.sort(key=lambda k: (k.instructions or 0, k.scratch_bytes))
    return tuple(k for i, k in enumerate(found) if all(k.scratch_bytes < f.scratch_bytes for f in found[:i]))


def tiled_pixel_kernels(
    shape: Shape,
    product: Product,
    context: Mapping[str, object],
    constants: tuple[ConstArray, ...],
    pad_value: int,
) -> tuple[Kernel, ...]:
    """1x1 convolutions that make whole rows of rows in tiles: two pixels of a tile at a time, or, where a tile is one, copies of two of
    them side by side. These lie where the results of the last pixels will be. None where there is anything else to do.
    """
    channels, width, columns = shape.channels, shape.in_cols, shape.out_cols
    tiles = int(str(context["tiles"]))
    plain = shape.kernel_h == shape.kernel_w == shape.stride == 1 and not shape.padded
    if not plain or channels % WORD or tiles == 1 or columns != tiles * width:
        return ()
    copies, to = width == 1, int(str(context["out_channels"]))
    alone = tiles * (width % 2)
    if copies:
        alone = -(-2 * channels // to)
        alone += (columns - alone) % 2
        if MOST_ALONE * alone > columns:
            return ()
    if channels > DIRECT_STRIDE_LIMIT:
        return ()
    two, one = pair(product, channels), single(product, product.depth // WORD)
    pairs = (columns - alone) // 2
    around = PER_PIXEL * (2 if context["part"] else 1)
    work = pairs * (two.instructions + around + (channels if copies else 0))
    return (
        Kernel(
            "pixel_tiles_dsp",
            {
                **context,
                "listed": False,
                "copies": copies,
                "tile_pairs": width // 2 * 2,
                "alone": alone > 0,
                "both_bytes": 2 * channels,
                "both_out": 2 * to,
                "tile_out": width * to,
                "copied_to": pairs * 2 * to,
                "pairs": pairs * 2,
            },
            constants,
            pad_value=pad_value,
            functions={"matmul_2": two.function} | ({"single": one.function} if alone else {}),
            instructions=PER_ROW + tiles * PER_POINTER + work + alone * (one.instructions + around),
        ),
    )
