"""README's walk with a board of one's own, done as it is written: every command works, and prints what is shown but for figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_project import need

from docs.walk import blocks, section, steps, walk

ROOT = Path(__file__).parents[2]
WHOLE = ("vmcu flash", "vmcu ci init")  # whose lines are all compared; of others the first that is not empty
pytestmark = pytest.mark.qemu


def form(line: str) -> str:
    """A line without its figures, and without the width that they give it."""
    return re.sub(r"[-\s]+", " ", re.sub(r"[\da-f]{16}|[+-]?\d[\d,.]*%?", "#", line))


def test_the_walk(tmp_path: Path) -> None:
    need("gcc", "zig", "unicorn")
    shown = section((ROOT / "README.md").read_text())
    done = walk(shown, tmp_path)
    (told,), (found,) = ([steps(b) for b in blocks(text, "console")] for text in (shown, done))
    assert len(told) == 12
    for (command, wanted), (_, printed) in zip(told, found, strict=True):
        assert bool(wanted) == bool(printed), command
        lines, now = ([form(x) for x in text.splitlines()] for text in (wanted, printed))
        if not command.startswith(WHOLE):
            lines, now = ([x for x in texts if x][:1] for texts in (lines, now))
        assert now == lines, command
    assert (tmp_path / "layers.csv").read_text().startswith("step,op,name,")
    assert (tmp_path / "vmcu-junit.xml").is_file() and (tmp_path / "compare.xml").is_file()
    assert (tmp_path / ".github" / "workflows" / "vmcu.yml").is_file()
