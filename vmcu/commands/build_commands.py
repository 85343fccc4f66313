"""plan and compile: what a model needs, and its C."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

import vmcu.api
from vmcu.codegen.names import c_comment
from vmcu.commands.compiling import compile_model
from vmcu.commands.options import (
    chosen_target_or_none,
    compiler_option,
    json_option,
    model_argument,
    planning_options,
    shapes_mapping,
    states_mapping,
    target_option,
)
from vmcu.commands.output import print_json, print_table, progress
from vmcu.commands.pareto import draw, estimates, find_fronts, print_fronts
from vmcu.cycles import LABEL, NO_ESTIMATE
from vmcu.errors import Exit, VmcuError
from vmcu.fit import Limits, check_fit
from vmcu.ir.quantized import QuantizedGraph
from vmcu.ir.tuning import Tuning
from vmcu.memory.plan import is_proven
from vmcu.picture.curve import MARKER as CURVE_MARKER
from vmcu.picture.curve import curves_svg
from vmcu.picture.svg import MARKER as SVG_MARKER
from vmcu.picture.svg import plan_svg
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.planning.choose import wished
from vmcu.planning.cost import DEFAULT_CORE, estimate, executed_macs
from vmcu.report import macs_note, placement_text
from vmcu.save import REPORTS, refuse_foreign_file, save_file
from vmcu.split import compile_for
from vmcu.targets import Target, place_flash, place_ram


def open_graph(model: Path, options: dict[str, Any]) -> QuantizedGraph:
    """Reads the model with the options of the command line."""
    return load(
        model,
        numerics=options["numerics"],
        input_shapes=shapes_mapping(options["input_shapes"]),
        states=states_mapping(options["states"]),
        dead_channels=options["dead_channels"],
    )


def open_model(model: Path, chip: Target | None, options: dict[str, Any]) -> tuple[Compiled, Target | None]:
    """Runs the pipeline with the planning options of the command line; the target, with the regions that were chosen."""
    graph = open_graph(model, options)
    name = vmcu.api.chosen_name(model, options["name"])
    limits = Limits(options["ram_bytes"], options["flash_bytes"])
    wish, core = wished(options["optimise"], options["ram_bytes"]), chip.core if chip else DEFAULT_CORE
    compile_ = partial(
        compile_graph,
        graph,
        name,
        streamed=options["stream_inputs"],
        streamed_outputs=options["stream_outputs"],
        allow_recompute=options["allow_recompute"],
        optimise=wish,
        core=core,
        tuning=_tuning(graph, core, options),
    )
    return compile_for(chip, limits, graph, lambda ram, split: compile_(ram_bytes=ram, split_bytes=split))


def _tuning(graph: QuantizedGraph, core: str, options: dict[str, Any]) -> Tuning | None:
    """What --tune asks for."""
    compact = options["optimise"] == "size"
    return vmcu.api.measure_kernels(graph, core, compact=compact) if options["tune"] else None


@click.command(epilog="Example: vmcu plan models/mnist_cnn/model.onnx -t nucleo-f411re")
@model_argument
@target_option(required=False)
@planning_options
@click.option(
    "--pareto",
    "show_pareto",
    is_flag=True,
    help="Instead: the plans that no other beats in RAM and estimated instructions, input in RAM and streamed.",
)
@click.option(
    "--cpi",
    type=click.FloatRange(0, 100, min_open=True),
    help="Cycles per instruction to assume: adds estimated cycles, and ms where TARGET has a clock.",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path),
    help="Also draw the pool over time, or with --pareto the curve, to this SVG file.",
)
@json_option
def plan(
    model: Path,
    target: str | None,
    show_pareto: bool,
    cpi: float | None,
    svg: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Shows memory per step, the peak, its lower bound, and whether the model fits.

    The drawing of --svg is made whether it fits or not. --pareto places every schedule there is; nothing it shows
    is refused for its size.
    """
    if svg is not None:
        refuse_foreign_file(svg, CURVE_MARKER if show_pareto else SVG_MARKER)
    chip = chosen_target_or_none(target, options)
    if show_pareto:
        return _pareto(model, chip, cpi, svg, as_json, options)
    with progress("planning"):
        compiled, chip = open_model(model, chip, options)
    made = compiled.plan
    if svg is not None:
        save_file(svg, plan_svg(made, compiled.project.name))
    graph, schedule = compiled.graph, made.schedule
    peak: dict[int, int] = {}
    for task, live in zip(schedule.tasks, made.live_bytes, strict=True):
        peak[task.step] = max(peak.get(task.step, 0), live)
    steps: list[dict[str, Any]] = []
    for i, op in enumerate(schedule.steps):
        out = graph.tensors[op.output]
        macs = op.macs(graph.ins(op), out)
        shape = "x".join(map(str, out.shape))
        steps.append(
            {
                "step": i,
                "op": op.kind,
                "name": c_comment(op.name),
                "output": shape,
                "macs": macs,
                "live_bytes": peak[i],
            }
        )
    proven = is_proven(made)
    estimated = estimate(schedule, chip.core if chip else DEFAULT_CORE)
    trouble: VmcuError | None = None
    limits = Limits(options["ram_bytes"], options["flash_bytes"])
    try:
        check_fit(compiled, chip, None, limits)
    except VmcuError as error:
        trouble = error
    constant_bytes = compiled.project.weights_bytes + compiled.project.tables_bytes
    ram = place_ram(chip, made.pool_bytes, 0) if chip else None
    flash = place_flash(chip, 0, constant_bytes) if chip else None
    largest = sorted(steps, key=lambda s: -s["live_bytes"])[:3]
    if as_json:
        print_json(
            {
                "model": c_comment(graph.name),
                "numerics": graph.numerics,
                "pool_bytes": made.pool_bytes,
                "lower_bound_bytes": made.lower_bound_bytes,
                "placement_proven": proven,
                "state_bytes": made.state_bytes,
                "scratch_bytes": made.scratch_bytes,
                "weights_bytes": compiled.project.weights_bytes,
                "tables_bytes": compiled.project.tables_bytes,
                "macs": compiled.macs,
                "macs_executed": executed_macs(schedule),
                "macs_before": graph.original.macs,
                "channels_removed": graph.channels_removed,
                "optimise": compiled.choice.optimise if compiled.choice else None,
                "schedule": compiled.choice.chosen.name if compiled.choice else None,
                "estimated_instructions": estimated,
                **estimates(estimated, chip, cpi),
                "steps": steps,
                "largest_steps": [s["step"] for s in largest],
                "pool_region": ram.pool_name if ram else None,
                "weights_region": flash.weights.name if flash else None,
                "fits": None if chip is None and limits == Limits() else trouble is None,
            }
        )
    else:
        header = ["step", "operator", "node", "output", "MACs", "live bytes"]
        print_table(header, [list(s.values()) for s in steps], right=(0, 4, 5))
        click.echo()
        click.echo(
            f"pool          {made.pool_bytes:>12,} bytes (activations, scratch and state; stack comes on top)"
        )
        click.echo(f"placement     {placement_text(made.pool_bytes, made.lower_bound_bytes, proven)}")
        if made.state_bytes:
            click.echo(f"of it state   {made.state_bytes:>12,} bytes that survive between runs")
        click.echo(f"constants     {constant_bytes:>12,} bytes of flash (code comes on top)")
        note = macs_note(executed_macs(schedule), compiled.macs, graph.original.macs, graph.channels_removed)
        click.echo(f"MACs          {compiled.macs:>12,} {note}".rstrip())
        click.echo(f"instructions  {estimated:>12,} estimated for {chip.core if chip else DEFAULT_CORE}")
        timing = estimates(estimated, chip, cpi)
        if timing["estimated_cycles"] is not None:
            click.echo(
                f"cycles        {timing['estimated_cycles']:>12,} estimated, at {cpi:g} an instruction"
            )
        if timing["estimated_ms"] is not None:
            click.echo(f"ms            {timing['estimated_ms']:>12,.3f} estimated (zero wait state)")
        click.echo("largest steps " + ", ".join(f"{s['step']} ({s['live_bytes']:,} bytes)" for s in largest))
        if chip and ram and flash and trouble is None:
            room = ram.pool.size_bytes - made.pool_bytes
            of_it = "of RAM left"
            if ram.second:
                room = made.split_bytes + ram.second.size_bytes - made.pool_bytes
                of_it = f"left of {ram.second.name}, where the end of the pool goes,"
            elif len(chip.ram) > 1:
                of_it = f"left of {ram.pool.name}, where the pool goes,"
            click.echo(f"fits          {chip.name}: {room:,} bytes {of_it} for stack and your firmware")
            if flash.weights is not flash.code:
                click.echo(f"              weights and tables go to {flash.weights.name}")
    if trouble is not None:
        raise trouble
    return int(Exit.OK)


