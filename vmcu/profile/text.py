"""Profile -> rows of a table and lines of CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vmcu.picture.render import shorten
from vmcu.profile.profile import UNCACHED

LONGEST_NODE = 32
EXACT = "exact: an emulated inference executes the same every time; there is no warm-up, repetition or spread"
_PLAIN = (
    "a layer lasts from the entry of its function to that of the next, in the same inference, without hooks"
)
_HOOKED = (
    "layers come from a build with hooks, the whole from one without: the difference is calls of the hooks, what runs "
    "between layers, and what the compiler does otherwise"
)
Column = tuple[str, str, str | None]  # header, key, how a number is written; None: text
_MOVED: tuple[Column, ...] = (  # the last columns of layers and stages
    ("share", "share", ".1%"),
    ("read", "read_bytes", ","),
    ("written", "written_bytes", ","),
    ("weights", "weights_bytes", ","),
    ("stack", "stack_bytes", ","),
    ("seen", "stack_seen_bytes", ","),
    ("ms", "ms", ".3f"),
    ("uJ", "estimated_microjoules", ".1f"),
)
CSV_COLUMNS = (
    *("step", "op", "name", "tasks", "macs", "instructions", "cycles", "cycles_uncached", "cycles_per_mac"),
    *("macs_per_cycle", "share", "read_bytes", "written_bytes", "weights_bytes", "stack_bytes", "ms"),
    *("estimated_microjoules", "stage", "stack_seen_bytes"),
)
CSV_HEADER = ",".join(CSV_COLUMNS)
"""First line of every such file: `vmcu profile --csv` overwrites nothing else."""


def csv_text(profile: Mapping[str, Any]) -> str:
    """One line per layer; empty cells are not known."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    stage_of = {step: s["stage"] for s in profile["stages"] for step in range(s["first_step"], s["end_step"])}
    for layer in profile["layers"]:
        told = {**layer, "stage": stage_of[layer["step"]]}
        cells = [told[key] for key in CSV_COLUMNS]
        writer.writerow([_formula_free(c) if isinstance(c, str) else _rounded(c) for c in cells])
    return out.getvalue()


