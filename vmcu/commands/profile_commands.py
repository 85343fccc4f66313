"""profile and compare: what every layer costs, and what has changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vmcu.commands.compiling import compile_model
from vmcu.commands.options import (
    board_options,
    compiler_option,
    engine_option,
    json_option,
    model_argument,
    one_target,
    planning_options,
    target_option,
)
from vmcu.commands.output import print_json, print_table, progress
from vmcu.commands.run_commands import read_arrays, single_input
from vmcu.errors import Exit, fail
from vmcu.picture.profile_page import MARKER as PAGE_MARKER
from vmcu.picture.profile_page import profile_html
from vmcu.profile.compare import (
    Change,
    Comparison,
    as_percent,
    compare,
    in_words,
    parse_percent,
    read_figures,
)
from vmcu.profile.junit import MARKER as JUNIT_MARKER
from vmcu.profile.junit import Case, junit_xml
from vmcu.profile.power import measure_draw, read_recording
from vmcu.profile.text import CSV_HEADER, EXACT, csv_text, layer_table, stage_table, sum_of_layers, summary
from vmcu.save import refuse_foreign_file, save_file


@click.command(
    epilog="""\b
Examples:
  vmcu profile models/mnist_cnn/model.onnx -t nucleo-f411re
  vmcu profile models/mnist_cnn/model.onnx --board nucleo-f411re --port /dev/ttyACM0"""
)
@json_option
@engine_option
@compiler_option
@planning_options
@click.option(
    "--repeat", type=click.IntRange(1, 1000), default=5, show_default=True, help="Inferences on --board."
)
@board_options
@target_option(False)
@model_argument
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    help=".npy, or .npz with arrays by name; the first inference is profiled.  [default: seeded noise]",
)
@click.option("--clock", "clock_hz", type=click.IntRange(1), help="Clock in Hz.  [default: the target's]")
@click.option(
    "--wait-states",
    type=click.IntRange(0, 100),
    help="Of the flash at that clock.  [default: the target's; 0 for a core]",
)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="Also write the layers to this CSV file."
)
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), help="Also write a page with charts to this file."
)
@click.option(
    "--power-csv",
    type=click.Path(path_type=Path),
    help="Recording of a power meter (PPK2 or Joulescope, CSV): adds measured current and energy.",
)
@click.option(
    "--window",
    default="D0",
    show_default=True,
    help="In --power-csv: the input that is 1 during an inference, or START:END in seconds.",
)
@click.option(
    "--volts", type=click.FloatRange(0, 60, min_open=True), help="Supply, where the meter did not tell."
)
def profile(
    model: Path,
    target: str | None,
    board: str | None,
    port: str | None,
    limit_seconds: float,
    repeat: int,
    compiler: str,
    engine: str,
    input_path: Path | None,
    clock_hz: int | None,
    wait_states: int | None,
    csv_path: Path | None,
    html_path: Path | None,
    power_csv: Path | None,
    window: str,
    volts: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Shows what every layer and stage costs: exact instructions and estimated cycles of an emulated inference, or
    with --board the cycles that a board measures.

    Counts of an emulator are exact. Cycles are priced by the core's timing table at zero wait states; for a target
    with flash wait states a second figure has them at every branch that is taken, as without a cache. Neither
    is a measurement. The sum of the layers is checked against the whole inference.
    """
    name = one_target(target, board, port, engine)
    for path, marker in ((csv_path, CSV_HEADER), (html_path, PAGE_MARKER)):
        if path is not None:
            refuse_foreign_file(path, marker)
    if csv_path is not None and html_path is not None and csv_path.resolve() == html_path.resolve():
        raise fail("is named twice", f"'{csv_path}'", "give --csv and --html a file each")
    recording = read_recording(power_csv) if power_csv is not None else None
    data = read_arrays(input_path) if input_path else None
    with progress("profiling"):
        made = compile_model(model, name, compiler, options)
        given = None if data is None else single_input(data, made.compiled.graph)
        if board is None:
            found = made.profile(given, engine=engine, clock_hz=clock_hz, wait_states=wait_states)  # type: ignore[arg-type]
        else:
            found = made.profile_on_board(port, given, repetitions=repeat, limit_seconds=limit_seconds)
    if recording is not None and power_csv is not None:
        known = volts if volts is not None or made.target.power is None else made.target.power.volts
        found["power"] = {"file": power_csv.name, **asdict(measure_draw(recording, window, known))}
    if csv_path is not None:
        save_file(csv_path, csv_text(found))
    if html_path is not None:
        save_file(html_path, profile_html(found, made.compiled.project.name))
    if as_json:
        print_json(found)
    else:
        print_profile(found)
    return int(Exit.OK)


