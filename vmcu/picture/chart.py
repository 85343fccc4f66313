"""Scene -> Chart: coordinates and words of the map and of the curve below it.

One drawing holds both, so that they share the axis of tasks. Units are those of the viewBox, one CSS pixel
at full width. Address 0 is at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmcu.picture.colours import PALETTE, choose_colours
from vmcu.picture.render import shorten
from vmcu.picture.scene import Box, Item, Scene, Stage

WIDTH = 1120
LEFT, RIGHT = 64, 12
MAP_TOP, MAP_HEIGHT = 58, 430
LIVE_GAP, LIVE_HEIGHT = 58, 130
AXIS = 40
EDGE = 16.0  # widest column for "before" and "after"
CHAR = 6.1  # average advance of the labels' font
SHORTEST = 10  # characters of a name that say something
VISIBLE_ROW = 4.0  # height from which rows get a line between them


@dataclass(frozen=True, slots=True)
class Rect:
    """One rectangle and what hovering over it says."""

    x: str
    y: str
    width: str
    height: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """Words at a place."""

    x: str
    y: str
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """A tensor: its rectangles, a path over them for its pattern, its label.

    Attributes:
        css: classes: colour, role.
        step: that makes it, or "".
        outline: path over all its rectangles; "" where it has no pattern.
        labels: none or one.
    """

    css: str
    step: str
    rects: tuple[Rect, ...]
    outline: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    x1: str
    y1: str
    x2: str
    y2: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The drawing. `area` is the curve's path; `scale` what a script needs to read the axes back."""

    width: int
    height: int
    description: str
    map_x: str
    map_y: str
    map_width: str
    map_height: str
    live_y: str
    live_height: str
    groups: tuple[Group, ...]
    stage_lines: tuple[Line, ...]
    stage_labels: tuple[Label, ...]
    address_lines: tuple[Line, ...]
    address_labels: tuple[Label, ...]
    live_lines: tuple[Line, ...]
    live_labels: tuple[Label, ...]
    task_ticks: tuple[Line, ...]
    task_labels: tuple[Label, ...]
    captions: tuple[Label, ...]
    split_lines: tuple[Line, ...]
    pool_line: Line
    bound_lines: tuple[Line, ...]
    line_label: Label
    area: str
    peak_line: Line
    peak_dot: Label
    peak_label: Label
    peak_anchor: str
    scale: str
    live_values: str
    task_steps: str
    task_rows: str


class _Axes:
    """Tasks and bytes to coordinates."""

    def __init__(self, scene: Scene) -> None:
        self.tasks, self.pool = len(scene.tasks), max(1, scene.pool_bytes)
        inner = WIDTH - LEFT - RIGHT
        self.edge = min(EDGE, inner / (self.tasks + 2))
        self.step = (inner - 2 * self.edge) / max(1, self.tasks)
        self.live_top = MAP_TOP + MAP_HEIGHT + LIVE_GAP

    def x(self, task: float) -> float:
        """Left side of a task's column; -1 is before the first."""
        if task < 0:
            return float(LEFT)
        return LEFT + self.edge + min(task, self.tasks) * self.step + (self.edge if task > self.tasks else 0)

    def y(self, address: float) -> float:
        return MAP_TOP + MAP_HEIGHT * (1 - address / self.pool)

    def live_y(self, size: float) -> float:
        return self.live_top + LIVE_HEIGHT * (1 - size / self.pool)


