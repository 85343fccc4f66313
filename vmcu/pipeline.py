"""The whole chain, one pure function after another; everything else (CLI, Python API) calls these."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vmcu.codegen.names import project_name
from vmcu.codegen.project import make_project
from vmcu.importer import import_model
from vmcu.ir.cproject import CProject
from vmcu.ir.graph import State
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.ir.tuning import Tuning
from vmcu.memory.check import check
from vmcu.memory.plan import MemoryPlan, make_plan
from vmcu.memory.tables import Tables, make_tables
from vmcu.optimise import drop_dead_channels
from vmcu.passes import canonicalise
from vmcu.planning.choose import STACK_ALLOWANCE_BYTES, Choice, Optimise, choose, list_candidates
from vmcu.planning.cost import DEFAULT_COMPILER, DEFAULT_CORE
from vmcu.quant.lowering import quantise
from vmcu.schedule.schedule import Schedule
from vmcu.schedule.stream_inputs import stream_inputs
from vmcu.schedule.stream_outputs import stream_outputs

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model as C, and the artefacts it came from.

    Attributes:
        graph: integer network as it is planned.
        plan: memory plan.
        tables: what the checker has approved.
        checked_tasks: number of tasks it simulated.
        project: the C project.
        choice: how the plan was chosen; None where its schedule was given.
    """

    graph: QuantizedGraph
    plan: MemoryPlan
    tables: Tables
    checked_tasks: int
    project: CProject
    choice: Choice | None = None

    @property
    def network(self) -> QuantizedGraph:
        """The integer network before it was planned, with the layers of the model."""
        return self.graph if self.choice is None else self.choice.network

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network; a plan may execute more or fewer."""
        return self.network.macs


def load(
    model: Path | str,
    *,
    numerics: Numerics = "onnx",
    input_shapes: Shapes | None = None,
    states: Mapping[str, str] | None = None,
    dead_channels: bool = True,
) -> QuantizedGraph:
    """Reads a model into integer form.

    Args:
        model: path of the file.
        numerics: rounding mode.
        input_shapes: for dynamic dimensions.
        states: input name -> output name pairs.
        dead_channels: leave out what has no influence on the outputs (`optimise.drop_dead_channels`).

    Raises:
        VmcuError: (INPUT) listing everything that is wrong with the model.
    """
    pairs = None if states is None else [State(i, o) for i, o in states.items()]
    graph = import_model(Path(model), input_shapes=input_shapes or {}, states=pairs)
    quantised = quantise(canonicalise(graph), numerics)
    return drop_dead_channels(quantised) if dead_channels else quantised


def compile_graph(
    graph: QuantizedGraph,
    name: str | None = None,
    *,
    streamed: Collection[str] = (),
    streamed_outputs: Collection[str] = (),
    optimise: Optimise = "ram",
    ram_bytes: int | None = None,
    core: str = DEFAULT_CORE,
    compiler: str = DEFAULT_COMPILER,
    allow_recompute: float = 1.0,
    tuning: Tuning | None = None,
    split_bytes: int = 0,
    flash_bytes: int | None = None,
) -> Compiled:
    """Plans, checks and generates.

    Args:
        graph: from `load`.
        name: prefix of the C symbols; made from the model's name by default.
        streamed: inputs that the caller delivers row by row.
        streamed_outputs: outputs that the caller receives row by row.
        optimise: "ram", "balanced", "speed" or "size"; see `planning.choose`.
        ram_bytes: RAM there is for pool, stack and variables; the latter two get `STACK_ALLOWANCE_BYTES` until a
            build tells their size (`budget.settle`).
        core, compiler: whose instructions are estimated.
        allow_recompute: multiply-accumulates that may be executed, as a multiple of the network's.
        tuning: measured instructions of kernels.
        split_bytes: where a pool that is larger is split into two arrays; 0: it is one.
        flash_bytes: that there are; see `list_candidates`.

    Raises:
        VmcuError: (BUG) the independent checker rejects the plan: no C is generated.
    """
    wanted = stream_outputs(stream_inputs(replace(graph, tuning=tuning), streamed), streamed_outputs)
    candidates = list_candidates(wanted, core, allow_recompute, optimise, compiler, split_bytes, flash_bytes)
    limit = None if ram_bytes is None else ram_bytes - STACK_ALLOWANCE_BYTES
    return compile_choice(
        Choice(optimise, choose(candidates, optimise, limit), candidates, allow_recompute), name
    )


def compile_choice(choice: Choice, name: str | None = None) -> Compiled:
    """Checks and generates the plan that was chosen."""
    return replace(compile_plan(choice.chosen.plan, name), choice=choice)


def compile_schedule(schedule: Schedule, name: str | None = None) -> Compiled:
    """Places, checks and generates this schedule, whatever it needs."""
    return compile_plan(make_plan(schedule), name)


def compile_plan(plan: MemoryPlan, name: str | None = None) -> Compiled:
    """Checks a plan and generates its C.

    Raises:
        VmcuError: (BUG) the independent checker rejects the plan: no C is generated.
    """
    tables = make_tables(plan)
    tasks = check(tables)
    graph = plan.schedule.graph
    return Compiled(graph, plan, tables, tasks, make_project(plan, tables, name or project_name(graph.name)))
