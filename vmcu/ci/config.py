"""Reads `vmcu-ci.toml`: models, limits, and where the baseline lies."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, cast

from vmcu.errors import VmcuError, fail
from vmcu.ir.quantized import Numerics
from vmcu.planning.choose import Optimise
from vmcu.profile.compare import parse_percent
from vmcu.run import Engine
from vmcu.targets.table import Table

NAME = "vmcu-ci.toml"
FIX = "correct the file; `vmcu ci init --print` shows one, README what each key means"
UNITS = {"": 1, "k": 1024, "m": 1024**2}


@dataclass(frozen=True, slots=True)
class Job:
    """One model on one target.

    Attributes:
        path: of the model as the file has it, relative to the file's folder.
        model: where it is.
        target: core or board.
        numerics, optimise, stream_inputs, stream_outputs: as the options of `vmcu compile`.
        pool_region, weights_region: memory to use; None: vmcu chooses.
        ram_bytes, flash_bytes: budgets; None: the target's memory.
        max_instructions, max_cycles: that one inference may take; None: no limit.
    """

    path: str
    model: Path
    target: str
    numerics: Numerics
    optimise: Optimise | None
    stream_inputs: tuple[str, ...]
    stream_outputs: tuple[str, ...]
    pool_region: str | None
    weights_region: str | None
    ram_bytes: int | None
    flash_bytes: int | None
    max_instructions: int | None
    max_cycles: int | None

    @property
    def key(self) -> str:
        """What the baseline calls it."""
        return f"{self.path} on {self.target}"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file.

    Attributes:
        baseline: figures to compare with.
        fail_above: growth that fails, 0.02 for 2 %.
        compiler: the same everywhere, or figures differ.
        engine: counts are the same on each.
        inputs: random inputs that are verified per model.
        target_path: folders of the user's own boards.
        jobs: in the order of the file, no two of the same name.
    """

    baseline: Path
    fail_above: float
    compiler: Literal["auto", "gcc", "zig"]
    engine: Engine
    inputs: int
    target_path: tuple[Path, ...]
    jobs: tuple[Job, ...]


def read_config(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        VmcuError: (INPUT) no such file; not TOML; an unknown, missing or mistyped key; a model named twice.
    """
    where = f"'{path}'"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", where, "`vmcu ci init` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail(f"is not TOML: {error}", where, FIX) from None
    table = Table(values, path.name, FIX)
    compiler = table.one_of("compiler", ("auto", "gcc", "zig")) if table.has("compiler") else "auto"
    engine = table.one_of("engine", ("auto", "qemu", "unicorn")) if table.has("engine") else "auto"
    config = Config(
        path.parent / _relative(table, "baseline", table.text("baseline")),
        parse_percent(table.text("fail_above")),
        cast(Literal["auto", "gcc", "zig"], compiler),
        cast(Engine, engine),
        table.above_zero("inputs") if table.has("inputs") else 2,
        tuple(path.parent / _relative(table, "target_path", text) for text in table.texts("target_path"))
        if table.has("target_path")
        else (),
        tuple(_job(one, path.parent) for one in table.tables("model")),
    )
    table.end()
    keys = [job.key for job in config.jobs]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise fail(f"names {twice[0]} twice", where, "give each model and target once")
    return config


def _job(table: Table, folder: Path) -> Job:
    path = _relative(table, "path", table.text("path"))
    job = Job(
        path,
        folder / path,
        table.text("target"),
        cast(Numerics, table.one_of("numerics", ("onnx", "tflm"))) if table.has("numerics") else "onnx",
        cast(Optimise, table.one_of("optimize", ("ram", "balanced", "speed")))
        if table.has("optimize")
        else None,
        table.texts("stream_inputs") if table.has("stream_inputs") else (),
        table.texts("stream_outputs") if table.has("stream_outputs") else (),
        table.text_or_none("pool_region"),
        table.text_or_none("weights_region"),
        _size(table, "ram"),
        _size(table, "flash"),
        table.above_zero("max_instructions") if table.has("max_instructions") else None,
        table.above_zero("max_cycles") if table.has("max_cycles") else None,
    )
    table.end()
    return job


def _relative(table: Table, key: str, text: str) -> str:
    """A path that is the same on every machine: files outside the repository are on none but the user's."""
    if PurePath(text).is_absolute() or ".." in PurePath(text).parts:
        raise table.error("must be a path below the file's folder", key)
    return text


def _size(table: Table, key: str) -> int | None:
    """Bytes, with K or M for 1024 and 1024^2."""
    if not table.has(key):
        return None
    found = re.fullmatch(r"(\d{1,12})\s*([KkMm]?)(?:i?[Bb])?", table.text(key).strip())
    if not found:
        raise table.error('must be a size such as "64K" or "1M"', key)
    return int(found[1]) * UNITS[found[2].lower()]


def not_ours(path: Path) -> VmcuError:
    """The error for a baseline that vmcu did not write."""
    return fail("exists, and is no baseline of vmcu", f"'{path}'", "move it, or name another `baseline`")
