"""Which channels of an operator's tensors can only come and go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmcu.ir.quantized import Tensor
from vmcu.ops.base import QOp
from vmcu.ops.binary import Binary
from vmcu.ops.conv import Conv2D
from vmcu.ops.dense import Dense
from vmcu.ops.pool import AveragePool, MaxPool
from vmcu.ops.prelu import PRelu
from vmcu.ops.rearrange import Rearrange
from vmcu.ops.reduce import Reduce
from vmcu.ops.resize import ResizeLinear
from vmcu.ops.unary import Lookup


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """What an operator asks of the channels of its tensors.

    Attributes:
        tied: (tensor, (groups, channels of a group)): the channels of group g of all these tensors stay or go together.
        whole: tensors that have to keep every channel.
    """

    tied: tuple[tuple[str, NDArray[np.int64]], ...] = ()
    whole: tuple[str, ...] = ()


def lanes(op: QOp, ins: Sequence[Tensor], out: Tensor) -> tuple[bool, ...] | None:
    """Is channel k of the output made from channel k of the inputs, and nothing else?

    Returns:
        Per input: True, that holds of it; False, it has one channel, which every output channel reads. None: the operator
        works in another way.
    """
    if isinstance(op, Lookup | MaxPool | AveragePool | ResizeLinear | PRelu):
        return (True,)
    if isinstance(op, Reduce):
        return None if op.axes[2] else (True,)
    if isinstance(op, Binary):
        if any(x.shape != shape for x, shape in zip(ins, op.shapes, strict=False)):
            return None  # it reads a tensor in another shape
        return tuple(x.channels == out.channels for x in ins)
    return None


def ties(op: QOp, ins: Sequence[Tensor], out: Tensor) -> Ties | None:
    """The ties of `op`; None where its inputs and outputs are weighted or moved one by one."""
    if isinstance(op, Dense) or (isinstance(op, Conv2D) and op.groups == 1):
        return None
    if isinstance(op, Conv2D):
        return Ties(((ins[0].name, _grouped(ins[0], op.groups)), (out.name, _grouped(out, op.groups))))
    alone = (out.name, _grouped(out, out.channels))
    found = lanes(op, ins, out)
    if found is not None:
        with_out = [(x.name, alone[1]) for x, is_lane in zip(ins, found, strict=True) if is_lane]
        return Ties(
            (*with_out, alone), tuple(x.name for x, is_lane in zip(ins, found, strict=True) if not is_lane)
        )
    if isinstance(op, Rearrange):
        # Whole rows may need no copy at all; rows without some of their channels would.
        same = all((x.cols, x.channels) == (out.cols, out.channels) for x in ins)
        if same and op.moves_rows(tuple(ins), out):
            return Ties((*((x.name, alone[1]) for x in ins), alone))
        return None
    return Ties(whole=(*op.inputs, op.output))


def _grouped(tensor: Tensor, groups: int) -> NDArray[np.int64]:
    return np.arange(tensor.channels).reshape(groups, -1)
