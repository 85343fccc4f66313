"""Model file -> Graph. The only part of vmcu that knows the onnx package; what comes in is not trusted.

    read        file -> ModelProto, external data inside       (the only file access)
    structure   versions, functions, names, order -> Draft     (operators, decode)
    qoperator   QOperator form -> QDQ form
    shapes      input shapes fixed, every tensor's shape and type
    operands, quantisation, states   sanity

Each step reports all the problems it finds at once and the next one runs only if there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from vmcu.importer.draft import Draft
from vmcu.importer.messages import malformed, refuse
from vmcu.importer.operands import operand_problems
from vmcu.importer.qoperator import expand_qoperators
from vmcu.importer.quantisation import quantisation_problems
from vmcu.importer.read import read_model
from vmcu.importer.shapes import infer, with_input_shapes
from vmcu.importer.states import find_states, state_problems
from vmcu.importer.structure import draft_of
from vmcu.ir.graph import Graph, State, Value, frozen_mapping

__all__ = ["import_model"]

_NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def import_model(
    path: Path,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] = _NO_SHAPES,
    states: Sequence[State] | None = None,
) -> Graph:
    """Reads a quantised ONNX model (QDQ or QOperator form).

    Args:
        path: the .onnx file; external data only inside its folder.
        input_shapes: of graph inputs with dynamic dimensions; they are never guessed.
        states: pairs that persist between runs; None takes those named state_in_X / state_out_X.

    Raises:
        VmcuError: (INPUT) with every problem of the first step that finds any.
    """
    path = Path(path)
    with malformed("model"):
        model, sha256 = read_model(path)
        draft = draft_of(model)
        pairs, problems = find_states(draft, states)
        refuse(problems)
        draft = with_input_shapes(expand_qoperators(draft).pruned(), input_shapes)
        draft, values = infer(draft)
        refuse(
            [
                *operand_problems(draft, values),
                *quantisation_problems(draft, values),
                *state_problems(pairs, values, draft.constants),
            ]
        )
        return _graph(draft, values, pairs, sha256).verify()


def _graph(draft: Draft, values: Mapping[str, Value], states: tuple[State, ...], sha256: str) -> Graph:
    computed = {port.name for port in draft.inputs} | {o for node in draft.nodes for o in node.outputs if o}
    outputs = []
    for port in draft.outputs:
        array = draft.constants.get(port.name)
        given = values[port.name] if array is None else Value(port.name, tuple(array.shape), str(array.dtype))
        outputs.append(given)
    return Graph(
        name=draft.name,
        opset=draft.opset,
        inputs=tuple(values[port.name] for port in draft.inputs),
        outputs=tuple(outputs),
        nodes=draft.nodes,
        constants=frozen_mapping(draft.constants),
        values=MappingProxyType({name: value for name, value in values.items() if name in computed}),
        states=states,
        sha256=sha256,
    )
