"""Jinja, thin: templates print what Python has decided."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vmcu.resources import folder


@cache
def environment() -> Environment:
    """Templates of `templates/`; an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(folder("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C, not HTML; model text passes c_ident or c_comment
    )


def render(template: str, context: Mapping[str, object]) -> str:
    """The text of `templates/<template>.j2`."""
    return environment().get_template(f"{template}.j2").render(context)
