"""Conv and pooling: every window attribute explicit, no auto_pad, no ceil_mode; global pooling is a reduction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmcu.ir.graph import Attribute, Node
from vmcu.passes.edit import Edit, Refused
from vmcu.passes.forms.common import Form, get_int, get_ints, get_text


@dataclass(frozen=True, slots=True)
class _Window:
    """Spatial extents, one entry an axis; `pads` is begins then ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    def attributes(self) -> dict[str, Attribute]:
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
        }


def _window(node: Node, edit: Edit, kernel: tuple[int, ...]) -> _Window:
    sizes = edit.shape(node.input(0))[2:]
    rank = len(sizes)
    strides = get_ints(node, "strides") or (1,) * rank
    dilations = get_ints(node, "dilations") or (1,) * rank
    pads = get_ints(node, "pads") or (0,) * (2 * rank)
    if rank == 0 or not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise Refused("its window attributes do not fit the rank of its input", "export the model again")
    if min(kernel + strides + dilations) < 1 or min(pads) < 0:
        raise Refused("has a kernel, stride or dilation below 1, or a pad below 0", "export the model again")
    auto = get_text(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * (2 * rank)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = (*small, *large) if auto == "SAME_UPPER" else (*large, *small)
    elif auto != "NOTSET":
        raise Refused(f"has auto_pad {auto!r}", "use NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    return _Window(kernel, strides, dilations, pads)


def _refuse_beyond(window: _Window, sizes: tuple[int, ...]) -> None:
    """ONNX's shape inference may find an output where no window fits."""
    rank = len(sizes)
    for n, size in enumerate(sizes):
        reach, padded = (
            (window.kernel[n] - 1) * window.dilations[n] + 1,
            size + window.pads[n] + window.pads[rank + n],
        )
        if reach > padded:
            raise Refused(
                f"its window reaches over {reach} elements, but its input with padding has {padded}",
                "export the model for a larger input",
            )


def _conv(node: Node, edit: Edit) -> None:
    weights = edit.shape(node.input(1))
    kernel = get_ints(node, "kernel_shape") or weights[2:]
    window = _window(node, edit, kernel)
    _refuse_beyond(window, edit.shape(node.input(0))[2:])
    _emit(node, edit, {**window.attributes(), "group": get_int(node, "group", 1)})


def _pool(node: Node, edit: Edit) -> None:
    """AveragePool, MaxPool. ceil_mode becomes end padding that reaches the last window's end."""
    if any(node.outputs[1:]):
        raise Refused("its second output (indices) is used", "use only the pooled values")
    window = _window(node, edit, get_ints(node, "kernel_shape") or ())
    include = get_int(node, "count_include_pad", 0)
    if get_int(node, "ceil_mode", 0):
        outputs, sizes = edit.shape(node.outputs[0])[2:], edit.shape(node.input(0))[2:]
        begins, ends = list(window.pads[: len(sizes)]), list(window.pads[len(sizes) :])
        extra = 0
        for i, (out, size) in enumerate(zip(outputs, sizes, strict=True)):
            start = (out - 1) * window.strides[i] - begins[i]
            over = start + (window.kernel[i] - 1) * window.dilations[i] + 1 - size - ends[i]
            if start >= size:
                raise Refused(
                    "ceil_mode adds a window outside its input", "export the model with ceil_mode=0"
                )
            ends[i] += max(over, 0)
            extra = max(extra, over)
        if extra > 0 and include and node.op == "AveragePool":
            if any(window.pads):
                raise Refused(
                    "ceil_mode together with count_include_pad and pads divides by a size of its own at the edge",
                    "export with count_include_pad=0 or ceil_mode=0",
                )
            include = 0
        window = _Window(window.kernel, window.strides, window.dilations, (*begins, *ends))
    _refuse_beyond(window, edit.shape(node.input(0))[2:])
    attributes = window.attributes()
    if node.op == "AveragePool":
        attributes["count_include_pad"] = include if any(window.pads) else 0
    _emit(node, edit, attributes)


def _emit(node: Node, edit: Edit, attributes: Mapping[str, Attribute]) -> None:
    edit.emit(Node(node.op, node.name, node.inputs, (node.outputs[0],), dict(attributes)))


def _global(op: str) -> Form:
    def form(node: Node, edit: Edit) -> None:
        rank = len(edit.shape(node.input(0)))
        attributes: dict[str, Attribute] = {"axes": tuple(range(2, rank)), "keepdims": 1}
        edit.emit(Node(op, node.name, node.inputs, node.outputs, attributes))

    return form


FORMS: dict[str, Form] = {
    "Conv": _conv,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "GlobalAveragePool": _global("ReduceMean"),
    "GlobalMaxPool": _global("ReduceMax"),
}
