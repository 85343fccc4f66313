"""Kernels of DSP cores that exist because of narrow tiles: each is taken wherever it can be, and compared with the reference on the
host, under sanitizers, and in both emulators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from kernel_layers import Layer, check_answers, conv, extreme_batch, followed, payload_of, side_by_side
from tiny_project import need

from vmcu.ir.quantized import Numerics
from vmcu.ops.base import Kernel
from vmcu.pipeline import Compiled, compile_schedule
from vmcu.run import run
from vmcu.schedule.schedule import layer_by_layer
from vmcu.schedule.tiles import tile_columns
from vmcu.targets import load_target
from vmcu.toolchain import build, build_host, find_compiler

TILES = 3
WANTED: dict[str, tuple[Callable[[Kernel], bool], int]] = {
    "halfwords": (lambda k: k.template == "narrow_dsp" and bool(k.context["widened"]), 3),
    "bytes": (lambda k: k.template == "narrow_dsp" and not k.context["widened"], 26),
    "pairs of channels": (lambda k: k.template == "pairs_dsp" and k.context["lanes"] == 2, 8),
    "four channels": (lambda k: k.template == "pairs_dsp" and k.context["lanes"] == 4, 6),
    "sliding": (lambda k: k.template == "slide_dsp" and bool(k.context["own"]), 8),
    "joined, one": (lambda k: bool(k.context.get("joined")) and not k.context["two"], 40),
    "joined, two": (lambda k: bool(k.context.get("joined") and k.context["two"]), 30),
    "copied": (lambda k: k.template == "copied_dsp", 12),
    "listed, one": (lambda k: bool(k.context.get("listed")) and not k.context.get("two"), 18),
    "listed, two": (lambda k: bool(k.context.get("listed") and k.context.get("two")), 11),
    "pixels": (lambda k: k.template == "pixel_tiles_dsp", 6),
}
"""What is asked of a kernel, and how many of the layers have one at least."""


def layers(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Tiles of one to four outputs, windows within a tile and beyond its neighbours, all ends of channels."""
    for width in (1, 2, 3, 4):
        for stride in (1, 2):
            for channels in (4, 13, (8, 7, 300, 47)[width - 1]):
                cols = TILES * width * stride
                yield conv(
                    rng, n, (4, cols, channels), channels, (3, 3), strides=(stride, stride), pads=(1, 1, 1, 1), groups=channels
                )  # fmt: skip
    for width, stride, channels in (
        (1, 2, 32),
        (5, 1, 14),
        (6, 2, 6),
        (8, 1, 9),
        (8, 1, 31),
        (12, 2, 5),
        (20, 1, 4),
    ):
        yield conv(
            rng, n, (5, TILES * width * stride, channels), channels, (3, 3), strides=(stride, stride), pads=(1, 1, 1, 1), groups=channels
        )  # fmt: skip
    yield conv(rng, n, (4, 6, 8), 8, (2, 3), pads=(1, 2, 0, 0), groups=8)
    yield conv(rng, n, (3, 6, 10), 10, (2, 3), pads=(0, 1, 0, 1), groups=10)
    yield conv(rng, n, (4, 9, 6), 6, (3, 1), groups=6)
    yield conv(rng, n, (1, 6, 9), 9, (1, 5), pads=(0, 2, 0, 2), groups=9)
    for channels in (1, 3, 6, 4, 8):
        for width, stride, kernel in ((1, 1, (3, 3)), (2, 2, (3, 3)), (3, 1, (2, 5)), (4, 2, (3, 3))):
            pads = (1, kernel[1] // 2) * 2
            cols = TILES * width * stride
            yield conv(rng, n, (4, cols, channels), 5, kernel, strides=(stride, stride), pads=pads)
    for cols, depth, outputs in ((6, 8, 9), (6, 4, 16), (9, 12, 8), (12, 8, 6), (3, 4, 3)):
        yield conv(rng, n, (3, cols, depth), outputs, (1, 1))
    yield conv(rng, n, (10, 12, 1), 8, (10, 8), strides=(2, 2), pads=(4, 3, 4, 3))


@cache
def compiled(what: str, numerics: Numerics) -> tuple[Compiled, list[int]]:
    """All layers in tiles, with kernels of a kind where they have such; and the steps that have."""
    wanted, least = WANTED[what]
    rng = np.random.default_rng([*what.encode(), len(numerics)])
    graph = followed(side_by_side(tuple(layers(rng, numerics)), numerics), rng)
    graph = replace(graph, isa="armv7e-m")
    whole = {port.tensor for port in graph.outputs}  # some kernels join tiles into a row
    graph = tile_columns(graph, graph.tensors.keys() - whole, TILES)
    schedule = layer_by_layer(graph)
    kernels, steps = list(schedule.kernels), []
    for i, op in enumerate(schedule.steps):
        offered = graph.kernels(op)
        found = [k for k in (*offered, *(lean for k in offered for lean in k.leaner)) if wanted(k)]
        if found:
            kernels[i] = found[int(rng.integers(len(found)))]
            steps.append(i)
    assert len(steps) >= least
    return compile_schedule(replace(schedule, kernels=tuple(kernels)), "layers"), steps


WHAT = pytest.mark.parametrize("what", WANTED)
NUMERICS = pytest.mark.parametrize("numerics", get_args(Numerics))


@WHAT
@pytest.mark.parametrize("numerics", ["tflm", pytest.param("onnx", marks=pytest.mark.slow)])
def test_host(what: str, numerics: Numerics, tmp_path: Path) -> None:
    made, _ = compiled(what, numerics)
    given = extreme_batch(made.graph, np.random.default_rng(3))
    report = run(build_host(made.project, workdir=tmp_path), payload_of(made.graph, given))
    check_answers(made.graph, given, report)


@pytest.mark.qemu
@WHAT
@NUMERICS
def test_cores(what: str, numerics: Numerics, tmp_path: Path) -> None:
    """The emulators agree with the reference, and on the instructions; what plans are compared by is near to these."""
    need("gcc", "qemu", "unicorn")
    made, steps = compiled(what, numerics)
    given = extreme_batch(made.graph, np.random.default_rng(3))
    firmware = build(made.project, load_target("cortex-m4"), find_compiler("gcc"), workdir=tmp_path)
    qemu, unicorn = (
        run(firmware, payload_of(made.graph, given), engine=engine) for engine in ("qemu", "unicorn")
    )
    for report in (qemu, unicorn):
        check_answers(made.graph, given, report)
    assert qemu.instructions == unicorn.instructions
    assert qemu.stack_painted_bytes is not None
    assert qemu.stack_painted_bytes <= firmware.stack_bytes <= 512
    assert unicorn.step_instructions is not None
    schedule = made.plan.schedule
    counted = sum(unicorn.step_instructions[i] for i in steps)
    estimated = sum(
        (schedule.kernels[i].instructions or 0) * made.graph.tensors[schedule.steps[i].output].segments
        for i in steps
    )
    assert 0.85 < estimated / counted < 1.15


@pytest.mark.qemu
@WHAT
def test_clang(what: str, tmp_path: Path) -> None:
    need("zig", "unicorn")
    made, _ = compiled(what, "tflm")
    given = extreme_batch(made.graph, np.random.default_rng(3))
    firmware = build(made.project, load_target("cortex-m4"), find_compiler("zig"), workdir=tmp_path)
    check_answers(made.graph, given, run(firmware, payload_of(made.graph, given), engine="unicorn"))
