"""Bytes and multiply-accumulates per step, against sums made from the tables that are printed."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pictures import NAMES, example

from vmcu.memory.tables import make_tables
from vmcu.planning.cost import executed_macs
from vmcu.profile.traffic import step_traffic


@pytest.mark.parametrize("name", NAMES)
def test_bytes_and_tasks(name: str) -> None:
    """Every task's rows, taken from the schedule's reads by name."""
    schedule = example(name).plan.schedule
    graph, traffic = schedule.graph, step_traffic(schedule)
    for number, (op, found) in enumerate(zip(schedule.steps, traffic, strict=True)):
        tasks = [task for task in schedule.tasks if task.step == number]
        size = graph.tensors[op.output].segment_bytes
        read = sum(graph.tensors[tensor].segment_bytes for task in tasks for tensor, _ in task.reads)
        assert found.tasks == len(tasks)
        assert found.read_bytes == read + (size * (len(tasks) - 1) if op.accumulates else 0)
        assert found.written_bytes == size * len(tasks)
    assert sum(t.macs for t in traffic) == executed_macs(schedule)


def test_a_convolution_by_hand() -> None:
    """The first layer of `branches`: 6 rows of 5 x 2, kernel 3, padding 1 -> 6 rows of 5 x 3."""
    schedule = example("branches").plan.schedule
    first = step_traffic(schedule)[0]
    assert schedule.steps[0].kind == "Conv2D" and first.tasks == 6
    # The first and the last row read two rows of the image, the others three.
    assert first.read_bytes == (2 + 4 * 3 + 2) * 5 * 2
    assert first.written_bytes == 6 * 5 * 3
    assert first.macs == 6 * 5 * 3 * 2 * 9
    assert first.fetched_bytes == 6 * first.weights_bytes


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_that_are_printed(name: str) -> None:
    made = example(name)
    data = made.project.files[f"{made.project.name}_data.h"]
    sizes = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4}
    printed = Counter[int]()
    for kind, step, count in re.findall(r"(\w+_t) s(\d+)_weights\[(\d+)\]", data):
        printed[int(step)] += sizes[kind] * int(count)
    found = {i: t.weights_bytes for i, t in enumerate(step_traffic(made.plan.schedule)) if t.weights_bytes}
    assert printed and set(printed) <= set(found)
    assert all(found[step] >= size for step, size in printed.items())


@pytest.mark.parametrize("name", NAMES)
def test_tasks_are_those_of_the_tables(name: str) -> None:
    """What is printed as calls of step functions."""
    made = example(name)
    count = Counter[int]()
    for part in make_tables(made.plan).order:
        count[part.step] += part.end - part.first
    assert {i: t.tasks for i, t in enumerate(step_traffic(made.plan.schedule))} == dict(count)
