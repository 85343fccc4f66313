"""MemoryPlan -> one SVG file: the map and the curve, light or dark as the reader's screen."""

from __future__ import annotations

from markupsafe import Markup

from vmcu.memory.plan import MemoryPlan
from vmcu.picture.chart import make_chart
from vmcu.picture.colours import PALETTE
from vmcu.picture.render import render, shorten
from vmcu.picture.scene import make_scene

MARKER = "<!-- memory map by vmcu plan -->"
"""First line of every SVG file of ours: `vmcu plan --svg` overwrites nothing else."""
HEADER = 64


def plan_svg(plan: MemoryPlan, title: str) -> str:
    """The SVG text of a plan; `title` is what the reader knows the model as."""
    scene = make_scene(plan)
    chart = make_chart(scene)
    text = render(
        "plan.svg",
        {
            "marker": Markup(MARKER),
            "width": chart.width,
            "height": chart.height + HEADER,
            "header": HEADER,
            "title": shorten(title),
            "subtitle": f"SRAM pool over time: address (bytes) by task. Pool {scene.pool_bytes:,} bytes, "
            f"lower bound of this order {scene.bound_bytes:,}.",
            "style": render("chart.css", {"palette": PALETTE}),
            "drawing": render("chart.svg", {"chart": chart}),
            "chart": chart,
        },
    )
    return str(text)
