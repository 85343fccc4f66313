"""What an instruction costs, per core, at zero wait states: tables and where their figures come from.

P, the refill of the pipeline after a taken branch, is 1 to 3 cycles in Arm's tables; here it is 2. Not modelled, on any
core: wait states and caches, contention of fetches with loads of constants, unaligned accesses (one or two cycles more),
instructions that a condition skips (they count as executed), folded IT instructions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vmcu.cycles.decode import Kind

LABEL = "estimated cycles (model, zero wait states)"
NO_ESTIMATE = "not estimated: takes Unicorn, and a table of the core's timing"


@dataclass(frozen=True, slots=True)
class Issue:
    """How a core issues two instructions at once, in order.

    Attributes:
        units: instructions of a kind that can start in one cycle; 1 where a kind is missing.
        shared: kinds that share one unit.
        alone: kinds that are never paired.
        first: kinds that are paired only as the first of two.
        latency: cycles until a result can be used; 1 where a kind is missing.
    """

    units: Mapping[Kind, int]
    shared: frozenset[Kind]
    alone: frozenset[Kind]
    first: frozenset[Kind]
    latency: Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles of a core.

    Attributes:
        source: where the figures come from.
        cycles: (fixed, for every word moved) of each kind that does not take one cycle.
        taken: cycles more where an instruction leaves the straight line.
        taken_by: the same for kinds that differ.
        pipelines_loads: a load right after a load takes a cycle less, unless its address is what that one loads.
        stalls_vfp: cycles more where the next instruction uses a floating-point result.
        issue: None: one instruction at a time.
    """

    source: str
    cycles: Mapping[Kind, tuple[int, int]]
    taken: int
    taken_by: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType({}))
    pipelines_loads: bool = False
    stalls_vfp: int = 0
    issue: Issue | None = None


_M3 = Timing(
    "Cortex-M3 Technical Reference Manual (Arm DDI0337), instruction set summary and load/store timings. MLA 2; UMULL, "
    "SMULL 3 to 5, here 4; UMLAL, SMLAL 4 to 7, here 5; division 2 to 12, here 7; P 1 to 3, here 2",
    MappingProxyType(
        {
            "mla": (2, 0),
            "mull": (4, 0),
            "mlal": (5, 0),
            "div": (7, 0),
            "load": (2, 0),
            "load_pair": (1, 1),
            "load_many": (1, 1),
            "store_pair": (1, 1),
            "store_many": (1, 1),
            "branch_table": (2, 0),
        }
    ),
    2,
    pipelines_loads=True,
)
_M4 = Timing(
    "Cortex-M4 Technical Reference Manual (Arm DDI0439), instruction set summary (table 3-1), load/store timings, and FPU "
    "instruction set (table 7-1: VDIV, VSQRT 14; VMLA, VFMA and their kind 3; VLDR, VSTR 2, of a double 3; lists 1 + N; "
    "two-register VMOV 2; all else 1; "
    "a result that the next instruction uses costs one more). Division 2 to 12, here 7; P 1 to 3, here 2",
    MappingProxyType(
        {
            "div": (7, 0),
            "load": (2, 0),
            "load_pair": (1, 1),
            "load_many": (1, 1),
            "store_pair": (1, 1),
            "store_many": (1, 1),
            "branch_table": (2, 0),
            "vfp_mac": (3, 0),
            "vfp_div": (14, 0),
            "vfp_move_pair": (2, 0),
            "vfp_load": (1, 1),
            "vfp_load_many": (1, 1),
            "vfp_store": (1, 1),
            "vfp_store_many": (1, 1),
        }
    ),
    2,
    pipelines_loads=True,
    stalls_vfp=1,
)
_M0PLUS = Timing(
    "Cortex-M0+ Technical Reference Manual (Arm DDI0484), instruction summary (table 3-1), with the "
    "single-cycle multiplier and memory on the AHB port: loads and stores 2, lists 1 + N, POP of the PC 3 + N, "
    "taken branches and BX 2, BL 3",
    MappingProxyType({"load": (2, 0), "store": (2, 0), "load_many": (1, 1), "store_many": (1, 1)}),
    1,
    MappingProxyType({"call": 2, "load_many": 2}),
)
_M7 = Timing(
    "An assumption: Arm publishes no instruction timing of the Cortex-M7. In order, two at a time, after the units, the "
    "single-issue and first-slot rules and the latencies of LLVM's scheduling model, llvm/lib/Target/ARM/ARMScheduleM7.td. "
    "Beyond it: every branch goes as predicted and costs nothing more, code and data are in TCM or cache, and registers are "
    "free at the start of each straight run, so that it is rather too low than too high",
    MappingProxyType(
        {
            "div": (7, 0),
            "load_pair": (0, 1),
            "load_many": (0, 1),
            "store_pair": (0, 1),
            "store_many": (0, 1),
            "branch_table": (2, 0),
            "vfp_div": (16, 0),
            "vfp_load_many": (0, 1),
            "vfp_store_many": (0, 1),
        }
    ),
    0,
    issue=Issue(
        MappingProxyType({"alu": 2, "load": 2, "it": 2}),
        frozenset({"shift", "simd"}),
        frozenset(
            {
                *("div", "load_pair", "load_many", "store_pair", "store_many", "branch_table", "other"),
                *("vfp_div", "vfp_load_many", "vfp_store_many"),
            }
        ),
        frozenset({"simd"}),
        MappingProxyType(
            {
                "mul": 2,
                "mla": 2,
                "mull": 2,
                "mlal": 2,
                "load": 2,
                "load_pair": 2,
                "vfp": 3,
                "vfp_mac": 6,
                "vfp_move": 3,
                "vfp_move_pair": 3,
                "vfp_load": 2,
            }
        ),
    ),
)

# By core; one that is missing has no estimate.
TIMINGS: Mapping[str, Timing] = MappingProxyType(
    {
        "cortex-m0plus": _M0PLUS,
        "cortex-m3": _M3,
        "cortex-m4": _M4,
        "cortex-m7": _M7,
        "cortex-m33": replace(
            _M4,
            source="An assumption: Arm publishes no instruction timing of the Cortex-M33; the table of the Cortex-M4 stands "
            f"in, without the pairs of 16-bit instructions that the M33 can issue at once. {_M4.source}",
        ),
    }
)
