"""The tables of README.md that come from `bench/results/models.json` and `bench/peers.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.peers import MODELS  # noqa: E402

COMPARED = (
    "| model | RAM, default | M4 | RAM, `balanced` | M4 | RAM, TFLM + CMSIS-NN | M4 | M55, default | M55, `speed` "
    "| M55, TFLM + CMSIS-NN |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)
FLASH = (
    "| model | `size` | instructions | default | instructions | CMSIS-NN | instructions |\n"
    "|---|---:|---:|---:|---:|---:|---:|\n"
)


def with_tables(text: str) -> str:
    """README's text with today's rows below the heads of both tables."""
    results = json.loads((ROOT / "bench" / "results" / "models.json").read_text())

    def row(model: str, core: str, wish: str) -> dict[str, Any]:
        return dict(results[f"{model} {core} gcc tflm {wish}"])

    compared, flash = [], []
    for model, peers in MODELS.items():
        m4, m55 = peers["cortex-m4"], peers["cortex-m55"]
        ram, balanced, size = (row(model, "cortex-m4", wish) for wish in ("ram", "balanced", "size"))
        on_m55 = [row(model, "cortex-m55", wish)["instructions"] for wish in ("ram", "speed")]
        compared.append(
            (
                *(ram["ram_bytes"], ram["instructions"], balanced["ram_bytes"], balanced["instructions"]),
                *(m4.ram_bytes, m4.instructions, *on_m55, m55.instructions),
            )
        )
        sizes = [(r["code_bytes"] + r["tables_bytes"], r["instructions"]) for r in (size, ram)]
        flash.append((*sizes[0], *sizes[1], m4.flash_bytes, m4.instructions))
    for head, rows in ((COMPARED, compared), (FLASH, flash)):
        before, found, after = text.partition(head)
        if not found:
            raise ValueError(f"README.md has no table\n{head}")
        rest = after[after.index("\n\n") :]
        text = before + head + "\n".join(_lines(rows)) + rest
    return text


def _lines(rows: Iterable[tuple[int, ...]]) -> list[str]:
    return [
        f"| {model} | {' | '.join(f'{v:,}' for v in values)} |"
        for model, values in zip(MODELS, rows, strict=True)
    ]
