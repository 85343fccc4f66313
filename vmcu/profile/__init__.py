"""What every layer of one inference costs, and how that has changed.

    CProject -> LayerCosts -> profile (JSON) -> table, CSV, page
             run            with MACs,      -> changes against an older one -> table, JUnit
                            bytes, clock

An emulator and a board fill the same `LayerCosts`; everything behind it does not know which it was but by its label.
"""

from __future__ import annotations

from vmcu.profile.costs import LayerCosts, from_board, from_emulator
from vmcu.profile.profile import Conditions, conditions_of, make_profile

__all__ = ["Conditions", "LayerCosts", "conditions_of", "from_board", "from_emulator", "make_profile"]
