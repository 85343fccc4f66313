"""Passes over `Graph`: one a file, each a pure function with a reason, checked after every step.

After `canonicalise` every operator has one form. Attributes are always present, axes count from the front:

    QuantizeLinear, DequantizeLinear   x, scale, zero_point: scalars, or vectors of one length and `axis`
    Conv                 kernel_shape, strides, dilations, pads (begins, ends), group; 1-D stays 1-D
    AveragePool          kernel_shape, strides, dilations, pads, count_include_pad (0 where nothing is padded)
    MaxPool              kernel_shape, strides, dilations, pads
    Gemm                 transB (transA = 0, alpha = beta = 1);  MatMul: nothing
    Reshape              x only; shape (also Flatten, Squeeze, Unsqueeze)
    Transpose            perm
    Slice                x only; starts, ends, axes, steps over all axes (an end of -1 with a negative step runs
                         through element 0)
    Split                x only; axis, split
    Concat               axis
    Gather               x only; axis, indices (flat; the output's shape holds theirs), 0 <= index < size
    Pad                  x only; mode, pads over all axes, value (a real number)
    Resize               x only; mode, coordinate_transformation_mode, nearest_mode, sizes, scales over all axes
    Expand               x only; shape
    DepthToSpace         blocksize, mode;  SpaceToDepth: blocksize
    Clip                 x only; min, max (infinite where open)
    Softmax, LogSoftmax  axis, one axis
    ReduceMean/Max/Min/Sum   x only; axes (ascending), keepdims (also GlobalAveragePool, GlobalMaxPool)
    ArgMax, ArgMin       axis, keepdims, select_last_index
    LeakyRelu, Elu       alpha;  HardSigmoid: alpha, beta;  HardSwish: nothing

Identity survives only between a graph input (or constant, or another output) and a graph output, of real values.
Dropout, ceil_mode, auto_pad and BatchNormalization do not survive. Operators not listed pass unchanged; lowering
reports them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.graph import Graph
from vmcu.passes import (
    drop_identity,
    fold_affine,
    fold_batchnorm,
    fold_constants,
    merge_pad,
    normalise_ops,
    quantise_early,
)

__all__ = ["PASSES", "Pass", "canonicalise"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A pure function over graphs and why it exists."""

    run: Callable[[Graph], Graph]
    reason: str

    @property
    def name(self) -> str:
        """For messages and `--dump-after`."""
        return self.run.__name__


PASSES: tuple[Pass, ...] = (
    Pass(fold_constants.fold_constants, fold_constants.REASON),
    Pass(normalise_ops.normalise_ops, normalise_ops.REASON),
    Pass(drop_identity.drop_identity, drop_identity.REASON),
    Pass(fold_batchnorm.fold_batchnorm, fold_batchnorm.REASON),
    Pass(fold_affine.fold_affine, fold_affine.REASON),
    Pass(merge_pad.merge_pad, merge_pad.REASON),
    Pass(quantise_early.quantise_early, quantise_early.REASON),
    Pass(drop_identity.drop_identity, "a merged Pad leaves its Q/DQ pair doubled"),
)


def canonicalise(graph: Graph, passes: tuple[Pass, ...] = PASSES) -> Graph:
    """All passes in order, the graph verified after each.

    Raises:
        VmcuError: (INPUT) a node has no canonical form; (BUG) a pass broke the graph, named with those before it.
    """
    done: list[str] = []
    for step in passes:
        try:
            graph = step.run(graph).verify()
        except VmcuError as error:
            if error.code is not Exit.BUG:
                raise
            raise _broken(step.name, done, error) from error
        except Exception as error:
            raise _broken(step.name, done, error) from error
        done.append(step.name)
    return graph


def _broken(name: str, done: list[str], error: Exception) -> VmcuError:
    what = "; ".join(p.what for p in error.problems) if isinstance(error, VmcuError) else repr(error)
    before = ", ".join(done) or "none"
    return VmcuError(
        Exit.BUG,
        [
            Problem(
                what,
                f"pass {name} (after {before})",
                "this is a bug in vmcu: please report it with the model",
            )
        ],
    )
