"""Helium kernels against the reference: as C on the host under sanitizers, as assembly on an emulated Cortex-M55."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import Case, offered, wrong_kernels
from tiny_project import need

from vmcu.ir.quantized import Numerics, Tensor
from vmcu.ops.binary import Binary
from vmcu.ops.conv import Conv2D
from vmcu.ops.dense import Dense
from vmcu.ops.pool import AveragePool, Frame
from vmcu.ops.unary import Lookup
from vmcu.quant.requantise import Requant, make_requant, make_sum
from vmcu.targets import load_target

ISA = "armv8.1-m"
BOTH: tuple[Numerics, Numerics] = ("tflm", "onnx")
PLACES = ("host", "gcc", "zig")


class Out:
    """Quantisation of an output."""

    def __init__(self, scale: float, zero_point: int, low: int, high: int) -> None:
        self.scale, self.zero_point, self.low, self.high = scale, zero_point, low, high


def some(rng: np.random.Generator, values: Sequence[int], count: int) -> list[int]:
    """A few of them; other seeds take others."""
    return [int(v) for v in rng.choice(values, count, replace=False)]


def output(rng: np.random.Generator) -> tuple[int, int, int]:
    """Zero point, low and high: without and with Relu, clamps on either side."""
    zero = int(rng.choice([-128, -7, 0, 5, 127]))
    return [(zero, -128, 127), (-128, -128, 127), (zero, zero, 127), (-5, -5, 90), (3, -128, 60)][
        int(rng.integers(5))
    ]


def activations(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise, or one of the extremes throughout, or both of them."""
    kind = int(rng.integers(6))
    if kind < 3:
        return rng.integers(-128, 128, shape).astype(np.int8)
    return rng.choice([[-128, -128], [127, 127], [-128, 127]][kind - 3], shape).astype(np.int8)


def parameters(
    rng: np.random.Generator, numerics: Numerics, channels: int, shape: tuple[int, ...], name: str
) -> tuple[np.ndarray, np.ndarray, Requant]:
    """Weights (some saturate), bias and a requantisation whose results cover the output's range."""
    kind = int(rng.integers(4))
    weights = rng.integers(-128, 128, shape).astype(np.int8)
    if kind == 0:
        weights = rng.choice([-128, 127], shape).astype(np.int8)
    flat = weights.reshape(channels, -1).astype(np.int64)
    bias = rng.integers(-30000, 30000, channels).astype(np.int32)
    bounds = [int(b) for b in 128 * np.abs(flat).sum(axis=1) + np.abs(bias)]
    spread = np.sqrt((flat**2).sum(axis=1)) * 75 + 2000
    reals = [min(0.2, float(100 / s * 2.0 ** rng.uniform(-3, 2))) for s in spread]
    zero, low, high = output(rng)
    if rng.integers(3) == 0:
        reals, one = [min(reals)], [max(bounds)]
        return weights, bias, make_requant(numerics, reals, zero, low, high, acc_bound=one, where=name)
    return weights, bias, make_requant(numerics, reals, zero, low, high, acc_bound=bounds, where=name)


