"""MemoryPlan and report -> `report.html`: one file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from vmcu.memory.plan import MemoryPlan
from vmcu.picture.chart import make_chart
from vmcu.picture.colours import PALETTE
from vmcu.picture.figures import at_peak, comparison, figures, layers, subtitle, tiles
from vmcu.picture.render import render, shorten
from vmcu.picture.scene import make_scene


def report_html(plan: MemoryPlan, report: Mapping[str, Any], title: str) -> str:
    """The HTML text.

    Args:
        plan: what is drawn.
        report: `vmcu.report.make_report` of the same plan; None in it is shown as not measured.
        title: what the reader knows the model as.
    """
    scene = make_scene(plan)
    chart = make_chart(scene)
    style = render("page.css", {"chart": render("chart.css", {"palette": PALETTE})})
    script = render("page.js", {})
    sentence, alive = at_peak(scene)
    words, bars = comparison(plan)
    rows, total = layers(scene, report)
    roles = {item.role for item in scene.items}
    page = render(
        "report.html",
        {
            "style": style,
            "script": script,
            "style_hash": _hash(style),
            "script_hash": _hash(script),
            "title": shorten(title),
            "subtitle": subtitle(scene, report),
            "tiles": tiles(scene, report),
            "chart": chart,
            "drawing": render("chart.svg", {"chart": chart}),
            "legend": [role for role in ("input", "output", "state", "scratch") if role in roles],
            "peak": sentence,
            "alive": alive,
            "figures": figures(scene, report),
            "compared": words,
            "bars": bars,
            "layers": rows,
            "total": total,
            "counted": any(told["instructions"] is not None for told in report["layers"]),
            "checks": report["checks"],
        },
    )
    return str(page)


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline element."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
