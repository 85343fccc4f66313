"""flash and self-test: a model's firmware onto a board, and what the board says of itself."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vmcu.board.client import Client
from vmcu.board.flash import flash
from vmcu.board.protocol import SelfTest
from vmcu.board.session import EMULATED, check_model, connect, find_port, open_port
from vmcu.commands.compiling import compile_model
from vmcu.commands.options import (
    board_name_option,
    chosen_target,
    compiler_option,
    json_option,
    model_argument,
    planning_options,
    port_option,
)
from vmcu.commands.output import print_json, progress
from vmcu.errors import Exit, fail

VIAS = ("pyocd", "probe-rs", "openocd", "stlink", "bmp", "copy")
READY_SECONDS = 3.0


@click.command(
    "flash",
    epilog="Example: vmcu flash models/mnist_cnn/model.onnx --board nucleo-f411re",
)
@json_option
@compiler_option
@planning_options
@click.option("--no-hooks", is_flag=True, help="Without the calls after each task: it cannot profile then.")
@port_option
@click.option(
    "--probe", "uid", metavar="UID", help="Which probe, as `vmcu flash` lists them.  [default: the only one]"
)
@click.option("--via", type=click.Choice(VIAS), help="Kind of probe.  [default: the first that is there]")
@board_name_option(True)
@model_argument
def flash_command(
    model: Path,
    board: str,
    via: str | None,
    uid: str | None,
    port: str | None,
    no_hooks: bool,
    compiler: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Builds the firmware that serves a model over the board's serial line, and puts it on the board.

    Checks that it is the right chip, writes, reads back what was written, starts it. With --port it also asks the board
    whether it holds the model now.
    """
    if port == EMULATED:
        raise fail(
            "cannot be flashed", f"--port {EMULATED}", f"`vmcu run --port {EMULATED}` loads the model itself"
        )
    with progress("compiling"):
        made = compile_model(model, board, compiler, options)
    with tempfile.TemporaryDirectory(prefix="vmcu-") as folder:
        with progress("building the firmware"):
            firmware = made.on_board().build(made.target, Path(folder), hooks=not no_hooks)
        done = flash(firmware, via=via, uid=uid, say=lambda text: click.echo(text, err=as_json))
    answers = None
    if port is not None:
        client = Client(open_port(made.target, port), ready_seconds=READY_SECONDS)
        try:
            check_model(client.info, made.on_board())
            answers = client.info.project
        finally:
            client.close()
    if as_json:
        print_json({"board": board, **asdict(done), "model_sha256": firmware.model, "answers": answers})
    else:
        click.echo(f"model    {firmware.project.name}, sha256 {firmware.model[:16]}")
        if answers:
            click.echo(f"answers  {answers} at {port}")
    return int(Exit.OK)


@click.command("self-test", epilog="Example: vmcu self-test --board nucleo-f411re --port /dev/ttyACM0")
@json_option
@compiler_option
@planning_options
@port_option
@board_name_option(True)
@click.argument("model", type=click.Path(path_type=Path), required=False)
def self_test(
    model: Path | None, board: str, port: str | None, compiler: str, as_json: bool, **options: Any
) -> int:
    """Asks a board what it holds, and lets it test its counter, its pool's memory, canaries and stack guard.

    With MODEL it has to hold that model. --port emulated needs MODEL. The model's states are lost.
    """
    if model is None:
        if port == EMULATED:
            raise fail("needs a model", f"--port {EMULATED}", "name the model's file")
        target = chosen_target(board, options)
        client = Client(open_port(target, port or find_port(target)))
        try:
            return _tested(client, as_json)
        finally:
            client.close()
    with progress("compiling"):
        made = compile_model(model, board, compiler, options)
    with connect(made.on_board(), port) as (client, _):
        return _tested(client, as_json)


def _tested(client: Client, as_json: bool) -> int:
    info, test = client.info, client.self_test()
    problems = problems_of(test)
    if as_json:
        print_json(
            {"ok": not problems, "info": asdict(info), "self_test": asdict(test), "problems": problems}
        )
    else:
        click.echo(
            f"board    {info.board}, {info.clock_hz / 1e6:g} MHz, counter {info.counter}, guard: {info.guard}"
        )
        click.echo(f"model    {info.project}, sha256 {info.model[:16]}, {info.steps} steps, {info.compiler}")
        click.echo(
            f"pool     {info.pool_bytes:,} bytes: every byte keeps what is written to it"
            if test.bad_byte is None
            else f"pool     BAD at byte {test.bad_byte:,}"
        )
        click.echo(f"stack    {test.stack_bytes:,} bytes seen")
        click.echo(f"link     {test.garbled} garbled frames, {test.repeats} repeated requests")
        click.echo("result   ok" if not problems else f"result   {'; '.join(problems)}")
    return int(Exit.OK if not problems else Exit.TOOL)


def problems_of(test: SelfTest) -> list[str]:
    """What a self test found to be wrong."""
    found = []
    if not test.counter_ok:
        found.append("no counter of cycles moves")
    if test.canaries_broken:
        found.append("something wrote beside the pool")
    if test.bad_byte is not None:
        found.append(f"the pool's memory is bad at byte {test.bad_byte}")
    if test.start_failed:
        found.append(f"entry {test.start_failed} of the board's start table timed out")
    return found
