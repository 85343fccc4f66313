"""A profile made without a compiler or an emulator: of a real plan, with costs that were made up."""

from __future__ import annotations

from typing import Any

from pictures import example, report_of

from vmcu.pipeline import Compiled
from vmcu.profile import Conditions, LayerCosts, make_profile

BOARD = Conditions(100_000_000, 3, 4, 10.0, 3.3, "a data sheet")


def costs_of(made: Compiled, cycles: bool = True) -> LayerCosts:
    """Step n takes 1000 * (n + 1) instructions, 1500 cycles for each thousand, and leaves the line 100 times."""
    steps = range(1, len(made.plan.schedule.steps) + 1)
    total = 1000 * sum(steps)
    return LayerCosts(
        "emulator",
        "unicorn Unicorn 1.2.3",
        tuple(1000 * n for n in steps),
        tuple(1500 * n for n in steps) if cycles else None,
        tuple(100 * n for n in steps) if cycles else None,
        total,
        total * 3 // 2 if cycles else None,
    )


def profile_of(
    name: str = "mnist_cnn", conditions: Conditions = BOARD, cycles: bool = True, core: str = "cortex-m4"
) -> dict[str, Any]:
    """The profile of one of `pictures.NAMES`."""
    made = example(name)
    return made_profile(made, costs_of(made, cycles), conditions, core)


def made_profile(
    made: Compiled, costs: LayerCosts, conditions: Conditions = BOARD, core: str = "cortex-m4"
) -> dict[str, Any]:
    """The same from given costs."""
    return make_profile(report_of(made), made.plan.schedule, core, costs, conditions)
