"""What every model in this folder shares: training loop, export, quantisation, checks, artefacts.

The `train.py` scripts say only what is specific to a task (data, split, network, augmentation) and hand the
rest to `build`. Keeping the pipeline in one place makes the models comparable: each one has been through the
same quantiser, the same graph checks and the same measurement, and each manifest has the same keys.

A model's random choices all come from one seed in its `Recipe`.
"""

import hashlib
import importlib.metadata
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Augment = Callable[[Tensor, torch.Generator], Tensor]

INPUT, OUTPUT = "input", "logits"
OPSET = 17
THREADS = 2
GOLDEN_SAMPLES = 20
CALIBRATION_SAMPLES = 256
MODEL_LIMIT_BYTES = 200_000
SAMPLES_LIMIT_BYTES = 300_000
QDQ_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
# fmt: off
ALLOWED_OPS = QDQ_OPS | {
    "Conv", "Gemm", "MatMul",
    "Add", "Sub", "Mul",
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Softmax",
    "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean",
    "Concat", "Slice", "Split", "Pad", "Resize",
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the data come from; `package` is the PyPI distribution whose wheel holds them."""

    package: str
    loader: str
    package_licence: str
    origin: str
    split: str

    def version(self) -> str:
        """The installed version, asked for at run time so that the manifest cannot disagree with the data."""
        return importlib.metadata.version(self.package)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the manifest says about a model that cannot be measured, and how to train it."""

    name: str
    task: str
    architecture: str
    input_meaning: str
    classes: tuple[str, ...]
    data: DataSource
    seed: int
    epochs: int
    batch_size: int
    peak_learning_rate: float
    weight_decay: float = 1e-3
    label_smoothing: float = 0.05
    model_licence: str = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Split:
    """Disjoint train and test data as the model takes them.

    Shapes: `*_x` is (samples, *input shape without the batch axis), `*_y` is (samples,).
    """

    train_x: FloatArray
    train_y: IntArray
    test_x: FloatArray
    test_y: IntArray

    def verify(self) -> None:
        """Raises ValueError where a test sample also is a training sample: that would be no test."""
        seen = {sample.tobytes() for sample in self.train_x}
        shared = sum(sample.tobytes() in seen for sample in self.test_x)
        if shared:
            raise ValueError(f"{shared} test samples are in the training data too: split by a coarser unit")


def build(recipe: Recipe, split: Split, network: nn.Module, augment: Augment, folder: Path) -> None:
    """Trains `network`, quantises it and writes every artefact of the model into `folder`.

    Raises:
        ValueError: the split leaks, or the graph or a file is not what the folder promises. Nothing is written
            then.
    """
    # The quantiser warns on the root logger about optional steps.
    logging.getLogger().setLevel(logging.ERROR)
    split.verify()
    started = time.monotonic()
    train(recipe, split, network, augment)
    print(f"trained in {time.monotonic() - started:.0f} s")

    float_model = export_float(network, split.train_x.shape[1:])
    model = quantise(float_model, calibration_subset(split.train_x, recipe.seed))
    verify_graph(model)

    scale, zero_point = input_quantisation(model)
    shown = np.random.default_rng(recipe.seed).permutation(len(split.test_x))[:400]
    samples: Arrays = {
        "inputs": quantise_array(split.test_x[shown], scale, zero_point),
        "labels": split.test_y[shown].astype(np.uint8),
        "scale": np.array(scale, np.float32),
        "zero_point": np.array(zero_point, np.int8),
    }
    golden_x = split.test_x[shown[:GOLDEN_SAMPLES]]
    golden: Arrays = {
        "inputs": golden_x,
        "labels": split.test_y[shown[:GOLDEN_SAMPLES]].astype(np.uint8),
        "outputs_ort": run(model, golden_x),
    }
    int8_logits = run(model, split.test_x)
    manifest = describe(recipe, split, float_model, model)
    manifest["accuracy"] = {
        "test_samples": len(split.test_y),
        "float": accuracy(run(float_model, split.test_x), split.test_y),
        "int8": accuracy(int8_logits, split.test_y),
        "samples_npz": len(shown),
        "samples_npz_int8": accuracy(int8_logits[shown], split.test_y[shown]),
        "int8_per_class_recall": per_class_recall(int8_logits, split.test_y, recipe.classes),
    }
    write(folder, float_model, model, golden, samples, manifest)
    print(json.dumps(manifest["accuracy"], indent=2))


def train(recipe: Recipe, split: Split, network: nn.Module, augment: Augment) -> None:
    """Trains in place for a fixed number of epochs and leaves the network in evaluation mode.

    The last epoch's weights are kept, whatever they score: no step looks at the test data, so the reported
    accuracy is not the best of several.
    """
    random = torch.Generator().manual_seed(recipe.seed)
    inputs, labels = torch.from_numpy(split.train_x), torch.from_numpy(split.train_y)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * (len(labels) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_learning_rate, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    network.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for batch in _batches(len(labels), recipe.batch_size, random):
            optimiser.zero_grad()
            loss = loss_of(network(augment(inputs[batch], random)), labels[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}/{recipe.epochs}: training loss {total / len(labels):.3f}")
    network.eval()


def _batches(count: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yields shuffled index batches; the last short one is dropped, since batch norm needs full ones."""
    order = torch.randperm(count, generator=random)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def seed_everything(seed: int) -> None:
    """Makes weight initialisation and every kernel repeatable; call before building the network."""
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)


def export_float(network: nn.Module, input_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Exports with a static batch of one.

    The TorchScript exporter is chosen because it folds batch norm into the convolutions and writes plain
    operators at the opset asked for. Doc strings are dropped: they may hold paths of the machine that trained.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, *input_shape),),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    return _stripped(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def quantise(float_model: onnx.ModelProto, calibration: FloatArray) -> onnx.ModelProto:
    """Post-training int8 quantisation in QDQ form: per-channel weights, per-tensor activations.

    Every operator type of the graph is named to the quantiser, since its default list leaves some
    (HardSwish, GlobalMaxPool, ...) in float.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        onnx.save(float_model, source)
        quantize_static(
            source,
            target,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in float_model.graph.node}),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(target)
    return _stripped(onnx.shape_inference.infer_shapes(model, strict_mode=True))


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds one sample at a time, as the model's static batch asks."""

    def __init__(self, samples: FloatArray) -> None:
        self._feeds = iter([{INPUT: sample[np.newaxis]} for sample in samples])

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._feeds, None)


def calibration_subset(train_x: FloatArray, seed: int) -> FloatArray:
    """Picks training samples for calibration; test data may not set a scale."""
    return train_x[np.random.default_rng(seed).permutation(len(train_x))[:CALIBRATION_SAMPLES]]


def _stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes doc strings and metadata: same weights, same bytes, and nothing of the machine in the file."""
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def verify_graph(model: onnx.ModelProto) -> None:
    """Checks what the folder promises of a model.

    Raises:
        ValueError: a shape is dynamic, an operator is not in `ALLOWED_OPS`, or a computed tensor is not quantised.
    """
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    faults = [f"operator {node.op_type}" for node in graph.node if node.op_type not in ALLOWED_OPS]
    for value in [*graph.input, *graph.output, *graph.value_info]:
        dims = value.type.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
            faults.append(f"{value.name} has a dynamic shape")
    producer = {name: node.op_type for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    consumers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, set()).add(node.op_type)
    for node in graph.node:
        if node.op_type in QDQ_OPS:
            continue
        faults += [
            f"{node.name} reads {name} unquantised"
            for name in node.input
            if name and name not in constants and producer.get(name) != "DequantizeLinear"
        ]
        faults += [
            f"{node.name} writes {name} unquantised"
            for name in node.output
            if consumers.get(name) != {"QuantizeLinear"}
        ]
    if faults:
        raise ValueError("quantised graph: " + "; ".join(faults))


def input_quantisation(model: onnx.ModelProto) -> tuple[float, int]:
    """Scale and zero point of the model's input."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == INPUT)
    return float(constants[node.input[1]]), int(constants[node.input[2]])


def quantise_array(values: FloatArray, scale: float, zero_point: int) -> NDArray[np.int8]:
    """ONNX QuantizeLinear to int8: round half to even, then saturate."""
    steps: FloatArray = np.rint(values / np.float32(scale))
    return np.clip(steps + zero_point, -128, 127).astype(np.int8)


def run(model: onnx.ModelProto, inputs: FloatArray) -> FloatArray:
    """Outputs for each sample, with graph optimisations off so that each Q and DQ is computed as written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = [session.run([OUTPUT], {INPUT: sample[np.newaxis]})[0] for sample in inputs]
    return np.concatenate(outputs).astype(np.float32)


def accuracy(logits: FloatArray, labels: IntArray) -> float:
    """Share of samples whose largest logit is the label's, to four digits."""
    return round(float((logits.argmax(axis=1) == labels).mean()), 4)


def per_class_recall(logits: FloatArray, labels: IntArray, classes: tuple[str, ...]) -> dict[str, float]:
    """Accuracy within each class: an average can hide a class the model never finds."""
    return {name: accuracy(logits[labels == i], labels[labels == i]) for i, name in enumerate(classes)}


def count_parameters_and_macs(float_model: onnx.ModelProto) -> tuple[int, int]:
    """Parameters (batch norm folded) and multiply-accumulates of Conv and Gemm for one inference."""
    graph = float_model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.output]:
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    parameters = macs = 0
    for node in graph.node:
        if node.op_type == "Conv":
            macs += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type == "Gemm":
            macs += int(np.prod(shapes[node.input[1]]))
        else:
            continue
        parameters += sum(int(np.prod(shapes[name])) for name in node.input[1:])
    return parameters, macs


def describe(
    recipe: Recipe, split: Split, float_model: onnx.ModelProto, model: onnx.ModelProto
) -> dict[str, object]:
    """The manifest without its accuracies."""
    parameters, macs = count_parameters_and_macs(float_model)
    scale, zero_point = input_quantisation(model)
    return {
        "name": recipe.name,
        "task": recipe.task,
        "data": {**asdict(recipe.data), "package_version": recipe.data.version()},
        "model_licence": recipe.model_licence,
        "architecture": recipe.architecture,
        "parameters": parameters,
        "macs": macs,
        "operators": sorted({node.op_type for node in model.graph.node}),
        "input": {
            "name": INPUT,
            "shape": [1, *split.train_x.shape[1:]],
            "meaning": recipe.input_meaning,
            "scale": scale,
            "zero_point": zero_point,
        },
        "output": {"name": OUTPUT, "classes": list(recipe.classes)},
        "training": {
            "train_samples": len(split.train_y),
            "seed": recipe.seed,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "calibration_samples": min(CALIBRATION_SAMPLES, len(split.train_y)),
        },
        "versions": {
            "torch": torch.__version__.split("+")[0],
            "onnx": onnx.__version__,
            "onnxruntime": ort.__version__,
            "opset": OPSET,
        },
    }


def write(
    folder: Path,
    float_model: onnx.ModelProto,
    model: onnx.ModelProto,
    golden: Arrays,
    samples: Arrays,
    manifest: dict[str, object],
) -> None:
    """Writes the artefacts together, so that a folder never mixes two trainings.

    Raises:
        ValueError: a file would be larger than the repository takes; nothing is replaced then.
    """
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        onnx.save(float_model, scratch / "model_f32.onnx")
        onnx.save(model, scratch / "model.onnx")
        np.savez_compressed(scratch / "golden.npz", allow_pickle=False, **golden)
        np.savez_compressed(scratch / "samples.npz", allow_pickle=False, **samples)
        manifest["sha256"] = {
            name: hashlib.sha256((scratch / name).read_bytes()).hexdigest()
            for name in ("model.onnx", "model_f32.onnx")
        }
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        for name, limit in (("model.onnx", MODEL_LIMIT_BYTES), ("samples.npz", SAMPLES_LIMIT_BYTES)):
            size = (scratch / name).stat().st_size
            if size > limit:
                raise ValueError(f"{name} has {size} bytes, over the limit of {limit}")
        for path in sorted(scratch.iterdir()):
            (folder / path.name).write_bytes(path.read_bytes())
            print(f"{path.name}: {path.stat().st_size} bytes")
