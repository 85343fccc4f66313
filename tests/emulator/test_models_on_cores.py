"""Whole trained networks on every core: generated C in an emulator equals TFLite Micro, and the reference.

Every test compiles through the Python interface as a user does. The quick set runs a few inputs of each model
on each core; the slow set runs all of them, with both compilers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from shared_models import NAMES, NEEDS_SHARED, STATEFUL, golden_of, path_of
from tiny_project import need

import vmcu
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Numerics
from vmcu.pipeline import Compiled
from vmcu.quant.reference import Reference
from vmcu.targets import load_target

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
COMPILERS = ("gcc", "zig")
OURS = Path(__file__).parents[2] / "models"
OUR_NAMES = ("gesture", "mnist_cnn")
SMALL = ("hello_world", "lenet300_mnist", "mlperf_ad", "micro_speech", STATEFUL)
"""Quick enough for Unicorn."""
FEW = 3

pytestmark = pytest.mark.qemu


@cache
def compiled(path: Path, numerics: Numerics) -> Compiled:
    """The C is the same for every core, and planning takes longest."""
    return vmcu.compile(path, numerics=numerics).compiled


def model_on(path: Path, numerics: Numerics, core: str, compiler: str) -> vmcu.Model:
    return vmcu.Model(compiled(path, numerics), load_target(core), compiler)  # type: ignore[arg-type]


def check_stack(model: vmcu.Model) -> None:
    """The worst case by the compiler's figures holds what painting has seen; it is no wild guess either."""
    assert model.last_run is not None and model.last_run.stack_painted_bytes is not None
    assert 0 < model.last_run.stack_painted_bytes <= model.firmware().stack_bytes
    assert model.firmware().stack_bytes <= model.last_run.stack_painted_bytes + 256


def check_tflm(name: str, core: str, count: int | None, compiler: str = "gcc", engine: str = "qemu") -> None:
    """The first `count` golden inputs (None: all), in one start of the engine."""
    need(compiler, engine)
    golden = golden_of(name)
    model = model_on(path_of(name), "tflm", core, compiler)
    found = model.run(golden.inputs[:count], engine=engine)  # type: ignore[arg-type]
    assert model.last_run is not None and model.last_run.engine == engine
    assert isinstance(found, np.ndarray) and found.dtype == golden.tflm.dtype
    np.testing.assert_array_equal(found.reshape(golden.tflm[:count].shape), golden.tflm[:count])
    check_stack(model)


@NEEDS_SHARED
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_equals_tflite_micro(name: str, core: str) -> None:
    check_tflm(name, core, FEW)


@NEEDS_SHARED
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_stream_of_110_steps(core: str) -> None:
    """The states are carried from step to step inside the firmware."""
    assert len(golden_of(STATEFUL).inputs) == 110
    check_tflm(STATEFUL, core, None)


@NEEDS_SHARED
def test_states_are_forgotten_where_asked() -> None:
    need("gcc")
    golden = golden_of(STATEFUL)
    model = vmcu.compile(path_of(STATEFUL), "cortex-m4", numerics="tflm")
    loud = int(np.argmax(golden.tflm))
    one = golden.inputs[loud : loud + 1]
    kept, reset = model.run(golden.inputs), model.run(golden.inputs, reset_state=True)
    alone = model.run(one)
    assert isinstance(kept, np.ndarray) and isinstance(reset, np.ndarray)
    np.testing.assert_array_equal(reset[loud], np.asarray(alone)[0])
    assert (reset != kept).any(), "the states matter"


@NEEDS_SHARED
@pytest.mark.parametrize("name", SMALL)
def test_true_armv6m(name: str) -> None:
    """Unicorn's Cortex-M0 refuses unaligned access and Armv7-M instructions; QEMU's machine is an M3."""
    check_tflm(name, "cortex-m0plus", FEW, engine="unicorn")


@NEEDS_SHARED
@pytest.mark.parametrize("name", NAMES)
def test_onnx_numerics_equal_the_reference(name: str) -> None:
    need("gcc")
    inputs = golden_of(name).inputs[:FEW]
    check_reference(path_of(name), "cortex-m33", inputs, "gcc")


def check_reference(path: Path, core: str, inputs: Array, compiler: str) -> None:
    """Firmware equals the NumPy reference on inputs of one model in order."""
    model = model_on(path, "onnx", core, compiler)
    graph = model.compiled.graph
    (given,), (out,) = graph.inputs, graph.outputs
    reference = Reference(graph)
    wanted = np.concatenate([reference.run({given.name: x})[out.name] for x in inputs])
    found = model.run(inputs, engine="qemu")
    assert isinstance(found, np.ndarray) and found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    check_stack(model)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", OUR_NAMES)
def test_our_models(name: str, core: str, compiler: str) -> None:
    need(compiler)
    with np.load(OURS / name / "golden.npz", allow_pickle=False) as golden:
        inputs = golden["inputs"][:FEW]
    check_reference(OURS / name / "model.onnx", core, inputs, compiler)


@pytest.mark.slow
@NEEDS_SHARED
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_all_golden_inputs(name: str, core: str, compiler: str) -> None:
    check_tflm(name, core, None, compiler)


@pytest.mark.slow
@NEEDS_SHARED
@pytest.mark.parametrize("name", [n for n in NAMES if n not in SMALL])
def test_large_models_on_true_armv6m(name: str) -> None:
    check_tflm(name, "cortex-m0plus", 1, engine="unicorn")
