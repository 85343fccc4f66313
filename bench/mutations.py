"""Kill rate of the independent checker: sound plans with one random thing changed, as a Markdown table.

    python -m bench.mutations                 20 mutants of every plan and kind
    python -m bench.mutations --count 200

`tests/mutations.py` says what the kinds are, and how a mutant is known to be wrong without the checker.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mutations import BLIND, CASES, DECISIONS, FACTS, STRICTER, VIEWS, Score, score


def row(kind: str, found: Score) -> str:
    """One line of the table."""
    rate = f"{found.killed / found.wrong:.1%}" if found.wrong else "-"
    numbers = (found.equivalent + found.wrong, found.equivalent, found.refused, found.wrong, found.killed)
    note = BLIND.get(kind, "") if found.survivors else STRICTER.get(kind, "") if found.refused else ""
    return f"| {kind} | {' | '.join(map(str, numbers))} | {rate} | {note} |"


def main() -> None:
    """Prints the table; fails where a mutant survives that the checker should catch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=20, help="mutants of every plan and kind")
    parser.add_argument("--plan", action="append", choices=CASES, help="only these plans")
    options = parser.parse_args()
    failed = False
    groups = {"decision in the tables": DECISIONS, "view of the planner": VIEWS, "fact of the graph": FACTS}
    for group, kinds in groups.items():
        print(f"| {group} | mutants | equivalent | of these refused | wrong | killed | kill rate | why |")
        print("|---|---:|---:|---:|---:|---:|---:|---|")
        total = Score()
        for kind in kinds:
            found = score(kind, options.plan or CASES, options.count)
            print(row(kind, found), flush=True)
            for name, number in [] if kind in BLIND else found.survivors:
                failed = True
                print(f"survivor: {kind!r}, {name!r}, {number}", file=sys.stderr)
            total.equivalent += found.equivalent
            total.refused += found.refused
            total.killed += found.killed
            total.survivors += found.survivors
        print(row("**all**", total) + "\n", flush=True)
    if failed:
        raise SystemExit("wrong plans were accepted")


if __name__ == "__main__":
    main()
