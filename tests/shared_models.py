"""The trained networks of `../shared/models` and their golden vectors, where they are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from vmcu.ir.graph import Array

FOLDER = Path(__file__).parents[2] / "shared" / "models"
NAMES = (
    "hello_world",
    "lenet300_mnist",
    "mcunet_vww",
    "micro_speech",
    "mlperf_ad",
    "mlperf_kws",
    "mlperf_resnet8",
    "mlperf_sww",
    "mlperf_vww",
    "mww_okay_nabu",
    "person_detect",
)
STATEFUL = "mww_okay_nabu"  # one stream of 110 steps; every other model has 20 independent inputs
NEEDS_SHARED = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/models is not on this machine")


@dataclass(frozen=True)
class Golden:
    """Arrays of `golden.npz`, the inference first."""

    inputs: Array
    tflm: Array
    onnx: Array

    def wanted(self, numerics: str) -> Array:
        """The outputs in these numerics."""
        return self.tflm if numerics == "tflm" else self.onnx


def path_of(name: str, file: str = "model_qdq_int8io.onnx") -> Path:
    """A model file; by default the one with integer inputs and outputs."""
    return FOLDER / name / file


@cache
def golden_of(name: str) -> Golden:
    """The golden vectors of a model."""
    with np.load(FOLDER / name / "golden.npz", allow_pickle=False) as arrays:
        return Golden(arrays["inputs"], arrays["outputs_tflm"], arrays["outputs_ort_qdq"])
