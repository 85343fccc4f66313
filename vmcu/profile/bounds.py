"""The most multiply-accumulates of int8 products that a core can do in a cycle: the roof of the roofline.

A bound of the instruction set at the core's timing, counting the multiplications alone: no load, no loop. Nothing
reaches it; how far a layer is below it tells where time is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Roof:
    """A bound.

    Attributes:
        macs_per_cycle: of 8-bit products, summed in 32 bits.
        source: which instruction, and what says how long it takes.
    """

    macs_per_cycle: float
    source: str


ROOFS: Mapping[str, Roof] = MappingProxyType(
    {
        "cortex-m0plus": Roof(0.5, "MULS and ADDS, a cycle each (Arm DDI0484, table 3-1)"),
        "cortex-m3": Roof(0.5, "MLA, two cycles (Arm DDI0337, instruction set summary)"),
        "cortex-m4": Roof(2.0, "SMLAD, two products in a cycle (Arm DDI0439, table 3-1)"),
        "cortex-m33": Roof(2.0, "SMLAD, two products in a cycle; as the Cortex-M4, an assumption"),
        "cortex-m7": Roof(
            2.0, "SMLAD, two products, one multiplication in a cycle (LLVM's scheduling model of the core)"
        ),
    }
)
