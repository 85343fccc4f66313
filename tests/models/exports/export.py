"""Writes the float models beside this file as PyTorch users write theirs: both exporters, several opsets.

The weights are random (one seed a model); what matters is the graph each exporter makes of a module. The tests
quantise the committed .onnx files and need no PyTorch. To write them again (torch 2.13, onnx, onnxscript):

    python tests/models/exports/export.py
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LIMIT_BYTES = 60_000


def conv_bn(
    cin: int, cout: int, kernel: int = 3, activation: nn.Module | None = None, **options: Any
) -> nn.Module:
    """Conv, BatchNorm and, if any, activation, padded to keep the size."""
    layers = [nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False, **options), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([activation] if activation else []))


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            conv_bn(channels, 3 * channels, 1, nn.ReLU6()),
            conv_bn(3 * channels, 3 * channels, 3, nn.ReLU6(), groups=3 * channels),
            conv_bn(3 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def mobilenet_v2() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.ReLU6(), stride=2),
        InvertedResidual(8),
        conv_bn(8, 16, 1, nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 5),
    )


class SqueezeExcite(nn.Module):
    """MobileNetV3's gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.up(gate))


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.Hardswish(), stride=2),
        conv_bn(8, 8, 5, nn.Hardswish(), groups=8),
        SqueezeExcite(8),
        conv_bn(8, 12, 1, nn.Hardswish()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


class ResNet(nn.Module):
    """Residual additions: identity and projection, ReLU after; a view() flattens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, nn.ReLU())
        self.a, self.b = conv_bn(8, 8, 3, nn.ReLU()), conv_bn(8, 8)
        self.c, self.d = conv_bn(8, 12, 3, nn.ReLU(), stride=2), conv_bn(12, 12)
        self.projection = conv_bn(8, 12, 1, stride=2)
        self.pool, self.dense = nn.AvgPool2d(4), nn.Linear(12 * 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.b(self.a(x)) + x)
        x = F.relu(self.d(self.c(x)) + self.projection(x))
        x = self.pool(x)
        return self.dense(x.view(x.size(0), -1))


class UNet(nn.Module):
    """Encoder, decoder, skip connection by concatenation; the result is an image."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.down, self.inner = conv_bn(2, 6, 3, nn.ReLU()), conv_bn(6, 8, 3, nn.LeakyReLU(0.1))
        self.up, self.head = conv_bn(14, 6, 3, nn.ReLU()), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        deep = self.inner(F.max_pool2d(skip, 2))
        options = {} if self.mode == "nearest" else {"align_corners": False}
        wide = F.interpolate(deep, scale_factor=2.0, mode=self.mode, **options)
        return torch.sigmoid(self.head(self.up(torch.cat([wide, skip], 1))))


class ShuffleNet(nn.Module):
    """Channel split, concatenation and shuffle, mean over the image by mean()."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, nn.ReLU())
        self.branch = nn.Sequential(conv_bn(4, 4, 1, nn.ReLU()), conv_bn(4, 4, 3, groups=4))
        self.dense = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, dim=1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return F.softmax(self.dense(x.mean(dim=(2, 3))), dim=1)


def keyword_1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, stride=2, padding=2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, dilation=2, groups=8),
        nn.Conv1d(8, 12, 1),
        nn.ELU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(12 * 14, 4),
        nn.Softmax(dim=-1),
    )


class Sequence(nn.Module):
    """Linear layers on a sequence (rank 3): MatMul and Add instead of Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 10), nn.Linear(10, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        x = x + torch.sigmoid(self.second(x))
        return self.last(x.mean(dim=1))


class Mixer(nn.Module):
    """What is left: asymmetric pads, PReLU, average pooling with padding, slices, a constant offset, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.slope = nn.Conv2d(2, 6, 3, stride=2), nn.PReLU(6)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.head = nn.Conv2d(6, 4, (1, 3), padding=(0, 1))
        self.register_buffer("offset", torch.rand(1, 2, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad((x - self.offset) * 2.0, (0, 1, 0, 1))
        x = self.slope(self.conv(x))
        x = self.head(self.pool(x))
        return x[:, :2].clamp(-0.5, 1.0), x[:, 2:, 1:, :].amax(dim=(2, 3))


class TwoInputs(nn.Module):
    """An image and a vector of numbers, joined before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.number = conv_bn(1, 4, 3, nn.ReLU(), stride=2), nn.Linear(3, 5)
        self.dense = nn.Linear(4 * 4 * 4 + 5, 3)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        joined = torch.cat([torch.flatten(self.conv(image), 1), F.relu(self.number(numbers))], 1)
        return self.dense(joined)


def vgg_unfolded() -> nn.Module:
    """Batch norm before the convolution and one left unfolded: stays BatchNormalization in the file."""
    return nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 4),
    )


