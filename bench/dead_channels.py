"""What leaving out dead channels does to every network: MACs, pool and constants before and after, as a Markdown table.

    python -m bench.dead_channels
    python -m bench.dead_channels --model mlperf_vww

Plans are those of `--optimize ram`. Milliseconds are of the optimisation alone, the least of three, on this machine; "exact": on
noise every channel that is left has the value it has in the whole network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bench.table import models
from vmcu.batch import random_batch
from vmcu.optimise import drop_dead_channels
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.verify.original import compare_original

INFERENCES = 4
HEAD = (
    "| model | MACs | of | channels left out | pool bytes | before | constants | before | ms | exact |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)


def row(path: Path) -> str:
    """Optimises, plans and compares one network."""
    whole = load(path, dead_channels=False)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        graph = drop_dead_channels(whole)
        seconds.append(time.perf_counter() - start)
    before = compile_graph(whole)
    after = before if graph is whole else compile_graph(graph)
    exact = graph is whole or not compare_original(graph, random_batch(graph, INFERENCES))[0]
    return (
        f"| {path.parent.name} | {graph.macs:,} | {whole.macs:,} | {graph.channels_removed:,} "
        f"| {after.plan.pool_bytes:,} | {before.plan.pool_bytes:,} | {_constants(after):,} | {_constants(before):,} "
        f"| {min(seconds) * 1000:.0f} | {'yes' if exact else '**NO**'} |"
    )


def _constants(compiled: Compiled) -> int:
    return compiled.project.weights_bytes + compiled.project.tables_bytes


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="folder name; may be repeated; default: all")
    options = parser.parse_args()
    print(HEAD)
    for path, _ in models():
        if not options.model or path.parent.name in options.model:
            print(row(path), flush=True)


if __name__ == "__main__":
    main()
