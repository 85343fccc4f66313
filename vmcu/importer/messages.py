"""Text of import problems: untrusted names are quoted, escaped and shortened, nothing else ever is.

Names stay whole as data; only what a person reads is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.graph import Node

MAX_QUOTED_CHARS = 80


def quoted(name: str) -> str:
    """`name` as an ASCII literal of at most about 80 characters: no line breaks, no terminal codes."""
    literal = ascii(name)
    if len(literal) <= MAX_QUOTED_CHARS:
        return literal
    return f"{literal[: MAX_QUOTED_CHARS - 4]}...{literal[0]} ({len(name)} characters)"


def file_at(path: Path) -> str:
    """Where a problem of a file is: of a long path the end, which tells files apart."""
    text = str(path)
    return f"file {text!a}" if len(text) <= 200 else f"file {'...' + text[-197:]!a}"


def at(node: Node) -> str:
    """Where a problem of `node` is."""
    return f"node {quoted(node.name)} ({shorten(node.op)})"


def shorten(text: object, limit: int = 300) -> str:
    """One line of printable ASCII made from any text, such as a library's error message."""
    flat = " ".join(str(text).split()).encode("ascii", "backslashreplace").decode("ascii")
    flat = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in flat)
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def near(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" or the list of what there is."""
    names = list(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(quoted(c) for c in close)}?"
    shown = ", ".join(quoted(n) for n in names[:8]) or "nothing"
    return f"there is {shown}" + (" and more" if len(names) > 8 else "")


def refuse(problems: Sequence[Problem]) -> None:
    """Raises all `problems` at once, if any.

    Raises:
        VmcuError: (INPUT)
    """
    if problems:
        raise VmcuError(Exit.INPUT, problems)


@contextmanager
def malformed(where: str, what: str = "the file is malformed") -> Iterator[None]:
    """Whatever a library throws inside at bad data becomes one import problem.

    Raises:
        VmcuError: (INPUT)
    """
    try:
        yield
    except VmcuError:
        raise
    except Exception as error:
        raise VmcuError(Exit.INPUT, [damaged(where, what, error)]) from error


def damaged(where: str, what: str, error: Exception) -> Problem:
    """A library's complaint about the user's data, as a problem."""
    return Problem(
        f"{what}: {shorten(error) or type(error).__name__}",
        where,
        "export the model again and check it with onnx.checker.check_model",
    )
