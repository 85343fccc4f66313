"""Operators that only change how memory is read: nothing is computed, nothing moves (unless it must)."""

from __future__ import annotations

import numpy as np

from vmcu.ir.graph import Node
from vmcu.quant.lowering import Lowering, View


def lower_transpose(node: Node, ctx: Lowering) -> None:
    """Transpose: another order of dimensions over the same memory."""
    perm = tuple(int(p) for p in node.attributes["perm"])  # type: ignore[union-attr]
    ctx.through(
        node.input(0),
        node.outputs[0],
        lambda v: View(v.tensor, v.layout.transpose(perm), v.scale, v.zero_point),
    )


def lower_reshape(node: Node, ctx: Lowering) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: a regrouping of dimensions; copies where memory forbids it."""
    shape = ctx.graph.shape(node.outputs[0])

    def through(view: View) -> View:
        layout = view.layout.reshape(shape)
        if layout is not None:
            return View(view.tensor, layout, view.scale, view.zero_point)
        from vmcu.ops.rearrange import emit_map, numbered

        numbers = np.ascontiguousarray(numbered(view)).reshape(shape)
        return emit_map(ctx, [view], numbers, node.outputs[0], node.name)

    ctx.through(node.input(0), node.outputs[0], through)


def lower_identity(node: Node, ctx: Lowering) -> None:
    """Whatever a pass has left of Identity."""
    ctx.through(node.input(0), node.outputs[0], lambda v: v)


LOWERINGS = {
    "Transpose": lower_transpose,
    "Reshape": lower_reshape,
    "Identity": lower_identity,
    "QuantizeLinear": lambda node, ctx: ctx.lower_quantize(node),
    "DequantizeLinear": lambda node, ctx: ctx.lower_dequantize(node),
}
