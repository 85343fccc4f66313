"""The picture in a real browser: it is really drawn, light and dark, moves under the pointer, and fits a phone."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from browser import NEEDS_BROWSER, Pixels, Scheme, count, decode_png, probe, screenshot
from pictures import HOSTILE, NAMES, example, hostile, report_of

from vmcu.picture.chart import describe, make_chart
from vmcu.picture.colours import PALETTE
from vmcu.picture.page import report_html
from vmcu.picture.scene import make_scene
from vmcu.picture.svg import plan_svg
from vmcu.pipeline import Compiled

PAPER = {"light": "#ffffff", "dark": "#14181f"}
GROUND = {"light": "#f4f5f7", "dark": "#1b2029"}
WIDTH = 1280  # at which one unit of the drawing is one pixel
PHONE = 400
MEASURE = (
    "return { page: doc.documentElement.scrollWidth, view: doc.documentElement.clientWidth,"
    "  map: doc.querySelector('.chart').clientWidth, scrolls: doc.querySelector('.scroll').scrollWidth };"
)


def html_of(made: Compiled, title: str = "a model") -> str:
    return report_html(made.plan, report_of(made), title)


def areas(made: Compiled, patterned: bool) -> dict[str, float]:
    """Class of colour -> area that rectangles cover in the drawing, with or without those under a pattern."""
    found: dict[str, float] = {}
    for group in make_chart(make_scene(made.plan)).groups:
        if patterned or not group.outline:
            name = group.css.split()[0]
            edge = 0 if patterned or "rows" not in group.css else 1.2  # two lines of 0.6 between neighbours
            size = sum(max(0, float(r.width) - edge) * max(0, float(r.height) - edge) for r in group.rects)
            found[name] = found.get(name, 0) + size
    return found


def assert_drawn(pixels: Pixels, made: Compiled, scheme: Scheme) -> None:
    """The colours of this scheme cover about what they should; those of the other are absent."""
    assert count(pixels[:8], PAPER[scheme]) == pixels[:8].size // 3, "the background"
    assert count(pixels, GROUND[scheme]) > 10_000, "the ground of the drawing"
    least, most = areas(made, False), areas(made, True)
    assert len(least) >= 3
    for colour in PALETTE:
        shown, hidden = (colour.light, colour.dark) if scheme == "light" else (colour.dark, colour.light)
        assert count(pixels, hidden) < 50
        # Lines, labels and soft edges take their part; keys and bars have the colours, too.
        low, high = 0.5 * least.get(colour.name, 0), 1.05 * most.get(colour.name, 0) + 6000
        assert low <= count(pixels, shown) <= high, colour.name


@NEEDS_BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_drawn(scheme: Scheme, tmp_path: Path) -> None:
    made = example("mnist_cnn")
    page = tmp_path / "report.html"
    page.write_text(html_of(made), encoding="utf-8")
    assert_drawn(screenshot(page, scheme, WIDTH, 2400, tmp_path), made, scheme)


@NEEDS_BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_svg_is_drawn(scheme: Scheme, tmp_path: Path) -> None:
    made = example("mnist_cnn")
    picture = tmp_path / "map.svg"
    picture.write_text(plan_svg(made.plan, "a model"), encoding="utf-8")
    assert_drawn(screenshot(picture, scheme, WIDTH, 900, tmp_path), made, scheme)


@NEEDS_BROWSER
@pytest.mark.parametrize("name", [*NAMES, "hostile"])
def test_script_answers_the_pointer(name: str, tmp_path: Path) -> None:
    """Every tenth rectangle or so is pointed at: tooltip, readout and the row of the table follow."""
    made = hostile() if name == "hostile" else example(name)
    seen = probe(
        html_of(made, HOSTILE[0]),
        "var found = [], rects = Array.from(doc.querySelectorAll('.map .s'));"
        "rects.forEach(function (rect, n) { if (n % 9) { return; }"
        "  var box = rect.getBoundingClientRect();"
        "  rect.dispatchEvent(new view.PointerEvent('pointermove', { bubbles: true,"
        "    clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 }));"
        "  found.push({ n: n, tip: Array.from(doc.querySelectorAll('#tip p')).map("
        "    function (p) { return p.textContent; }), read: doc.getElementById('readout').textContent,"
        "    hot: doc.querySelectorAll('#layers tr.hot').length }); });"
        "doc.getElementById('chart').dispatchEvent(new view.PointerEvent('pointerleave'));"
        "return { found: found, rects: rects.length, native: doc.querySelectorAll('.s title').length,"
        "  hidden: doc.getElementById('tip').hidden, hot: doc.querySelectorAll('.hot').length };",
        tmp_path,
    )
    assert seen.console == []
    scene = make_scene(made.plan)
    boxes = [(item, box) for item in scene.items for box in item.boxes]
    assert seen.result["rects"] == len(boxes) and len(seen.result["found"]) == -(-len(boxes) // 9)
    for found in seen.result["found"]:
        item, box = boxes[found["n"]]
        assert found["tip"] == describe(scene, item, box).split("\n")
        assert found["hot"] == (item.maker is not None)
        alive, address = re.search(r"([\d,]+) bytes alive; address ([\d,]+)$", found["read"]).groups()  # type: ignore[union-attr]
        middle = (box.born + 1 + box.died + 1) // 2
        pixel = 1 + len(scene.tasks) // (WIDTH // 4)  # tasks that are within the reach of rounding
        near = scene.live[max(0, middle - pixel) : middle + pixel + 1]
        assert int(alive.replace(",", "")) in near
        assert box.address <= int(address.replace(",", "")) < box.address + box.size
    assert (seen.result["native"], seen.result["hidden"], seen.result["hot"]) == (0, True, 0)


@NEEDS_BROWSER
def test_a_row_of_the_table_shows_its_tensor(tmp_path: Path) -> None:
    made = example("mnist_cnn")
    seen = probe(
        html_of(made),
        "var row = doc.querySelector('#layers tr[data-step=\"3\"]');"
        "row.dispatchEvent(new view.PointerEvent('pointerenter'));"
        "var hot = Array.from(doc.querySelectorAll('.map .item.hot'));"
        "return { hot: hot.map(function (g) { return g.dataset.step; }), busy: "
        "doc.querySelector('.map').classList.contains('busy') };",
        tmp_path,
    )
    makers = [item.maker for item in make_scene(made.plan).items]
    assert seen.result == {"hot": ["3"] * makers.count(3), "busy": True} and makers.count(3) >= 1


@NEEDS_BROWSER
@pytest.mark.parametrize("name", ["mnist_cnn", "stream", "hostile"])
def test_nothing_sticks_out_on_a_phone(name: str, tmp_path: Path) -> None:
    made = hostile() if name == "hostile" else example(name)
    page = html_of(made, HOSTILE[-1] if name == "hostile" else "a model")
    found = probe(page, MEASURE, tmp_path, PHONE).result
    assert found["page"] <= found["view"] <= PHONE
    assert found["map"] > found["view"] and found["scrolls"] >= found["map"], "the map scrolls in its own box"


@NEEDS_BROWSER
def test_the_probe_sees_what_sticks_out(tmp_path: Path) -> None:
    page = html_of(example("stream")).replace("<main>", "<canvas width=700></canvas><main>")
    found = probe(page, MEASURE, tmp_path, PHONE).result
    assert found["page"] >= 700


@NEEDS_BROWSER
def test_the_browser_runs_nothing_else(tmp_path: Path) -> None:
    """Were a name to slip through as markup, the policy would still stop it; and the probe would hear of it."""
    slipped = (
        "<script>document.title = 'run'</script><p style='color: #123456'>x</p>"
        "<img src='data:image/png;base64,' onerror='document.title = 1'>"
    )
    page = html_of(example("stream"), "calm").replace("<main>", slipped + "<main>")
    assert slipped in page
    seen = probe(
        page, "return [doc.title, view.getComputedStyle(doc.querySelector('body > p')).color];", tmp_path
    )
    assert seen.result[0] == "calm: memory report" and seen.result[1] != "rgb(18, 52, 86)"
    for what in ("inline script", "inline style", "loading the image"):
        assert any(what in line.lower() for line in seen.console), (what, seen.console)


# ---- the decoder of screenshots ----------------------------------------------------------------------


def encode(pixels: Pixels) -> bytes:
    """PNG with the five filters in turn, byte by byte as the specification has it."""
    height, width, channels = pixels.shape
    rows = [[0] * (width * channels), *pixels.reshape(height, -1).astype(int).tolist()]
    raw = b""
    for y in range(1, height + 1):
        line = [y % 5]
        for x, value in enumerate(rows[y]):
            a = rows[y][x - channels] if x >= channels else 0
            b, c = rows[y - 1][x], rows[y - 1][x - channels] if x >= channels else 0
            paeth = min((a, b, c), key=lambda v: abs(a + b - c - v))
            line.append((value - (0, a, b, (a + b) // 2, paeth)[y % 5]) % 256)
        raw += bytes(line)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    packed = zlib.compress(raw)
    parts = [(b"IHDR", head), (b"IDAT", packed[:20]), (b"IDAT", packed[20:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize("shape", [(12, 7, 3), (5, 20, 4), (1, 1, 3)])
def test_decoder(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert (decode_png(encode(pixels)) == pixels[:, :, :3]).all()
