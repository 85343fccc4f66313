"""report.html: one file that needs nothing else, with the plan's numbers and names that stay text."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import jinja2
import pytest
from jinja2 import nodes
from pictures import HOSTILE, NAMES, example, hostile, report_of
from profiles import costs_of, made_profile
from shared_models import NEEDS_SHARED, path_of

from vmcu.memory.plan import lower_bound
from vmcu.picture.page import report_html
from vmcu.picture.peers import layered_bytes, tflm_head_bytes, unshared_bytes
from vmcu.picture.render import clean, environment, render, shorten
from vmcu.picture.roofline import make_roofline
from vmcu.picture.scene import make_scene
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.report import make_report
from vmcu.targets import load_target, with_regions

ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "p", "h1", "h2", "ul", "li", "section", "div",
    "small", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "span", "svg", "g", "defs", "pattern", "text",
    "script", "rect", "line", "circle", "path",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "aria-label", "aria-hidden", "role", "tabindex",
    "scope", "hidden", "viewbox", "preserveaspectratio", "width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx",
    "cy", "r", "d", "patternunits", "visibility", "data-step", "data-scale", "data-live", "data-steps", "data-rows",
}  # fmt: skip


class Page(HTMLParser):
    """The page as elements and text.

    Attributes:
        seen: (element, attributes) in order.
        text: all text outside style and script.
        inline: text of style and script elements.
        tables: cells of their rows.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.inline: dict[str, str] = {}
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.seen.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.inline[self.open[-1]] = self.inline.get(self.open[-1], "") + data
            return
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, css: str) -> list[list[str]]:
        """Rows of the first table of that class."""
        tables = [attributes for tag, attributes in self.seen if tag == "table"]
        return self.tables[[t["class"] for t in tables].index(css)]


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest) -> Compiled:
    return example(request.param)


def html_of(made: Compiled, title: str = "title", core: str = "", **changes: Any) -> str:
    return report_html(made.plan, report_of(made) | changes, title, core)


def counted(made: Compiled, cycles: bool) -> dict[str, Any]:
    """What an emulator adds to a report: made-up costs of the layers."""
    layers = [
        layer | {"instructions": 1000 * (n + 1), "estimated_cycles": 1500 * (n + 1) if cycles else None}
        for n, layer in enumerate(report_of(made)["layers"])
    ]
    whole = 13500 if cycles else None
    return {"layers": layers, "instructions": 9000, "estimated_cycles": whole, "engine": "unicorn X"}


# ---- one file, safe -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [False, True])
def test_only_known_elements_and_attributes(attack: bool) -> None:
    page = Page(html_of(hostile() if attack else example("mnist_cnn"), HOSTILE[0] if attack else "title"))
    assert {tag for tag, _ in page.seen} <= ELEMENTS
    assert {name for _, attributes in page.seen for name in attributes} <= ATTRIBUTES
    assert sum(tag == "script" for tag, _ in page.seen) == 1
    assert sum(tag == "style" for tag, _ in page.seen) == 1


def test_attacks_change_neither_script_nor_style() -> None:
    assert Page(html_of(hostile(), HOSTILE[0])).inline == Page(html_of(example("branches"))).inline


def test_names_are_shown_as_text() -> None:
    text = "".join(Page(html_of(hostile(), HOSTILE[1])).text)
    for name in HOSTILE[:3] + HOSTILE[4:6]:
        assert shorten(name) in text
    assert shorten("x" * 10_000) in text and "x" * 100 not in text
    assert "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf" in text