def _pareto(
    model: Path,
    chip: Target | None,
    cpi: float | None,
    svg: Path | None,
    as_json: bool,
    options: dict[str, Any],
) -> int:
    with progress("placing every plan"):
        graph = open_graph(model, options)
        ram = Limits(options["ram_bytes"], None).ram(chip)
        core = chip.core if chip else DEFAULT_CORE
        graph = replace(graph, tuning=_tuning(graph, core, options))
        fronts = find_fronts(graph, options["stream_inputs"], core, ram, options["allow_recompute"])
    if svg is not None:
        save_file(svg, curves_svg(draw(fronts), vmcu.api.chosen_name(model, options["name"]), ram))
    print_fronts(fronts, graph, chip, ram, cpi, as_json)
    return int(Exit.OK)


@click.command(
    "compile", epilog="Example: vmcu compile models/mnist_cnn/model.onnx -t cortex-m4 -o build/mnist"
)
@model_argument
@target_option(required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the C project."
)
@planning_options
@compiler_option
@click.option("--measure/--no-measure", default=True, help="Run one inference for exact instructions.")
@json_option
def compile_command(
    model: Path, target: str, output: Path, compiler: str, measure: bool, as_json: bool, **options: Any
) -> int:
    """Writes a self-contained C99 project, report.json and report.html.

    The figures of the reports need a compiler (stack, code size) and an emulator (instructions); what
    is missing on this machine is null there. Nothing is written on failure.
    """
    with progress("compiling"):
        made = compile_model(model, target, compiler, options)
        report = made.make_report(measure=measure)
        made.save(output, report)
    if as_json:
        print_json(report)
    else:
        click.echo(f"wrote {output}: {', '.join(sorted([*made.files(), *REPORTS]))}")
        print_report(report)
    return int(Exit.OK)


