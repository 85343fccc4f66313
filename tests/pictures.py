"""Plans and reports for the tests of pictures."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from broken_plans import compiled
from tiny_models import Net

from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.report import make_report
from vmcu.targets import load_target

ROOT = Path(__file__).parents[1]
NAMES = ("branches", "stream", "average", "mnist_cnn", "streamed_input")
"""Aliases; states; accumulation; streamed stages; an input that is never whole."""

HOSTILE = (
    "</title><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]><!-- --><style>*{display:none}</style>",
    "a\nb\tc\x00d\u2028e\u202ef",
    "{{ 7 * 7 }}{% raw %}",
    "&amp;&#60;",
    "x" * 10_000,
)


@cache
def example(name: str) -> Compiled:
    """One of `NAMES`."""
    if name in ("mnist_cnn", "streamed_input"):
        graph = load(ROOT / "models" / "mnist_cnn" / "model.onnx")
        return compile_graph(graph, name, streamed=("*",) if name == "streamed_input" else ())
    return compiled(name)


@cache
def hostile() -> Compiled:
    """A chain of convolutions in which every name that a model file gives is an attack."""
    net = Net()
    x = net.qdq(net.input(HOSTILE[0], (1, 2, 6, 6)))
    for number, name in enumerate(HOSTILE):
        conv = net.node("Conv", [x, net.weights((2, 2, 1, 1))])
        net.nodes[-1].name = name
        x = net.dq(net.q(conv, 0.1, output=name if number else ""), 0.1)
    net.node("Identity", [x], HOSTILE[1] + "out")
    net.output(HOSTILE[1] + "out", shape=(1, 2, 6, 6))
    model = net.model()
    model.graph.name = HOSTILE[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(model.SerializeToString())
        return compile_graph(load(path), "net")


def report_of(made: Compiled) -> dict[str, Any]:
    """Its report where neither compiler nor emulator is found."""
    return make_report(made, load_target("cortex-m4"), None, None)
