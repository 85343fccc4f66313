"""Scene and report -> the words and numbers around the map, as text ready to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmcu.cycles import LABEL, NO_ESTIMATE
from vmcu.memory.plan import MemoryPlan
from vmcu.picture.peers import layered_bytes, tflm_head_bytes, unshared_bytes
from vmcu.picture.scene import Box, Item, Scene
from vmcu.report import macs_note

NONE = "\u2013"  # what was not measured
NO_COMPILER = "no compiler found"
NO_RUN = "no run in an emulator"
LARGEST = 12  # tensors named at the peak


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its unit, and how it was obtained."""

    name: str
    value: str
    unit: str
    method: str


@dataclass(frozen=True, slots=True)
class Part:
    """Figures of one kind, in one unit."""

    name: str
    unit: str
    rows: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart; `width` of 1000, `times` what it is compared with."""

    name: str
    value: str
    note: str
    width: int
    css: str
    times: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """A row of the table of layers; `width` of 1000 is its peak in the pool."""

    step: int
    kind: str
    name: str
    shape: str
    macs: str
    instructions: str
    per_mac: str
    peak: str
    width: int
    css: str


def tiles(scene: Scene, report: Mapping[str, Any]) -> list[Figure]:
    """The figures a reader looks for first."""
    memory, flash = report["memory"], report["flash"]
    built = report["compiler"] is not None
    macs = (report[k] for k in ("macs_executed", "macs", "macs_before", "channels_removed"))
    note = ", ".join(filter(None, ("per inference", macs_note(*macs))))
    return [
        Figure("pool", _number(scene.pool_bytes), "bytes", f"{_ratio(scene)} times its lower bound"),
        _tile("RAM in total", memory["ram_total_bytes"], "bytes", "pool, stack and statics", NO_COMPILER),
        _tile("flash", flash["flash_total_bytes"], "bytes", "weights, tables and code", NO_COMPILER),
        _tile("work", report["macs"], "MACs", note, ""),
        _tile(
            "instructions",
            report["instructions"],
            "",
            "per inference, exact",
            NO_RUN if built else NO_COMPILER,
        ),
    ]


def _channels(report: Mapping[str, Any]) -> str:
    removed = report["channels_removed"]
    return f"{removed:,} channel{'' if removed == 1 else 's'}"


def _tile(name: str, value: int | None, unit: str, method: str, missing: str) -> Figure:
    if value is None:
        return Figure(name, NONE, "", missing)
    return Figure(name, _number(value), unit, method)


def figures(scene: Scene, report: Mapping[str, Any]) -> list[Part]:
    """Every figure with its method."""
    memory, flash = report["memory"], report["flash"]
    compiler, engine = _words(report["compiler"], report["optimise"]), report["engine"]
    ram = [
        Figure(
            "pool",
            _number(scene.pool_bytes),
            "",
            "placed by the planner, approved by the independent checker",
        ),
        Figure(
            "lower bound",
            _number(scene.bound_bytes),
            "",
            "most bytes alive at one time in this order of tasks, and bytes beside them that none of them can fill",
        ),
        Figure("pool / bound", _ratio(scene), "", "rounded up: at 1.000 no placement is smaller"),
        Figure("state", _number(memory["state_bytes"]), "", "in the pool, survives between inferences"),
        Figure(
            "scratch", _number(memory["scratch_bytes"]), "", "in the pool, largest working memory of a step"
        ),
        Figure(
            "stack",
            _number(memory["stack_bytes"]),
            "",
            "worst case: the compiler's frames along the call graph",
        ),
        Figure(
            "stack seen",
            _number(memory["stack_painted_bytes"]),
            "",
            f"painted, {engine}" if engine else NO_RUN,
        ),
        Figure("statics", _number(memory["static_bytes"]), "", "variables of the model's own objects"),
        Figure(
            "RAM in total",
            _number(memory["ram_total_bytes"]),
            "",
            "pool, stack and statics" + _places(report, {"pool": "pool", "rest": "the others"}),
        ),
    ]
    rom = [
        Figure("weights", _number(flash["weights_bytes"]), "", "constants of the model"),
        Figure(
            "tables",
            _number(flash["tables_bytes"]),
            "",
            "multipliers, lookup and segment tables, padding rows",
        ),
        Figure("code", _number(flash["code_bytes"]), "", compiler or NO_COMPILER),
        Figure(
            "flash in total",
            _number(flash["flash_total_bytes"]),
            "",
            "weights, tables and code" + _places(report, {"weights": "the first two"}),
        ),
    ]
    work = [
        Figure("MACs", _number(report["macs"]), "", "from the shapes of Conv and Dense"),
        Figure(
            "MACs before",
            _number(report["macs_before"]),
            "",
            f"of the model file; left out, without influence on the outputs: {_channels(report)}",
        ),
        Figure("instructions", _number(report["instructions"]), "", f"exact, {engine}" if engine else NO_RUN),
        Figure(
            "cycles",
            _number(report["estimated_cycles"]),
            "",
            LABEL if report["estimated_cycles"] else NO_ESTIMATE,
        ),
    ]
    return [
        Part("RAM", "bytes", tuple(ram)),
        Part("flash", "bytes", tuple(rom)),
        Part("one inference", "count", tuple(work)),
    ]


def _places(report: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """The regions of the target that hold these parts; nothing where it has no choice."""
    found = [
        f"{what} in {report['regions'][part]}" for part, what in parts.items() if report["regions"][part]
    ]
    return "; " + ", ".join(found) if found else ""


def comparison(plan: MemoryPlan) -> tuple[str, list[Bar]]:
    """A sentence, and this plan beside layer by layer and TFLite Micro's planner."""
    pool, states = plan.pool_bytes, plan.state_bytes
    layered = layered_bytes(plan)
    rows = [
        ("this plan", pool, "every row has a place of its own", "ours"),
        (
            "layer by layer",
            layered,
            "as this plan" if layered == pool else "at least: most bytes alive in that order",
            "",
        ),
        (
            "TFLite Micro",
            tflm_head_bytes(plan.schedule.graph) + states,
            "estimate of its activation head: its planner on whole tensors"
            + (", and states" if states else ""),
            "",
        ),
    ]
    top = max(size for _, size, _, _ in rows)
    bars = [
        Bar(name, f"{size:,}", note, _part(size, top), css, f"{size / max(1, pool):.1f}\u00d7")
        for name, size, note, css in rows
    ]
    words = (
        "Bytes for activations, working memory and states; stack and the rest of an interpreter's arena are "
        f"not in it. All tensors side by side would take {unshared_bytes(plan):,}."
    )
    return words, bars