def print_profile(found: dict[str, Any]) -> None:
    """Layers, stages, the whole, and whether they agree."""
    print_table(*layer_table(found))
    click.echo()
    if any(s["end_step"] - s["first_step"] > 1 for s in found["stages"]):
        print_table(*stage_table(found))
        click.echo()
    print_table([found["target"], "", "", "how it was obtained"], summary(found), right=(1,))
    click.echo()
    click.echo(sum_of_layers(found))
    if found["source"] == "emulator":
        click.echo(f"instructions are {EXACT}")
    if found["cycles"] is None:
        click.echo(f"cycles: {found['no_cycles']}; for {found['core']} there are exact instructions only")


@click.command("compare", epilog="Example: vmcu compare before.json after.json --fail-above 2%")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--fail-above",
    metavar="PERCENT",
    help="Exit with 4 where RAM, flash, instructions or cycles have grown by more, e.g. 2%.",
)
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Also write the checks to this JUnit XML file."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable result on stdout.")
def compare_command(
    before: Path, after: Path, fail_above: str | None, junit: Path | None, as_json: bool
) -> int:
    """Shows what has changed between two profiles or reports, in total and per layer.

    Takes what `vmcu profile --json` has printed and the report.json of `vmcu compile`, also one of each. Figures that
    only one of them has are not compared. The limit holds for the totals, not for single layers.
    """
    limit = None if fail_above is None else parse_percent(fail_above)
    if junit is not None:
        refuse_foreign_file(junit, JUNIT_MARKER)
    found = compare(read_figures(before), read_figures(after))
    if junit is not None:
        save_file(junit, junit_xml(cases_of(found, f"{before.name} to {after.name}", limit)))
    bad = [] if limit is None else found.regressions(limit)
    if as_json:
        print_json(
            {
                "ok": not bad,
                "fail_above": limit,
                "totals": [_as_dict(c, limit) for c in found.totals],
                "layers": [_as_dict(c, None) for c in found.layers],
                "notes": list(found.notes),
            }
        )
    else:
        print_comparison(found, limit)
    return int(Exit.MISMATCH if bad else Exit.OK)


def print_comparison(found: Comparison, limit: float | None) -> None:
    """Totals, changed layers, notes, the verdict."""
    header = ["figure", "unit", "before", "after", "change", "limit"][: 5 if limit is None else 6]
    rows = [_row(c, limit)[: len(header)] for c in found.totals]
    print_table(header, rows, right=(2, 3, 4))
    if found.layers:
        click.echo()
        rows = [_row(c, None)[:5] for c in found.layers]
        print_table(["layer", "unit", "before", "after", "change"], rows, right=(2, 3, 4))
    for note in found.notes:
        click.echo(f"note: {note}")
    if limit is not None:
        bad = found.regressions(limit)
        names = ", ".join(f"{c.name} {in_words(c)}" for c in bad)
        click.echo(
            f"above the limit of {as_percent(limit)}: {names}"
            if bad
            else f"nothing grew by more than {as_percent(limit)}"
        )


def _row(change: Change, limit: float | None) -> list[object]:
    verdict = "" if limit is None or not change.limited else "ABOVE" if change.exceeds(limit) else "ok"
    return [change.name, change.unit, change.before, change.after, in_words(change), verdict]


def _as_dict(change: Change, limit: float | None) -> dict[str, Any]:
    ratio = change.ratio
    found: dict[str, Any] = {
        "name": change.name,
        "unit": change.unit,
        "before": change.before,
        "after": change.after,
        "change": None if ratio is None or ratio == float("inf") else ratio,
    }
    return found if limit is None else {**found, "above_limit": change.exceeds(limit)}


def cases_of(found: Comparison, suite: str, limit: float | None) -> list[Case]:
    """A check per total figure."""
    cases = []
    for c in found.totals:
        detail = f"{c.before:,} before, {c.after:,} now, {in_words(c)} ({c.unit})"
        reason = ""
        if limit is not None and c.exceeds(limit):
            reason = f"{c.name} grew: {in_words(c)}, more than {as_percent(limit)}"
        cases.append(Case(suite, f"{c.name} ({c.unit})", detail, reason))
    return cases
