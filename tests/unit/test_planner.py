"""Which of the candidate plans is chosen, on real networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import shared_models

import vmcu.planning.choose
from vmcu.errors import Exit, VmcuError
from vmcu.fit import Limits, check_fit
from vmcu.memory.plan import MemoryPlan
from vmcu.pipeline import compile_graph, load
from vmcu.planning.choose import (
    BALANCED,
    STACK_ALLOWANCE_BYTES,
    Candidate,
    Optimise,
    choose,
    list_candidates,
    make_best_plan,
    pareto,
    wished,
)
from vmcu.schedule.schedule import Schedule, layer_by_layer
from vmcu.schedule.stream_inputs import ALL_INPUTS, stream_inputs

MODELS = Path(__file__).parents[2] / "models"
OURS = ["gesture", "mnist_cnn"]
SHARED = ["mlperf_kws", "micro_speech", "mww_okay_nabu"]
LARGE = ["mlperf_resnet8", "person_detect"]
NAMES = [
    *OURS,
    *(pytest.param(name, marks=shared_models.NEEDS_SHARED) for name in SHARED),
    *(pytest.param(name, marks=[shared_models.NEEDS_SHARED, pytest.mark.slow]) for name in LARGE),
]


@cache
def candidates(name: str, streams: bool = False) -> tuple[Candidate, ...]:
    """All, placed once for all tests."""
    graph = load(MODELS / name / "model.onnx" if name in OURS else shared_models.path_of(name))
    return list_candidates(stream_inputs(graph, [ALL_INPUTS]) if streams else graph)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_limit(name: str) -> None:
    found = candidates(name)
    least, fewest = min(c.pool_bytes for c in found), min(c.instructions for c in found)
    smallest, fastest = choose(found, "ram"), choose(found, "speed")
    assert smallest.pool_bytes <= least * 1.02
    assert fastest.instructions == fewest
    balanced = choose(found, "balanced")
    assert balanced.instructions <= fewest * BALANCED
    assert balanced.pool_bytes <= fastest.pool_bytes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("streams", [False, True])
def test_a_shrinking_budget(name: str, streams: bool) -> None:
    """No plan is over the budget while one fits, and less RAM never costs fewer instructions."""
    found = candidates(name, streams)
    least, most = min(c.pool_bytes for c in found), max(c.pool_bytes for c in found)
    edges = {c.pool_bytes + d for c in found for d in (-1, 0, 1)}
    limits = sorted({*edges, *range(least - 2, most + 100, max(1, (most - least) // 40))}, reverse=True)
    before = 0
    for limit in limits:
        chosen, ram, balanced = (choose(found, wish, limit) for wish in ("speed", "ram", "balanced"))
        if limit < least:
            assert chosen is balanced and chosen.pool_bytes <= least * 1.02
            continue
        fits = [c for c in found if c.pool_bytes <= limit]
        assert chosen.pool_bytes <= limit and ram.pool_bytes <= limit and balanced.pool_bytes <= limit
        assert chosen.instructions == min(c.instructions for c in fits) >= before
        assert balanced.instructions <= chosen.instructions * BALANCED
        before = chosen.instructions


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("streams", [False, True])
def test_pareto(name: str, streams: bool) -> None:
    found = candidates(name, streams)
    front = pareto(found)
    for c in found:
        beaten = any(
            f.pool_bytes <= c.pool_bytes and f.instructions <= c.instructions and f.macs <= c.macs
            for f in front
        )
        assert beaten, "what is left out is no better than something that is not"
    for a in front:
        for b in front:
            if a is not b:
                assert a.pool_bytes > b.pool_bytes or a.instructions > b.instructions or a.macs > b.macs, (
                    "dominated"
                )
    assert front[0].pool_bytes == min(c.pool_bytes for c in found)
    assert min(c.instructions for c in front) == min(c.instructions for c in found)
    assert [c.pool_bytes for c in front] == sorted({c.pool_bytes for c in front})


def test_what_is_meant_where_nothing_is_said() -> None:
    assert wished(None, None) == "ram" and wished(None, 100) == "speed"
    assert wished("ram", 100) == "ram" and wished("balanced", None) == "balanced"


def test_ties_go_to_the_cheaper_plan() -> None:
    """hello_world-like: three schedules, one pool."""
    graph = load(MODELS / "mnist_cnn" / "model.onnx")
    schedule = layer_by_layer(graph)
    dear = Candidate("dear", replace(schedule, tasks=schedule.tasks * 2, stages=()))
    cheap = Candidate("cheap", schedule)
    for one in (dear, cheap):
        one.__dict__.update(bound_bytes=100, plan=cheap.plan)
    for order in ([dear, cheap], [cheap, dear]):
        for wish in ("ram", "balanced", "speed"):
            assert choose(order, wish).name == "cheap"


@pytest.mark.parametrize(
    ("wish", "limit", "most"), [("ram", None, 2), ("speed", None, 0), ("speed", 10**6, 1)]
)
def test_few_placements_are_searched(
    wish: Optimise, limit: int | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    make = vmcu.planning.choose.make_plan

    def counted(schedule: Schedule, search: bool = True, split_bytes: int = 0) -> MemoryPlan:
        nonlocal count
        count += search
        return make(schedule, search, split_bytes)

    monkeypatch.setattr(vmcu.planning.choose, "make_plan", counted)
    found = list_candidates(load(MODELS / "gesture" / "model.onnx"))
    choose(found, wish, limit)
    assert len(found) > 4 and count <= most


def test_the_older_interface() -> None:
    found = candidates("mnist_cnn")
    graph = load(MODELS / "mnist_cnn" / "model.onnx")
    least, fastest = choose(found).pool_bytes, choose(found, "speed").pool_bytes
    assert make_best_plan(graph).pool_bytes == least < 4592  # without tiles
    assert make_best_plan(graph, "speed").pool_bytes == fastest > 12992  # with working memory
    assert least < make_best_plan(graph, "speed", fastest - 1).pool_bytes < 12992
    assert make_best_plan(graph, "speed", 100).pool_bytes == least


def test_below_the_smallest() -> None:
    """The message: which plan, what holds it up, what would help."""
    graph = load(MODELS / "mnist_cnn" / "model.onnx")
    found = candidates("mnist_cnn")
    least = choose(found).pool_bytes
    made = compile_graph(graph, optimise="speed", ram_bytes=least - 50 + STACK_ALLOWANCE_BYTES)
    assert made.plan.pool_bytes == least
    with pytest.raises(VmcuError) as error:
        check_fit(made, None, None, Limits(least - 50))
    assert error.value.code is Exit.DOES_NOT_FIT
    (problem,) = error.value.problems
    need = f"{least:,} bytes of RAM"
    assert problem.what == f"needs {need} (pool {least:,}), 50 more than the {least - 50:,} there are"
    streams = choose(candidates("mnist_cnn", True)).pool_bytes
    enough = "which is enough" if streams <= least - 50 else "still too much"
    for words in (
        f"the smallest of {len(found)} plans holds {max(made.plan.live_bytes):,} bytes in step ",
        f"allow at least --ram {least}, or ",
        "take a larger board, microbit (16,384 bytes of RAM, 262,144 of flash)",
        f"--stream-input makes the pool {streams:,}, {enough}" if streams < least else "",
    ):
        assert words in problem.fix