def at_peak(scene: Scene) -> tuple[str, list[Bar]]:
    """A sentence about the peak, and what is alive there."""
    task, most = scene.peak, max(scene.live)
    if task < 0:
        when = "before the first task, when the inputs are in place"
    elif task >= len(scene.tasks):
        when = "after the last task, while the outputs are kept"
    else:
        step, row = scene.tasks[task]
        made = scene.steps[step]
        when = f"during task {task:,}: row {row} of step {step}, {made.kind} \u201c{made.name}\u201d"
    alive = scene.alive(task)
    sizes = [(item, boxes, sum(b.size for b in boxes)) for item, boxes in alive]
    top = max((size for _, _, size in sizes), default=1)
    bars = [_alive(item, boxes, size, top) for item, boxes, size in sizes[:LARGEST]]
    rest = sizes[LARGEST:]
    if rest:
        total = sum(size for _, _, size in rest)
        bars.append(Bar(f"{len(rest)} more", f"{total:,}", "", _part(total, top), "rest"))
    return f"{most:,} bytes are alive {when}.", bars


def _alive(item: Item, boxes: list[Box], size: int, top: int) -> Bar:
    note: str = item.role if item.role != "tensor" else ""
    if item.role != "scratch":
        count = sum(b.end - b.first for b in boxes)
        span = f"{boxes[0].first}" if count == 1 else f"{boxes[0].first} to {boxes[-1].end - 1}"
        rows = (
            f"{item.unit}{'s' if count > 1 else ''} {span} of {item.rows}"
            if item.rows > 1
            else "its only row"
        )
        if count == item.rows > 1:
            rows = f"all {item.rows} {item.unit}s"
        note = _words(rows, note and f"({note})")
    return Bar(item.name, f"{size:,}", note, _part(size, top), "")


def layers(scene: Scene, report: Mapping[str, Any]) -> tuple[list[Layer], Layer]:
    """The table of layers and its sums."""
    found = []
    highest = max(s.peak_bytes for s in scene.steps) if scene.steps else 0
    for n, (step, told) in enumerate(zip(scene.steps, report["layers"], strict=True)):
        done = told["instructions"]
        found.append(
            Layer(
                n,
                step.kind,
                step.name,
                " \u00d7 ".join(map(str, step.shape)),
                _number(step.macs or None),
                _number(done),
                f"{done / step.macs:.2f}" if done and step.macs else NONE,
                _number(step.peak_bytes),
                _part(step.peak_bytes, scene.pool_bytes),
                "most" if step.peak_bytes == highest else "",
            )
        )
    counted = [told["instructions"] for told in report["layers"]]
    done = sum(counted) if counted and None not in counted else None
    macs = sum(s.macs for s in scene.steps)
    each = f"{done / macs:.2f}" if done and macs else NONE
    total = Layer(
        0,
        "",
        "",
        "",
        _number(macs),
        _number(done),
        each,
        _number(highest),
        _part(highest, scene.pool_bytes),
        "",
    )
    return found, total


def subtitle(scene: Scene, report: Mapping[str, Any]) -> list[str]:
    """Where the figures hold."""
    facts = [
        f"graph {scene.model}",
        report["target"],
        f"numerics {report['numerics']}",
        _words(report["compiler"], report["optimise"]),
    ]
    facts += [report["engine"] or "", f"sha256 {report['model']['sha256'][:12]}"]
    return [fact for fact in facts if fact]


def _ratio(scene: Scene) -> str:
    """Rounded up, so that 1.000 means equal."""
    thousandths = -(-scene.pool_bytes * 1000 // max(1, scene.bound_bytes))
    return f"{thousandths / 1000:.3f}"


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _part(size: int, top: int) -> int:
    return round(1000 * size / max(1, top))


def _words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)
