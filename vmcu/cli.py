"""The command line. Results go to stdout, progress and diagnostics to stderr; only this file exits.

Commands are thin: they read options, call the pipeline and print. Formatting lives in `commands/`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from vmcu.codegen.project import tool_version
from vmcu.commands import (
    board_commands,
    build_commands,
    ci_commands,
    info_commands,
    profile_commands,
    run_commands,
)
from vmcu.errors import Exit, VmcuError


class Group(click.Group):
    """Lists commands in the order of a user's day."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  vmcu doctor                                     which compilers and emulators are there
  vmcu plan model.onnx -t nucleo-f411re           RAM per step; fits or not
  vmcu compile model.onnx -t cortex-m4 -o out     C project and report
  vmcu run model.onnx -t cortex-m4 --input x.npy  run it on an emulated chip
  vmcu verify model.onnx -t cortex-m4             every layer against the reference
  vmcu flash model.onnx --board nucleo-f411re     firmware with the model onto a board
  vmcu run model.onnx --board nucleo-f411re       run it there
  vmcu profile model.onnx -t nucleo-f411re        what every layer costs
\b
Exit codes: 0 ok, 1 model, file or option, 2 usage, 3 a tool is missing or failed,
4 outputs differ or figures grew, 5 does not fit, 70 a bug in vmcu.
Shell completion: eval "$(_VMCU_COMPLETE=bash_source vmcu)"  (or zsh_source, fish_source)""",
)
@click.version_option(tool_version(), prog_name="vmcu")
def cli() -> None:
    """Compiles quantised ONNX networks to C for Cortex-M in the least RAM, proven bit-exact."""


for command in (
    info_commands.doctor,
    info_commands.targets,
    info_commands.ops,
    build_commands.plan,
    build_commands.compile_command,
    run_commands.run_command,
    run_commands.verify,
    board_commands.flash_command,
    board_commands.self_test,
    profile_commands.profile,
    profile_commands.compare_command,
    ci_commands.ci,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `vmcu`; exits with a documented code."""
    sys.exit(run_cli(arguments))


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; errors are printed, never raised."""
    try:
        result: Any = cli.main(args=arguments, prog_name="vmcu", standalone_mode=False)
        return int(result) if isinstance(result, int) else int(Exit.OK)
    except VmcuError as error:
        for problem in error.problems:
            click.echo(f"error: {problem.where}: {problem.what}\n  fix: {problem.fix}", err=True)
        if len(error.problems) > 1:
            click.echo(f"{len(error.problems)} problems", err=True)
        return int(error.code)
    except click.ClickException as error:
        error.show()
        return int(Exit.USAGE)
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return int(Exit.OK)
    except Exception as error:  # the last line of defence: no traceback without a word to the user
        click.echo(f"error: internal: {type(error).__name__}: {error}", err=True)
        click.echo(
            "  fix: this is a bug in vmcu: please report it with the model and the text below", err=True
        )
        click.echo(traceback.format_exc(), err=True)
        return int(Exit.BUG)


if __name__ == "__main__":
    main()
