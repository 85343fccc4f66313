"""The vMCU paper's own cases, compiled, run in the emulator and compared, beside its published numbers.

    python -m bench.paper                     everything
    python -m bench.paper --case S1 --case B7

Each case is a QDQ network with seeded weights (`bench.models`). One inference on seeded noise has to equal
the NumPy reference bit for bit. RAM is pool (activations, scratch, states) + worst-case stack + variables, in
bytes; the paper's figures are KB of 1000 bytes. Its pointwise figures appear to include
the weights, which lie in flash here: the last column but one adds them. Modules are planned with their whole input
and output in RAM, as in the paper. Nothing is computed twice but in the cases that say so: "B5 1.25x" may execute up to 1.25
times the module's multiply-accumulates.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import onnx

import vmcu
from bench.models import Bottleneck, inverted_bottleneck, mcunet_in3, mobilenet_v2, pointwise
from vmcu.batch import random_batch
from vmcu.planning.cost import executed_macs
from vmcu.quant.reference import Reference
from vmcu.run.process import find_qemu, qemu_version
from vmcu.toolchain import find_compiler

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "paper.json"
MCUNET_VWW = ROOT.parent / "shared" / "models" / "mcunet_vww" / "model_qdq_int8io.onnx"
F767, M4, M7 = "nucleo-f767zi", "cortex-m4", "cortex-m7"
F411_RAM = 131_072  # of a nucleo-f411re; its 512 KB of flash are too few for 808 KB of weights

# (height = width, input and output channels): RAM of TinyEngine and vMCU, KB (MLSys 2024, figure 7).
POINTWISE = {
    (80, 16, 16): (209.0, 105.7),
    (56, 32, 32): (205.2, 104.5),
    (28, 64, 64): (109.0, 57.7),
    (80, 16, 8): (157.5, 105.4),
    (40, 32, 16): (80.2, 54.8),
    (20, 48, 24): (33.2, 23.4),
    (24, 16, 32): (31.4, 21.9),
    (12, 32, 64): (19.3, 14.8),
    (6, 64, 128): (19.3, 16.9),
}

# Name: module as printed in the paper's table 2, RAM of TinyEngine and vMCU.
MODULES = {
    "S1": (Bottleneck(20, 16, 48, 16, 3), 36.0, 13.9),
    "S2": (Bottleneck(20, 16, 48, 16, 3), 36.0, 13.9),
    "S3": (Bottleneck(10, 24, 144, 16, 3), 23.0, 11.8),
    "S4": (Bottleneck(10, 24, 120, 24, 3), 20.5, 10.8),
    "S5": (Bottleneck(5, 40, 240, 40, 3), 13.8, 10.6),
    "S6": (Bottleneck(5, 48, 192, 48, 3), 12.6, 9.7),
    "S7": (Bottleneck(3, 96, 480, 96, 3), 13.2, 11.5),
    "S8": (Bottleneck(3, 96, 384, 96, 3), 11.7, 10.2),
    "B1": (Bottleneck(176, 3, 16, 8, 3, (2, 1, 1)), 236.5, 102.6),
    "B2": (Bottleneck(88, 8, 24, 16, 7, (1, 2, 1)), 267.5, 81.1),
    "B3": (Bottleneck(44, 16, 80, 16, 3), 224.9, 48.4),
    "B4": (Bottleneck(44, 16, 80, 16, 7), 224.9, 62.2),
    "B5": (Bottleneck(44, 16, 64, 24, 5), 193.9, 51.0),
    "B6": (Bottleneck(44, 16, 80, 24, 5, (1, 2, 1)), 193.9, 53.6),
    "B7": (Bottleneck(22, 24, 120, 24, 5), 86.3, 30.8),
    "B8": (Bottleneck(22, 24, 120, 24, 5), 86.3, 30.8),
    "B9": (Bottleneck(22, 24, 120, 40, 3, (1, 2, 1)), 74.7, 23.9),
    "B10": (Bottleneck(11, 40, 240, 40, 7), 43.7, 29.1),
    "B11": (Bottleneck(11, 40, 160, 40, 5), 33.8, 18.7),
    "B12": (Bottleneck(11, 40, 200, 48, 7, (1, 2, 1)), 33.8, 22.2),
    "B13": (Bottleneck(11, 48, 240, 48, 7), 45.8, 30.3),
    "B14": (Bottleneck(11, 48, 240, 48, 3), 45.8, 19.6),
    "B15": (Bottleneck(11, 48, 288, 96, 3, (1, 2, 1)), 45.8, 20.0),
    "B16": (Bottleneck(6, 96, 480, 96, 7), 30.3, 26.9),
    "B17": (Bottleneck(6, 96, 384, 96, 3), 26.5, 15.7),
}

AGAIN = (1.25, 1.5, 2.0)
"""What module B5, whose output alone takes nearly what the paper says, is allowed to compute again."""

# Where the real network differs from the table; B1's first convolution is the stem of the network.
REAL = {
    "S3": Bottleneck(10, 24, 144, 24, 3),
    "S4": Bottleneck(10, 24, 120, 24, 5),
    "S5": Bottleneck(5, 40, 240, 40, 7),
    "B1": Bottleneck(176, 3, 16, 8, 3, (2, 1, 1), 3),
    "B5": Bottleneck(44, 16, 64, 16, 5),
    "B12": Bottleneck(11, 40, 200, 48, 5),
}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        make: builds the model; None: the trained network `MCUNET_VWW`.
        tinyengine_kb, vmcu_kb: the paper's; None where it has no such case.
        limit_bytes: what the pool of a whole network is to stay below.
        ram_bytes: all that there is, stack included, where the target has more.
        allow_recompute: multiply-accumulates that may be executed, as a multiple of the network's.
    """

    name: str
    make: Callable[[], onnx.ModelProto] | None
    target: str = F767
    streamed: bool = False
    tinyengine_kb: float | None = None
    vmcu_kb: float | None = None
    limit_bytes: int | None = None
    ram_bytes: int | None = None
    allow_recompute: float = 1.0


