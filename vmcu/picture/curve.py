"""Curves of plans -> one SVG file: pool against estimated instructions, light or dark as the reader's screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vmcu.picture.render import render, shorten

MARKER = "<!-- curve of plans by vmcu plan -->"
"""First line of every such file: `vmcu plan --pareto --svg` overwrites nothing else of ours or others'."""
WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 92, 24, 92, 56
MARGIN = 0.12  # of the range of instructions, above and below
FLAT = 0.02  # of the instructions: the least range that is shown
CHAR = 6.1  # average advance of the labels' font


@dataclass(frozen=True, slots=True)
class Dot:
    """One plan.

    Attributes:
        pool_bytes, instructions: where it lies.
        note: what is written beside it; may be empty.
        words: what hovering says.
    """

    pool_bytes: int
    instructions: int
    note: str
    words: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Plans that none of the curve beats, smallest pool first, and what they are called together."""

    name: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Words at a place, with what hovering over them says."""

    x: str
    y: str
    text: str
    words: str = ""


def curves_svg(curves: Sequence[Curve], title: str, limit_bytes: int | None = None) -> str:
    """The SVG text.

    Args:
        curves: at least one plan altogether, at most two curves.
        title: what the reader knows the model as.
        limit_bytes: drawn as a line where it lies within the picture.
    """
    dots = [dot for curve in curves for dot in curve.dots]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    most = max(d.pool_bytes for d in dots) * 1.08 or 1.0
    low, high = min(d.instructions for d in dots), max(d.instructions for d in dots)
    spare = max((high - low) * MARGIN, (high * FLAT - (high - low)) / 2, 1.0)
    floor, ceiling = max(0.0, low - spare), high + spare

    def x(pool: float) -> float:
        return LEFT + (right - LEFT) * pool / most

    def y(count: float) -> float:
        return bottom - (bottom - TOP) * (count - floor) / (ceiling - floor)

    drawn = []
    for n, curve in enumerate(curves):
        above = -8 if n == 0 else 18  # the first curve's notes stand above it, the second's below
        path: list[str] = []
        marks, notes = [], []
        for dot in curve.dots:
            px, py = x(dot.pool_bytes), y(dot.instructions)
            path.append(f"H{_n(px)}V{_n(py)}" if path else f"M{_n(px)} {_n(py)}")
            marks.append(Mark(_n(px), _n(py), "", dot.words))
            if dot.note:
                notes.append(Mark(_n(_beside(px, len(dot.note) * CHAR, n > 0)), _n(py + above), dot.note))
        if path:
            path.append(f"H{_n(right)}")
        drawn.append({"name": curve.name, "path": "".join(path), "dots": marks, "notes": notes})
    for n, one in enumerate(drawn):
        one |= {"css": f"k{n}", "key_x": _n(LEFT + n * 190), "word_x": _n(LEFT + n * 190 + 18)}
    limits = [limit_bytes] if limit_bytes is not None and limit_bytes <= most else []
    return render(
        "curve.svg",
        {
            "marker": Markup(MARKER),
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": right,
            "top": TOP,
            "bottom": bottom,
            "tick_x": LEFT - 8,
            "tick_y": bottom + 18,
            "caption_y": HEIGHT - 14,
            "title": shorten(title),
            "curves": drawn,
            "across": [Mark("", _n(y(v)), f"{v:,}") for v in _round_values(floor, ceiling, 6)],
            "along": [Mark(_n(x(v)), "", f"{v:,}") for v in _round_values(0, most, 8)],
            "limits": [Mark(_n(x(v)), "", f"RAM {v:,}") for v in limits],
        },
    )


def _beside(x: float, width: float, to_left: bool) -> float:
    """Where words begin: right or left of a dot, whichever is asked for if there is room."""
    left, right = x - 8 - width, x + 8
    if to_left:
        return left if left > LEFT else right
    return right if right + width < WIDTH - RIGHT else left


def _round_values(low: float, high: float, most: int) -> list[int]:
    """At most `most` + 1 round numbers from `low` to `high`."""
    step, factor = 1, 0
    while (high - low) / step > most:
        step = step * (2, 5, 10)[factor] // (1, 2, 5)[factor]
        factor = (factor + 1) % 3
    first = -(-int(low + 0.999) // step) * step
    return list(range(first, int(high) + 1, step))


def _n(value: float) -> str:
    """Two decimals at most."""
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
