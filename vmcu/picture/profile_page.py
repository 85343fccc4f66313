"""Profile -> one HTML page that needs nothing else: where the time goes, and how far each layer is below the core's bound."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from vmcu.picture.figures import NONE, Figure
from vmcu.picture.render import render, shorten
from vmcu.picture.roofline import draw_roofline
from vmcu.profile.profile import UNCACHED
from vmcu.profile.text import EXACT, sum_of_layers

MARKER = "<!-- profile by vmcu -->"
"""First line of every such file: `vmcu profile --html` overwrites nothing else."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table of layers; `width` of 1000 is its part of the costliest."""

    step: str
    kind: str
    name: str
    macs: str
    instructions: str
    cycles: str
    per_mac: str
    share: str
    read: str
    written: str
    weights: str
    ms: str
    width: int
    css: str


def profile_html(profile: Mapping[str, Any], title: str) -> str:
    """The HTML text; `title` is what the reader knows the model as."""
    style = render("page.css", {"chart": render("roofline.css", {})})
    page = render(
        "profile.html",
        {
            "marker": Markup(MARKER),
            "style": style,
            "style_hash": "sha256-" + b64encode(sha256(style.encode()).digest()).decode(),
            "title": shorten(title),
            "facts": _facts(profile),
            "tiles": _tiles(profile),
            "per": "cycle" if profile["cycles"] is not None else "instruction",
            "has_cycles": profile["cycles"] is not None,
            "has_time": profile["ms"] is not None,
            "layers": _lines(profile),
            "total": _total(profile),
            "roofline": draw_roofline(profile),
            "notes": _notes(profile),
        },
    )
    return str(page)


def _facts(profile: Mapping[str, Any]) -> list[str]:
    facts = [
        f"graph {shorten(profile['model']['name'])}",
        f"{profile['target']} ({profile['core']})",
        f"numerics {profile['numerics']}",
        " ".join(filter(None, (profile["compiler"], profile["optimise"]))),
        profile["engine"],
        f"sha256 {profile['model']['sha256'][:12]}",
    ]
    return [fact for fact in facts if fact]


def _tiles(profile: Mapping[str, Any]) -> list[Figure]:
    on_board = "counted" if profile["measured_cycles"] is None else "measured"
    kind = on_board if profile["source"] == "board" else "estimated"
    cycles, macs = profile["cycles"], profile["macs_executed"]
    clock = profile["clock_hz"]
    per = None if not cycles or not macs else macs / cycles
    time = None if profile["ms"] is None else f"{profile['ms']:.3f}"
    energy = profile["estimated_microjoules"]
    return [
        Figure("instructions", _number(profile["instructions"]), "", "per inference, exact"),
        Figure(
            "cycles", _number(cycles), "", f"per inference, {kind}" if cycles else "no model of this core"
        ),
        Figure(
            "time",
            time or NONE,
            "ms" if time else "",
            f"{kind}, at {clock / 1e6:g} MHz" if clock else "no clock known",
        ),
        Figure("work", NONE if per is None else f"{per:.2f}", "MACs/cycle" if per else "", f"{macs:,} MACs"),
        Figure(
            "energy",
            NONE if energy is None else f"{energy:,.1f}",
            "" if energy is None else "\u00b5J",
            "estimate: time, current, voltage" if energy is not None else "no current known",
        ),
    ]


def _lines(profile: Mapping[str, Any]) -> list[Line]:
    most = max((one["share"] or 0 for one in profile["layers"]), default=0)
    return [
        Line(
            str(one["step"]),
            one["op"],
            shorten(one["name"]),
            _number(one["macs"] or None),
            _number(one["instructions"]),
            _number(one["cycles"]),
            _per_mac(one),
            NONE if one["share"] is None else f"{one['share']:.1%}",
            _number(one["read_bytes"]),
            _number(one["written_bytes"]),
            _number(one["weights_bytes"]),
            NONE if one["ms"] is None else f"{one['ms']:.3f}",
            round(1000 * (one["share"] or 0) / most) if most else 0,
            "most" if most and one["share"] == most else "",
        )
        for one in profile["layers"]
    ]


def _total(profile: Mapping[str, Any]) -> Line:
    """Sums of the layers; the whole inference is in the tiles."""
    layers, sums = profile["layers"], profile["sum_of_layers"]
    macs = sum(one["macs"] for one in layers)
    each = {"macs": macs, "cycles": sums["cycles"], "instructions": sums["instructions"]}
    each |= {f"{k}_per_mac": each[k] / macs if each[k] and macs else None for k in ("cycles", "instructions")}
    time = [one["ms"] for one in layers]
    return Line(
        "",
        "sum",
        "",
        _number(macs),
        _number(sums["instructions"]),
        _number(sums["cycles"]),
        _per_mac(each),
        "100.0%",
        _number(sum(one["read_bytes"] for one in layers)),
        _number(sum(one["written_bytes"] for one in layers)),
        _number(sum(one["weights_bytes"] for one in layers)),
        NONE if None in time else f"{sum(time):.3f}",
        0,
        "",
    )


def _per_mac(one: Mapping[str, Any]) -> str:
    value = one["cycles_per_mac"] if one["cycles"] is not None else one["instructions_per_mac"]
    return NONE if value is None else f"{value:.2f}"


def _notes(profile: Mapping[str, Any]) -> list[str]:
    notes = [sum_of_layers(profile)]
    if profile["source"] == "emulator":
        notes.append(f"instructions are {EXACT}")
    notes.append(profile["cycles_label"] or f"cycles: {profile['no_cycles']}; exact instructions only")
    if profile["wait_states"] and profile["cycles_uncached"] is not None:
        notes.append(
            f"with {profile['wait_states']} {UNCACHED}: {profile['cycles_uncached']:,} cycles (estimated)"
        )
    if profile["roof_source"]:
        notes.append(f"bound: {profile['roof_source']}")
    if profile["power_source"]:
        notes.append(f"current: {profile['power_source']}")
    if power := profile["power"]:
        notes.append(
            f"measured: {power['milliamps']:.3f} mA during {power['windows']} inferences of "
            f"{1e3 * power['seconds']:.3f} ms ({shorten(power['file'])})"
        )
    return notes


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
