"""Estimated cycles: a model of each core's instruction timing, fed with exact counts of executed instructions."""

from __future__ import annotations

from vmcu.cycles.estimate import Program, count_leaves, decode_program, estimate_cycles
from vmcu.cycles.timing import LABEL, NO_ESTIMATE, TIMINGS, Timing

__all__ = [
    "LABEL",
    "NO_ESTIMATE",
    "TIMINGS",
    "Program",
    "Timing",
    "count_leaves",
    "decode_program",
    "estimate_cycles",
]
