"""Two profiles or reports -> what has changed, in total and per layer, and what of it exceeds a limit. Pure.

Reads `vmcu profile --json` and `report.json` of `vmcu compile` alike: what one of them lacks is not compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmcu.errors import fail
from vmcu.picture.render import clean

# What is compared in total: name, unit, where it lies. The first three never vary by themselves between two
# runs of the same tools; measured cycles do.
TOTALS = (
    ("RAM", "bytes", ("memory", "ram_total_bytes")),
    ("pool", "bytes", ("memory", "pool_bytes")),
    ("stack", "bytes", ("memory", "stack_bytes")),
    ("flash", "bytes", ("flash", "flash_total_bytes")),
    ("instructions", "exact", ("instructions",)),
    ("cycles", "estimated", ("estimated_cycles",)),
    ("cycles", "measured", ("measured_cycles",)),
)
LIMITED = ("RAM", "flash", "instructions", "cycles")  # pool and stack are parts of RAM
LAYERED = (("instructions", "exact"), ("estimated_cycles", "estimated"), ("measured_cycles", "measured"))
LONGEST_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """A figure then and now.

    Attributes:
        name: of the figure, or of the layer.
        unit: bytes, or how it was obtained.
        before, after: None where the file has none (a layer that came or went).
        limited: it counts for `--fail-above`.
    """

    name: str
    unit: str
    before: int | None
    after: int | None
    limited: bool = False

    @property
    def ratio(self) -> float | None:
        """How much more of what it was; None where it is new or gone, infinite where it was nothing."""
        if self.before is None or self.after is None:
            return None
        if self.before == 0:
            return 0.0 if self.after == 0 else float("inf")
        return self.after / self.before - 1

    def exceeds(self, limit: float) -> bool:
        """Is it a limited figure that has grown by more than `limit`?"""
        if not self.limited or self.before is None or self.after is None:
            return False
        return self.after - self.before > limit * self.before * (1 + 1e-9)  # 2 % more is not more than 2 %


@dataclass(frozen=True, slots=True)
class Comparison:
    """What has changed.

    Attributes:
        totals: figures that both have, changed or not.
        layers: those that have changed, came or went.
        notes: why figures may differ without a change of the model: target, tools, and the like.
    """

    totals: tuple[Change, ...]
    layers: tuple[Change, ...]
    notes: tuple[str, ...]

    def regressions(self, limit: float) -> list[Change]:
        """Totals that have grown by more than `limit`."""
        return [change for change in self.totals if change.exceeds(limit)]


def read_figures(path: Path) -> dict[str, Any]:
    """A profile or a report.

    Raises:
        VmcuError: (INPUT) no such file, or something else.
    """
    where = f"'{path}'"
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise fail("is too large for a profile", where, "give what `vmcu profile --json` has written")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", where, "check the path") from None
    except (ValueError, RecursionError):
        raise fail(
            "is no JSON", where, "give what `vmcu profile --json` or `vmcu compile` has written"
        ) from None
    return check_figures(found, where)


def check_figures(found: object, where: str) -> dict[str, Any]:
    """The same, of a value that has been read.

    Raises:
        VmcuError: (INPUT) it is something else.
    """
    wrong = _problem(found)
    if wrong:
        raise fail(
            f"is neither a profile nor a report: {wrong}",
            where,
            "give what `vmcu profile --json` or `vmcu compile` has written",
        )
    assert isinstance(found, dict)
    return found


def _problem(found: object) -> str:
    if not isinstance(found, dict):
        return "it is no object"
    if found.get("schema_version") != 1:
        return f"its schema_version is {str(found.get('schema_version'))[:20]}, this vmcu knows 1"
    for name, _, keys in TOTALS:
        value = _at(found, keys)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            return f"its {name} is no number"
    layers = found.get("layers")
    if not isinstance(layers, list) or not all(isinstance(one, dict) for one in layers):
        return "it has no layers"
    for one in layers:
        if not isinstance(one.get("name"), str) or not isinstance(one.get("op"), str):
            return "a layer has no name"
        for key, _ in LAYERED:
            value = one.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                return f"the {key} of a layer are no number"
    return ""


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """What has changed from one to the other; both have passed `check_figures`."""
    totals, lacking = [], []
    for name, unit, keys in TOTALS:
        old, new = _at(before, keys), _at(after, keys)
        if old is not None and new is not None:
            totals.append(Change(name, unit, old, new, name in LIMITED))
        elif old is not None or new is not None:
            lacking.append(
                f"{name} ({unit}) not compared: only {'the first' if new is None else 'the second'} has them"
            )
    notes = (*_notes(before, after), *lacking)
    return Comparison(tuple(totals), tuple(_layers(before, after)), notes)


def _layers(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The changed ones; by the best figure that all layers of both have."""
    both = [*before["layers"], *after["layers"]]
    known = [(key, unit) for key, unit in LAYERED if all(one.get(key) is not None for one in both)]
    if not known:
        return []
    key, unit = known[-1]
    old, new = _by_name(before["layers"], key), _by_name(after["layers"], key)
    names = [*old, *(name for name in new if name not in old)]
    changes = [Change(name, unit, old.get(name), new.get(name)) for name in names]
    return [change for change in changes if change.before != change.after]


def _by_name(layers: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    """One node may become several steps, and models repeat names: the operator and a number tell them apart."""
    seen, found = Counter[str](), {}
    for one in layers:
        name = f"{clean(one['op'])} {clean(one['name'])}".strip()
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = one[key]
    return found


def _notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    notes = []
    for key in ("target", "compiler", "optimise", "numerics"):
        old, new = before.get(key), after.get(key)
        if old != new:
            notes.append(f"{key} differs: {_word(old)}, now {_word(new)}; the figures are not of like builds")
    if _at(before, ("model", "sha256")) != _at(after, ("model", "sha256")):
        notes.append("the model file differs")
    return notes


def _at(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = found
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _word(value: object) -> str:
    return "unknown" if value is None else clean(str(value))[:80]


def parse_percent(text: str) -> float:
    """`2%` or `2` as 0.02.

    Raises:
        VmcuError: (INPUT) it is no percentage.
    """
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise fail(f"'{text[:40]}' is no percentage", "fail-above", "write 2% or 0.5%")
    return value / 100


def as_percent(limit: float) -> str:
    """0.02 as `2%`."""
    return f"{100 * limit:.6g}%"


def in_words(change: Change) -> str:
    """How much more it is."""
    if change.before is None or change.after is None:
        return "new" if change.before is None else "gone"
    if change.before == change.after:
        return "unchanged"
    return "from 0" if change.before == 0 else f"{change.ratio:+.2%}"