@dataclass(frozen=True)
class Row:
    """What was found."""

    name: str
    target: str
    streamed: bool
    tinyengine_kb: float | None
    vmcu_kb: float | None
    limit_bytes: int | None
    pool_bytes: int
    stack_bytes: int
    ram_bytes: int
    weights_bytes: int
    lower_bound_bytes: int
    macs: int
    executed_macs: int
    exact: bool

    @property
    def is_below(self) -> bool | None:
        """Complete RAM against the paper's vMCU, or None where it has no number."""
        return None if self.vmcu_kb is None else self.ram_bytes < self.vmcu_kb * 1000

    @property
    def is_met(self) -> bool | None:
        """The pool of a whole network against its limit."""
        return None if self.limit_bytes is None else self.pool_bytes <= self.limit_bytes


def cases() -> list[Case]:
    """All of them, in the paper's order."""
    found = []
    for (size, cin, cout), (tinyengine, paper) in POINTWISE.items():
        make = partial(pointwise, size, cin, cout)
        found.append(Case(f"PW {size},{cin},{cout}", make, tinyengine_kb=tinyengine, vmcu_kb=paper))
    for name, (block, tinyengine, paper) in MODULES.items():
        found.append(Case(name, partial(inverted_bottleneck, block), tinyengine_kb=tinyengine, vmcu_kb=paper))
        if name in REAL:
            make_real = partial(inverted_bottleneck, REAL[name])
            found.append(Case(f"{name} real", make_real, tinyengine_kb=tinyengine, vmcu_kb=paper))
    block, tinyengine, paper = MODULES["B5"]
    for most in AGAIN:
        make = partial(inverted_bottleneck, block)
        name = f"B5 {most:g}x"
        found.append(Case(name, make, tinyengine_kb=tinyengine, vmcu_kb=paper, allow_recompute=most))
    for target, ram in ((F767, None), (M4, F411_RAM)):
        for streamed, limit in ((False, 100_000), (True, 58_000)):
            found.append(Case("mcunet-in3", mcunet_in3, target, streamed, 260.0, None, limit, ram))
    for streamed, limit in ((False, 160_000), (True, 111_000)):
        found.append(Case("mobilenet_v2", mobilenet_v2, M7, streamed, limit_bytes=limit))
    for streamed, limit in ((False, 21_500), (True, 13_400)):
        found.append(Case("mcunet_vww", None, F767, streamed, 93.992, limit_bytes=limit))
    return [case for case in found if case.make is not None or MCUNET_VWW.is_file()]