def test_nothing_is_fetched(made: Compiled) -> None:
    text = html_of(made)
    assert not re.search(r"https?:|//[a-z]|@import|\bsrc=|\bhref=|<link|<iframe", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#p-input", "#p-output", "#p-state"}


def test_the_policy_allows_its_own_script_and_style_alone(made: Compiled) -> None:
    page = Page(html_of(made))
    policy = next(a["content"] for _, a in page.seen if a.get("http-equiv") == "Content-Security-Policy")
    hashes = {
        kind: b64encode(sha256(page.inline[kind].encode()).digest()).decode() for kind in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
    )


def test_text_that_html_cannot_hold_is_replaced() -> None:
    assert clean("a\x00b\ud800c\u202ed\ne") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert clean("Größe 大きさ 🙂") == "Größe 大きさ 🙂"


@pytest.mark.parametrize("length", [1, 2, 3, 10, 71, 72, 73, 10_000])
def test_long_names_keep_their_ends(length: int) -> None:
    name = "".join(chr(ord("a") + n % 26) for n in range(length))
    short = shorten(name)
    if length <= 72:
        assert short == name
    else:
        head, tail = short.split("\u2026")
        assert len(short) == 72 and name.startswith(head) and name.endswith(tail)


def test_the_same_bytes_again(made: Compiled) -> None:
    text = html_of(made)
    assert text == html_of(made) and type(text) is str


@NEEDS_SHARED
def test_a_large_network_stays_small() -> None:
    """More than 600 tasks and as many rectangles, each in a line of text."""
    made = compile_graph(load(path_of("mcunet_vww")), "mcunet_vww")
    text = html_of(made)
    rectangles = text.count('class="s"')
    assert rectangles > 600 and len(text.encode()) < 100_000 + 200 * rectangles


# ---- numbers -----------------------------------------------------------------------------------------


def test_headline(made: Compiled) -> None:
    plan = made.plan
    text = html_of(made)
    ratio = -(-plan.pool_bytes * 1000 // plan.lower_bound_bytes) / 1000
    assert f'{plan.pool_bytes:,} <small>bytes</small></p><p class="note">{ratio:.3f} times its lower' in text
    assert f"{made.graph.macs:,} <small>MACs</small>" in text


def test_the_peak_is_named(made: Compiled) -> None:
    plan, scene, page = made.plan, make_scene(made.plan), Page(html_of(made))
    most = lower_bound(plan.schedule)
    (sentence,) = (t for t in page.text if t.startswith(f"{most:,} bytes are alive"))
    if 0 <= scene.peak < len(scene.tasks):
        task = plan.schedule.tasks[scene.peak]
        op = plan.schedule.steps[task.step]
        assert f"task {scene.peak:,}: row {task.row} of step {task.step}, {op.kind} " in sentence
        assert op.name in sentence
    else:
        assert "first task" in sentence or "last task" in sentence
    listed = page.table("bars")
    assert [row[0].split(" ")[0] for row in listed] == [
        i.name.split(" ")[0] for i, _ in scene.alive(scene.peak)
    ]
    padding = scene.base - plan.state_bytes
    assert sum(int(row[1].replace(",", "")) for row in listed) + padding == most


def test_comparison(made: Compiled) -> None:
    plan, page = made.plan, Page(html_of(made))
    rows = {row[0].split("  ")[0].strip(): row for row in page.table("bars wide")}
    numbers = [int(row[1].replace(",", "")) for row in page.table("bars wide")]
    peer = tflm_head_bytes(plan.schedule.graph) + plan.state_bytes
    assert numbers == [plan.pool_bytes, layered_bytes(plan), peer]
    names = list(rows)
    assert names[0].startswith("this plan") and names[1].startswith("layer by layer")
    assert names[2].startswith("TFLite Micro estimate of its activation head")
    assert ("and states" in names[2]) == bool(plan.state_bytes)
    for row, number in zip(page.table("bars wide"), numbers, strict=True):
        assert row[2] == f"{number / plan.pool_bytes:.1f}\u00d7"
    assert f"would take {unshared_bytes(plan):,}." in "".join(page.text)


def test_layers(made: Compiled) -> None:
    plan, graph, page = made.plan, made.graph, Page(html_of(made))
    head, *rows, total = page.table("layers")
    assert head[:6] == ["step", "operator", "node", "output", "MACs", "live bytes"]
    assert len(rows) == len(plan.schedule.steps)
    for number, (op, row) in enumerate(zip(plan.schedule.steps, rows, strict=True)):
        out = graph.tensors[op.output]
        macs = op.macs(graph.ins(op), out)
        live = [b for t, b in zip(plan.schedule.tasks, plan.live_bytes, strict=True) if t.step == number]
        shape = f"{out.rows} \u00d7 {out.cols} \u00d7 {out.channels}"
        assert row[:6] == [
            str(number), op.kind, op.name, shape, f"{macs:,}" if macs else "\u2013", f"{max(live):,}",
        ]  # fmt: skip
    assert total[4] == f"{graph.macs:,}"


def test_instructions_of_layers_where_they_were_counted() -> None:
    made = example("branches")
    told = [layer | {"instructions": 1000 * (n + 1)} for n, layer in enumerate(report_of(made)["layers"])]
    page = Page(html_of(made, layers=told, instructions=9000, engine="qemu QEMU 1.2.3"))
    head, *rows, total = page.table("layers")
    at = head.index("instructions")
    assert [row[at] for row in rows] == ["1,000", "2,000", "3,000", "4,000"]
    assert total[at] == "10,000" and total[at + 1] == f"{10_000 / made.graph.macs:.2f}"
    assert rows[0][at + 1] == f"{1000 / 1620:.2f}"
    assert "exact, qemu QEMU 1.2.3" in "".join(page.text)


@pytest.mark.parametrize("attack", [False, True])
def test_roofline_where_layers_were_counted(attack: bool) -> None:
    """That of the profile of the same numbers, which says that they are no measurements."""
    one = hostile() if attack else example("mnist_cnn")
    text = html_of(one, core="cortex-m4", **counted(one, True))
    page = Page(text)
    assert {tag for tag, _ in page.seen} <= ELEMENTS
    assert {name for _, attributes in page.seen for name in attributes} <= ATTRIBUTES | {"dx", "dy"}
    words = "".join(page.text)
    assert "Roofline (estimated cycles)" in words and "bound of the cortex-m4: 2 MACs" in words
    assert "estimated cycles (model, zero wait states), no measurements" in words
    profile = made_profile(one, costs_of(one))
    drawing = render("roofline.svg", {"chart": make_roofline(profile)})
    assert drawing in text
    assert text.count('<circle class="layer') == sum(1 for x in profile["layers"] if x["macs"])


def test_no_roofline_without_counts() -> None:
    one = example("mnist_cnn")
    assert "Roofline" not in html_of(one, core="cortex-m4")
    text = html_of(one, core="cortex-m55", **counted(one, False))
    assert "MACs per instruction" in text and "(estimated cycles)" not in text


def test_a_split_pool_shows_where() -> None:
    one = compile_graph(example("mnist_cnn").graph.original, "net", split_bytes=2048)
    text = html_of(one)
    assert "Address in the pool (bytes); from 2,048 on in the second region" in text
    assert "no row, array or working memory lies across byte 2,048" in text
    assert "second region" not in html_of(example("mnist_cnn"))


def test_gaps_say_why() -> None:
    text = "".join(Page(html_of(example("branches"))).text)
    assert "no compiler found" in text and "no run in an emulator" in text
    assert "None" not in text


def test_roles_in_the_legend() -> None:
    assert re.findall(r"</svg>(\w+)</li>", html_of(example("stream"))) == ["input", "output", "state"]


# ---- templates ---------------------------------------------------------------------------------------

FORBIDDEN = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.BinExpr,
    nodes.Compare,
    nodes.Call,
    nodes.CondExpr,
    nodes.Not,
)


@pytest.mark.parametrize("name", environment().list_templates())
def test_templates_decide_nothing(name: str) -> None:
    loader = environment().loader
    assert isinstance(loader, jinja2.FileSystemLoader)
    tree = environment().parse(loader.get_source(environment(), name)[0])
    assert [type(node).__name__ for node in tree.find_all(FORBIDDEN)] == []
    assert [node.name for node in tree.find_all(nodes.Filter)] == []


def test_regions_are_named_where_the_target_has_a_choice() -> None:
    one = example("mnist_cnn")
    for target, texts in (
        ("nucleo-f411re", ()),
        ("disco-f746ng", ("statics; pool in DTCM, the others in DTCM", "and code; the first two in QSPI")),
    ):
        chip = with_regions(load_target(target), None, "QSPI" if texts else None)
        page = report_html(one.plan, make_report(one, chip, None, None), "mnist_cnn")
        assert all(text in page for text in texts) and ("pool in" in page) == bool(texts)
