"""What is alive at the peak, against the plan's own curve."""

from __future__ import annotations

import pytest
from broken_plans import NETS, compiled

from vmcu.planning.peak import Held, find_peak, row_text


@pytest.mark.parametrize("name", NETS)
def test_holders_add_up_to_the_lower_bound(name: str) -> None:
    plan = compiled(name).plan
    peak = find_peak(plan)
    assert sum(h.size_bytes for h in peak.held) == peak.live_bytes
    assert plan.lower_bound_bytes - 3 <= peak.live_bytes <= plan.lower_bound_bytes  # states end aligned
    if 0 <= peak.task < len(plan.live_bytes):
        assert plan.live_bytes[peak.task] == max(plan.live_bytes)
        assert peak.step == plan.schedule.tasks[peak.task].step
    else:
        assert peak.step is None
    for held in peak.held:
        if held.name != "scratch":
            tensor = plan.schedule.graph.tensors[held.name]
            assert held.all_rows == tensor.rows and held.size_bytes % tensor.segment_bytes == 0
            most = len(held.rows) * tensor.row_bytes
            assert held.size_bytes == most if tensor.tiles == 1 else held.size_bytes <= most


def test_words() -> None:
    assert row_text((3,)) == "row 3" and row_text((3, 4, 5)) == "rows 3 to 5"
    assert row_text((0, 3, 4)) == "rows 0, 3 to 4"
    assert Held("a", (0, 1), 2, 8).text() == "a" and Held("scratch", (), 0, 8).text() == "scratch"
    assert Held("a", (1,), 2, 8).text() == "a row 1 of 2"
