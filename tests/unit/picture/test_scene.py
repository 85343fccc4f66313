"""The scene against the plan it is read from: every row, where and when, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import NAMES, example

from vmcu.memory.plan import MemoryPlan, lower_bound
from vmcu.picture.scene import make_scene
from vmcu.pipeline import Compiled

Row = tuple[str, int, int, int, int]
"""Tensor, address, bytes, first task, last task."""


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest) -> Compiled:
    return example(request.param)


def rows_of(plan: MemoryPlan) -> list[Row]:
    """Every row that is ever alive, derived from the order of tasks alone."""
    schedule, graph = plan.schedule, plan.schedule.graph
    end = len(schedule.tasks)
    life = {(name, row): [-1, -1] for name in graph.given() for row in range(graph.tensors[name].segments)}
    for at, task in enumerate(schedule.tasks):
        op = schedule.steps[task.step]
        life.setdefault((op.output, 0 if op.accumulates else task.row), [at, at])[1] = at
        for segment in task.reads:
            life[segment][1] = at
    for name, row in life:
        if any(name == port.tensor for port in graph.outputs):
            life[name, row][1] = end
    for state in graph.states:
        for row in range(graph.tensors[state.current].segments):
            life[state.current, row] = [-1, end]
            life.pop((state.next, row), None)
    return [
        (name, plan.addresses[name][row], graph.tensors[name].segment_bytes, born, died)
        for (name, row), (born, died) in life.items()
    ]


def scratch_of(plan: MemoryPlan) -> list[Row]:
    found = []
    for step, address in plan.scratch.items():
        tasks = {t for t, task in enumerate(plan.schedule.tasks) if task.step == step}
        size, lives = plan.schedule.kernels[step].scratch_bytes, plan.scratch_lives[step]
        assert [t for first, last in lives for t in range(first, last + 1)] == sorted(tasks)
        found += [("", address, size, first, last) for first, last in lives]
    return found


def test_boxes_are_the_rows_of_the_plan(made: Compiled) -> None:
    found: list[Row] = []
    for item in make_scene(made.plan).items:
        name = "" if item.role == "scratch" else item.name
        for box in item.boxes:
            size, rest = divmod(box.size, box.end - box.first)
            assert not rest and (item.role == "scratch" or size == item.row_bytes)
            found += [
                (name, box.address + n * size, size, box.born, box.died) for n in range(box.end - box.first)
            ]
    assert sorted(found) == sorted(rows_of(made.plan) + scratch_of(made.plan))


def test_boxes_never_overlap_and_stay_in_the_pool(made: Compiled) -> None:
    scene = make_scene(made.plan)
    taken = np.zeros((scene.pool_bytes, len(scene.tasks) + 2), np.int32)
    for item in scene.items:
        for box in item.boxes:
            assert box.address >= 0 and box.address + box.size <= scene.pool_bytes
            taken[box.address : box.address + box.size, box.born + 1 : box.died + 2] += 1
    assert taken.max() == 1
    assert taken.any(axis=1).sum() >= scene.bound_bytes


def test_numbers_are_those_of_the_plan(made: Compiled) -> None:
    plan, scene = made.plan, make_scene(made.plan)
    assert (scene.pool_bytes, scene.bound_bytes) == (plan.pool_bytes, plan.lower_bound_bytes)
    assert scene.live[1:-1] == plan.live_bytes
    assert max(scene.live) == lower_bound(plan.schedule) <= plan.lower_bound_bytes
    assert [step.macs for step in scene.steps] and sum(s.macs for s in scene.steps) == made.graph.macs
    for number, step in enumerate(scene.steps):
        live = [b for t, b in zip(plan.schedule.tasks, plan.live_bytes, strict=True) if t.step == number]
        assert step.peak_bytes == max(live)


def test_who_is_alive_adds_up_to_the_live_bytes(made: Compiled) -> None:
    scene = make_scene(made.plan)
    padding = scene.base - made.plan.state_bytes
    for task in range(-1, len(scene.tasks) + 1):
        alive = sum(box.size for _, boxes in scene.alive(task) for box in boxes)
        assert alive + padding == scene.live[task + 1]


def test_the_peak_is_the_first_of_the_fullest_tasks(made: Compiled) -> None:
    scene = make_scene(made.plan)
    most = lower_bound(made.plan.schedule)
    assert scene.live[scene.peak + 1] == most
    assert max(scene.live[: scene.peak + 1], default=0) < most


def test_stages_follow_each_other_over_all_tasks(made: Compiled) -> None:
    scene = make_scene(made.plan)
    assert [s.start for s in scene.stages] == [0, *(s.stop for s in scene.stages[:-1])]
    assert scene.stages[-1].stop == len(scene.tasks)
    for stage in scene.stages:
        assert {step for step, _ in scene.tasks[stage.start : stage.stop]} <= set(
            range(stage.first, stage.end)
        )


def test_roles() -> None:
    roles = {item.name: item.role for item in make_scene(example("stream").plan).items}
    assert {"input", "output", "state"} <= set(roles.values())
    assert roles["state_in_s"] == "state" and roles["x"] == "input"


def test_rows_that_live_equally_long_are_one_box() -> None:
    scene = make_scene(example("stream").plan)
    (state,) = (item for item in scene.items if item.role == "state")
    assert len(state.boxes) == 1 and state.boxes[0].end == state.rows == 4
