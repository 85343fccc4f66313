"""Jinja for HTML and SVG. Every string a template prints is cleaned, then escaped; there is no other way in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vmcu.resources import folder

LONGEST_NAME = 72
ELLIPSIS = "\u2026"


def clean(text: str) -> str:
    """Text that XML can hold and that reads as it is stored.

    Control characters, line ends, private and unpaired code points and marks that turn the direction of
    writing become U+FFFD.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def shorten(text: str, limit: int = LONGEST_NAME) -> str:
    """One clean line of at most `limit` characters, cut in the middle: the ends of a name tell more."""
    text = clean(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    tail = limit - 1 - head
    return text[:head] + ELLIPSIS + (text[-tail:] if tail else "")


@cache
def environment() -> Environment:
    """Templates of `templates/report/`; an unknown name is an error, every string is escaped."""
    return Environment(
        loader=FileSystemLoader(folder("templates") / "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
        finalize=_finalize,
    )


def render(template: str, context: Mapping[str, object]) -> Markup:
    """The text of `templates/report/<template>.j2`, safe to print in another template."""
    return Markup(environment().get_template(f"{template}.j2").render(context))


def _finalize(value: object) -> object:
    """Line ends of ours stay: names come through `shorten` and have none."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(clean(line) for line in value.split("\n"))
    return value
