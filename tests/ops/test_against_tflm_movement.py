"""Operators that move elements equal TFLite Micro: any axis, any rank, alone and between layers that compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.tflite_model import Quant
from oracles.twin import Pair, Twin, onnx_axis, to_onnx
from oracles.twin_ops import Case, binary, concat, conv, dense, move, name, pad, pool, reshape

_NCHW_FROM_NHWC = (0, 3, 1, 2)


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        (((1, 4, 5, 3), (1, 4, 5, 2), (1, 4, 5, 3)), 3),
        (((1, 4, 5, 3), (1, 2, 5, 3)), 1),
        (((1, 4, 5, 3), (1, 4, 1, 3)), 2),
        (((1, 7), (1, 30)), 1),
        (((2, 7), (3, 7)), 0),
        (((1, 6, 4), (1, 3, 4)), 1),
    ],
    ids=str,
)
def test_concat(shapes: tuple[tuple[int, ...], ...], axis: int, tmp_path: Path) -> None:
    t = Twin()
    t.check(tmp_path, concat(t, [t.input(s) for s in shapes], axis))


@pytest.mark.parametrize("value", [None, -128, 127, 40], ids=str)
@pytest.mark.parametrize(
    "widths",
    [
        [(0, 0), (1, 2), (3, 0), (0, 0)],
        [(0, 0), (0, 0), (0, 0), (0, 5)],
        [(0, 0), (1, 1), (1, 1), (2, 1)],
        [(0, 0), (4, 0)],
        [(0, 0), (0, 3), (1, 1)],
    ],
    ids=str,
)
def test_pad(widths: list[tuple[int, int]], value: int | None, tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 4, 5, 3)[: len(widths)], 0.05, -7)
    t.check(tmp_path, pad(t, x, widths, value))


def test_mirror_pad(tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 4, 5, 3), 0.05, -7)
    widths = np.array([(0, 0), (1, 2), (3, 0), (0, 0)], np.int32)
    real = t.onnx.node("Pad", [x.name, t.onnx.const([0, 0, 1, 3, 0, 0, 2, 0], np.int64)], mode="reflect")
    t.check(tmp_path, move(t, "MIRROR_PAD", x, (1, 7, 8, 3), real, [widths], "MirrorPadOptions", mode=0))


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((1, 4, 5, 3), (0, 2, 1, 3)),
        ((1, 4, 5, 3), (0, 3, 1, 2)),
        ((1, 4, 5, 3), (0, 3, 2, 1)),
        ((1, 4, 5, 3), (0, 2, 3, 1)),
        ((3, 5), (1, 0)),
        ((1, 6, 4), (0, 2, 1)),
        ((2, 6, 4), (2, 0, 1)),
    ],
    ids=str,
)
def test_transpose(shape: tuple[int, ...], perm: tuple[int, ...], tmp_path: Path) -> None:
    t = Twin()
    x = t.input(shape)
    order = [onnx_axis(perm[i], 4) for i in _NCHW_FROM_NHWC] if len(perm) == 4 else perm
    real = t.onnx.node("Transpose", [x.name], perm=list(order))
    out = [shape[p] for p in perm]
    t.check(tmp_path, move(t, "TRANSPOSE", x, out, real, [np.asarray(perm, np.int32)], "TransposeOptions"))


RESHAPES = [
    ((1, 4, 5, 3), (1, 60)),
    ((1, 4, 5, 3), (1, 20, 3)),
    ((1, 4, 5, 3), (1, 5, 4, 3)),
    ((1, 4, 5, 3), (1, 2, 2, 15)),
    ((1, 60), (1, 4, 5, 3)),
    ((1, 12), (3, 4)),
    ((1, 1, 1, 9), (1, 9)),
    ((2, 3, 4), (6, 4)),
]


@pytest.mark.parametrize(("before", "after"), RESHAPES, ids=str)
def test_reshape(before: tuple[int, ...], after: tuple[int, ...], tmp_path: Path) -> None:
    t = Twin()
    t.check(tmp_path, reshape(t, t.input(before), after))


SLICES: list[Case] = [
    {"shape": (1, 8, 7, 6), "begin": (0, 1, 2, 3), "size": (1, 4, 4, 2)},
    {"shape": (1, 8, 7, 6), "begin": (0, 0, 0, 2), "size": (1, 8, 7, 4)},
    {"shape": (1, 30), "begin": (0, 7), "size": (1, 11)},
    {"shape": (5, 6, 4), "begin": (1, 0, 2), "size": (3, 6, 2)},
]
STRIDED: list[Case] = [
    {"shape": (1, 8, 7, 6), "begin": (0, 1, 0, 0), "end": (1, 8, 7, 6), "strides": (1, 2, 3, 1)},
    {"shape": (1, 8, 7, 6), "begin": (0, 0, 6, 5), "end": (1, 8, 2, 0), "strides": (1, 1, -1, -2)},
    {"shape": (1, 30), "begin": (0, 29), "end": (1, 3), "strides": (1, -4)},
    {"shape": (5, 6, 4), "begin": (0, 1, 0), "end": (5, 6, 4), "strides": (2, 5, 3)},
]


@pytest.mark.parametrize("case", SLICES, ids=name)
def test_slice(case: Case, tmp_path: Path) -> None:
    t = Twin()
    x = t.input(case["shape"])
    ends = [b + s for b, s in zip(case["begin"], case["size"], strict=True)]
    real = _onnx_slice(t, x, case["begin"], ends, [1] * len(ends))
    operands = [np.asarray(case[k], np.int32) for k in ("begin", "size")]
    t.check(tmp_path, move(t, "SLICE", x, case["size"], real, operands, "SliceOptions"))


@pytest.mark.parametrize("case", STRIDED, ids=name)
def test_strided_slice(case: Case, tmp_path: Path) -> None:
    t = Twin()
    x = t.input(case["shape"])
    real = _onnx_slice(t, x, case["begin"], case["end"], case["strides"])
    operands = [np.asarray(case[k], np.int32) for k in ("begin", "end", "strides")]
    shape = [len(range(b, e, s)) for b, e, s in zip(case["begin"], case["end"], case["strides"], strict=True)]
    t.check(tmp_path, move(t, "STRIDED_SLICE", x, shape, real, operands, "StridedSliceOptions"))


def _onnx_slice(t: Twin, x: Pair, starts: object, ends: object, steps: object) -> str:
    axes = [onnx_axis(i, len(x.shape)) for i in range(len(x.shape))]
    return t.onnx.node("Slice", [x.name, *(t.onnx.const(v, np.int64) for v in (starts, ends, axes, steps))])


@pytest.mark.parametrize(
    ("shape", "axis", "sizes"),
    [
        ((1, 6, 4, 6), 3, (2, 2, 2)),
        ((1, 6, 4, 6), 1, (1, 5)),
        ((1, 6, 4, 6), 2, (3, 1)),
        ((1, 30), 1, (10, 10, 10)),
        ((4, 6), 0, (1, 3)),
    ],
    ids=str,
)
def test_split(shape: tuple[int, ...], axis: int, sizes: tuple[int, ...], tmp_path: Path) -> None:
    """Split where the parts are equal, else SplitV; the parts are computed with, so each must be right."""
    t = Twin()
    x = t.input(shape)
    parts = [tuple(n if i == axis else s for i, s in enumerate(shape)) for n in sizes]
    names = [f"part{i}" for i in range(len(sizes))]
    real = t.onnx.node(
        "Split", [x.name, t.onnx.const(sizes, np.int64)], names[0], axis=onnx_axis(axis, len(shape))
    )
    t.onnx.nodes[-1].output.extend(names[1:])
    assert real == names[0]
    indices = [t.tfl.tensor(s, x.quant) for s in parts]
    where = t.tfl.const(np.array(axis, np.int32))
    if len(set(sizes)) == 1:
        t.tfl.op("SPLIT", [where, x.index], indices, "SplitOptions", numSplits=len(sizes))
    else:
        operands = [x.index, t.tfl.const(np.asarray(sizes, np.int32)), where]
        t.tfl.op("SPLIT_V", operands, indices, "SplitVOptions", numSplits=len(sizes))
    pairs = []
    for index, part, part_shape in zip(indices, names, parts, strict=True):
        known = Pair(index, t.onnx.qdq(part, x.quant.scale, x.quant.zero), part_shape, x.quant)
        pairs.append(binary(t, "Add", known, known))
    t.check(tmp_path, *pairs)


@pytest.mark.parametrize(
    ("shape", "axis"), [((1, 5, 4, 6), 3), ((1, 5, 4, 6), 1), ((1, 30), 1), ((4, 6, 2), 1)]
)
def test_gather(shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    t = Twin()
    x = t.input(shape)
    indices = np.array([3, 0, 0, 2, 1], np.int32)
    out = [indices.size if i == axis else s for i, s in enumerate(shape)]
    constant = t.onnx.const(indices, np.int64)
    real = t.onnx.node("Gather", [x.name, constant], axis=onnx_axis(axis, len(shape)))
    t.check(tmp_path, move(t, "GATHER", x, out, real, [indices], "GatherOptions", axis=axis))


@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space(block: int, tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 3, 4, 2 * block**2))
    real = t.onnx.node("DepthToSpace", [x.name], blocksize=block, mode="DCR")
    shape = (1, 3 * block, 4 * block, 2)
    t.check(tmp_path, move(t, "DEPTH_TO_SPACE", x, shape, real, [], "DepthToSpaceOptions", blockSize=block))


@pytest.mark.parametrize("block", [2, 3])
def test_space_to_depth(block: int, tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 3 * block, 4 * block, 2))
    real = t.onnx.node("SpaceToDepth", [x.name], blocksize=block)
    shape = (1, 3, 4, 2 * block**2)
    t.check(tmp_path, move(t, "SPACE_TO_DEPTH", x, shape, real, [], "SpaceToDepthOptions", blockSize=block))


def test_broadcast_to(tmp_path: Path) -> None:
    t = Twin()
    x = t.input((1, 1, 5, 3))
    shape = (1, 4, 5, 3)
    real = t.onnx.node("Expand", [x.name, t.onnx.const(to_onnx(np.empty(shape)).shape, np.int64)])
    t.check(tmp_path, move(t, "BROADCAST_TO", x, shape, real, [np.asarray(shape, np.int32)]))


def test_branches(tmp_path: Path) -> None:
    """Inception-like: branches of convolutions and a pool, concatenated, then a dense layer on the flat tensor."""
    t = Twin()
    x = t.input((1, 6, 6, 4))
    out = Quant(0.9, -4)
    left = _requantised(t, conv(t, x, 5, (1, 1)), out)
    right = _requantised(t, conv(t, conv(t, x, 3, activation="relu"), 6), out)
    third = _requantised(t, pool(t, "MaxPool", x, (3, 3), stride=(1, 1), padding="SAME"), out)
    joined = concat(t, [left, right, third], 3)
    t.check(tmp_path, joined, dense(t, reshape(t, joined, (1, 6 * 6 * 15)), 12))


def _requantised(t: Twin, x: Pair, quant: Quant) -> Pair:
    return t.emit("QUANTIZE", [x], x.shape, quant, x.name)


def test_residual(tmp_path: Path) -> None:
    """Inverted bottleneck with a skip connection whose operands have other scales than the sum."""
    t = Twin()
    x = t.input((1, 6, 6, 4), 0.4)
    inner = conv(t, x, 12, (1, 1), activation="relu6", zero=-128)
    y = binary(t, "Add", x, conv(t, inner, 4, (1, 1)), scale=2.0)
    t.check(tmp_path, y)
