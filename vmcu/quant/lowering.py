"""Graph -> QuantizedGraph: walks the QDQ graph once and lets each operator family emit integer operators.

A float tensor of the graph is known here in one of three ways: as a `View` of an int8 tensor (it came
from DequantizeLinear), as a `Pending` result that still needs the scale of the QuantizeLinear after
it, or as a constant. Operators translate between these; nothing is ever computed in float on the chip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import Exit, Problem, VmcuError, fail
from vmcu.errors import Unsupported as Unsupported
from vmcu.ir.graph import Graph, Node
from vmcu.ir.layout import Layout, channels_last, row_major
from vmcu.ir.quantized import Interface, Numerics, QuantizedGraph, StateLink, Tensor
from vmcu.ops.base import QOp

Rows = tuple[int, int, int]

QUANTISE_IT = (
    "quantise the operator that computes it too: list its type in quantize_static's `op_types_to_quantize`, "
    "or put QuantizeLinear/DequantizeLinear behind it"
)


@dataclass(frozen=True, slots=True)
class View:
    """A quantised tensor as ONNX sees it: `layout` over the memory of `tensor`."""

    tensor: str
    layout: Layout
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class OutQuant:
    """What QuantizeLinear asks of a pending result: int8 scale and zero point, clamp included."""

    name: str
    scale: float
    zero_point: int
    low: int = -128
    high: int = 127


@dataclass(frozen=True, slots=True)
class Unary:
    """A chain of functions of one element, not yet rounded.

    Attributes:
        source: the int8 tensor it reads.
        names: operator types in order.
        function: their composition on real numbers.
        attributes: of the node, where the chain is one node.
    """

    source: View
    names: tuple[str, ...]
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Pending:
    """A float result that becomes int8 once its scale is known.

    Attributes:
        finish: emits the operator(s) for an output quantisation.
        low, high: real clamp already fused (Relu, Clip).
        unary: set where the result is a function of one int8 element, so that more can be composed.
        natural: quantisation of its own (that of its inputs), taken where no QuantizeLinear follows.
    """

    finish: Callable[[OutQuant], View]
    low: float = float("-inf")
    high: float = float("inf")
    unary: Unary | None = None
    natural: OutQuant | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant operand: integers with their zero point already subtracted, and real scales.

    Attributes:
        values: integers in ONNX shape: -255..255 of an int8 or uint8 constant, any of an int32 one.
        scale: broadcastable against `values`; all ones axis but the quantised one.
    """

    values: NDArray[np.int64]
    scale: NDArray[np.float64]

    @property
    def real(self) -> NDArray[np.float64]:
        """values * scale."""
        return self.values * self.scale

    def fits(self, limit: int) -> bool:
        """Do all values lie in -limit..limit? Those of an int8 or uint8 constant lie in -255..255."""
        return int(np.abs(self.values).max(initial=0)) <= limit


LowerFunction = Callable[[Node, "Lowering"], None]


def quantise(graph: Graph, numerics: Numerics) -> QuantizedGraph:
    """Lowers a canonical graph to integers.

    Raises:
        VmcuError: (INPUT) listing every node that is not supported, with reason and remedy.
    """
    from vmcu.ops.registry import LOWERINGS  # here: the families need this module

    state = Lowering(graph, numerics)
    problems: list[Problem] = []
    for node in graph.nodes:
        if any(name in state.poisoned for name in node.inputs):
            state.poisoned.update(node.outputs)  # its cause is already reported
            continue
        state.node = node
        try:
            lower = LOWERINGS.get(node.op)
            if lower is None:
                raise Unsupported(
                    "operator is not supported", "see `vmcu ops` for what is; replace it in the model"
                )
            lower(node, state)
        except Unsupported as error:
            problems.append(_problem(node, error))
            state.poisoned.update(node.outputs)
        except VmcuError as error:
            problems.extend(error.problems)
            state.poisoned.update(node.outputs)
    if problems:
        raise VmcuError(Exit.INPUT, problems)
    return state.result()


def _problem(node: Node, error: Unsupported) -> Problem:
    return Problem(f"{node.op}: {error.what}", f"node {node.name!r}", error.fix)


