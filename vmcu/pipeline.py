"""The whole chain, one pure function after another; everything else (CLI, Python API) calls these."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmcu.codegen.names import project_name
from vmcu.codegen.project import make_project
from vmcu.importer import import_model
from vmcu.ir.cproject import CProject
from vmcu.ir.graph import State
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.memory.check import check
from vmcu.memory.plan import MemoryPlan
from vmcu.memory.tables import Tables, make_tables
from vmcu.passes import canonicalise
from vmcu.planner import Optimise, make_best_plan
from vmcu.quant.lowering import quantise
from vmcu.schedule.stream_inputs import stream_inputs
from vmcu.schedule.stream_outputs import stream_outputs

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model as C, and the artefacts it came from.

    Attributes:
        graph: integer network.
        plan: memory plan.
        tables: what the checker has approved.
        checked_tasks: number of tasks it simulated.
        project: the C project.
    """

    graph: QuantizedGraph
    plan: MemoryPlan
    tables: Tables
    checked_tasks: int
    project: CProject


def load(
    model: Path | str,
    *,
    numerics: Numerics = "onnx",
    input_shapes: Shapes | None = None,
    states: Mapping[str, str] | None = None,
) -> QuantizedGraph:
    """Reads a model into integer form.

    Raises:
        VmcuError: (INPUT) listing everything that is wrong with the model.
    """
    pairs = None if states is None else [State(i, o) for i, o in states.items()]
    graph = import_model(Path(model), input_shapes=input_shapes or {}, states=pairs)
    return quantise(canonicalise(graph), numerics)


def compile_graph(
    graph: QuantizedGraph,
    name: str | None = None,
    *,
    streamed: Collection[str] = (),
    streamed_outputs: Collection[str] = (),
    optimise: Optimise = "ram",
    ram_bytes: int | None = None,
) -> Compiled:
    """Plans, checks and generates.

    Args:
        graph: from `load`.
        name: prefix of the C symbols; made from the model's name by default.
        streamed: inputs that the caller delivers row by row.
        streamed_outputs: outputs that the caller receives row by row.
        optimise: "ram" or "speed"; see `planner.make_best_plan`.
        ram_bytes: what there is, for "speed".

    Raises:
        VmcuError: (BUG) the independent checker rejects the plan: no C is generated.
    """
    graph = stream_outputs(stream_inputs(graph, streamed), streamed_outputs)
    plan = make_best_plan(graph, optimise, ram_bytes)
    tables = make_tables(plan)
    tasks = check(tables)
    project = make_project(plan, tables, name or project_name(graph.name))
    return Compiled(plan.schedule.graph, plan, tables, tasks, project)
