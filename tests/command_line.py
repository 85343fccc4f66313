"""Runs the command line in this process."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from vmcu.cli import run_cli


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


def vmcu(*arguments: object) -> Result:
    """`vmcu ARGUMENTS`."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run_cli([str(a) for a in arguments])
        except SystemExit as end:  # only shell completion ends the process itself
            code = int(end.code or 0)
    return Result(code, _content(out), _content(err))


def _content(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