def make_chart(scene: Scene) -> Chart:
    """Draws a scene."""
    axes = _Axes(scene)
    right, height = WIDTH - RIGHT, axes.live_top + LIVE_HEIGHT + AXIS
    stages = scene.stages[1:]
    ticks = _ticks(scene.pool_bytes, 8)
    live_ticks = _ticks(scene.pool_bytes, 3)
    tasks = _ticks(max(1, axes.tasks - 1), 12) if axes.tasks > 1 else [0]
    bottom = axes.live_top + LIVE_HEIGHT
    peak, most = scene.peak, max(scene.live)
    peak_x = (axes.x(peak) + axes.x(peak + 1)) / 2
    to_left = peak_x > WIDTH * 0.7
    bound_apart = scene.bound_bytes < scene.pool_bytes
    second = f"; from {scene.split_bytes:,} on in the second region" if scene.split_bytes else ""
    return Chart(
        width=WIDTH,
        height=height,
        description=f"Pool of {scene.pool_bytes:,} bytes over {axes.tasks:,} tasks",
        map_x=_n(LEFT),
        map_y=_n(MAP_TOP),
        map_width=_n(right - LEFT),
        map_height=_n(MAP_HEIGHT),
        live_y=_n(axes.live_top),
        live_height=_n(LIVE_HEIGHT),
        groups=_groups(scene, axes),
        stage_lines=tuple(_vertical(axes.x(s.start), MAP_TOP - 4, bottom) for s in stages),
        stage_labels=_stage_labels(scene.stages, axes),
        address_lines=tuple(_horizontal(axes.y(v), right) for v in ticks),
        address_labels=tuple(_label(LEFT - 8, axes.y(v) + 4, f"{v:,}") for v in ticks),
        live_lines=tuple(_horizontal(axes.live_y(v), right) for v in live_ticks),
        live_labels=tuple(_label(LEFT - 8, axes.live_y(v) + 4, f"{v:,}") for v in live_ticks),
        task_ticks=tuple(_vertical(axes.x(t), bottom, bottom + 4) for t in tasks),
        task_labels=tuple(_label(axes.x(t), bottom + 16, f"{t:,}") for t in tasks),
        captions=(
            _label(LEFT, MAP_TOP - 36, "Address in the pool (bytes)" + second),
            _label(LEFT, axes.live_top - 12, "Live bytes"),
            _label(LEFT, bottom + 34, "Task"),
        ),
        split_lines=(_horizontal(axes.y(scene.split_bytes), right),) if scene.split_bytes else (),
        pool_line=_horizontal(axes.live_y(scene.pool_bytes), right),
        bound_lines=(_horizontal(axes.live_y(scene.bound_bytes), right),) if bound_apart else (),
        line_label=_label(
            right,
            axes.live_top - 12,
            f"pool {scene.pool_bytes:,}"
            + (f", lower bound {scene.bound_bytes:,}" if bound_apart else " = lower bound"),
        ),
        area=_area(scene.live, axes),
        peak_line=_vertical(peak_x, MAP_TOP, bottom),
        peak_dot=_label(peak_x, axes.live_y(most), ""),
        peak_label=_label(peak_x + (-9 if to_left else 9), axes.live_y(most) + 20, f"peak {most:,} bytes"),
        peak_anchor="end" if to_left else "start",
        scale=" ".join(
            _n(v)
            for v in (
                LEFT,
                axes.edge,
                axes.step,
                axes.tasks,
                MAP_TOP,
                MAP_HEIGHT,
                scene.pool_bytes,
                axes.live_top,
                LIVE_HEIGHT,
            )
        ),
        live_values=" ".join(map(str, scene.live)),
        task_steps=" ".join(str(step) for step, _ in scene.tasks),
        task_rows=" ".join(str(row) for _, row in scene.tasks),
    )


def _groups(scene: Scene, axes: _Axes) -> tuple[Group, ...]:
    colours = choose_colours(scene)
    found = []
    for item, colour in zip(scene.items, colours, strict=True):
        css = "scratch" if item.role == "scratch" else PALETTE[colour].name
        if item.role in ("input", "output", "state"):
            css += f" {item.role}"
        if item.row_bytes / axes.pool * MAP_HEIGHT >= VISIBLE_ROW:
            css += " rows"
        rects = tuple(_rect(scene, item, box, axes) for box in item.boxes)
        marked = item.role in ("input", "output", "state")
        outline = "".join(f"M{r.x} {r.y}h{r.width}v{r.height}h-{r.width}z" for r in rects) if marked else ""
        step = "" if item.maker is None else str(item.maker)
        found.append(Group(css, step, rects, outline, _item_label(item, axes)))
    return tuple(found)


def _rect(scene: Scene, item: Item, box: Box, axes: _Axes) -> Rect:
    x, y = axes.x(box.born), axes.y(box.address + box.size)
    width, height = axes.x(box.died + 1) - x, axes.y(box.address) - y
    return Rect(_n(x), _n(y), _n(width), _n(height), describe(scene, item, box))


