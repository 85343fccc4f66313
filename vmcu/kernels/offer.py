"""Which fast kernels an instruction set has, family by family; what none of them covers stays plain C.

Operators ask here, and know of no instruction set. A core with Helium has the instructions of a DSP core, too: where flash is
dearest, vectors may be exchanged for the compact kernels of those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Isa, Tensor
from vmcu.kernels import mve
from vmcu.kernels.dsp.accumulating import accumulating_kernels
from vmcu.kernels.dsp.separable import depthwise_kernels
from vmcu.kernels.dsp.sums import sum_kernels
from vmcu.kernels.dsp.vectors import vector_kernels
from vmcu.kernels.dsp.windows import window_kernels
from vmcu.kernels.small import depthwise as small_depthwise
from vmcu.kernels.small.add import add_kernel
from vmcu.kernels.small.convolution import convolution_kernels, dense_kernels
from vmcu.ops.base import Kernel
from vmcu.ops.columns import Columns
from vmcu.quant.requantise import Requant, Sum

SMALL: tuple[Isa, ...] = ("armv6-m", "armv7-m")
DSP: tuple[Isa, ...] = ("armv7e-m", "armv8.1-m")
HELIUM: tuple[Isa, ...] = ("armv8.1-m",)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A convolution or a dense layer on rows.

    Attributes:
        weights: (output channels, kernel_h, kernel_w, channels / groups), zero point subtracted.
        bias: input zero point folded in.
        requant: accumulator -> output.
        columns: that a pixel reads.
        groups: of channels.
        pad_value: content of the padding.
        x, out: input and output.
        compact: in least flash.
    """

    weights: NDArray[np.integer[Any]]
    bias: NDArray[np.int32]
    requant: Requant
    columns: Columns
    groups: int
    pad_value: int
    x: Tensor
    out: Tensor
    compact: bool = False

    @property
    def depthwise(self) -> bool:
        """Every channel on its own, and there are several."""
        return 1 < self.groups == self.x.channels == len(self.weights)


def convolution(one: Linear, isa: Isa) -> tuple[Kernel, ...]:
    """Kernels of a convolution, the fastest first, the one with the least working memory last; none where there are none."""
    found: tuple[Kernel, ...] = ()
    if isa in HELIUM and one.compact:
        found = convolution(replace(one, compact=False), isa)
        return _or_leaner(found, convolution(one, "armv7e-m")) if found else convolution(one, "armv7e-m")
    where, uses_row = one.columns.context(one.x, one.out), one.columns.uses_row(one.x, one.out)
    weights, bias, requant, pad_value = one.weights, one.bias, one.requant, one.pad_value
    stride = one.columns.stride
    found = ()
    if one.groups == 1:
        if isa in HELIUM:
            found = mve.conv_kernels(
                weights, bias, requant, where, stride=stride, pad_value=pad_value, uses_row=uses_row
            )
        if isa in DSP and not found:
            found = window_kernels(
                weights,
                bias,
                requant,
                where,
                stride=stride,
                pad_value=pad_value,
                uses_row=uses_row,
                compact=one.compact,
            )
        if isa in SMALL:
            found = convolution_kernels(
                isa, weights, bias, requant, where, stride=stride, pad_value=pad_value, uses_row=uses_row
            )
            found = _leanest(found) if one.compact else found
    elif one.depthwise:
        if isa in HELIUM:
            found = mve.depthwise_kernels(
                weights, bias, requant, where, stride=stride, pad_value=pad_value, uses_row=uses_row
            )
        if isa in DSP and not found:
            found = depthwise_kernels(
                weights[..., 0],
                bias,
                requant,
                where,
                stride=stride,
                pad=one.columns.pad,
                pad_value=pad_value,
                uses_row=uses_row,
                compact=one.compact,
            )
        if isa in SMALL:
            found = small_depthwise.depthwise_kernels(
                isa, weights[..., 0], bias, requant, one.columns, one.x, one.out, pad_value
            )
            found = _leanest(found) if one.compact else found
    return found


def _leanest(found: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """Those that take least flash."""
    return tuple((k, *k.leaner)[-1] for k in found)


def _or_leaner(found: tuple[Kernel, ...], leaner: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """Kernels that may be exchanged for others, too."""

    def both(kernel: Kernel) -> tuple[Kernel, ...]:
        return (*kernel.leaner, *leaner)

    return tuple(replace(k, make_leaner=partial(both, k)) for k in found)


def dense(
    weights: NDArray[np.integer[Any]],
    bias: NDArray[np.int32],
    requant: Requant,
    x: Tensor,
    isa: Isa,
    compact: bool = False,
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer over a whole tensor; see `convolution`.

    Args:
        weights: (units, depth), zero point subtracted, depth in the input's memory order.
        bias: input zero point folded in.
        compact: in least flash.
    """
    found: tuple[Kernel, ...] = ()
    if isa in HELIUM:
        found = mve.dense_kernels(weights, bias, requant, x, False)
        if found and compact:
            return _or_leaner(found, dense(weights, bias, requant, x, "armv7e-m", compact))
    if isa in DSP and not found:
        found = vector_kernels(weights, bias, requant, rows=x.rows, compact=compact)
    if isa in SMALL:
        found = dense_kernels(isa, weights, bias, requant, pixels=1, rows=x.rows, run=x.row_bytes)
        found = _leanest(found) if compact else found
    return found


def accumulation(
    weights: NDArray[np.integer[Any]], bias: NDArray[np.int32], isa: Isa, compact: bool = False
) -> tuple[Kernel, ...]:
    """Kernels of a dense layer that takes one row a task; see `convolution`.

    Args:
        weights: (units, rows, bytes of a row), zero point subtracted.
        bias: what the sums start from.
        compact: in least flash.
    """
    return accumulating_kernels(weights, bias, compact) if isa in DSP else ()


def addition(rule: Sum, zeros: tuple[int, int], count: int, isa: Isa) -> tuple[Kernel, ...]:
    """Kernels of a sum or difference of two rows of `count` elements; see `convolution`.

    Args:
        zeros: zero points of the operands.
    """
    found: tuple[Kernel, ...] = ()
    if isa in HELIUM:
        vector = mve.sum_kernel(rule, zeros, count)
        found = (vector,) if vector else ()
    if isa in DSP and not found:
        found = sum_kernels(rule, zeros, count)
    if isa in SMALL:
        small = add_kernel(isa, rule, zeros, count)
        found = (small,) if small else ()
    return found


def lookup(table: NDArray[np.int8], count: int, isa: Isa) -> tuple[Kernel, ...]:
    """Kernels of a function of one element; see `convolution`."""
    return (mve.lookup_kernel(table, count),) if isa in HELIUM else ()


def average_pool(plain: Kernel, isa: Isa) -> tuple[Kernel, ...]:
    """Kernels that do what the plain C one does; see `convolution`."""
    vector = mve.pool_kernel(plain) if isa in HELIUM else None
    return (vector,) if vector else ()