def _formula_free(text: str) -> str:
    """A name from a model that a spreadsheet would take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _rounded(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def layer_table(profile: Mapping[str, Any]) -> tuple[list[str], list[list[object]], list[int]]:
    """Header, rows, and which columns are numbers. A column of which nothing is known is left out."""
    columns: list[Column] = [
        ("step", "step", ""),
        ("operator", "op", None),
        ("node", "name", None),
        ("MACs", "macs", ","),
        ("instructions", "instructions", ","),
        ("cycles", "cycles", ","),
        ("cycles/MAC", "cycles_per_mac", ".2f"),
        ("instr./MAC", "instructions_per_mac", ".2f"),
        *_MOVED,
    ]
    dropped = {"instructions_per_mac"} if profile["cycles"] is not None else {"cycles_per_mac"}
    return _table([c for c in columns if c[1] not in dropped], profile["layers"])


def stage_table(profile: Mapping[str, Any]) -> tuple[list[str], list[list[object]], list[int]]:
    """The same of the stages."""
    columns: list[Column] = [
        ("stage", "stage", ""),
        ("steps", "steps", None),
        ("MACs", "macs", ","),
        ("instructions", "instructions", ","),
        ("cycles", "cycles", ","),
        ("cycles/MAC", "cycles_per_mac", ".2f"),
        *_MOVED,
    ]
    stages = [{**s, "steps": _steps(s["first_step"], s["end_step"] - 1)} for s in profile["stages"]]
    return _table(columns, stages)


def _steps(first: int, last: int) -> str:
    return f"{first} to {last}" if last > first else str(first)


def _table(
    columns: list[Column], lines: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[object]], list[int]]:
    kept = [c for c in columns if any(line[c[1]] is not None for line in lines)]
    rows = [[_cell(line[key], form) for _, key, form in kept] for line in lines]
    return [c[0] for c in kept], rows, [i for i, c in enumerate(kept) if c[2] is not None]


def _cell(value: Any, form: str | None) -> object:
    if form is None:
        return shorten(value, LONGEST_NODE)
    return None if value is None else format(value, form)


def summary(profile: Mapping[str, Any]) -> list[list[object]]:
    """(name, value, unit, how it was obtained) of the whole inference."""
    memory, flash = profile["memory"], profile["flash"]
    on_board = profile["source"] == "board"
    kind = "measured" if profile["measured_cycles"] is not None else "counted"
    rows: list[list[object]] = []
    if profile["instructions"] is not None:
        rows.append(["instructions", profile["instructions"], "exact", profile["engine"]])
    if on_board:
        counted = (
            f"median of {profile['repetitions']} after {profile['warm_up']} of warm-up; {profile['engine']}"
        )
        rows.append(["cycles", profile["cycles"], kind, counted])
        if profile["cycles_label"] != kind:
            rows.append(["", None, "", profile["cycles_label"]])
        low, high = profile["cycles_spread"]
        rows.append(["  spread", f"{low:,} to {high:,}", kind, "least and most"])
        hook = f"{profile['hook_cycles']:.4g}"
        rows.append(["  hook", hook, kind, "cycles a task, subtracted from the layers"])
    elif profile["cycles"] is None:
        rows.append(["cycles", None, "", profile["no_cycles"]])
    else:
        rows.append(["cycles", profile["cycles"], "est.", profile["cycles_label"]])
        if profile["wait_states"]:
            waits = f"{profile['wait_states']} {UNCACHED}"
            rows.append(["  no cache", profile["cycles_uncached"], "est.", waits])
    if profile["ms"] is not None:
        at = f"at {profile['clock_hz'] / 1e6:g} MHz, {kind if on_board else 'from the estimated cycles'}"
        rows.append(["time", _span(profile["ms"], profile["ms_uncached"], ".3f"), "ms", at])
    if profile["estimated_microjoules"] is not None:
        energy = _span(profile["estimated_microjoules"], profile["estimated_microjoules_uncached"], ".1f")
        rows.append(["energy", energy, "uJ est.", f"time x current x voltage: {profile['power_source']}"])
    rows += [
        ["MACs", profile["macs_executed"], "", "executed"],
        ["RAM", memory["ram_total_bytes"], "bytes", "pool + stack + statics"],
        ["  stack", memory["stack_bytes"], "bytes", "worst case by the compiler's figures"],
        ["  stack seen", memory["stack_painted_bytes"], "bytes", "high-water mark, painted"],
        ["flash", flash["flash_total_bytes"], "bytes", profile["compiler"]],
    ]
    if power := profile["power"]:
        found = f"{power['windows']} inferences of {1e3 * power['seconds']:.3f} ms in {power['file']}"
        rows.append(["current", f"{power['milliamps']:.3f}", "mA", f"measured, mean of {found}"])
        if power["microjoules"] is not None:
            span = f"measured, {power['least_microjoules']:.1f} to {power['most_microjoules']:.1f}"
            rows.append(["energy", f"{power['microjoules']:.1f}", "uJ", span])
    return rows


def sum_of_layers(profile: Mapping[str, Any]) -> str:
    """The sentence that says whether the layers add up to the whole."""
    sums = profile["sum_of_layers"]
    parts = [
        f"{sums[key]:,} {key} ({deviation:+.2%})"
        for key in ("instructions", "cycles")
        if (deviation := sums[f"{key}_deviation"]) is not None
    ]
    verdict = "within" if sums["within_tolerance"] else "NOT within"
    return f"sum of layers: {', '.join(parts)}: {verdict} {sums['tolerance']:.0%} of the whole; " + (
        _HOOKED if profile["has_hooks"] else _PLAIN
    )


def _span(low: float, high: float | None, form: str) -> str:
    if high is None or format(high, form) == format(low, form):
        return format(low, form)
    return f"{low:{form}} to {high:{form}}"
