"""Operators that move elements: parameters become attributes, full rank, counted from the front, clamped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmcu.ir.graph import Attribute, Node
from vmcu.passes.edit import Edit, Refused
from vmcu.passes.forms.common import (
    EXPORT_STATIC,
    Form,
    axes_of,
    constant_ints,
    get_int,
    get_ints,
    get_text,
    positive,
    real_scalar,
)


def _emit(node: Node, edit: Edit, op: str, **attributes: Attribute) -> None:
    """`node` with its first input only and exactly these attributes."""
    edit.emit(Node(op, node.name, node.inputs[:1], node.outputs, attributes))


def _reshape(node: Node, edit: Edit) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: the shape is known, how it was written does not matter."""
    if any(name not in edit.constants for name in node.inputs[1:] if name):
        raise Refused("its shape or axes are computed at run time", EXPORT_STATIC)
    _emit(node, edit, "Reshape", shape=edit.shape(node.outputs[0]))


def _transpose(node: Node, edit: Edit) -> None:
    rank = len(edit.shape(node.input(0)))
    perm = get_ints(node, "perm", tuple(range(rank))[::-1]) or ()
    if sorted(perm) != list(range(rank)):
        raise Refused(f"its perm {list(perm)} is not an order of {rank} axes", "export the model again")
    _emit(node, edit, "Transpose", perm=perm)


