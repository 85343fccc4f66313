"""The trained models in models/: what their manifests promise holds, in onnxruntime and in vmcu's reference."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lockstep import lockstep
from quantising import onnxruntime_session, reference_of

FOLDER = Path(__file__).parents[2] / "models"
MODELS = {"mnist_cnn": 0.97, "gesture": 0.87}  # least accuracy
GOLDEN_TIES = {"mnist_cnn": 0, "gesture": 0}
"""Golden output elements in which vmcu differs from onnxruntime, all by float ties; more is a fault."""
TIE_LSB = 1e-4
SAMPLES = {"mnist_cnn": 400, "gesture": 400}


def manifest_of(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / name / "manifest.json").read_text())
    return loaded


def arrays_of(name: str, file: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name / file, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_model_is_here() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/manifest.json")} == set(MODELS)


def test_manifest(name: str) -> None:
    manifest = manifest_of(name)
    for key in ("package", "package_version", "package_licence", "origin", "split"):
        assert manifest["data"][key]
    assert manifest["model_licence"] == "Apache-2.0"
    for file, digest in manifest["sha256"].items():
        assert sha256((FOLDER / name / file).read_bytes()).hexdigest() == digest
    accuracy = manifest["accuracy"]
    assert accuracy["int8"] >= MODELS[name] and accuracy["samples_npz_int8"] >= MODELS[name]
    assert abs(accuracy["float"] - accuracy["int8"]) <= 0.02


def test_files_are_small(name: str) -> None:
    sizes = [path.stat().st_size for path in (FOLDER / name).iterdir() if path.is_file()]
    assert sum(sizes) < 1_000_000


def test_model_is_qdq_and_agrees_with_the_manifest(name: str) -> None:
    model, manifest = onnx.load(FOLDER / name / "model.onnx"), manifest_of(name)
    operators = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators == set(manifest["operators"])
    (port,) = model.graph.input
    assert [d.dim_value for d in port.type.tensor_type.shape.dim] == manifest["input"]["shape"]
    assert port.name == manifest["input"]["name"] and model.graph.output[0].name == manifest["output"]["name"]
    samples = arrays_of(name, "samples.npz")
    assert float(samples["scale"]) == pytest.approx(manifest["input"]["scale"], rel=1e-7)
    assert int(samples["zero_point"]) == manifest["input"]["zero_point"]


def test_golden_is_what_onnxruntime_says(name: str) -> None:
    """With the setting stated in models/README.md."""
    golden = arrays_of(name, "golden.npz")
    session = onnxruntime_session(FOLDER / name / "model.onnx")
    outputs = [session.run(None, {"input": x[None]})[0] for x in golden["inputs"]]
    np.testing.assert_array_equal(np.concatenate(outputs), golden["outputs_ort"])


def test_reference_equals_golden(name: str) -> None:
    golden = arrays_of(name, "golden.npz")
    reference = reference_of(FOLDER / name / "model.onnx")
    got = np.concatenate([reference.run({"input": x[None]})["logits"] for x in golden["inputs"]])
    (port,) = reference.graph.outputs
    steps = np.rint((got - golden["outputs_ort"]) / reference.graph.tensors[port.tensor].scale)
    print(f"{name}: {np.count_nonzero(steps)} of {steps.size} golden outputs differ")
    assert np.count_nonzero(steps) <= GOLDEN_TIES[name] and np.abs(steps).max() <= 1
    np.testing.assert_array_equal(got[steps == 0], golden["outputs_ort"][steps == 0])


def test_every_operator_in_lockstep(name: str, tmp_path: Path) -> None:
    golden = arrays_of(name, "golden.npz")
    feeds = [{"input": x[None]} for x in golden["inputs"][:8]]
    found = lockstep(FOLDER / name / "model.onnx", feeds, tmp_path)
    count = sum(d.elements for d in found.deviations)
    print(f"{name}: {count} of {found.elements} elements differ")
    assert all(d.steps == 1 and d.off_tie is not None and d.off_tie <= TIE_LSB for d in found.deviations)
    assert count <= 1e-4 * found.elements


def test_accuracy_over_the_samples(name: str) -> None:
    """int8 inputs as they are: equal to the manifest but for samples whose two best classes a tie may swap."""
    samples, manifest = arrays_of(name, "samples.npz"), manifest_of(name)
    reference = reference_of(FOLDER / name / "model.onnx")
    logits = np.stack([reference.run({"input": x[None]})["logits"][0] for x in samples["inputs"]])
    (port,) = reference.graph.outputs
    best = np.sort(logits, axis=1)
    close = int(
        np.count_nonzero(best[:, -1] - best[:, -2] <= reference.graph.tensors[port.tensor].scale * 1.01)
    )
    right = int(np.count_nonzero(logits.argmax(axis=1) == samples["labels"]))
    promised = round(manifest["accuracy"]["samples_npz_int8"] * len(logits))
    print(f"{name}: {right} of {len(logits)} right, manifest {promised}, {close} samples within 1 LSB")
    assert len(logits) == manifest["accuracy"]["samples_npz"] == SAMPLES[name]
    assert close <= 0.03 * len(logits)
    assert abs(right - promised) <= close
