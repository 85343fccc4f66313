"""Smartwatch gestures: a one-dimensional network with a two-branch Concat, a gated (Mul) stage and HardSwish.

It covers what `mnist_cnn` does not: Conv and MaxPool over time, branches that keep a tensor alive,
broadcasting multiplication, and activations that are not piecewise linear in int8.

Run from the repository's root: `python -m models.gesture.train`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from seglearn.datasets import load_watch
from torch import Tensor, nn

from models.common import DataSource, FloatArray, Recipe, Split, build, seed_everything

WINDOW = 128
TRAIN_STEP = 16
TEST_SUBJECTS = (8, 9, 10)
GYRO_SCALE = 0.25

RECIPE = Recipe(
    name="gesture",
    task="classification of seven shoulder exercises from 2.56 s of a smartwatch's accelerometer and "
    "gyroscope",
    architecture="conv5/2 16, branches conv3 16 and conv7 16 concatenated, max pool 2, squeeze-and-excite "
    "gate (global average pool, 8, sigmoid), conv3 48 HardSwish, max pool 2, conv3 64 HardSwish, "
    "global average pool, dense 7",
    input_meaning="channels ax ay az (g) and wx wy wz (rad/s times 0.25) by 128 time steps at 50 Hz, NCW",
    classes=(
        "pendulum",
        "abduction",
        "forward elevation",
        "internal rotation",
        "external rotation",
        "trapezius extension",
        "upright row",
    ),
    data=DataSource(
        package="seglearn",
        loader="seglearn.datasets.load_watch",
        package_licence="BSD-3-Clause",
        origin="140 recordings of ten people at 50 Hz, both wrists, D. Burns et al., arXiv:1802.01489",
        split="by person: subjects 1-7 train (a window every 16 steps), 8-10 test (windows do not overlap)",
    ),
    seed=2024,
    epochs=20,
    batch_size=64,
    peak_learning_rate=4e-3,
)


class Gate(nn.Module):
    """Squeeze-and-excite: scales each channel by a sigmoid of all channels' means over time."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv1d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(x)
        return x * gate


class Branches(nn.Module):
    """A short and a long filter side by side, concatenated over channels."""

    def __init__(self, in_channels: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv(in_channels, channels, width) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def conv(
    in_channels: int, out_channels: int, width: int, stride: int = 1, activation: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Convolution with batch norm and activation; an odd `width` keeps the length at stride 1."""
    return nn.Sequential(
        nn.Conv1d(in_channels, out_channels, width, stride, width // 2, bias=False),
        nn.BatchNorm1d(out_channels),
        activation(),
    )


def network() -> nn.Module:
    """The untrained network. Shapes: (N, 6, 128) -> (N, 7)."""
    return nn.Sequential(
        conv(6, 16, 5, stride=2),
        Branches(16, 16, (3, 7)),
        nn.MaxPool1d(2),
        Gate(32, 8),
        conv(32, 48, 3, activation=nn.Hardswish),
        nn.MaxPool1d(2),
        conv(48, 64, 3, activation=nn.Hardswish),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64, len(RECIPE.classes)),
    )


def windows(recording: NDArray[np.float64], step: int) -> FloatArray:
    """Cuts a (time, 6) recording into (windows, 6, WINDOW); the rest that fills no window is dropped."""
    cut = np.lib.stride_tricks.sliding_window_view(recording, WINDOW, axis=0)[::step]
    gains = np.array([1, 1, 1, GYRO_SCALE, GYRO_SCALE, GYRO_SCALE]).reshape(6, 1)
    scaled: FloatArray = (cut * gains).astype(np.float32)
    return scaled


def load() -> Split:
    """Splits by person: the test asks about people whose movements the network has never seen."""
    data = load_watch()
    parts: dict[bool, tuple[list[FloatArray], list[int]]] = {False: ([], []), True: ([], [])}
    for recording, label, subject in zip(data["X"], data["y"], data["subject"], strict=True):
        tested = subject in TEST_SUBJECTS
        inputs, labels = parts[tested]
        cut = windows(recording, WINDOW if tested else TRAIN_STEP)
        inputs.append(cut)
        labels += [int(label)] * len(cut)
    (train_x, train_y), (test_x, test_y) = parts[False], parts[True]
    return Split(
        np.concatenate(train_x),
        np.array(train_y, np.int64),
        np.concatenate(test_x),
        np.array(test_y, np.int64),
    )


def augment(inputs: Tensor, random: torch.Generator) -> Tensor:
    """Watches sit differently and on either wrist: mirrors half of the samples, tilts and scales all of them.

    A mirror image along the forearm (x) negates the x of a vector but the y and z of a rotation.
    """
    count = len(inputs)
    mirror = torch.rand(count, generator=random) < 0.5
    signs = torch.where(mirror[:, None], torch.tensor([-1.0, 1, 1, 1, -1, -1]), torch.ones(6))
    tilt = torch.matrix_exp(_skew(torch.randn(count, 3, generator=random) * 0.2))
    gain = 1 + 0.1 * torch.randn(count, 1, 1, generator=random)
    vectors = (inputs * signs[:, :, None]).reshape(count, 2, 3, -1)
    return gain * torch.einsum("nij,nsjt->nsit", tilt, vectors).reshape(inputs.shape)


def _skew(axis: Tensor) -> Tensor:
    """Cross-product matrices of (N, 3) rotation vectors; their matrix exponentials are rotations."""
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def main() -> None:
    """Trains and writes the artefacts beside this file."""
    seed_everything(RECIPE.seed)
    build(RECIPE, load(), network(), augment, Path(__file__).parent)


if __name__ == "__main__":
    main()
