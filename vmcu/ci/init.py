"""Models and target -> the files that `vmcu ci init` writes. Pure but for the templates it reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vmcu.codegen.project import tool_version
from vmcu.errors import fail
from vmcu.resources import folder

CONFIG = "vmcu-ci.toml"
WORKFLOWS = {"github": ".github/workflows/vmcu.yml", "gitlab": ".gitlab-ci.yml"}


@cache
def _environment() -> Environment:
    """Text, not HTML: what is printed into it is quoted for TOML or the shell here."""
    return Environment(
        loader=FileSystemLoader(folder("templates") / "ci"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def default_requirement() -> str:
    """What pip installs: this very version, with a compiler and an emulator that need no system package."""
    return f"vmcu[emulator,toolchain]=={tool_version().split('+')[0]}"


def config_text(
    models: Sequence[str],
    target: str,
    target_path: Sequence[str] = (),
    pool_region: str | None = None,
    weights_region: str | None = None,
) -> str:
    """`vmcu-ci.toml` for these models; a line that nobody asked for is a comment.

    Raises:
        VmcuError: (INPUT) a path that TOML cannot hold on one line.
    """
    context = {
        "models": [toml_string(m) for m in models],
        "target": toml_string(target),
        "folders": [toml_string(p) for p in target_path],
        "pool_region": pool_region and toml_string(pool_region),
        "weights_region": weights_region and toml_string(weights_region),
    }
    return _environment().get_template("vmcu-ci.toml.j2").render(context)


def workflow_text(service: str, requirement: str) -> str:
    """The workflow of `github` or `gitlab`.

    Raises:
        VmcuError: (INPUT) a requirement of more than one line.
    """
    if not requirement.isprintable() or not requirement.strip():
        raise fail("is empty or no plain text", "--requirement", "give what `pip install` takes")
    # In YAML a command stands in single quotes, in which a quote is written twice.
    command = f"python -m pip install {shlex.quote(requirement)}".replace("'", "''")
    return _environment().get_template(f"{service}.yml.j2").render({"install": f"'{command}'"})


def toml_string(text: str) -> str:
    """A basic string of TOML.

    Raises:
        VmcuError: (INPUT) the text has characters that nobody can read.
    """
    if not text.isprintable():
        raise fail("has unprintable characters in its name", f"model {text[:60]!r}", "rename it")
    return json.dumps(text, ensure_ascii=False)
