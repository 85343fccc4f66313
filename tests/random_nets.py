"""Random quantised networks of every operator vmcu has.

`Pick` is where randomness comes from: Hypothesis (which then shrinks failures) or a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from tiny_models import Net

Pick = Callable[[Sequence[Any]], Any]
Shape = tuple[int, ...]


@dataclass
class RandomNet:
    """A network under construction.

    Attributes:
        live: dequantised tensors and their shapes; the last is the newest.
    """

    pick: Pick
    net: Net
    live: list[tuple[str, Shape, float, int]] = field(default_factory=list)

    def add(self, name: str, shape: Shape, scale: float | None = None) -> None:
        """Puts Q/DQ behind float tensor `name`."""
        scale = scale or self.pick([0.01, 0.02, 0.05, 0.11])
        zero = self.pick([0, -128, 127, 3, -20])
        self.live.append((self.net.qdq(name, scale, zero), shape, scale, zero))

    def image(self) -> tuple[str, Shape, float, int] | None:
        """The newest tensor of rank 4."""
        return next((t for t in reversed(self.live) if len(t[1]) == 4), None)

    def activation(self, name: str) -> str:
        """Perhaps Relu or Clip."""
        what = self.pick(["none", "none", "Relu", "Clip"])
        if what == "none":
            return name
        if what == "Relu":
            return self.net.node("Relu", [name])
        return self.net.node("Clip", [name, self.net.const(0.0, np.float32), self.net.const(3.0, np.float32)])


def conv(r: RandomNet) -> bool:
    x = r.image()
    if x is None:
        return False
    name, (_, c, h, w), *_ = x
    kernel = [r.pick([1, 2, 3]), r.pick([1, 2, 3])]
    strides, dilations = [r.pick([1, 2]), r.pick([1, 2])], [r.pick([1, 1, 2]), r.pick([1, 1, 2])]
    pads = [r.pick([0, 1, 2]) for _ in range(4)]
    size = [
        (s + pads[i] + pads[i + 2] - (k - 1) * d - 1) // t + 1
        for i, (s, k, t, d) in enumerate(zip((h, w), kernel, strides, dilations, strict=True))
    ]
    if min(size) < 1:
        return False
    group = r.pick([1, 1, c] + [g for g in (2, 3) if c % g == 0])
    out = group * r.pick([1, 2, 3]) if group > 1 else r.pick([1, 3, 4, 8])
    weights = r.net.weights((out, c // group, *kernel), axis=r.pick([None, 0]))
    inputs = [name, weights]
    if r.pick([True, False]):
        inputs.append(r.net.const(r.net.rng.normal(size=out) * 0.3, np.float32))
    y = r.net.node(
        "Conv", inputs, kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads, group=group
    )
    r.add(r.activation(y), (1, out, *size))
    return True


def pool(r: RandomNet) -> bool:
    x = r.image()
    if x is None:
        return False
    name, (_, c, h, w), scale, zero = x
    kernel, strides = [r.pick([1, 2, 3]), r.pick([2, 3])], [r.pick([1, 2]), r.pick([1, 2])]
    pads = [r.pick([0, 1]) if kernel[i % 2] > 1 else 0 for i in range(4)]
    size = [
        (s + pads[i] + pads[i + 2] - k) // t + 1
        for i, (s, k, t) in enumerate(zip((h, w), kernel, strides, strict=True))
    ]
    if min(size) < 1:
        return False
    frame = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if r.pick([True, False]):
        y = r.net.node("MaxPool", [name], **frame)
    else:
        y = r.net.node("AveragePool", [name], count_include_pad=r.pick([0, 1]), **frame)
    if r.pick([True, False]):
        r.live.append((r.net.qdq(y, scale, zero), (1, c, *size), scale, zero))
    else:
        r.add(y, (1, c, *size))
    return True


def binary(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    op = r.pick(["Add", "Sub", "Mul"])
    other = next((t for t in r.live[:-1] if t[1] == shape), None)
    kind = r.pick(["tensor", "constant", "channel", "scalar", "reduced"])
    if kind == "tensor" and other:
        second = other[0]
    elif kind == "reduced" and len(shape) == 4:
        mean = r.net.node("ReduceMean", [name], axes=r.pick([[2, 3], [1]]), keepdims=1)
        second = r.net.qdq(mean, 0.02, 5)
    elif kind == "channel" and len(shape) == 4:
        second = r.net.weights((1, shape[1], 1, 1))
    elif kind == "scalar":
        second = r.net.const(r.pick([0.5, -1.25, 3.0]), np.float32)
    else:
        second = r.net.weights(shape)
    inputs = [name, second] if r.pick([True, True, False]) else [second, name]
    r.add(r.activation(r.net.node(op, inputs)), shape)
    return True


def curve(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    op = r.pick(["Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "PRelu"])
    if op == "PRelu":
        y = r.net.node(op, [name, r.net.weights((shape[1], *(1,) * (len(shape) - 2)))])
    elif op == "HardSwish" and r.net.opset < 14:
        return False
    else:
        y = r.net.node(op, [name])
    r.add(y, shape)
    return True


def softmax(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    axis = r.pick([i for i, s in enumerate(shape) if s > 1] or [-1])
    if axis < 0:
        return False
    y = r.net.node("Softmax", [name], axis=axis)
    r.live.append((r.net.qdq(y, 1 / 256, -128), shape, 1 / 256, -128))
    return True


def concat(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    if len(shape) != 4:
        return False
    axis = r.pick([1, 2, 3])
    others = [t for t in r.live if len(t[1]) == 4 and all(i == axis or t[1][i] == shape[i] for i in range(4))]
    other = r.pick(others)
    total = tuple(s + (other[1][i] if i == axis else 0) for i, s in enumerate(shape))
    r.add(r.net.node("Concat", [name, other[0]], axis=axis), total)
    return True


def move(r: RandomNet) -> bool:
    name, shape, scale, zero = r.live[-1]
    what = r.pick(
        ["Slice", "Pad", "Transpose", "Split", "Gather", "DepthToSpace", "SpaceToDepth", "Resize", "Flatten"]
    )
    net, rank = r.net, len(shape)
    out: Shape
    if what == "Slice":
        axis = r.pick(range(rank))
        if shape[axis] < 2:
            return False
        ints = [net.const([v], np.int64) for v in (1, shape[axis], axis)]
        y, out = net.node("Slice", [name, *ints]), tuple(s - (i == axis) for i, s in enumerate(shape))
    elif what == "Pad" and rank == 4:
        pads = [0, r.pick([0, 1]), 1, 0, 0, 0, r.pick([0, 2]), 1]
        y = net.node("Pad", [name, net.const(pads, np.int64)], mode="constant")
        out = tuple(s + pads[i] + pads[i + 4] for i, s in enumerate(shape))
    elif what == "Transpose" and rank == 4:
        perm = r.pick([[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]])
        y, out = net.node("Transpose", [name], perm=perm), tuple(shape[p] for p in perm)
    elif what == "Split" and rank == 4 and shape[1] > 1:
        first = net.name("split")
        second = net.name("split")
        sizes = [1, shape[1] - 1]
        net.node("Split", [name, net.const(sizes, np.int64)], first, axis=1)
        net.nodes[-1].output.append(second)
        r.live.append((net.qdq(first, scale, zero), (shape[0], 1, *shape[2:]), scale, zero))
        y, out = second, (shape[0], sizes[1], *shape[2:])
    elif what == "Gather" and rank == 4:
        y = net.node("Gather", [name, net.const([shape[1] - 1, 0, 0], np.int64)], axis=1)
        out = (shape[0], 3, *shape[2:])
    elif what == "DepthToSpace" and rank == 4 and shape[1] % 4 == 0:
        y = net.node("DepthToSpace", [name], blocksize=2, mode=r.pick(["DCR", "CRD"]))
        out = (1, shape[1] // 4, shape[2] * 2, shape[3] * 2)
    elif what == "SpaceToDepth" and rank == 4 and shape[2] % 2 == 0 and shape[3] % 2 == 0:
        y = net.node("SpaceToDepth", [name], blocksize=2)
        out = (1, shape[1] * 4, shape[2] // 2, shape[3] // 2)
    elif what == "Resize" and rank == 4 and prod(shape) < 2000:
        mode = r.pick(["nearest", "linear"])
        scales = net.const([1, 1, 2, 1.5], np.float32)
        coordinates = r.pick(["half_pixel", "asymmetric", "align_corners"])
        y = net.node(
            "Resize",
            [name, "", scales],
            mode=mode,
            coordinate_transformation_mode=coordinates,
            nearest_mode="floor",
        )
        out = (1, shape[1], shape[2] * 2, int(shape[3] * 1.5))
    elif what == "Flatten" and rank == 4:
        y, out = net.node("Flatten", [name]), (1, prod(shape))
    else:
        return False
    if what == "Resize" or r.pick([True, False]):
        r.live.append((net.qdq(y, scale, zero), out, scale, zero))
    else:
        r.add(y, out)
    return True


def dense(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    if len(shape) == 4 and prod(shape) <= 600:
        name, shape = r.net.node("Flatten", [name]), (1, prod(shape))
    if len(shape) != 2 or shape[1] > 600:
        return False
    units = r.pick([1, 5, 10])
    if r.pick([True, False]):
        y = r.net.node("Gemm", [name, r.net.weights((units, shape[1]), axis=r.pick([None, 0]))], transB=1)
    else:
        y = r.net.node("MatMul", [name, r.net.weights((shape[1], units))])
    r.add(r.activation(y), (1, units), 0.2)
    return True


def reduce(r: RandomNet) -> bool:
    name, shape, *_ = r.live[-1]
    if len(shape) != 4:
        return False
    axes, keep = r.pick([[2, 3], [1], [2], [3], [1, 2, 3]]), 1
    op = r.pick(["ReduceMean", "ReduceMax", "ReduceMin"])
    y = r.net.node(op, [name], axes=axes, keepdims=keep)
    r.add(y, tuple(1 if i in axes else s for i, s in enumerate(shape)))
    return True


BUILDERS = (conv, conv, conv, pool, binary, binary, curve, softmax, concat, move, move, dense, reduce)


def window(
    r: RandomNet, shape: Shape, kernels: Sequence[int], spans: Sequence[int]
) -> tuple[dict[str, list[int]], Shape] | None:
    """Attributes of a window over an image, and the image's new size; None where it does not fit.

    Often padded so that size / stride positions remain, for whose rows tiles of input and output lie over each other.
    """
    kernel, strides = [r.pick(kernels), r.pick(kernels)], [r.pick([1, 1, 1, 2]), r.pick([1, 1, 1, 2, 3])]
    dilations = [r.pick(spans), r.pick(spans)]
    pads, size = [0, 0, 0, 0], []
    for i, (k, t, d, s) in enumerate(zip(kernel, strides, dilations, shape[2:], strict=True)):
        reach = (k - 1) * d
        pads[i] = r.pick([reach // 2, reach // 2, reach // 2, r.pick(range(k))])
        same = max(0, reach - pads[i] - (t - 1))
        pads[i + 2] = r.pick([same, same, same, same, r.pick(range(k))])
        size.append((s + pads[i] + pads[i + 2] - reach - 1) // t + 1)
    if min(size) < 1 or prod(size) * shape[1] > 3000:
        return None
    frame = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}
    return frame, (shape[0], shape[1], *size)


def wide_conv(r: RandomNet) -> bool:
    """Kernels up to 7, strides, dilation, unequal pads; dense, grouped or depthwise."""
    name, shape, *_ = r.live[-1]
    found = window(r, shape, [1, 2, 3, 3, 4, 5, 7], [1, 1, 1, 2, 3])
    if found is None:
        return False
    frame, (_, c, *size) = found
    group = r.pick([1, c])
    out = c if group == c and c > 1 else r.pick([1, 2, 3, 4])
    weights = r.net.weights((out, c // group, *frame["kernel_shape"]), axis=r.pick([None, 0]))
    y = r.net.node("Conv", [name, weights], group=group, **frame)
    r.add(r.activation(y), (1, out, *size), r.pick([0.1, 0.3]))
    return True


def wide_pool(r: RandomNet) -> bool:
    name, shape, scale, zero = r.live[-1]
    found = window(r, shape, [2, 3, 4], [1])
    if found is None or any(
        p >= k for p, k in zip(found[0]["pads"], found[0]["kernel_shape"] * 2, strict=True)
    ):
        return False
    frame, size = found
    y = r.net.node("MaxPool", [name], **frame)
    r.live.append((r.net.qdq(y, scale, zero), size, scale, zero))
    return True


def wide_mul(r: RandomNet) -> bool:
    """One factor a channel: a constant, or computed from the image."""
    name, shape, *_ = r.live[-1]
    if r.pick([True, False]):
        factor = r.net.weights((1, shape[1], 1, 1))
    else:
        mean = r.net.node("GlobalAveragePool", [name])
        factor = r.net.qdq(r.net.node("Sigmoid", [r.net.qdq(mean, 0.02, 5)]), 1 / 256, -128)
    r.add(r.net.node("Mul", [name, factor]), shape)
    return True


def wide_add(r: RandomNet) -> bool:
    """A residual, as far back as its shape occurs."""
    name, shape, *_ = r.live[-1]
    others = [t[0] for t in r.live[:-1] if t[1] == shape]
    if not others:
        return False
    r.add(r.net.node(r.pick(["Add", "Mul"]), [name, r.pick(others)]), shape)
    return True


WIDE_BUILDERS = (
    wide_conv,
    wide_conv,
    wide_conv,
    wide_conv,
    wide_pool,
    wide_mul,
    wide_add,
    wide_add,
    curve,
    concat,
)


def wide_net(pick: Pick, operators: int, seed: int = 0) -> Net:
    """A network over an image whose rows can be cut into tiles in many ways; it ends in an image or in a mean."""
    net = Net(opset=13, seed=seed)
    r = RandomNet(pick, net)
    shape = (1, pick([1, 2, 3]), pick([3, 5, 6]), pick([8, 12, 18, 24]))
    r.add(net.input("x", shape), shape)
    for _ in range(operators):
        pick(WIDE_BUILDERS)(r)
    if pick([True, False]):
        r.add(net.node("GlobalAveragePool", [r.live[-1][0]]), (1, r.live[-1][1][1], 1, 1))
    elif pick([True, False]):
        wide_conv(r)
    name, shape, *_ = r.live[-1]
    net.output(name, shape=shape)
    return net


def random_net(pick: Pick, operators: int, seed: int = 0) -> Net:
    """A network of up to `operators` operators with one or two inputs and one or two outputs."""
    net = Net(opset=13, seed=seed)
    r = RandomNet(pick, net)
    shape = (1, pick([1, 2, 3, 4, 8]), pick([3, 5, 6, 8]), pick([3, 4, 7]))
    for i in range(pick([1, 1, 2])):
        r.add(net.input(f"x{i}", shape), shape)
    for _ in range(operators):
        builder = pick(BUILDERS)
        if prod(r.live[-1][1]) < 4000:
            builder(r)
    outputs = [r.live[-1]] + ([pick(r.live)] if pick([True, False]) else [])
    for name, shape_out, *_ in dict.fromkeys(outputs):
        net.output(name, shape=shape_out)
    return net