def some_segments(out: Tensor) -> tuple[int, ...]:
    """First, last and some between."""
    return tuple(sorted({0, out.segments // 2, out.segments - 1, *range(min(out.tiles, out.segments))}))


def conv(
    rng: np.random.Generator,
    numerics: Numerics,
    *,
    channels: int,
    units: int,
    kernel: tuple[int, int] = (1, 1),
    stride: int = 1,
    pad: int = 0,
    cols: int = 5,
    dilation: int = 1,
    tiles: tuple[int, int] = (1, 1),
    depthwise: bool = False,
) -> Case:
    """A convolution on an image of a few rows."""
    kh, kw = kernel
    reach_h, reach_w = (kh - 1) * dilation + 1, (kw - 1) * dilation + 1
    rows = reach_h + 1
    out_rows, out_cols = (rows + 2 * pad - reach_h) // stride + 1, (cols + 2 * pad - reach_w) // stride + 1
    assert out_cols > 0
    units = channels if depthwise else units
    weights, bias, requant = parameters(
        rng, numerics, units, (units, kh, kw, 1 if depthwise else channels), "conv"
    )
    x = Tensor("x", rows, cols, channels, 1.0, int(rng.integers(-128, 128)), tiles=tiles[0])
    out = Tensor("y", out_rows, out_cols, units, 1.0, requant.zero_point, tiles=tiles[1])
    op = Conv2D(
        name="conv",
        inputs=("x",),
        output="y",
        weights=weights,
        bias=bias,
        strides=(stride, stride),
        dilations=(dilation, dilation),
        pads=(pad, pad, pad, pad),
        groups=channels if depthwise else 1,
        input_zero_point=x.zero_point,
        requant=requant,
    )
    op.verify((x,), out)
    assert op.allows_tiles((x,), out)
    return Case(op, (x,), out, (activations(rng, x.shape),), some_segments(out))


def pointwise_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    cases = [
        conv(rng, numerics, channels=c, units=int(rng.integers(1, 40)), cols=int(rng.integers(1, 8)))
        for c in (
            *some(rng, range(1, 71), 10),
            16,
            32,
            128,
            129,
            143,
            144,
            160,
            *some(rng, range(161, 400), 3),
        )
    ]
    cases += [conv(rng, numerics, channels=24, units=m, cols=4) for m in some(rng, range(1, 27), 8)]
    cases += [conv(rng, numerics, channels=8, units=m, cols=3) for m in (3, 8, 9, 16, 17)]
    return cases + [conv(rng, numerics, channels=20, units=9, stride=s, cols=9) for s in (2, 3)]


def window_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    cases = []
    for kernel in ((2, 2), (3, 3), (5, 5), (7, 7), (10, 4), (1, 3), (3, 1), (1, 7)):
        for channels in some(rng, (1, 3, 4, 8, 16, 17), 2):
            stride, pad = int(rng.integers(1, 4)), int(rng.integers(0, (min(kernel) + 1) // 2 + 1))
            made = {"kernel": kernel, "stride": stride, "pad": pad, "cols": int(rng.integers(8, 14))}
            cases.append(conv(rng, numerics, channels=channels, units=int(rng.integers(1, 20)), **made))
    cases.append(conv(rng, numerics, channels=64, units=9, kernel=(3, 3), pad=1, cols=4))
    cases.append(conv(rng, numerics, channels=5, units=6, kernel=(3, 3), pad=2, dilation=2, cols=8))
    for tiles in ((2, 2), (1, 2), (2, 1), (4, 4)):
        cases.append(conv(rng, numerics, channels=6, units=10, kernel=(3, 3), pad=1, cols=12, tiles=tiles))
    return cases


def depthwise_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    cases = []
    for kernel in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 3), (7, 7), (3, 7), (10, 1), (15, 1), (1, 3)):
        for stride in some(rng, (1, 2, 3), 2):
            pad = int(rng.integers(0, (min(kernel) + 1) // 2 + 1))
            made = {"kernel": kernel, "stride": stride, "pad": pad, "cols": int(rng.integers(8, 16))}
            cases.append(
                conv(rng, numerics, channels=int(rng.integers(2, 40)), units=0, depthwise=True, **made)
            )
    cases += [
        conv(
            rng,
            numerics,
            channels=c,
            units=0,
            depthwise=True,
            kernel=(3, 3),
            pad=1,
            cols=int(rng.integers(1, 12)),
        )
        for c in some(rng, range(2, 71), 6)
    ]
    cases.append(
        conv(rng, numerics, channels=9, units=0, depthwise=True, kernel=(3, 3), pad=2, dilation=2, cols=8)
    )
    for kernel in ((3, 3), (5, 5)):
        for tiles in ((2, 2), (1, 2), (2, 1), (4, 4), (12, 12)):
            made = {"kernel": kernel, "pad": kernel[0] // 2, "cols": 12, "tiles": tiles}
            cases.append(conv(rng, numerics, channels=6, units=0, depthwise=True, **made))
    return cases


def dense_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    cases = []
    for rows, cols, channels, units, per_pixel in (
        *((1, 1, d, int(rng.integers(1, 30)), False) for d in (1, 7, 16, 30, 129, 640)),
        *((3, 2, 5, 11, False), (4, 4, 16, 10, False), (2, 3, 20, 9, True), (1, 1, 12, 8, True)),
    ):
        depth = channels if per_pixel else rows * cols * channels
        weights, bias, requant = parameters(rng, numerics, units, (units, depth), "dense")
        x = Tensor("x", rows, cols, channels, 1.0, 0)
        shape = (rows, cols) if per_pixel else (1, 1)
        out = Tensor("y", *shape, units, 1.0, requant.zero_point)
        op = Dense(
            name="dense",
            inputs=("x",),
            output="y",
            weights=weights,
            bias=bias,
            per_pixel=per_pixel,
            requant=requant,
        )
        op.verify((x,), out)
        cases.append(Case(op, (x,), out, (activations(rng, x.shape),), some_segments(out)))
    return cases


def sum_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    cases = []
    for i, (cols, channels) in enumerate((c, k) for c in (1, 2, 5) for k in (1, 3, 4, 16, 33)):
        for minus in (False, True):
            zero, low, high = output(rng)
            scales = [1.0, 1.0] if i % 5 == 0 else [float(2.0 ** rng.uniform(-6, 3)) for _ in range(2)]
            q = Out(float(max(scales) * 2.0 ** rng.uniform(-2, 2)), zero, low, high)
            shape = (2, cols, channels)
            tensors = tuple(
                Tensor(n, *shape, s, int(rng.integers(-128, 128))) for n, s in zip("ab", scales, strict=True)
            )
            out = Tensor("y", *shape, q.scale, zero)
            signs = (1, -1) if minus else (1, 1)
            op = Binary(
                name="sum",
                inputs=("a", "b"),
                output="y",
                what="Sub" if minus else "Add",
                shapes=(shape, shape),
                zero_points=(tensors[0].zero_point, tensors[1].zero_point),
                constant=None,
                sum=make_sum(numerics, *scales, signs, q, where="sum"),
                requant=None,
            )
            op.verify(tensors, out)
            cases.append(Case(op, tensors, out, tuple(activations(rng, shape) for _ in "ab"), (0, 1)))
    return cases


def simple_cases(rng: np.random.Generator, numerics: Numerics) -> list[Case]:
    """Tables and average pooling."""
    cases = []
    for cols, channels in ((1, 1), (3, 5), (4, 4), (7, 33)):
        x, out = (Tensor(n, 2, cols, channels, 1.0, 0) for n in "xy")
        table = rng.integers(-128, 128, 256).astype(np.int8)
        lookup = Lookup(name="table", inputs=("x",), output="y", table=table, what="noise")
        cases.append(Case(lookup, (x,), out, (activations(rng, x.shape),), (0, 1)))
    for kernel, stride, cols in (
        ((2, 2), 2, 7),
        ((3, 3), 1, 6),
        ((5, 25), 1, 25),
        ((15, 17), 1, 17),
        ((1, 4), 3, 11),
    ):
        for channels in some(rng, (1, 7, 8, 20, 64, 130), 3):
            zero, low, high = output(rng)
            x = Tensor("x", kernel[0] + 1, cols, channels, 1.0, int(rng.integers(-128, 128)))
            out = Tensor("y", 1 + 1 // stride, (cols - kernel[1]) // stride + 1, channels, 1.0, zero)
            taps, requant = kernel[0] * kernel[1], None
            if numerics == "onnx":
                real = 0.9 / taps
                requant = make_requant(numerics, [real], zero, low, high, acc_bound=255 * taps, where="pool")
            op = AveragePool(
                name="pool",
                inputs=("x",),
                output="y",
                frame=Frame(kernel=kernel, strides=(stride, stride), dilations=(1, 1), pads=(0, 0, 0, 0)),
                zero_point=x.zero_point,
                row_class=(0,) * out.rows,
                col_class=(0,) * out.cols,
                row_counts=(kernel[0],),
                col_counts=(kernel[1],),
                requant=requant,
                low=low,
                high=high,
            )
            op.verify((x,), out)
            cases.append(Case(op, (x,), out, (activations(rng, x.shape),), some_segments(out)))
    return cases


GROUPS = {
    "pointwise": pointwise_cases,
    "windows": window_cases,
    "depthwise": depthwise_cases,
    "dense": dense_cases,
    "sums": sum_cases,
    "simple": simple_cases,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("numerics", BOTH)
@pytest.mark.parametrize("group", GROUPS)
def test_equals_the_reference(group: str, numerics: Numerics, place: str, tmp_path: Path) -> None:
    if place != "host":
        need(place, "qemu")
    cases = GROUPS[group](np.random.default_rng([len(group), len(numerics)]), numerics)
    target = None if place == "host" else load_target("cortex-m55")
    assert wrong_kernels(cases, ISA, target, place, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("place", ["host", "gcc"])
def test_more_of_them(seed: int, place: str, tmp_path: Path) -> None:
    if place != "host":
        need(place, "qemu")
    target = None if place == "host" else load_target("cortex-m55")
    for numerics in BOTH:
        for name, group in GROUPS.items():
            folder = tmp_path / f"{numerics}_{name}"
            folder.mkdir()
            assert (
                wrong_kernels(group(np.random.default_rng([seed, 7]), numerics), ISA, target, place, folder)
                == []
            )


def test_helium_is_offered_for_all_of_them() -> None:
    """The cases test what they are meant to: few fall back to plain C."""
    for numerics in BOTH:
        cases = [c for g in GROUPS.values() for c in g(np.random.default_rng(1), numerics)]
        templates = [[k.template for k in c.op.kernels(c.ins, c.out, ISA)] for c in cases]
        names = [t[0] for t in templates]
        assert sum(n.endswith("_mve") for n in names) > 0.9 * len(names)
        assert {
            "pixels_mve",
            "windows_mve",
            "depthwise_mve",
            "lanes_mve",
            "dense_mve",
            "sum_mve",
            "lookup_mve",
        } <= {n for t in templates for n in t}


def test_a_wrong_byte_is_seen(tmp_path: Path) -> None:
    """The comparison can fail: a case whose reference is that of another input."""
    case = conv(np.random.default_rng(3), "tflm", channels=8, units=8)

    class Liar(Conv2D):
        def reference(self, ins: tuple[np.ndarray, ...], out: Tensor) -> np.ndarray:
            wanted = np.array(case.op.reference(ins, out))
            wanted[-1, -1, -1] ^= 1
            return wanted

    liar = Liar(**{f.name: getattr(case.op, f.name) for f in fields(case.op)})
    wrong = wrong_kernels(
        [Case(liar, case.ins, case.out, case.arrays, case.segments)], ISA, None, "", tmp_path
    )
    assert len(wrong) == len(offered(case.op, case.ins, case.out, ISA))
