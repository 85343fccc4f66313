"""The estimate of TFLite Micro's head equals what the real interpreter allocates, on random networks."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from vmcu.picture.peers import tflm_head_bytes

HEAD = re.compile(r"allocation head (\d+) bytes")


def random_twin(seed: int) -> tuple[Any, list[Any]]:
    """Windows, additions and concatenations on tensors made at any time before; what is not read is an output."""
    from oracles.twin import Twin
    from oracles.twin_ops import binary, concat, conv, depthwise, pool

    rng, twin = random.Random(seed), Twin(seed)
    size = rng.choice([6, 9, 12])
    live = [twin.input((1, size, size, rng.choice([2, 3, 8])))]
    read: set[int] = set()
    for _ in range(rng.randint(3, 9)):
        x = rng.choice(live[-3:])
        others = [p for p in live if p.shape == x.shape and p is not x]
        alike = [p for p in others if p.quant == x.quant]
        kind = rng.choice(["conv", "conv", "depthwise", "pool", "add", "add", "concat"])
        if (kind == "add" and not others) or (kind == "concat" and not alike):
            kind = "depthwise"
        stride = rng.choice([1, 1, 2])
        inputs = [x]
        if kind == "conv":
            made = conv(twin, x, rng.choice([2, 5, 16]), stride=(stride, stride))
        elif kind == "depthwise":
            made = depthwise(twin, x, stride=(stride, stride))
        elif kind == "pool":
            made = pool(twin, "MaxPool", x, (3, 3), stride=(1, 1), padding="SAME")
        else:
            inputs.append(rng.choice(others if kind == "add" else alike))
            made = binary(twin, "Add", *inputs) if kind == "add" else concat(twin, inputs, 3)
        read |= {p.index for p in inputs}
        live.append(made)
    return twin, [p for p in live[1:] if p.index not in read]


@pytest.mark.parametrize("seed", range(30))
def test_head(seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    twin, outputs = random_twin(seed)
    oracle = runtime.Interpreter.from_bytes(twin.tfl.model([p.index for p in outputs]), arena_size=1 << 20)
    capfd.readouterr()
    oracle.print_allocations()
    said = HEAD.search("".join(capfd.readouterr()))
    assert said
    assert tflm_head_bytes(twin.quantised(tmp_path, "tflm", *outputs)) == int(said[1])
