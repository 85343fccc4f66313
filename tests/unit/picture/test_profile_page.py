"""The page of a profile: one file that needs nothing else, its numbers, its roofline read back, names that stay text."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from math import log2
from pathlib import Path
from typing import Any

import pytest
from browser import NEEDS_BROWSER, Scheme, count, probe, screenshot
from pictures import HOSTILE, NAMES, hostile
from profiles import costs_of, made_profile, profile_of
from test_page import ATTRIBUTES, ELEMENTS, Page

from vmcu.picture.profile_page import MARKER, profile_html
from vmcu.picture.render import shorten
from vmcu.picture.roofline import make_roofline


def hostile_profile() -> dict[str, Any]:
    """Names as a model file may have them, past what `c_comment` makes of them."""
    made = hostile()
    profile = made_profile(made, costs_of(made))
    for layer, name in zip(profile["layers"], HOSTILE, strict=True):
        layer["name"] = name
    profile["power"] = {
        "file": HOSTILE[1], "windows": 1, "seconds": 1.0, "milliamps": 1.0,
        "microjoules": None, "least_microjoules": None, "most_microjoules": None,
    }  # fmt: skip
    return profile


def numbers(page: Page) -> list[dict[str, str]]:
    """Rows of the table of layers, by the head of the column."""
    head, *rows, _ = page.table("layers")
    return [dict(zip(head, row, strict=True)) for row in rows]


# ---- one file, safe -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [False, True])
def test_only_known_elements_and_attributes(attack: bool) -> None:
    page = Page(
        profile_html(hostile_profile() if attack else profile_of(), HOSTILE[0] if attack else "title")
    )
    assert {tag for tag, _ in page.seen} <= ELEMENTS - {"script"}
    assert {name for _, attributes in page.seen for name in attributes} <= ATTRIBUTES | {"dx", "dy"}
    assert sum(tag == "style" for tag, _ in page.seen) == 1


def test_names_are_shown_as_text() -> None:
    page = Page(profile_html(hostile_profile(), HOSTILE[1]))
    text = "".join(page.text)
    for name in HOSTILE:
        assert shorten(name) in text
    assert page.inline == Page(profile_html(profile_of(), "title")).inline


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = profile_html(profile_of(), "title")
    assert not re.search(r"https?:|//[a-z]|@import|\bsrc=|\bhref=|<link|<iframe|<script|url\(", text)
    page = Page(text)
    policy = next(a["content"] for _, a in page.seen if a.get("http-equiv") == "Content-Security-Policy")
    digest = b64encode(sha256(page.inline["style"].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'"


def test_the_same_bytes_again() -> None:
    text = profile_html(profile_of(), "title")
    assert text == profile_html(profile_of(), "title") and text.startswith(MARKER + "\n<!DOCTYPE html>")


# ---- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_layers(name: str) -> None:
    profile = profile_of(name)
    page = Page(profile_html(profile, "title"))
    rows = numbers(page)
    assert len(rows) == len(profile["layers"])
    for row, layer in zip(rows, profile["layers"], strict=True):
        assert (row["step"], row["operator"], row["node"]) == (str(layer["step"]), layer["op"], layer["name"])
        assert row["instructions"] == f"{layer['instructions']:,}" and row["cycles"] == f"{layer['cycles']:,}"
        assert row["read"] == f"{layer['read_bytes']:,}" and row["ms"] == f"{layer['ms']:.3f}"
        assert row["share"] == f"{layer['share']:.1%}"
    total = dict(zip(page.table("layers")[0], page.table("layers")[-1], strict=True))
    assert total["cycles"] == f"{sum(layer['cycles'] for layer in profile['layers']):,}"


def test_estimates_are_called_estimates() -> None:
    text = "".join(Page(profile_html(profile_of(), "title")).text)
    assert "per inference, exact" in text and "per inference, estimated" in text
    assert "estimated cycles (model, zero wait states)" in text and "within 1% of the whole" in text
    assert "measured" not in text


def test_without_a_timing_table() -> None:
    profile = profile_of(cycles=False, core="cortex-m55")
    page = Page(profile_html(profile, "title"))
    text = "".join(page.text)
    assert "no model of this core" in text and "exact instructions only" in text and "None" not in text
    assert "cycles" not in page.table("layers")[0] and "instructions per MAC" in page.table("layers")[0]
    assert "MACs per instruction" in text and "Without a timing model" in text


# ---- the roofline ------------------------------------------------------------------------------------


def place(profile: dict[str, Any], layer: dict[str, Any], per: str) -> tuple[float, float]:
    """Where a layer has to be, from the ticks of both axes."""
    chart = make_roofline(profile)
    assert chart is not None

    def between(value: float, ticks: list[tuple[float, float]]) -> float:
        (a, at), (b, bt) = ticks[0], ticks[-1]
        return at + (bt - at) * (log2(value) - log2(a)) / (log2(b) - log2(a))

    across = [(float(t.text), float(t.y)) for t in chart.across]
    along = [(float(t.text), float(t.x)) for t in chart.along]
    return between(layer["macs_per_byte"], along), between(layer["macs"] / layer[per], across)


@pytest.mark.parametrize("name", ["branches", "average", "mnist_cnn"])
@pytest.mark.parametrize("cycles", [True, False])
def test_dots_lie_where_the_axes_say(name: str, cycles: bool) -> None:
    profile = profile_of(name, cycles=cycles)
    chart = make_roofline(profile)
    assert chart is not None
    multiply = [layer for layer in profile["layers"] if layer["macs"]]
    assert len(chart.spots) == len(multiply)
    spots = {int(re.match(r"step (\d+):", s.words)[1]): s for s in chart.spots}  # type: ignore[index]
    for layer in multiply:
        spot = spots[layer["step"]]
        x, y = place(profile, layer, "cycles" if cycles else "instructions")
        assert (float(spot.x), float(spot.y)) == (pytest.approx(x, abs=0.02), pytest.approx(y, abs=0.02))
        assert chart.left <= x <= chart.right and chart.top <= y <= chart.bottom
    steps = sorted(int(n) for label in chart.labels for n in re.findall(r"\d+", label.text))
    assert steps == sorted(spots) or any("\u2026" in label.text for label in chart.labels)


def test_the_roof_is_the_core_s() -> None:
    """Flat at 2 MACs a cycle, and 4 bytes a cycle left of half a MAC per byte."""
    profile = profile_of()
    for layer in profile["layers"]:
        layer["macs_per_byte"] = 0.125 if layer["step"] == 0 else layer["macs_per_byte"]
    chart = make_roofline(profile)
    assert chart is not None and "2 MACs and 4 bytes a cycle" in chart.roof_words
    points = [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", chart.roof)]
    across = {float(t.text): float(t.y) for t in chart.across}
    along = {float(t.text): float(t.x) for t in chart.along}
    assert points[1] == points[2] == (pytest.approx(along[0.5], abs=0.02), pytest.approx(across[2], abs=0.02))
    start = points[0]
    assert start[0] >= chart.left and start[1] <= chart.bottom
    # An octave left is an octave lower.
    width = along[1] - along[0.5]
    height = across[1] - across[2]
    assert (points[1][0] - start[0]) / width == pytest.approx((start[1] - points[1][1]) / height, abs=0.01)
    assert chart.roof.endswith(f"H{chart.right}")


def test_without_a_timing_table_there_is_no_roof() -> None:
    chart = make_roofline(profile_of(cycles=False, core="cortex-m55"))
    assert chart is not None and chart.roof == "" and chart.vertical == "MACs per instruction"


def test_a_network_that_does_not_multiply_has_no_picture() -> None:
    profile = profile_of()
    for layer in profile["layers"]:
        layer |= {"macs": 0, "macs_per_byte": None}
    assert make_roofline(profile) is None
    assert "Roofline" not in profile_html(profile, "title")


# ---- in a browser ------------------------------------------------------------------------------------


@NEEDS_BROWSER
@pytest.mark.parametrize(("scheme", "paper"), [("light", "#ffffff"), ("dark", "#14181f")])
def test_both_schemes(scheme: Scheme, paper: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.html"
    path.write_text(profile_html(profile_of(), "title"))
    pixels = screenshot(path, scheme, 1280, 1200, tmp_path)
    assert count(pixels, paper) > 0.4 * pixels.shape[0] * pixels.shape[1]
    other = screenshot(path, "dark" if scheme == "light" else "light", 1280, 1200, tmp_path)
    assert count(other, paper) < 0.05 * other.shape[0] * other.shape[1]


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scrolling(width: int, tmp_path: Path) -> None:
    page = profile_html(hostile_profile(), "t" * 300)
    seen = probe(page, "return doc.documentElement.scrollWidth;", tmp_path, width=width)
    assert seen.result <= width and seen.console == []