@dataclass(frozen=True)
class Export:
    """One file.

    Attributes:
        dynamo: exporter; False is the one based on TorchScript.
        options: further arguments of torch.onnx.export.
    """

    network: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    dynamo: bool
    opset: int
    options: dict[str, Any] = field(default_factory=dict)


UNFOLDED = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}

EXPORTS: dict[str, Export] = {
    "mobilenet_v2_ts11": Export(mobilenet_v2, ((1, 3, 16, 16),), False, 11),
    "mobilenet_v2_dynamo18": Export(mobilenet_v2, ((1, 3, 16, 16),), True, 18),
    "mobilenet_v3_ts13": Export(mobilenet_v3, ((1, 3, 16, 16),), False, 13),
    "mobilenet_v3_ts17": Export(mobilenet_v3, ((1, 3, 16, 16),), False, 17),
    "mobilenet_v3_dynamo20": Export(mobilenet_v3, ((1, 3, 16, 16),), True, 20),
    "resnet_ts13_dynamic": Export(
        ResNet, ((1, 3, 16, 16),), False, 13, {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    ),
    "resnet_dynamo21": Export(ResNet, ((1, 3, 16, 16),), True, 21),
    "unet_nearest_ts13": Export(lambda: UNet("nearest"), ((1, 2, 12, 8),), False, 13),
    "unet_nearest_dynamo18": Export(lambda: UNet("nearest"), ((1, 2, 12, 8),), True, 18),
    "unet_bilinear_ts17": Export(lambda: UNet("bilinear"), ((1, 2, 12, 8),), False, 17),
    "shufflenet_ts13": Export(ShuffleNet, ((1, 3, 8, 8),), False, 13),
    "shufflenet_dynamo18": Export(ShuffleNet, ((1, 3, 8, 8),), True, 18),
    "keyword_1d_ts17": Export(keyword_1d, ((1, 4, 64),), False, 17),
    "keyword_1d_dynamo23": Export(keyword_1d, ((1, 4, 64),), True, 23),
    "sequence_ts13": Export(Sequence, ((1, 7, 6),), False, 13),
    "sequence_dynamo18": Export(Sequence, ((1, 7, 6),), True, 18),
    "mixer_ts16": Export(Mixer, ((1, 2, 11, 11),), False, 16),
    "mixer_dynamo19": Export(Mixer, ((1, 2, 11, 11),), True, 19),
    "two_inputs_ts13": Export(TwoInputs, ((1, 1, 8, 8), (1, 3)), False, 13),
    "two_inputs_dynamo18": Export(TwoInputs, ((1, 1, 8, 8), (1, 3)), True, 18),
    "vgg_unfolded_ts13": Export(vgg_unfolded, ((1, 3, 14, 14),), False, 13, UNFOLDED),
    "vgg_unfolded_dynamo18": Export(vgg_unfolded, ((1, 3, 14, 14),), True, 18, {"optimize": False}),
}


def settled(network: nn.Module, seed: int) -> nn.Module:
    """The network in inference mode, with batch norms as after training: nothing at its default."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            count = module.num_features
            module.weight.data = torch.rand(count, generator=random) + 0.5
            module.bias.data = torch.randn(count, generator=random) * 0.3
            module.running_mean = torch.randn(count, generator=random) * 0.2
            module.running_var = torch.rand(count, generator=random) * 0.5 + 0.25
    return network.eval()


def write(name: str, export: Export, folder: Path) -> None:
    """Exports one model.

    Raises:
        ValueError: the file is larger than the repository takes.
    """
    torch.manual_seed(7)
    network = settled(export.network(), 7)
    inputs = tuple(torch.zeros(shape) for shape in export.shapes)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        options = {"external_data": False} if export.dynamo else {"input_names": ["x", "x2"][: len(inputs)]}
        if not export.dynamo and len(inputs) == 1 and export.network is not Mixer:
            options["output_names"] = ["y"]
        torch.onnx.export(
            network,
            inputs,
            path,
            opset_version=export.opset,
            dynamo=export.dynamo,
            **options,
            **export.options,
        )
        model = onnx.load(path)
    strip(model)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    if len(data) > LIMIT_BYTES:
        raise ValueError(f"{name} has {len(data)} bytes, over the limit of {LIMIT_BYTES}")
    (folder / f"{name}.onnx").write_bytes(data)
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    print(f"{name}: {len(data)} bytes, opset {opset}, {sorted({n.op_type for n in model.graph.node})}")


def strip(model: onnx.ModelProto) -> None:
    """Removes doc strings and metadata: the dynamo exporter writes source paths there."""
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]


def main() -> None:
    """Writes the models named on the command line, or all."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder = Path(__file__).parent
    for name in sys.argv[1:] or EXPORTS:
        write(name, EXPORTS[name], folder)


if __name__ == "__main__":
    main()