def describe(scene: Scene, item: Item, box: Box) -> str:
    """What hovering over a box says: one fact a line."""
    lines = [item.name]
    if item.role == "scratch":
        lines.append("scratch")
    else:
        one = box.end == box.first + 1
        rows = f"{item.unit} {box.first}" if one else f"{item.unit}s {box.first} to {box.end - 1}"
        lines.append(f"{rows} of {item.rows}" + ("" if item.role == "tensor" else f" ({item.role})"))
    count = box.end - box.first
    each = f" ({count} x {item.row_bytes:,})" if count > 1 else ""
    lines.append(f"{box.size:,} bytes{each} at {box.address:,}")
    end = len(scene.tasks)
    born = "start" if box.born < 0 else f"task {box.born}"
    died = "end" if box.died >= end else ("start" if box.died < 0 else f"task {box.died}")
    lines.append(f"alive from {born} to {died}" if born != died else f"alive at {born}")
    if item.maker is not None:
        lines.append(f"made by step {item.maker}: {scene.steps[item.maker].kind}")
    return "\n".join(lines)


def _item_label(item: Item, axes: _Axes) -> tuple[Label, ...]:
    """The name, where some piece of the tensor has room for it."""
    best, area = None, 0.0
    for i, start in enumerate(item.boxes):
        born, died, low, high = start.born, start.died, start.address, start.address + start.size
        for box in item.boxes[i:]:
            if box is not start:
                if box.address == high:
                    high += box.size
                elif box.address + box.size == low:
                    low = box.address
                else:
                    break
                born, died = max(born, box.born), min(died, box.died)
            width, height = axes.x(died + 1) - axes.x(born), (high - low) / axes.pool * MAP_HEIGHT
            if width < 34:
                break
            if height >= 15 and min(width, 200) * min(height, 40) > area:
                area = min(width, 200) * min(height, 40)
                best = (axes.x(born), axes.x(died + 1), axes.y(high), axes.y(low))
    if best is None:
        return ()
    x0, x1, y0, y1 = best
    room = int((x1 - x0 - 8) / CHAR)
    text = shorten(item.name, room)
    if len(text) < min(SHORTEST, len(item.name)):
        return ()
    return (_label((x0 + x1) / 2, (y0 + y1) / 2 + 4, text),)


def _stage_labels(stages: Sequence[Stage], axes: _Axes) -> tuple[Label, ...]:
    found = []
    for n, stage in enumerate(stages):
        x0, x1 = axes.x(stage.start), axes.x(stage.stop)
        room = (x1 - x0 - 6) / CHAR
        steps = (
            f"step {stage.first}"
            if stage.end == stage.first + 1
            else f"steps {stage.first}\u2013{stage.end - 1}"
        )
        for text in (f"stage {n}: {steps}", f"stage {n}", steps, f"{n}"):
            if len(text) <= room:
                found.append(_label(x0 + 4, MAP_TOP - 10, text))
                break
    return tuple(found)


def _area(live: Sequence[int], axes: _Axes) -> str:
    """A staircase: one column per task, and one before and after."""
    bottom = axes.live_y(0)
    path = [f"M{_n(LEFT)} {_n(bottom)}"]
    last: int | None = None
    for column, size in enumerate(live):
        if size != last:
            path.append(f"H{_n(axes.x(column - 1))}V{_n(axes.live_y(size))}")
            last = size
    path.append(f"H{_n(axes.x(len(live) - 1))}V{_n(bottom)}Z")
    return "".join(path)


def _ticks(top: int, most: int) -> list[int]:
    """At most `most` + 1 round numbers from 0 to `top`."""
    step = 1
    while top / step > most:
        for factor in (2, 2.5, 2):
            if top / step > most:
                step = int(step * factor) or 1
    return list(range(0, top + 1, step))


def _n(value: float) -> str:
    """Two decimals at most."""
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _label(x: float, y: float, text: str) -> Label:
    return Label(_n(x), _n(y), text)


def _vertical(x: float, y1: float, y2: float) -> Line:
    return Line(_n(x), _n(y1), _n(x), _n(y2))


def _horizontal(y: float, right: float) -> Line:
    return Line(_n(LEFT), _n(y), _n(right), _n(y))