class Lowering:
    """The state of one walk over a graph; the interface that `lower_*` functions use."""

    def __init__(self, graph: Graph, numerics: Numerics) -> None:
        self.graph = graph
        self.numerics: Numerics = numerics
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[QOp] = []
        self.values: dict[str, View | Pending | Weight] = {}
        self.poisoned: set[str] = set()
        self.node: Node | None = None  # being lowered
        self._integers: dict[str, View] = {}  # int8/uint8 (quantised) tensors of the graph
        self._raw_inputs: dict[str, str] = {}  # graph inputs not yet read: name -> dtype
        self._interfaces: dict[str, Interface] = {}
        self._flexible: set[str] = set()  # given tensors whose rows nobody relies on yet
        self._done: dict[tuple[str, float, int], View] = {}
        for value in graph.inputs:
            self._raw_inputs[value.name] = value.dtype

    # ---- what lower_* functions read -------------------------------------------------------------

    def view(self, name: str) -> View:
        """The int8 tensor behind float tensor `name`.

        Raises:
            Unsupported: it is not quantised.
        """
        value = self.values.get(name)
        if isinstance(value, Pending) and value.natural is not None:
            natural = value.natural
            low, high = clamp_bounds(self.numerics, value.low, value.high, natural.scale, natural.zero_point)
            value = value.finish(replace(natural, name=self.unique(name), low=low, high=high))
            self.values[name] = value
        if isinstance(value, View):
            if self.tensors[value.tensor].elem_bytes != 1:
                raise Unsupported(f"its input {name!r} holds indices", "ArgMax must be the last operator")
            return value
        if isinstance(value, Pending):
            raise Unsupported(
                f"its input {name!r} is not quantised",
                QUANTISE_IT,
            )
        raise Unsupported(f"its input {name!r} is a float tensor, or a constant", QUANTISE_IT)

    def weight(self, name: str) -> Weight | None:
        """The quantised constant `name`, or None where it is computed, or a float constant: see `real`."""
        value = self.values.get(name)
        return value if isinstance(value, Weight) else None

    def real(self, name: str) -> NDArray[np.float64] | None:
        """The constant `name` as real numbers, or None where it is computed or left out."""
        if name in self.graph.constants:
            return self.graph.constants[name].astype(np.float64)
        value = self.values.get(name)
        return value.real if isinstance(value, Weight) else None

    def is_constant(self, name: str) -> bool:
        """Known at compile time."""
        return name in self.graph.constants or isinstance(self.values.get(name), Weight)

    def pending(self, name: str) -> Pending | None:
        """The result not yet quantised, or None."""
        value = self.values.get(name)
        return value if isinstance(value, Pending) else None

    # ---- what they produce -----------------------------------------------------------------------

    def define(self, name: str, value: View | Pending | Weight) -> None:
        """Says what float tensor `name` is. What its `finish` does not support is this node's problem."""
        if isinstance(value, Pending):
            value = replace(value, finish=self._blaming(value.finish))
        self.values[name] = value

    def _blaming(self, finish: Callable[[OutQuant], View]) -> Callable[[OutQuant], View]:
        node = self.node
        assert node is not None

        def finished(q: OutQuant) -> View:
            try:
                return finish(q)
            except Unsupported as error:
                raise VmcuError(Exit.INPUT, [_problem(node, error)]) from None

        return finished

    def emit(
        self, op: QOp, rows: Rows, layout: Layout, scale: float, zero_point: int, elem_bytes: int = 1
    ) -> View:
        """Appends an operator whose output tensor has shape `rows`; returns its view."""
        self.tensors[op.output] = Tensor(op.output, *rows, scale, zero_point, elem_bytes)
        self.ops.append(op)
        return View(op.output, layout, scale, zero_point)

    def unique(self, name: str) -> str:
        """A tensor name not used yet, made from `name`."""
        candidate, number = name, 1
        while candidate in self.tensors:
            candidate, number = f"{name}.{number}", number + 1
        return candidate

    def through(self, source: str, target: str, change: Callable[[View], View]) -> None:
        """`target` is `source` seen through `change` (layouts, data movement), quantised yet or not."""
        pending = self.pending(source)
        if pending is None:
            self.define(target, change(self.view(source)))
        else:
            finish = pending.finish
            self.define(target, replace(pending, finish=lambda q: change(finish(q)), unary=None))

    def arrange(self, view: View, layout: Layout, rows: Rows) -> str:
        """Name of a tensor that holds `view` in `layout`'s memory order, cut into `rows`.

        Emits a copy only where bytes have to move.
        """
        from vmcu.ops.rearrange import rearrange

        tensor = self.tensors[view.tensor]
        if view.layout == layout:
            if tensor.shape == rows:
                self._flexible.discard(view.tensor)
                return view.tensor
            if view.tensor in self._flexible:
                self._flexible.discard(view.tensor)
                self.tensors[view.tensor] = Tensor(view.tensor, *rows, tensor.scale, tensor.zero_point)
                return view.tensor
        return rearrange(self, view, layout, rows).tensor

    def spatial(self, view: View) -> tuple[str, Rows]:
        """`view` (N, C, spatial...) as NHWC rows: (tensor, (H, W, C)). 1-D data has its length as H."""
        shape = view.layout.shape
        if len(shape) not in (3, 4):
            raise Unsupported(f"rank {len(shape)} is not supported here", "use 1-D or 2-D spatial data")
        if shape[0] != 1:
            raise Unsupported(f"batch of {shape[0]}", "export the model with batch size 1")
        rows = (shape[2], shape[3] if len(shape) == 4 else 1, shape[1])
        wanted = view.layout.ordered((0, *range(2, len(shape)), 1))
        return self.arrange(view, wanted, rows), rows

    def rows_of(self, view: View) -> Rows:
        """The rows `view`'s tensor has; fixes those of a graph input."""
        self._flexible.discard(view.tensor)
        return self.tensors[view.tensor].shape

    # ---- DequantizeLinear, QuantizeLinear --------------------------------------------------------

    def lower_dequantize(self, node: Node) -> None:
        """Float tensor = view of an int8 tensor, or a constant operand."""
        source, target = node.input(0), node.outputs[0]
        if source in self.graph.constants:
            self.define(target, self._constant_operand(node))
            return
        scale, zero_point = self._parameters(node)
        if source in self._raw_inputs and source not in self._integers:
            self._integers[source] = self._open(source, scale, zero_point)
        if source not in self._integers:
            raise Unsupported(
                f"{source!r} is not a quantised tensor", "quantise the model with int8 or uint8"
            )
        view = self._integers[source]
        if (view.scale, view.zero_point) != (scale, zero_point):
            view = replace(view, scale=scale, zero_point=zero_point)  # the same bytes, read otherwise
        self.define(target, view)

    def lower_quantize(self, node: Node) -> None:
        """Finishes a pending result, or requantises a view."""
        source, target = node.input(0), node.outputs[0]
        scale, zero_point = self._parameters(node)
        if source in self._raw_inputs and source not in self.values:
            self.define(source, self._open(source, scale, zero_point))
        elif source in self._raw_inputs and self.view(source) != self._open_view(source, scale, zero_point):
            raise Unsupported(
                f"the float input {source!r} is quantised with two different scales",
                "give all readers of the input one QuantizeLinear",
            )
        key = (source, scale, zero_point)
        if key not in self._done:
            self._done[key] = self._quantised(source, target, scale, zero_point)
        self._integers[target] = self._done[key]

    def _quantised(self, source: str, target: str, scale: float, zero_point: int) -> View:
        pending = self.pending(source)
        if pending is None:
            view = self.view(source)
            if (view.scale, view.zero_point) == (scale, zero_point):
                return view
            from vmcu.ops.unary import requantised

            pending = requantised(self, view)
        low, high = clamp_bounds(self.numerics, pending.low, pending.high, scale, zero_point)
        return pending.finish(OutQuant(self.unique(target), scale, zero_point, low, high))

    def _parameters(self, node: Node) -> tuple[float, int]:
        """Scale and int8 zero point of a Q/DQ node of activations (uint8 shifted by 128)."""
        scale = self.graph.constants[node.input(1)]
        if scale.size != 1:
            raise Unsupported("activations with a scale per channel", "quantise activations per tensor")
        zero = self.graph.constants[node.input(2)] if node.input(2) else np.zeros((), np.uint8)
        point = int(zero.reshape(-1)[0]) - (128 if zero.dtype == np.uint8 else 0)
        if zero.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
            raise Unsupported(f"activations of type {zero.dtype}", "quantise activations to int8 or uint8")
        return float(scale.reshape(-1)[0]), point

    def _constant_operand(self, node: Node) -> Weight:
        values = self.graph.constants[node.input(0)]
        scale = self.graph.constants[node.input(1)].astype(np.float64)
        zero = self.graph.constants[node.input(2)].astype(np.int64) if node.input(2) else np.int64(0)
        if scale.size == 1:
            shape: tuple[int, ...] = ()
        else:
            axis = int(node.attributes.get("axis", 1)) % values.ndim  # type: ignore[arg-type]
            shape = tuple(values.shape[axis] if i == axis else 1 for i in range(values.ndim))
        zero = np.asarray(zero).reshape(shape if np.size(zero) > 1 else ())
        return Weight(values.astype(np.int64) - zero, scale.reshape(shape))

    # ---- graph inputs, outputs, states -----------------------------------------------------------

    def _open(self, name: str, scale: float, zero_point: int) -> View:
        """Creates the tensor of graph input `name`; its memory order follows its first use."""
        value = self.graph.values[name]
        layout = channels_last(value.shape) if self._feeds_spatial(name) else row_major(value.shape)
        tensor = self.unique(name)
        self.tensors[tensor] = Tensor(tensor, *natural_rows(layout), scale, zero_point)
        self._flexible.add(tensor)
        self._interfaces[name] = Interface(name, tensor, layout, self._raw_inputs[name])
        return View(tensor, layout, scale, zero_point)

    def _open_view(self, name: str, scale: float, zero_point: int) -> View:
        """What `_open` gave where it was asked for this quantisation."""
        interface = self._interfaces[name]
        return View(interface.tensor, interface.layout, scale, zero_point)

    def _feeds_spatial(self, name: str) -> bool:
        """Is `name` read as (N, C, spatial...), that is: does channels-last memory serve it?"""
        if len(self.graph.values[name].shape) < 3:
            return False
        consumers = self.graph.consumers()
        seen, todo = set(), [name]
        while todo:
            for node in consumers.get(todo.pop(), []):
                if node.op in ("Conv", "AveragePool", "MaxPool", "Resize", "DepthToSpace", "SpaceToDepth"):
                    return True
                passes = ("Transpose", "Reshape", "MatMul", "Gemm", "ReduceMean", "Softmax")
                if node.op not in passes and node.name not in seen:
                    seen.add(node.name)
                    todo += [o for o in node.outputs if o]
        return False

    def _output(self, name: str) -> View:
        view = self._integers.get(name)
        value = view or self.values.get(name)
        if isinstance(value, View):
            return value
        if self.is_constant(name):
            raise fail("is a constant", f"output {name!r}", "remove it from the outputs: no input changes it")
        raise fail(
            "the output is not quantised",
            f"output {name!r}",
            "quantise the last operator too (QuantizeLinear/DequantizeLinear before the output)",
        )

    def result(self) -> QuantizedGraph:
        """The finished artefact."""
        from vmcu.ops.rearrange import copy_of, store_states

        for name in self._raw_inputs:
            if name not in self._interfaces:
                self._open(name, 1.0, 0)  # declared but never read
        state_of = {s.input: s for s in self.graph.states}
        next_of = {s.output for s in self.graph.states}
        given = {i.tensor for i in self._interfaces.values()}
        links, outputs = [], []
        taken: set[str] = set()
        for value in self.graph.outputs:
            if value.name in next_of:
                continue
            view = self._output(value.name)
            if view.tensor in given or view.tensor in taken:
                view = copy_of(self, view, value.name)
            taken.add(view.tensor)
            outputs.append(Interface(value.name, view.tensor, view.layout, value.dtype))
        updates = [(self._output(s.output), self._interfaces[s.input]) for s in self.graph.states]
        stored = store_states(self, updates, taken)
        for state, (_, current), tensor in zip(self.graph.states, updates, stored, strict=True):
            links.append(StateLink(current.tensor, tensor, state.input, state.output, current.dtype))
        inputs = [i for name, i in self._interfaces.items() if name not in state_of]
        order = {v.name: n for n, v in enumerate(self.graph.inputs)}
        return QuantizedGraph(
            self.graph.name,
            self.numerics,
            MappingProxyType(dict(self.tensors)),
            tuple(self.ops),
            tuple(sorted(inputs, key=lambda i: order[i.name])),
            tuple(outputs),
            tuple(links),
            self.graph.sha256,
        ).verify()


