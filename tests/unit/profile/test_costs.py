"""Costs of an emulator and of a board become the same artefact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.profile import from_board, from_emulator
from vmcu.profile.costs import deviation
from vmcu.report import Measured
from vmcu.run import RunReport


def run_report(instructions: tuple[int, ...] | None, cycles: tuple[int, ...] | None = None) -> RunReport:
    return RunReport("qemu", "QEMU 1.2", (), instructions, 1, 2, {}, None, cycles)


def test_an_emulator_is_exact() -> None:
    costs = from_emulator(Measured(run_report((300,), (450,)), (100, 203), (150, 303), (7, 8)))
    assert (costs.source, costs.engine) == ("emulator", "qemu QEMU 1.2")
    assert (costs.instructions, costs.cycles, costs.leaves) == ((100, 203), (150, 303), (7, 8))
    assert (costs.whole_instructions, costs.whole_cycles) == (300, 450)
    assert (costs.repetitions, costs.warm_up, costs.spread, costs.hook_cycles) == (1, 0, None, None)


def test_steps_of_the_plain_build_come_first() -> None:
    run = replace(
        run_report((300,), (450,)), step_instructions=(100, 200), step_cycles=(150, 300), step_leaves=(1, 2)
    )
    for measured in (Measured(run, None), Measured(run, (9, 9), (9, 9), (9, 9))):
        costs = from_emulator(measured)
        assert (costs.instructions, costs.cycles, costs.leaves) == ((100, 200), (150, 300), (1, 2))
        assert costs.has_hooks is False and costs.whole_instructions == 300
    assert from_emulator(Measured(run_report((300,)), (100, 203))).has_hooks is True


def test_without_a_timing_table_there_are_instructions_only() -> None:
    costs = from_emulator(Measured(run_report((300,)), (100, 203)))
    assert costs.instructions == (100, 203) and costs.cycles is None and costs.whole_cycles is None


def test_a_run_that_counted_nothing_is_refused() -> None:
    for measured in (Measured(run_report(None), (1,)), Measured(run_report((1,)), None)):
        with pytest.raises(VmcuError, match="a profile without counts") as caught:
            from_emulator(measured)
        assert caught.value.code is Exit.BUG


def test_a_board_has_median_and_spread() -> None:
    """The first repetition is cold; a hook takes 10 cycles, the steps have 2 and 5 tasks."""
    repetitions = [(9_000, 9_000), (1_020, 550), (1_220, 650), (1_120, 950)]
    costs = from_board(
        "a board", repetitions, (20_000, 1_500, 1_700, 1_400), (2, 5), hook_cycles=10, warm_up=1
    )
    assert (costs.source, costs.instructions, costs.leaves) == ("board", None, None)
    assert costs.cycles == (1_100, 600)
    assert costs.spread == ((1_000, 1_200), (500, 900))
    assert (costs.whole_cycles, costs.whole_spread) == (1_500, (1_400, 1_700))
    assert (costs.repetitions, costs.warm_up, costs.hook_cycles) == (3, 1, 10)


def test_a_hook_may_take_a_part_of_a_cycle() -> None:
    """A mean of calibrated laps."""
    costs = from_board("a board", [(100, 3)], [90], (4, 2), hook_cycles=2.6)
    assert costs.cycles == (90, 0) and costs.hook_cycles == 2.6


def test_a_board_s_median_is_a_count_that_was_seen() -> None:
    costs = from_board("a board", [(10,), (40,)], (10, 40), (1,), hook_cycles=0)
    assert costs.cycles == (10,) and costs.whole_cycles == 10


@pytest.mark.parametrize(
    ("repetitions", "whole", "warm_up"),
    [([], [1], 0), ([(1, 2)], [], 0), ([(1, 2)], [1], 1), ([(1, 2, 3)], [1], 0), ([(1, 2), (1,)], [1, 1], 0)],
)
def test_a_board_that_tells_something_else_is_refused(
    repetitions: list[tuple[int, ...]], whole: list[int], warm_up: int
) -> None:
    with pytest.raises(VmcuError, match="do not belong to the steps of the model"):
        from_board("a board", repetitions, whole, (1, 1), hook_cycles=0, warm_up=warm_up)


def test_deviation() -> None:
    assert deviation((100, 203), 300) == pytest.approx(0.01)
    assert deviation((100, 197), 300) == pytest.approx(-0.01)
    assert deviation(None, 300) is deviation((1,), None) is deviation((1,), 0) is None
