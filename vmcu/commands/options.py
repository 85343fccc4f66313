"""Options that several commands share, and their parsing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from vmcu.board.rtt import DRIVER, with_rtt
from vmcu.errors import fail
from vmcu.schedule.stream_inputs import ALL_INPUTS
from vmcu.schedule.stream_outputs import ALL_OUTPUTS
from vmcu.targets import Target, list_targets, load_target, with_regions

F = TypeVar("F", bound=Callable[..., Any])


class Size(click.ParamType[int]):
    """Bytes, with K or M for 1024 and 1024^2."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,12})\s*([KkMm]?)(i?[Bb])?", str(value).strip())
        if not found:
            self.fail(f"'{value}' is no size: write 65536, 64K or 1M", param, ctx)
        return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2}[found[2].lower()]


class Shape(click.ParamType[tuple[str, tuple[int, ...]]]):
    """NAME:1x3x96x96 as (name, sizes)."""

    name = "NAME:SHAPE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        if isinstance(value, tuple):
            return value
        name, _, sizes = str(value).rpartition(":")
        if not name or not re.fullmatch(r"\d{1,9}(x\d{1,9})*", sizes):
            self.fail(f"'{value}' is no shape: write NAME:1x3x96x96", param, ctx)
        return name, tuple(int(s) for s in sizes.split("x"))


class Pair(click.ParamType[tuple[str, str]]):
    """INPUT=OUTPUT as two names."""

    name = "INPUT=OUTPUT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        first, mark, second = str(value).partition("=")
        if not (first and mark and second):
            self.fail(f"'{value}' is no pair: write INPUT=OUTPUT", param, ctx)
        return first, second


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of targets that begin so."""
    return [
        t.name for t in list_targets(ctx.params.get("target_path") or ()) if t.name.startswith(incomplete)
    ]


def model_argument(function: F) -> F:
    """MODEL: an .onnx file; whether it exists is the importer's message."""
    return click.argument("model", type=click.Path(path_type=Path, exists=False))(function)


def target_option(required: bool) -> Callable[[F], F]:
    """-t TARGET, and `region_options`; `chosen_target` reads them."""
    text = "Chip or core; see `vmcu targets`."

    def decorate(function: F) -> F:
        option = click.option("-t", "--target", required=required, help=text, shell_complete=complete_target)
        return option(region_options(function))

    return decorate


def region_options(function: F) -> F:
    """Where targets are described, and which of their memory to use."""
    for option in (
        click.option(
            "--weights-region",
            metavar="NAME",
            help="Flash for weights and tables.  [default: that of the code, else another that takes them]",
        ),
        click.option(
            "--pool-region",
            metavar="NAME[,NAME]",
            help="RAM for the pool, two regions to split it; see `vmcu targets TARGET`.  [default: the fastest that takes it]",
        ),
        target_path_option,
    ):
        function = option(function)
    return function


def target_path_option(function: F) -> F:
    """--target-path."""
    return click.option(
        "--target-path",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="DIR",
        is_eager=True,  # before the target's name is completed
        help="Folder with .toml files of your own boards; may be repeated.",
    )(function)


def chosen_target(name: str, options: dict[str, Any]) -> Target:
    """The target of the command line, with its regions.

    Raises:
        VmcuError: (INPUT) there is none of that name, its file is not valid, or it has no such region.
    """
    target = load_target(name, options["target_path"])
    if options.get("console") == DRIVER:
        target = with_rtt(target)
    elif options.get("console") and target.console and target.console.driver == DRIVER:
        what = f"'{name}' has no serial line: its file names RTT alone"
        raise fail(what, f"--console {options['console']}", "leave it out")
    return with_regions(target, options["pool_region"], options["weights_region"])


def chosen_target_or_none(name: str | None, options: dict[str, Any]) -> Target | None:
    """The same where a target is optional; its regions mean nothing without it.

    Raises:
        VmcuError: (INPUT) as above, or a region of no target.
    """
    if name is not None:
        return chosen_target(name, options)
    for option in ("pool_region", "weights_region"):
        if options[option] is not None:
            where = "--" + option.replace("_", "-")
            raise fail("names a region of no target", where, "name the target, too: -t TARGET")
    return None


def port_option(function: F) -> F:
    """--port."""
    return click.option(
        "--port",
        metavar="PORT",
        help="Of --board: /dev/ttyACM0, COM3, socket://HOST:PORT, rtt[:UID] (RAM, through pyOCD), or `emulated`.  [default: found by USB number]",
    )(function)


def board_name_option(required: bool) -> Callable[[F], F]:
    """--board; where it is required there is no -t, and `region_options` come with it."""
    text = "Board with vmcu's firmware; see `vmcu targets`."

    def decorate(function: F) -> F:
        option = click.option("--board", required=required, help=text, shell_complete=complete_target)
        return option(console_option(region_options(function) if required else function))

    return decorate


