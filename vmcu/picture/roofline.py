"""Profile -> a roofline: multiply-accumulates per cycle by those per byte, both logarithmic, under the core's bounds.

Where cycles are not known (a core without a timing table) it is multiply-accumulates per instruction, without bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log2, sqrt
from typing import Any

from markupsafe import Markup

from vmcu.picture.render import render, shorten

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 28, 52
LEAST, MOST = 4.0, 16.0  # radius of a dot
NEAR = 15.0  # dots closer than this share a label
NAMED = 6  # steps in a label


@dataclass(frozen=True, slots=True)
class Spot:
    """A layer, or a tick of an axis, as text."""

    x: str
    y: str
    radius: str
    text: str
    words: str
    css: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """Everything the template prints.

    Attributes:
        width, height, left, right, top, bottom: of the picture and of its field.
        spots: layers, the costly ones first, so that none lies hidden under another.
        labels: numbers of steps, those of neighbouring spots together.
        across, along: ticks of the vertical and of the horizontal axis.
        roof: path of the bounds; "" without any.
        roof_words, roof_x, roof_y: their label.
        vertical: what the vertical axis says.
        description: for readers who do not see it.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    spots: tuple[Spot, ...]
    labels: tuple[Spot, ...]
    across: tuple[Spot, ...]
    along: tuple[Spot, ...]
    roof: str
    roof_words: str
    roof_x: str
    roof_y: str
    vertical: str
    description: str


def make_roofline(profile: Mapping[str, Any]) -> Roofline | None:
    """The picture; None where no layer multiplies."""
    per = "cycle" if profile["cycles"] is not None else "instruction"
    known = [one for one in profile["layers"] if one["macs"] and one["macs_per_byte"] and one[f"{per}s"]]
    if not known:
        return None
    xs = [one["macs_per_byte"] for one in known]
    ys = [one["macs"] / one[f"{per}s"] for one in known]
    peak = profile["roof_macs_per_cycle"] if per == "cycle" else None
    low_x, high_x = _span(xs)
    low_y, high_y = _span([*ys, peak] if peak else ys)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + (right - LEFT) * (log2(value) - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * (log2(value) - low_y) / (high_y - low_y)

    order = sorted(range(len(known)), key=lambda i: -(known[i]["share"] or 0))
    spots, groups = [], list[tuple[float, float, float, list[int]]]()
    for rank, i in enumerate(order):
        one, at = known[i], (x(xs[i]), y(ys[i]))
        radius = max(LEAST, MOST * sqrt(one["share"] or 0))
        css = "layer most" if rank == 0 else "layer"
        spots.append(Spot(_n(at[0]), _n(at[1]), _n(radius), "", _words(one, per), css))
        near = next((g for g in groups if abs(at[0] - g[0]) < NEAR and abs(at[1] - g[1]) < NEAR), None)
        if near is None:
            groups.append((*at, radius, [one["step"]]))
        else:
            near[3].append(one["step"])
    roof, words, roof_at = "", "", (0.0, 0.0)
    if peak:
        bandwidth = profile["roof_bytes_per_cycle"]
        knee = log2(peak / bandwidth)  # from here on the multiplications bound
        path = [f"M{_n(x(2 ** max(knee, low_x)))} {_n(y(peak))}H{_n(right)}"]
        if knee > low_x:
            start = max(low_x, low_y - log2(bandwidth))
            path.insert(0, f"M{_n(x(2**start))} {_n(y(bandwidth * 2**start))}L{_n(x(2**knee))} {_n(y(peak))}")
        roof = "".join(path)
        words = f"bound of the {profile['core']}: {peak:g} MACs and {bandwidth} bytes a cycle"
        roof_at = (right, y(peak) - 7)
    return Roofline(
        WIDTH,
        HEIGHT,
        LEFT,
        right,
        TOP,
        bottom,
        tuple(spots),
        tuple(_label(*group) for group in groups),
        tuple(Spot("", _n(y(2.0**k)), "", f"{2.0**k:g}", "", "") for k in range(low_y, high_y + 1)),
        tuple(Spot(_n(x(2.0**k)), "", "", f"{2.0**k:g}", "", "") for k in range(low_x, high_x + 1)),
        roof,
        words,
        _n(roof_at[0]),
        _n(roof_at[1]),
        f"MACs per {per}",
        f"MACs per {per} of {len(known)} layers, by MACs per byte moved",
    )


def draw_roofline(profile: Mapping[str, Any], note: str = "") -> Markup:
    """The section of a page; empty where no layer multiplies.

    Args:
        note: what the reader has to know of the numbers.
    """
    picture = make_roofline(profile)
    if picture is None:
        return Markup()
    is_estimate = profile["cycles"] is not None and profile["source"] != "board"
    words = {
        "picture": picture,
        "drawing": render("roofline.svg", {"chart": picture}),
        "kind": " (estimated cycles)" if is_estimate else "",
        "note": note,
    }
    return render("roofline.html", words)


def _span(values: Sequence[float]) -> tuple[int, int]:
    """Powers of two around all values, with a little room."""
    low, high = floor(log2(min(values)) - 0.2), ceil(log2(max(values)) + 0.2)
    return low, max(high, low + 2)


def _label(x: float, y: float, radius: float, steps: Sequence[int]) -> Spot:
    """Above the dots, or left of what would stick out on the right."""
    text = ", ".join(map(str, sorted(steps)[:NAMED])) + (", \u2026" if len(steps) > NAMED else "")
    return Spot(_n(x), _n(y - radius - 4), "", text, "", "label end" if x > WIDTH - 4 * RIGHT else "label")


def _words(layer: Mapping[str, Any], per: str) -> str:
    share = f", {layer['share']:.1%} of all" if layer["share"] is not None else ""
    return (
        f"step {layer['step']}: {layer['op']} {shorten(layer['name'])}\n{layer['macs']:,} MACs in "
        f"{layer[f'{per}s']:,} {per}s{share}\n{layer['macs'] / layer[f'{per}s']:.2f} MACs per {per}, "
        f"{layer['macs_per_byte']:.2f} per byte"
    )


def _n(value: float) -> str:
    """Two decimals at most."""
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