def _slice(node: Node, edit: Edit) -> None:
    """starts, ends, axes, steps over all axes; an end of -1 with a negative step runs through element 0."""
    shape = edit.shape(node.input(0))
    starts, ends = constant_ints(node, 1, edit, "starts"), constant_ints(node, 2, edit, "ends")
    if starts is None or ends is None:
        raise Refused("has no starts or ends", "export the model again")
    axes = axes_of(node, 3, edit, len(shape)) if node.input(3) else tuple(range(len(starts)))
    steps = constant_ints(node, 4, edit, "steps") or (1,) * len(starts)
    if axes is None or not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        raise Refused("its starts, ends, axes and steps do not fit together", "export the model again")
    full = [(0, size, 1) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise Refused("has a step of 0", "export the model again")
        full[axis] = slice(start, _end(end, step, shape[axis]), step).indices(shape[axis])
    _emit(
        node,
        edit,
        "Slice",
        starts=tuple(f[0] for f in full),
        ends=tuple(f[1] for f in full),
        axes=tuple(range(len(shape))),
        steps=tuple(f[2] for f in full),
    )


def _end(end: int, step: int, size: int) -> int | None:
    """ONNX clamps an end far below 0 to "before element 0" where the step is negative; Python writes None."""
    return None if step < 0 and end < -size else end


def _split(node: Node, edit: Edit) -> None:
    axis = positive(get_int(node, "axis", 0), len(edit.shape(node.input(0))))
    given = constant_ints(node, 1, edit, "sizes") if node.input(1) else get_ints(node, "split")
    size = edit.shape(node.input(0))[axis]
    sizes = given
    if sizes is None:
        part = -(-size // len(node.outputs))
        sizes = tuple(min(part, size - i * part) for i in range(len(node.outputs)))
    if len(sizes) != len(node.outputs) or sum(sizes) != size or min(sizes) < 1:
        raise Refused(f"its sizes {list(sizes)} do not add up to {size}", "export the model again")
    _emit(node, edit, "Split", axis=axis, split=sizes)


def _concat(node: Node, edit: Edit) -> None:
    axis = positive(get_int(node, "axis", 0), len(edit.shape(node.outputs[0])))
    edit.emit(replace(node, attributes={"axis": axis}))


def _gather(node: Node, edit: Edit) -> None:
    axis = positive(get_int(node, "axis", 0), len(edit.shape(node.input(0))))
    size = edit.shape(node.input(0))[axis]
    indices = constant_ints(node, 1, edit, "indices") or ()
    if any(not -size <= i < size for i in indices):
        raise Refused(f"has an index outside the {size} elements of axis {axis}", "export the model again")
    _emit(node, edit, "Gather", axis=axis, indices=tuple(i % size for i in indices))


def _pad(node: Node, edit: Edit) -> None:
    """pads over all axes (begins, then ends), mode, value (a real number)."""
    rank = len(edit.shape(node.input(0)))
    pads = constant_ints(node, 1, edit, "pads")
    axes = axes_of(node, 3, edit, rank) if node.input(3) else tuple(range(rank))
    if pads is None or axes is None or len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise Refused("its pads do not fit its axes", "export the model again")
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis], full[axis + rank] = pads[i], pads[i + len(axes)]
    mode = get_text(node, "mode", "constant")
    value = real_scalar(node, 2, edit, "value", 0.0) if mode == "constant" else 0.0
    _emit(node, edit, "Pad", pads=tuple(full), mode=mode, value=value)


def _block(node: Node, edit: Edit) -> None:
    """DepthToSpace, SpaceToDepth."""
    attributes: dict[str, Attribute] = {"blocksize": get_int(node, "blocksize", 1)}
    if node.op == "DepthToSpace":
        attributes["mode"] = get_text(node, "mode", "DCR")
    _emit(node, edit, node.op, **attributes)


def _resize(node: Node, edit: Edit) -> None:
    """mode, coordinate_transformation_mode, nearest_mode, sizes and scales over all axes."""
    shape, sizes = edit.shape(node.input(0)), edit.shape(node.outputs[0])
    mode = get_text(node, "mode", "nearest")
    transform = get_text(node, "coordinate_transformation_mode", "half_pixel")
    fix = "resize with nearest or linear interpolation, without antialiasing"
    if mode not in ("nearest", "linear"):
        raise Refused(f"interpolates by mode {mode!r}", fix)
    if get_int(node, "antialias", 0):
        raise Refused("resizes with antialiasing", fix)
    if transform == "tf_crop_and_resize":
        raise Refused("crops while resizing", "use Slice and a plain Resize")
    if get_text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("resizes with an aspect ratio policy", "give all sizes (policy 'stretch')")
    scales = tuple(out / size for out, size in zip(sizes, shape, strict=True))
    if node.input(2):
        given = edit.real(node.input(2))
        if given is None:
            raise Refused("its scales are computed at run time", EXPORT_STATIC)
        numbers = [float(v) for v in given.astype(np.float64).reshape(-1)]
        axes = get_ints(node, "axes") or tuple(range(len(shape)))
        if numbers:
            if len(numbers) != len(axes) or min(numbers) <= 0:
                raise Refused("its scales do not fit its axes", "export the model again")
            at = {positive(axis, len(shape)): number for axis, number in zip(axes, numbers, strict=True)}
            scales = tuple(at.get(i, 1.0) for i in range(len(shape)))
    elif node.input(3) and node.input(3) not in edit.constants:
        raise Refused("its sizes are computed at run time", EXPORT_STATIC)
    attributes: dict[str, Attribute] = {
        "mode": mode,
        "coordinate_transformation_mode": transform,
        "nearest_mode": get_text(node, "nearest_mode", "round_prefer_floor"),
        "sizes": sizes,
        "scales": scales,
    }
    _emit(node, edit, "Resize", **attributes)


def _expand(node: Node, edit: Edit) -> None:
    if node.input(1) not in edit.constants:
        raise Refused("its shape is computed at run time", EXPORT_STATIC)
    _emit(node, edit, "Expand", shape=edit.shape(node.outputs[0]))


def _dropout(node: Node, edit: Edit) -> None:
    """Inference: the data passes unchanged."""
    training = node.input(2)
    if training and (training not in edit.constants or bool(edit.constants[training].any())):
        raise Refused("runs in training mode", "export the model in inference mode (model.eval())")
    if any(node.outputs[1:]):
        raise Refused("its mask output is used", "export the model in inference mode (model.eval())")
    edit.emit(Node("Dropout", node.name, node.inputs[:1], node.outputs[:1], {}))


FORMS: dict[str, Form] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
    "DepthToSpace": _block,
    "SpaceToDepth": _block,
    "Resize": _resize,
    "Expand": _expand,
    "Dropout": _dropout,
}
