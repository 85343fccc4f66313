"""The drawing, read back from its text: rectangles cover exactly the bytes and tasks of the plan."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from pictures import NAMES, example

from vmcu.memory.plan import lower_bound
from vmcu.picture import chart as drawing
from vmcu.picture.chart import make_chart
from vmcu.picture.colours import DARK, LIGHT, PALETTE, choose_colours
from vmcu.picture.scene import Scene, make_scene
from vmcu.picture.svg import plan_svg
from vmcu.pipeline import Compiled

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest) -> Compiled:
    return example(request.param)


def groups_of(made: Compiled) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(plan_svg(made.plan, "title"))
    return [g for g in root.iter(f"{SVG}g") if "item" in g.get("class", "").split()]


def columns(scene: Scene) -> list[float]:
    """Left side of every column: before the first task, each task, after the last; and the right end."""
    inner = drawing.WIDTH - drawing.LEFT - drawing.RIGHT
    edge = min(drawing.EDGE, inner / (len(scene.tasks) + 2))
    step = (inner - 2 * edge) / len(scene.tasks)
    first = drawing.LEFT + edge
    tasks = [first + n * step for n in range(len(scene.tasks) + 1)]
    return [drawing.LEFT, *tasks, drawing.WIDTH - drawing.RIGHT]


def test_rectangles_cover_the_plan(made: Compiled) -> None:
    scene = make_scene(made.plan)
    edges = np.array(columns(scene))
    shape = (scene.pool_bytes, len(scene.tasks) + 2)
    wanted, found = np.full(shape, -1), np.full(shape, -1)
    for number, item in enumerate(scene.items):
        for box in item.boxes:
            wanted[box.address : box.address + box.size, box.born + 1 : box.died + 2] = number
    for number, group in enumerate(groups_of(made)):
        for rect in group.findall(f"{SVG}rect"):
            x, y, width, height = (float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
            sides = [np.abs(edges - side).argmin() for side in (x, x + width)]
            assert np.abs(edges[sides] - (x, x + width)).max() < 0.02
            bytes_of = [
                (drawing.MAP_TOP + drawing.MAP_HEIGHT - side) * scene.pool_bytes / drawing.MAP_HEIGHT
                for side in (y + height, y)
            ]
            low, high = (round(value) for value in bytes_of)
            assert max(abs(bytes_of[0] - low), abs(bytes_of[1] - high)) < 0.25
            assert (found[low:high, sides[0] : sides[1]] == -1).all()
            found[low:high, sides[0] : sides[1]] = number
    assert (found == wanted).all()


def test_hovering_says_tensor_row_and_lifetime(made: Compiled) -> None:
    scene = make_scene(made.plan)
    end = len(scene.tasks)
    for item, group in zip(scene.items, groups_of(made), strict=True):
        titles = [title.text or "" for title in group.iter(f"{SVG}title")]
        assert len(titles) == len(item.boxes)
        for box, title in zip(item.boxes, titles, strict=True):
            name, which, place, life, *maker = title.split("\n")
            assert name == item.name
            if item.role == "scratch":
                assert which == "scratch"
            elif box.end == box.first + 1:
                assert re.match(rf"{item.unit} {box.first} of {item.rows}\b", which)
            else:
                assert re.match(rf"{item.unit}s {box.first} to {box.end - 1} of {item.rows}\b", which)
            assert place.startswith(f"{box.size:,} bytes") and place.endswith(f"at {box.address:,}")
            born, died = (
                "start" if at < 0 else "end" if at == end else f"task {at}" for at in (box.born, box.died)
            )
            assert life == (f"alive at {born}" if born == died else f"alive from {born} to {died}")
            assert bool(maker) == (item.maker is not None)


def test_the_curve_is_the_live_bytes(made: Compiled) -> None:
    scene = make_scene(made.plan)
    chart = make_chart(scene)
    top, height = float(chart.live_y), float(chart.live_height)
    steps = re.findall(r"H([\d.]+)V([\d.]+)", chart.area)
    levels = [round((top + height - float(y)) * scene.pool_bytes / height, 1) for _, y in steps[:-1]]
    changes = [scene.live[0], *(b for a, b in pairwise(scene.live) if a != b)]
    assert levels == pytest.approx(changes, abs=0.011 * scene.pool_bytes / height)
    assert [int(v) for v in chart.live_values.split()] == list(scene.live)


def test_the_peak_is_marked_and_named(made: Compiled) -> None:
    scene = make_scene(made.plan)
    chart, edges = make_chart(scene), columns(scene)
    assert chart.peak_label.text == f"peak {lower_bound(made.plan.schedule):,} bytes"
    left, right = edges[scene.peak + 1], edges[scene.peak + 2]
    assert left <= float(chart.peak_line.x1) <= right
    assert float(chart.peak_dot.x) == float(chart.peak_line.x1) == float(chart.peak_line.x2)


def test_pool_and_bound_are_named(made: Compiled) -> None:
    plan = made.plan
    text = make_chart(make_scene(plan)).line_label.text
    if plan.pool_bytes == plan.lower_bound_bytes:
        assert text == f"pool {plan.pool_bytes:,} = lower bound"
    else:
        assert text == f"pool {plan.pool_bytes:,}, lower bound {plan.lower_bound_bytes:,}"


def test_words_stay_inside(made: Compiled) -> None:
    chart = make_chart(make_scene(made.plan))
    for label in (*chart.captions, *chart.stage_labels, *(x for g in chart.groups for x in g.labels)):
        assert 0 <= float(label.x) <= chart.width and 0 <= float(label.y) <= chart.height
    last = 0.0
    for label in chart.stage_labels:
        assert float(label.x) >= last
        last = float(label.x) + len(label.text) * drawing.CHAR


# ---- colours -----------------------------------------------------------------------------------------


def luminance(paint: str) -> float:
    parts = [int(paint[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    weights = (0.2126, 0.7152, 0.0722)
    return sum(
        w * (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4)
        for w, p in zip(weights, parts, strict=True)
    )


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_names_can_be_read_on_every_colour() -> None:
    for colour in PALETTE:
        assert contrast(colour.light, colour.light_ink) >= 4.5, colour
        assert contrast(colour.dark, colour.dark_ink) >= 4.5, colour


def test_colours_differ() -> None:
    assert len(set(LIGHT)) == len(set(DARK)) == len(PALETTE) >= 8


def test_what_reads_each_other_differs_in_colour(made: Compiled) -> None:
    scene = make_scene(made.plan)
    chosen = choose_colours(scene)
    clashes = [(a, b) for a, b in scene.edges if a != b and chosen[a] == chosen[b]]
    assert clashes == []


def test_a_tensor_has_one_colour(made: Compiled) -> None:
    names = {colour.name for colour in PALETTE}
    for group in groups_of(made):
        classes = group.get("class", "").split()
        assert len(names & set(classes)) == ("scratch" not in classes)


def test_ticks_are_few_and_start_at_zero() -> None:
    for most in (3, 8, 12):
        for top in (1, 2, 7, 99, 1000, 21_200, 2_451_840, 10**9):
            ticks = drawing._ticks(top, most)
            assert ticks[0] == 0 and ticks[-1] <= top and len(ticks) <= most + 1
            assert len({b - a for a, b in pairwise(ticks)}) <= 1
            assert len(ticks) >= min(top, most) // 3 + 1
