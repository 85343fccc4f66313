"""The only way text from a model gets into C."""

from __future__ import annotations

import re
from collections.abc import Iterable

C_KEYWORDS = frozenset(
    word
    for line in (
        "auto break case char const continue default do double else enum extern float for goto if inline int",
        "long register restrict return short signed sizeof static struct switch typedef union unsigned void",
        "volatile while asm main",
    )
    for word in line.split()
)
HEADERS = frozenset(
    word
    for line in (
        "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign",
        "stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar",
        "wctype counter cpu hooks port record",
    )
    for word in line.split()
)
"""A project of this name would have a header that hides one of C or one of ours."""
MAX_CHARS = 40
MAX_PROJECT_CHARS = 31  # what C99 guarantees of an external name


def why_reserved(name: str) -> str:
    """Why `name` may not be a project's; empty if it may."""
    if name in C_KEYWORDS:
        return "it is a word of C"
    if name in HEADERS:
        return f"its header would hide another {name}.h"
    if name == "vmcu" or name.startswith("vmcu_"):
        return "vmcu's own functions and headers begin with it"
    return ""


def c_ident(text: str, taken: Iterable[str] = ()) -> str:
    """A lower-case C identifier made from any text, different from those in `taken`.

    Deterministic; C99 guarantees 31 significant characters of an external name, ours are told apart
    within `MAX_CHARS` by a number at the end.
    """
    base = re.sub(r"[^0-9a-z]+", "_", text.lower().encode("ascii", "ignore").decode()).strip("_")
    base = base[:MAX_CHARS].rstrip("_") or "unnamed"
    if base[0].isdigit():
        base = f"n{base}"
    if why_reserved(base):
        base = f"net_{base}"[:MAX_CHARS].rstrip("_")
    used = set(taken)
    candidate, number = base, 2
    while candidate in used:
        candidate, number = f"{base}_{number}", number + 1
    return candidate


def project_name(text: str) -> str:
    """The prefix of a project's C symbols, made from a file's or model's name."""
    return c_ident(text)[:MAX_PROJECT_CHARS].rstrip("_")


def c_comment(text: str) -> str:
    """Text that is safe inside a C comment: printable ASCII, no comment marks, no backslash, one line."""
    plain = "".join(c if 32 <= ord(c) < 127 and c != "\\" else "?" for c in text)
    plain = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", plain)
    return plain if len(plain) <= 80 else plain[:77] + "..."