def console_option(function: F) -> F:
    """--console."""
    return click.option(
        "--console",
        type=click.Choice(["uart", DRIVER]),
        help="Of the board's firmware: its serial line, or buffers in RAM that a debugger serves.  [default: as in its file]",
    )(function)


def board_options(function: F) -> F:
    """A board that holds the model, and the way to it."""
    limit = click.option(
        "--timeout",
        "limit_seconds",
        type=click.FloatRange(0.1, 86_400),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="For one inference on a board.",
    )
    return board_name_option(False)(port_option(limit(function)))


def one_target(target: str | None, board: str | None, port: str | None, engine: str) -> str:
    """The name of what is compiled for.

    Raises:
        VmcuError: (INPUT) neither or both of -t and --board, or an option of the other one.
    """
    if (target is None) == (board is None):
        what = "both are given" if target else "neither is given"
        raise fail(
            what,
            "-t, --board",
            "-t TARGET runs in an emulator, --board BOARD on a board with vmcu's firmware",
        )
    if board is None and port is not None:
        raise fail("belongs to --board", "--port", "say which board it is: --board BOARD")
    if board is not None and engine != "auto":
        raise fail("belongs to -t", f"--engine {engine}", "leave it out, or emulate with -t TARGET")
    return target or board or ""


def planning_options(function: F) -> F:
    """Everything that shapes the plan."""
    for option in (
        click.option(
            "--flash",
            "flash_bytes",
            type=Size(),
            help="Flash limit, e.g. 512K: kernels are chosen to fit it (speed: to fill it).",
        ),
        click.option(
            "--ram", "ram_bytes", type=Size(), help="RAM budget for pool, stack and variables, e.g. 64K."
        ),
        click.option(
            "--optimize",
            "optimise",
            type=click.Choice(["ram", "balanced", "speed", "size"]),
            help="Of the plans that fit: smallest pool, the smallest with few more instructions, fewest estimated "
            "instructions (code and tables within 40 KB where that costs little, or what --flash leaves); size: smallest pool with the kernels that take least flash.  [default: speed with --ram, else ram]",
        ),
        click.option(
            "--tune",
            is_flag=True,
            help="Run every kernel of every layer in the emulator first and choose by exact instructions, not by "
            "estimates.",
        ),
        click.option(
            "--stream-input",
            "stream_inputs",
            is_flag=False,
            flag_value=ALL_INPUTS,
            multiple=True,
            metavar="[NAME]",
            help="The firmware fetches this input (or every input) row by row; it is never in RAM as a whole.",
        ),
        click.option(
            "--stream-output",
            "stream_outputs",
            is_flag=False,
            flag_value=ALL_OUTPUTS,
            multiple=True,
            metavar="[NAME]",
            help="The firmware hands out this output (or every output) row by row; it is never in RAM as a whole.",
        ),
        click.option(
            "--no-dead-channels",
            "dead_channels",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Compute every channel, also those without influence on the outputs. The outputs are the same.",
        ),
        click.option(
            "--allow-recompute",
            type=click.FloatRange(1, 100),
            default=1.0,
            metavar="FACTOR",
            help="Compute again what would have to be kept, up to FACTOR times the model's MACs (e.g. 1.5), where "
            "that lowers the pool.  [default: 1, nothing twice]",
        ),
        click.option("--state", "states", type=Pair(), multiple=True, help="State pair; may be repeated."),
        click.option(
            "--input-shape",
            "input_shapes",
            type=Shape(),
            multiple=True,
            help="Fixes a dynamic shape; may be repeated.",
        ),
        click.option(
            "--numerics",
            type=click.Choice(["onnx", "tflm"]),
            default="onnx",
            show_default=True,
            help="Rounding: once, or as TFLite Micro.",
        ),
        click.option("--name", help="Prefix of the C symbols.  [default: from the file's name]"),
    ):
        function = option(function)
    return function


def compiler_option(function: F) -> F:
    """--compiler."""
    return click.option(
        "--compiler",
        type=click.Choice(["auto", "gcc", "zig"]),
        default="auto",
        show_default=True,
        help="C compiler.",
    )(function)


def engine_option(function: F) -> F:
    """--engine."""
    return click.option(
        "--engine",
        type=click.Choice(["auto", "qemu", "unicorn", "host"]),
        default="auto",
        show_default=True,
        help="Where to run.",
    )(function)


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable result on stdout.")(
        function
    )


def shapes_mapping(pairs: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, tuple[int, ...]]:
    """Shapes by input name."""
    if len({p[0] for p in pairs}) != len(pairs):
        raise fail("an input is named twice", "--input-shape", "give each input one shape")
    return dict(pairs)


def states_mapping(pairs: tuple[tuple[str, str], ...]) -> dict[str, str] | None:
    """None where the user names no state: pairs are then found by their names."""
    if len({p[0] for p in pairs}) != len(pairs):
        raise fail("an input is named twice", "--state", "give each input one output")
    return dict(pairs) or None
