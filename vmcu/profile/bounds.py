"""What a core can do at most: the two lines of the roofline.

Bounds of the instruction set at the core's timing: multiplications of 8-bit products alone, without a load or a loop, and
bytes that loads and stores move when they do nothing else. Nothing reaches them; how far a layer is below them tells where
time is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Roof:
    """Bounds of a core.

    Attributes:
        macs_per_cycle: of 8-bit products, summed in 32 bits.
        bytes_per_cycle: from and to memory without wait states.
        source: which instructions, and what says how long they take.
    """

    macs_per_cycle: float
    bytes_per_cycle: int
    source: str


_LISTS = "lists of N words take 1 + N"
ROOFS: Mapping[str, Roof] = MappingProxyType(
    {
        "cortex-m0plus": Roof(0.5, 4, f"MULS and ADDS, a cycle each; {_LISTS} (Arm DDI0484, table 3-1)"),
        "cortex-m3": Roof(0.5, 4, f"MLA, two cycles; {_LISTS} (Arm DDI0337, instruction set summary)"),
        "cortex-m4": Roof(2.0, 4, f"SMLAD, two products in a cycle; {_LISTS} (Arm DDI0439, table 3-1)"),
        "cortex-m33": Roof(2.0, 4, "an assumption: as the Cortex-M4 (SMLAD, two products in a cycle)"),
        "cortex-m7": Roof(
            2.0,
            8,
            "an assumption: one SMLAD and two words in a cycle, after LLVM's scheduling model of the core",
        ),
    }
)