def clamp_bounds(
    numerics: Numerics, low: float, high: float, scale: float, zero_point: int
) -> tuple[int, int]:
    """int8 bounds that equal clamping the real value before quantisation (rounding is monotonic).

    Source: SPEC.md section 2.5; `tflm`: TFLite's CalculateActivationRangeQuantized.
    """

    def quantised(real: float) -> int:
        if numerics == "tflm":
            with np.errstate(over="ignore"):
                quotient = float(np.float32(real) / np.float32(scale))
            steps = np.copysign(np.floor(abs(quotient) + 0.5), quotient)
        else:
            steps = np.rint(real / scale)
        return int(np.clip(steps + zero_point, -128, 127))

    return quantised(low), quantised(high)


def natural_rows(layout: Layout) -> Rows:
    """How memory in `layout` is cut into (rows, cols, channels) unless an operator asks for more.

    Channels-last images are H x W x C, 1-D signals length x 1 x C, vectors one row.
    """
    shape = layout.shape
    if len(shape) in (3, 4) and shape[0] == 1 and layout == channels_last(shape):
        return (shape[2], shape[3] if len(shape) == 4 else 1, shape[1])
    sizes = [shape[d] for d in layout.memory_dims() or ()]
    while len(sizes) < 3:
        sizes.insert(1 if len(sizes) == 2 else 0, 1)
    return (int(np.prod(sizes[:-2])), sizes[-2], sizes[-1])
