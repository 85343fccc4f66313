"""Kernels of every instruction set: many shapes on the host with sanitizers, in QEMU and in Unicorn.

Unicorn's Cortex-M0 has Thumb-1 alone and no unaligned access, so neither can slip into kernels for Cortex-M0+.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from kernel_layers import (
    Layer,
    add,
    check_answers,
    conv,
    dense,
    extreme_batch,
    followed,
    payload_of,
    requant_of,
    side_by_side,
)
from tiny_project import need

from vmcu.ir.quantized import Numerics
from vmcu.ops.accumulate import DenseRows
from vmcu.ops.dense import Dense
from vmcu.pipeline import Compiled, compile_schedule
from vmcu.planning.kernels import kernel_choices
from vmcu.run import run
from vmcu.schedule.by_rows import by_rows
from vmcu.schedule.schedule import Schedule, layer_by_layer
from vmcu.schedule.tiles import tile_columns
from vmcu.targets import load_target
from vmcu.toolchain import build, build_host, find_compiler

CORES = {"cortex-m0plus": "armv6-m", "cortex-m3": "armv7-m", "cortex-m4": "armv7e-m"}
CHOICES = {
    "fastest": inf,
    "least": 0.0,
    "compact": inf,
    "lean": inf,
    "leanest": inf,
}  # limits of working memory, in lower bounds
PLACES = [
    ("cortex-m0plus", "fastest"),
    ("cortex-m0plus", "lean"),
    ("cortex-m0plus", "leanest"),
    ("cortex-m3", "fastest"),
    ("cortex-m3", "lean"),
    ("cortex-m3", "leanest"),
    ("cortex-m4", "fastest"),
    ("cortex-m4", "least"),
    ("cortex-m4", "compact"),  # those that take least flash
    ("cortex-m4", "lean"),  # the next to the fastest that takes less
]
CORE = pytest.mark.parametrize(("core", "choice"), PLACES)
OWN = ("_small", "_dsp")  # ends of the names of their templates


def pointwise(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Every number of channels up to 40, in or out, and columns up to 5."""
    for i, channels in enumerate(range(1, 41, 3)):
        other = int(rng.integers(1, 41))
        cols, stride = i % 5 + 1, i % 2 + 1
        ins, outs = (channels, other) if i % 2 else (other, channels)
        yield conv(rng, n, (2, cols * stride, ins), outs, (1, 1), strides=(1, stride))


