"""MemoryPlan and report -> `report.html`: one file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from vmcu.cycles import LABEL
from vmcu.memory.plan import MemoryPlan
from vmcu.picture.chart import make_chart
from vmcu.picture.colours import PALETTE
from vmcu.picture.figures import at_peak, comparison, figures, layers, subtitle, tiles
from vmcu.picture.render import render, shorten
from vmcu.picture.roofline import draw_roofline
from vmcu.picture.scene import make_scene
from vmcu.profile.costs import from_report
from vmcu.profile.profile import Conditions, make_profile

NOTE = f"The numbers are {LABEL}, no measurements, and those of a build with hooks, which they include."


def report_html(plan: MemoryPlan, report: Mapping[str, Any], title: str, core: str = "") -> str:
    """The HTML text.

    Args:
        plan: what is drawn.
        report: `vmcu.report.make_report` of the same plan; None in it is shown as not measured.
        title: what the reader knows the model as.
        core: whose bound the roofline shows; "": no roofline.
    """
    scene = make_scene(plan)
    chart = make_chart(scene)
    style = render(
        "page.css", {"chart": render("chart.css", {"palette": PALETTE}) + render("roofline.css", {})}
    )
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
            "roofline": _roofline(plan, report, core),
            "layers": rows,
            "total": total,
            "counted": any(told["instructions"] is not None for told in report["layers"]),
            "checks": report["checks"],
        },
    )
    return str(page)


def _roofline(plan: MemoryPlan, report: Mapping[str, Any], core: str) -> Markup:
    """From the same numbers as that of a profile; empty where nothing was counted."""
    costs = from_report(report)
    if costs is None or not core:
        return Markup()
    profile = make_profile(report, plan.schedule, core, costs, Conditions())
    return draw_roofline(profile, NOTE if costs.cycles else "")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline element."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