def print_report(report: dict[str, Any]) -> None:
    """The figures of a report, each with its method."""
    memory, flash, regions = report["memory"], report["flash"], report["regions"]
    rows: list[list[object]] = [
        [
            "RAM",
            memory["ram_total_bytes"],
            "bytes",
            "pool + stack + statics" + _where(regions["pool"], "pool"),
        ],
        [
            "  pool",
            memory["pool_bytes"],
            "bytes",
            placement_text(memory["pool_bytes"], memory["lower_bound_bytes"], memory["placement_proven"]),
        ],
        ["  stack", memory["stack_bytes"], "bytes", "worst case by the compiler's figures"],
        ["  stack seen", memory["stack_painted_bytes"], "bytes", "painted, in the emulator"],
        ["  statics", memory["static_bytes"], "bytes", ""],
        ["flash", flash["flash_total_bytes"], "bytes", _where(regions["weights"], "weights and tables")[2:]],
        ["  weights", flash["weights_bytes"], "bytes", ""],
        ["  tables", flash["tables_bytes"], "bytes", ""],
        ["  code", flash["code_bytes"], "bytes", report["compiler"] or "no compiler found"],
        [
            "MACs",
            report["macs"],
            "",
            macs_note(
                report["macs_executed"], report["macs"], report["macs_before"], report["channels_removed"]
            ),
        ],
        ["instructions", report["instructions"], "exact", report["engine"] or "no emulator found"],
        ["  estimated", report["estimated_instructions"], "", "by the cost model, to compare plans"],
        ["cycles", report["estimated_cycles"], "est.", LABEL if report["estimated_cycles"] else NO_ESTIMATE],
    ]
    if memory["state_bytes"]:
        rows.insert(2, ["  of it state", memory["state_bytes"], "bytes", "survives between runs"])
    print_table([report["target"], "", "", "how it was obtained"], rows, right=(1,))


def _where(region: str | None, what: str) -> str:
    return f"; {what} in {region}" if region else ""