def windows(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Kernels up to 7, strides, dilations, pads on every side."""
    for k in range(1, 8):
        for stride in (1, 2):
            pads = tuple(int(p) for p in rng.integers(0, k, 4))
            ins, outs = int(rng.choice([1, 2, 3, 5, 8, 9])), int(rng.integers(1, 14))
            kernel = (int(rng.integers(1, 4)), k) if stride == 1 else (k, int(rng.integers(1, 4)))
            dilation = int(rng.choice([1, 1, 2])) if k < 4 else 1
            size = (kernel[0] + 1, (kernel[1] - 1) * dilation + 1 + int(rng.integers(0, 6)), ins)
            pads = (pads[0] % kernel[0], pads[1] % kernel[1], pads[2] % kernel[0], pads[3] % kernel[1])
            yield conv(
                rng, n, size, outs, kernel, strides=(stride, stride), pads=pads, dilations=(1, dilation)
            )


def narrow(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Rows shorter than the window: no comparison may be true or false always, which clang refuses."""
    for cols, channels, width in ((2, 4, 5), (1, 16, 3), (3, 3, 7), (1, 1, 2)):
        pad = width // 2
        yield conv(rng, n, (3, cols, channels), 5, (3, width), pads=(1, pad, 1, pad))
        yield conv(rng, n, (3, cols, 6), 6, (3, width), pads=(1, pad, 1, pad), groups=6)


def depthwise(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Kernels up to 7, strides, dilations, pads, and channels that are no multiple of anything."""
    for k in range(1, 8):
        for stride in (1, 2):
            channels = int(rng.integers(1, 41))
            kernel = (k, int(rng.integers(1, 8))) if stride == 1 else (int(rng.integers(1, 5)), k)
            dilation = int(rng.choice([1, 1, 2]))
            pads = tuple(int(p) for p in rng.integers(0, 9, 4) % (*kernel, *kernel))
            size = (kernel[0] + 1, (kernel[1] - 1) * dilation + 1 + int(rng.integers(0, 14)), channels)
            yield conv(
                rng, n, size, channels, kernel,
                strides=(1, stride), pads=pads, dilations=(1, dilation), groups=channels,
            )  # fmt: skip
    for rows, channels in ((3, 8), (5, 13), (21, 32)):
        yield conv(rng, n, (rows, 1, channels), channels, (rows, 1), groups=channels)
    yield conv(rng, n, (4, 6, 300), 300, (3, 3), pads=(1, 1, 1, 1), groups=300)
    yield conv(rng, n, (4, 4, 6), 12, (3, 3), groups=6)
    yield conv(rng, n, (3, 17, 5), 5, (3, 12), pads=(1, 5, 1, 6), groups=5)
    yield conv(rng, n, (1, 17, 2), 2, (1, 13), groups=2)


def sliding(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """3x3 depthwise: rows as short and as long as a loop needs, both strides, all pads, pixels nearer and farther than an offset
    reaches."""
    for i, cols in enumerate((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 19, 31)):
        channels = (4, 5, 256, 13, 8, 7, 300, 6)[i % 8]
        for stride in (1, 2):
            left, right = (int(p) for p in rng.integers(0, 3, 2))
            right += max(0, 3 - cols - left - right)
            size = (3, cols, channels)
            yield conv(
                rng, n, size, channels, (3, 3), strides=(stride, stride), pads=(1, left, 1, right), groups=channels
            )  # fmt: skip
    yield conv(rng, n, (3, 9, 1100), 1100, (3, 3), strides=(1, 1), pads=(1, 1, 1, 1), groups=1100)


def matrices(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Dense layers of a tensor, in one row or several, and per pixel."""
    for i, units in enumerate((1, 2, 3, 5, 7, 8, 9, 12, 16, 33)):
        yield dense(rng, n, (1 + i % 3, 1 + i % 4, int(rng.integers(1, 40))), units, i % 2 == 0)
    yield dense(rng, n, (1, 1, 1024), 10, False)
    yield dense(rng, n, (1, 5, 1000), 3, False)
    # Sums beyond 2^23: rows that are read in one, two and five parts, and in too many.
    for size, units in (
        ((3, 1, 513), 3),
        ((1, 1, 1024), 7),
        ((2, 1, 1032), 5),
        ((1, 2, 1280), 4),
        ((1, 1, 2052), 2),
    ):
        yield dense(rng, n, size, units, False, (-127, 127) if units % 2 else (127,))


def sums(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Operands of scales up to 64 times apart."""
    for i in range(12):
        yield add(rng, n, (1 + i % 2, int(rng.integers(1, 12)), int(rng.integers(1, 20))))


FAMILIES = {f.__name__: f for f in (pointwise, windows, narrow, depthwise, sliding, matrices, sums)}


def chosen(schedule: Schedule, choice: str) -> Schedule:
    found = kernel_choices(schedule, (CHOICES[choice],))[0]
    if choice not in ("lean", "leanest"):
        return found
    at = 0 if choice == "lean" else -1
    return replace(found, kernels=tuple((k.leaner or (k,))[at] for k in found.kernels))


@cache
def compiled(family: str, numerics: Numerics, core: str, choice: str) -> Compiled:
    """All layers of a family, with the core's fastest kernels, or those of least working memory."""
    rng = np.random.default_rng([*family.encode(), len(numerics)])
    graph = side_by_side(tuple(FAMILIES[family](rng, numerics)), numerics)
    schedule = layer_by_layer(replace(graph, isa=CORES[core], compact=choice == "compact"))  # type: ignore[arg-type]
    made = compile_schedule(chosen(schedule, choice), "layers")
    own = sum(k.template.endswith(OWN) for k in made.plan.schedule.kernels)
    assert own > len(graph.ops) // 2 or (family, numerics, core) == ("sums", "onnx", "cortex-m3")
    return made


def tiled_layers(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Layers whose rows can be cut into three tiles."""
    for kernel, ins, outs in ((1, 8, 12), (3, 2, 8), (3, 9, 5), (5, 3, 4)):
        pad = kernel // 2
        yield conv(rng, n, (kernel + 1, 12, ins), outs, (kernel, kernel), pads=(pad,) * 4)
        yield conv(rng, n, (kernel + 1, 12, ins), outs, (kernel, kernel), strides=(2, 2), pads=(pad,) * 4)
    for cols, channels, stride in ((12, 7, 1), (6, 300, 1), (24, 5, 2), (36, 4, 1), (72, 6, 2), (6, 9, 1)):
        yield conv(
            rng, n, (4, cols, channels), channels, (3, 3), strides=(1, stride), pads=(1, 1, 1, 1), groups=channels
        )  # fmt: skip
    yield conv(rng, n, (4, 6, 8), 8, (3, 3), pads=(1, 2, 1, 0), groups=8)
    yield add(rng, n, (2, 12, 5))


@pytest.mark.parametrize("cut", ["xyz", "xz", "y"])
@CORE
def test_tiles(cut: str, core: str, choice: str, tmp_path: Path) -> None:
    """Inputs, outputs, or both in tiles of columns."""
    rng = np.random.default_rng(11)
    graph = followed(side_by_side(tuple(tiled_layers(rng, "tflm")), "tflm"), rng)
    graph = replace(graph, isa=CORES[core], compact=choice == "compact")  # type: ignore[arg-type]
    graph = tile_columns(graph, [name for name in graph.tensors if name[0] in cut], 3)
    assert any(t.tiles == 3 for t in graph.tensors.values())
    made = compile_schedule(chosen(layer_by_layer(graph), choice), "layers")
    assert any(
        k.template.endswith(OWN) and max(t.tiles for t in (*graph.ins(op), graph.tensors[op.output])) == 3
        for op, k in zip(made.plan.schedule.steps, made.plan.schedule.kernels, strict=True)
    )
    given = extreme_batch(made.graph, rng)
    check_answers(
        made.graph, given, run(build_host(made.project, workdir=tmp_path), payload_of(made.graph, given))
    )


def by_the_row(rng: np.random.Generator, n: Numerics) -> Iterator[Layer]:
    """Dense layers of several rows: all ends of rows and blocks, sums at the edge of what a halfword for two channels allows,
    weights of -128 and beyond int8."""
    for i, units in enumerate((1, 2, 3, 4, 5, 7, 8, 13)):
        yield dense(rng, n, (2 + i % 3, 1 + i % 4, int(rng.integers(4, 40))), units, False)
    for size, units in (((3, 1, 515), 5), ((3, 1, 516), 6), ((2, 1, 517), 4), ((2, 5, 200), 3)):
        yield dense(rng, n, size, units, False, (-127, 127) if units % 2 else (127,))
    yield dense(rng, n, (4, 1, 9), 6, False, (-128, -1, 127))
    op, x, y = dense(rng, n, (3, 2, 7), 5, False)
    assert isinstance(op, Dense)
    wide = rng.integers(-255, 256, op.weights.shape).astype(np.int16)
    yield replace(op, weights=wide, requant=requant_of(rng, n, wide, op.bias, 0)[0]), x, y


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("core", "choice"), [*((c, k) for c, k in PLACES if c == "cortex-m4"), ("cortex-m55", "fastest")]
)
def test_dense_by_rows(core: str, choice: str, tmp_path: Path) -> None:
    """Rows added to sums: on the host, and in the emulators."""
    need("gcc", "qemu")
    rng = np.random.default_rng(5)
    graph = by_rows(side_by_side(tuple(by_the_row(rng, "onnx")), "onnx"))
    graph = replace(graph, isa=load_target(core).isa, compact=choice == "compact")
    made = compile_schedule(chosen(layer_by_layer(graph), choice), "layers")
    schedule = made.plan.schedule
    rows = [n for n, k in enumerate(schedule.kernels) if k.template == "accumulate_dsp"]
    assert len(rows) == sum(isinstance(op, DenseRows) for op in schedule.steps) == len(graph.ops) // 2
    given = extreme_batch(made.graph, rng)
    payload = payload_of(made.graph, given)
    check_answers(made.graph, given, run(build_host(made.project, workdir=tmp_path / "host"), payload))
    firmware = build(
        made.project, load_target(core), find_compiler("gcc"), workdir=tmp_path / core, hooks="profile"
    )
    report = run(firmware, payload, engine="qemu")
    check_answers(made.graph, given, report)
    assert report.profile is not None
    counted = sum(report.profile[n] for n in rows)
    estimated = sum(
        (schedule.kernels[n].instructions or 0) * made.graph.ins(schedule.steps[n])[0].segments for n in rows
    )
    assert 0.9 < estimated / counted < 1.1


FAMILY = pytest.mark.parametrize("family", FAMILIES)
NUMERICS = pytest.mark.parametrize("numerics", get_args(Numerics))


@FAMILY
@pytest.mark.parametrize("numerics", ["tflm", pytest.param("onnx", marks=pytest.mark.slow)])
@CORE
def test_host(family: str, numerics: Numerics, core: str, choice: str, tmp_path: Path) -> None:
    """The same kernels as C, under sanitizers, at the extremes and on noise."""
    made = compiled(family, numerics, core, choice)
    given = extreme_batch(made.graph, np.random.default_rng(7))
    check_answers(
        made.graph, given, run(build_host(made.project, workdir=tmp_path), payload_of(made.graph, given))
    )


@pytest.mark.qemu
@FAMILY
@NUMERICS
@CORE
def test_cores(family: str, numerics: Numerics, core: str, choice: str, tmp_path: Path) -> None:
    """As assembly, in both emulators, which count the same instructions."""
    need("gcc", "qemu", "unicorn")
    made = compiled(family, numerics, core, choice)
    given = extreme_batch(made.graph, np.random.default_rng(7))
    firmware = build(made.project, load_target(core), find_compiler("gcc"), workdir=tmp_path)
    reports = [run(firmware, payload_of(made.graph, given), engine=engine) for engine in ("qemu", "unicorn")]
    for report in reports:
        check_answers(made.graph, given, report)
    assert reports[0].instructions == reports[1].instructions
    assert reports[0].stack_painted_bytes is not None
    assert reports[0].stack_painted_bytes <= firmware.stack_bytes <= 512


@pytest.mark.qemu
@FAMILY
@CORE
def test_clang(family: str, core: str, choice: str, tmp_path: Path) -> None:
    """The other compiler takes the same assembly."""
    need("zig", "unicorn")
    made = compiled(family, "tflm", core, choice)
    given = extreme_batch(made.graph, np.random.default_rng(7))
    firmware = build(made.project, load_target(core), find_compiler("zig"), workdir=tmp_path)
    check_answers(made.graph, given, run(firmware, payload_of(made.graph, given), engine="unicorn"))


@pytest.mark.qemu
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "narrow"])
@CORE
def test_estimates(family: str, core: str, choice: str, tmp_path: Path) -> None:
    """What plans are compared by is close to what the emulator counts; where it is off, saturation or an edge is dear.

    Narrow rows are all edge, and cost next to nothing: the estimate is a third too high there.
    """
    need("gcc", "qemu")
    made = compiled(family, "tflm", core, choice)
    given = extreme_batch(made.graph, np.random.default_rng(7))[-1:]
    firmware = build(made.project, load_target(core), find_compiler("gcc"), workdir=tmp_path, hooks="profile")
    profile = run(firmware, payload_of(made.graph, given), engine="qemu").profile
    assert profile is not None
    schedule = made.plan.schedule
    counted = estimated = 0
    for op, kernel, count in zip(schedule.steps, schedule.kernels, profile, strict=True):
        if kernel.instructions is not None:
            counted += count
            estimated += kernel.instructions * op.tasks(made.graph.ins(op), made.graph.tensors[op.output])
    assert 0.85 < estimated / counted < 1.15
