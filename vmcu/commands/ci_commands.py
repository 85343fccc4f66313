"""ci init and ci check: a user's continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vmcu.ci.baseline import read_baseline, write_baseline
from vmcu.ci.check import Result, check_job
from vmcu.ci.config import read_config
from vmcu.ci.init import CONFIG, WORKFLOWS, config_text, default_requirement, workflow_text
from vmcu.commands.options import chosen_target, json_option, target_option
from vmcu.commands.output import print_json, print_table, progress
from vmcu.errors import Exit, Problem, VmcuError, fail
from vmcu.profile.compare import in_words
from vmcu.profile.junit import MARKER, junit_xml
from vmcu.save import refuse_foreign_file, save_file


@click.group("ci", epilog="Example: vmcu ci init --github model.onnx -t cortex-m4")
def ci() -> None:
    """Writes a CI workflow for your models, and runs what it runs."""


@ci.command(epilog="Example: vmcu ci init --github model.onnx -t cortex-m4")
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@target_option(required=False)
@click.option("--github", "service", flag_value="github", default=True, help="GitHub Actions.  [default]")
@click.option("--gitlab", "service", flag_value="gitlab", help="GitLab CI.")
@click.option("--requirement", help="What pip installs in the workflow.  [default: this version of vmcu]")
@click.option("--print", "only_print", is_flag=True, help="Print the files instead of writing them.")
def init(
    models: tuple[Path, ...],
    target: str | None,
    service: str,
    requirement: str | None,
    only_print: bool,
    **options: Any,
) -> int:
    """Writes vmcu-ci.toml and a workflow into the current folder; nothing that exists is overwritten.

    Without MODELS all .onnx files of the current folder are taken.
    """
    chip = chosen_target(target or "cortex-m4", options)
    folders: tuple[Path, ...] = options["target_path"]
    found = models or tuple(sorted(Path().glob("*.onnx")))
    if not found:
        raise fail("no model is named, and the current folder has none", "ci init", "vmcu ci init model.onnx")
    for what, path in (*(("model", m) for m in found), *(("--target-path", f) for f in folders)):
        if path.is_absolute() or ".." in path.parts:
            raise fail(
                "is not below the current folder", f"{what} '{path}'", "run it where the repository is"
            )
    files = {
        CONFIG: config_text(
            [model.as_posix() for model in found],
            chip.name,
            [f.as_posix() for f in folders],
            chip.pool_region,
            chip.weights_region,
        ),
        WORKFLOWS[service]: workflow_text(service, requirement or default_requirement()),
    }
    if only_print:
        for name, text in files.items():
            click.echo(f"# ---- {name}")
            click.echo(text)
        return int(Exit.OK)
    fix = "move it, or add by hand what `vmcu ci init --print` shows"
    there = [Problem("exists, and is not overwritten", f"'{name}'", fix) for name in files if _exists(name)]
    if there:
        raise VmcuError(Exit.INPUT, there)
    for name, text in files.items():
        _write_new(Path(name), text)
        click.echo(f"wrote {name}")
    click.echo("next: vmcu ci check --update-baseline, then commit these files and vmcu-baseline.json")
    return int(Exit.OK)


def _exists(name: str) -> bool:
    return Path(name).exists() or Path(name).is_symlink()


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail(
            f"cannot be made: {error.strerror}", f"folder '{path.parent}'", "move what is there"
        ) from None
    save_file(path, text)


@ci.command(epilog="Example: vmcu ci check --junit vmcu-junit.xml")
@click.option(
    "--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="What to check."
)
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Also write the checks to this JUnit XML file."
)
@click.option(
    "--update-baseline", is_flag=True, help="Write the figures to the baseline instead of comparing."
)
@json_option
def check(config: Path, junit: Path | None, update_baseline: bool, as_json: bool) -> int:
    """Compiles, verifies and profiles every model of vmcu-ci.toml and compares it with the baseline.

    Exits with 4 where an output differs, a figure has grown above the limit or has no baseline, 5 where a model
    does not fit, 1 where it cannot be compiled. A baseline is written only where all models verify.
    """
    chosen = read_config(config)
    if junit is not None:
        refuse_foreign_file(junit, MARKER)
    baseline = read_baseline(chosen.baseline)
    results: list[Result] = []
    for job in chosen.jobs:
        with progress(f"checking {job.key}"):
            results.append(check_job(job, chosen, None if update_baseline else baseline or {}))
    if junit is not None:
        save_file(junit, junit_xml([case for result in results for case in result.cases()]))
    code = next((result.code for result in results if result.code is not Exit.OK), Exit.OK)
    if update_baseline and code is Exit.OK:
        write_baseline(chosen.baseline, {r.job.key: r.figures for r in results if r.figures is not None})
    if as_json:
        print_json({"ok": code is Exit.OK, "models": [_as_dict(result) for result in results]})
    else:
        _print(results)
        if update_baseline:
            wrote = f"wrote {chosen.baseline}: commit it" if code is Exit.OK else "no baseline is written"
            click.echo(wrote)
    return int(code)


def _print(results: list[Result]) -> None:
    """The table, then what failed in full, then notes."""
    rows: list[list[object]] = []
    for result in results:
        for n, line in enumerate(result.lines):
            name = result.job.key if n == 0 else ""
            verdict = "FAILED" if line.failure else "ok"
            rows.append([name, line.check, line.before, line.after, line.change, verdict])
    print_table(["model", "check", "before", "now", "change", "result"], rows, right=(2, 3))
    for result in results:
        failed = any(line.failure for line in result.lines)
        if result.layers and failed:
            click.echo(f"\nchanged layers of {result.job.key}:")
            shown = [[c.name, c.unit, c.before, c.after, in_words(c)] for c in result.layers]
            print_table(["layer", "unit", "before", "now", "change"], shown, right=(2, 3, 4))
            click.echo()
        for note in result.notes:
            click.echo(f"note: {result.job.key}: {note}")
        for line in result.lines:
            if line.failure:
                click.echo(f"failed: {result.job.key}: {line.check}: {line.failure}")


def _as_dict(result: Result) -> dict[str, object]:
    return {
        "model": result.job.path,
        "target": result.job.target,
        "code": int(result.code),
        "checks": [
            {
                "check": x.check,
                "before": x.before,
                "after": x.after,
                "ok": not x.failure,
                "failure": x.failure,
            }
            for x in result.lines
        ],
        "notes": list(result.notes),
    }