def measure(case: Case) -> Row:
    """Compiles, builds, runs one inference and compares."""
    with tempfile.TemporaryDirectory(prefix="vmcu-bench-") as folder:
        path = MCUNET_VWW
        if case.make is not None:
            path = Path(folder) / "model.onnx"
            path.write_bytes(case.make().SerializeToString())
        model = vmcu.compile(
            path,
            case.target,
            name="net",
            stream_inputs=["*"] if case.streamed else [],
            optimise="ram",
            ram_bytes=case.ram_bytes,
            allow_recompute=case.allow_recompute,
        )
    graph = model.compiled.graph
    batch = random_batch(graph, 1)
    found = model.run_batch(batch).outputs[0]
    wanted = Reference(graph).run_tensors(batch.tensors[0])
    firmware = model.firmware()
    return Row(
        case.name,
        case.target if case.ram_bytes is None else f"{case.target}, {case.ram_bytes:,} bytes of RAM",
        case.streamed,
        case.tinyengine_kb,
        case.vmcu_kb,
        case.limit_bytes,
        model.compiled.plan.pool_bytes,
        firmware.stack_bytes,
        firmware.ram_bytes,
        model.compiled.project.weights_bytes,
        model.compiled.plan.lower_bound_bytes,
        model.compiled.macs,
        executed_macs(model.compiled.plan.schedule),
        [wanted[p.tensor].tobytes() for p in graph.outputs] == [bytes(o) for o in found],
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| case | target | image | TinyEngine, paper KB | vMCU, paper KB | pool | stack | complete RAM "
        "| below the paper's vMCU | lower bound | pool limit | MACs executed / model | RAM + weights | bit-exact |",
        "|---|---|---|---:|---:|---:|---:|---:|---|---:|---|---:|---:|---|",
    ]
    for r in rows:
        limit = "-" if r.limit_bytes is None else f"{r.limit_bytes:,} {_yes(r.is_met)}"
        lines.append(
            f"| {r.name} | {r.target} | {'streamed' if r.streamed else 'resident'} | {_kb(r.tinyengine_kb)} "
            f"| {_kb(r.vmcu_kb)} | {r.pool_bytes:,} | {r.stack_bytes:,} | {r.ram_bytes:,} | {_yes(r.is_below)} "
            f"| {r.lower_bound_bytes:,} | {limit} | {r.executed_macs / r.macs:.3f} | {r.ram_bytes + r.weights_bytes:,} "
            f"| {_yes(r.exact)} |"
        )
    return "\n".join(lines)


def _kb(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "**NO**"


def main() -> int:
    """Prints the table and writes `bench/results/paper.json` (only if all cases ran); 1 where an output is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help="name of a row; may be repeated; default: all")
    options = parser.parse_args()
    chosen = [c for c in cases() if not options.case or c.name in options.case]
    if not chosen:
        parser.error("no such case")
    if not MCUNET_VWW.is_file():
        print("mcunet_vww is left out: ../shared/models is not on this machine", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rows = []
        for row in pool.map(measure, chosen):
            rows.append(row)
            print(f"{len(rows)} of {len(chosen)}: {row.name}", file=sys.stderr)
    qemu = find_qemu()
    engine = qemu_version(qemu) if qemu else "Unicorn"
    compiler = find_compiler("auto").version
    print(f"Compiler {compiler} at -O3, engine {engine}. Bytes unless stated.\n")
    print(table(rows))
    print(
        f"\n{sum(r.is_below is True for r in rows)} of {sum(r.is_below is not None for r in rows)} below the paper's vMCU."
    )
    if not options.case:
        written = {"compiler": compiler, "engine": engine, "rows": [asdict(r) for r in rows]}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    return 0 if all(r.exact for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
