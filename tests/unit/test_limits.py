"""Numbers at and beyond what the integer arithmetic holds: exact, or refused with the node's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from host_library import HostModel
from tiny_models import Net

from vmcu.batch import random_batch
from vmcu.errors import Exit, VmcuError
from vmcu.ir.quantized import Numerics
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference

IMAGE = (1, 2, 3, 4)


def int32(net: Net, values: object, scale: float = 0.01) -> str:
    """A constant behind DequantizeLinear, as quantisers write a bias."""
    return net.node("DequantizeLinear", [net.const(values, np.int32), net.const(scale, np.float32)])


def wide(op: str, value: int) -> Callable[[Net, str], str]:
    """`op` with an int32 constant per channel, one of them `value`."""
    return lambda n, x: n.node(op, [x, int32(n, [[[0]], [[value]]])])


def save(tmp_path: Path, build: Callable[[Net, str], str], scale: float = 0.05, out: float = 0.05) -> Path:
    net = Net(18)
    real = build(net, net.dq(net.input("x", IMAGE, np.int8), scale))
    net.q(real, out, output="y")
    net.output("y", np.int8)
    return net.save(tmp_path)


def check_chain(path: Path, folder: Path, numerics: Numerics = "onnx") -> Reference:
    """C equals the reference; returns it after its last run."""
    compiled = compile_graph(load(path, numerics=numerics), "net")
    model, reference = HostModel(compiled, folder), Reference(compiled.graph)
    for batch in random_batch(compiled.graph, 2).tensors:
        expected = reference.run_tensors(batch)
        for name, found in model.run(batch).items():
            np.testing.assert_array_equal(found, expected[name])
    return reference


REFUSED: dict[str, tuple[Callable[[Net, str], str], Numerics, float, float, str]] = {
    "add int32": (wide("Add", 256), "onnx", 0.05, 0.05, "Add: a constant wider than 8 bits"),
    "add int32 tflm": (wide("Add", 256), "tflm", 0.05, 0.05, "Add: a constant wider than 8 bits"),
    "mul int32": (wide("Mul", 100_000), "onnx", 0.05, 0.05, "Mul: a constant operand with values from 0 to 100000"),
    "prelu int32": (wide("PRelu", 100_000), "onnx", 0.05, 0.05, "PRelu: a constant operand with values"),
    "conv int32": (
        lambda n, x: n.node("Conv", [x, int32(n, np.full((1, 2, 1, 1), 100_000))]),
        "onnx", 0.05, 0.05, "Conv: a constant operand with values from 100000 to 100000",
    ),
    "mean of a huge scale": (
        lambda n, x: n.node("ReduceMean", [x, n.const([2, 3], np.int64)]), "tflm", 1.0, 1e-12, "rescaling factor 1e.12",
    ),
    "table of a huge scale": (lambda n, x: n.node("Relu", [x]), "tflm", 1.0, 1e-12, "Relu: a rescaling factor of 1e.12"),
    "hard swish of a huge scale": (lambda n, x: n.node("HardSwish", [x]), "tflm", 3e38, 3e38, "rescaling factor of"),
    "softmax of a tiny scale": (
        lambda n, x: n.node("Softmax", [x], axis=1), "tflm", 1e-9, 1 / 256, "Softmax: an input scale of 1e-09",
    ),
    "softmax of a fine output": (
        lambda n, x: n.node("Softmax", [x], axis=1), "onnx", 0.05, 2.0**-17.9, "Softmax: an output scale of",
    ),
    "not a number": (
        lambda n, x: n.node("Mul", [x, n.const(np.inf, np.float32)]), "onnx", 0.05, 0.05, "not a (finite )?number",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    build, numerics, scale, out, message = REFUSED[name]
    with pytest.raises(VmcuError, match=message) as error:
        load(save(tmp_path, build, scale, out), numerics=numerics)
    assert error.value.code is Exit.INPUT


ACCEPTED: dict[str, tuple[Callable[[Net, str], str], Numerics, float, float]] = {
    "add": (wide("Add", 255), "onnx", 0.05, 0.05),
    "add tflm": (wide("Add", -255), "tflm", 0.05, 0.05),
    "mul": (wide("Mul", -32768), "onnx", 0.05, 50.0),
    "prelu": (wide("PRelu", 32767), "onnx", 0.05, 50.0),
    "softmax of a fine output": (lambda n, x: n.node("Softmax", [x], axis=1), "onnx", 0.05, 2.0**-16.99),
    "a step function": (lambda n, x: n.node("Sigmoid", [x]), "tflm", 3e38, 1 / 256),
    "a ratio beyond int64": (lambda n, x: n.node("Relu", [x]), "onnx", 1e36, 1e-20),
    "elu beyond int64": (lambda n, x: n.node("Elu", [x]), "tflm", 3e30, 1e-3),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str, tmp_path: Path) -> None:
    build, numerics, scale, out = ACCEPTED[name]
    check_chain(save(tmp_path, build, scale, out), tmp_path, numerics)


def test_a_table_saturates_on_both_sides(tmp_path: Path) -> None:
    graph = load(save(tmp_path, lambda n, x: n.node("LeakyRelu", [x]), 1e36, 1e-20))
    table = graph.ops[0].table  # type: ignore[attr-defined]
    assert sorted(set(table.tolist())) == [-128, 3, 127] and table[0] == -128 and table[-1] == 127


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
def test_more_tap_counts_than_a_byte_numbers(numerics: Numerics, tmp_path: Path) -> None:
    """A window as long as its signal: every position has its own count."""
    length = 300
    net = Net(18)
    x = net.dq(net.input("x", (1, 1, length), np.int8))
    pads = [length - 1, length - 1]
    real = net.node("AveragePool", [x], kernel_shape=[length], pads=pads, count_include_pad=0)
    net.q(real, 0.05, output="y")
    net.output("y", np.int8)
    reference = check_chain(net.save(tmp_path), tmp_path, numerics)
    given, got = (
        reference.tensors[p[0].tensor].reshape(-1) for p in (reference.graph.inputs, reference.graph.outputs)
    )
    exact = np.convolve(given.astype(np.int64), np.ones(length)) / np.convolve(
        np.ones(length), np.ones(length)
    )
    assert np.abs(got - exact).max() <= 0.5 + 1e-9


def test_row_numbers_beyond_int16(tmp_path: Path) -> None:
    net = Net(18)
    x = net.dq(net.input("x", (1, 40_000, 1), np.int8))
    net.q(net.node("Gather", [x, net.const([39_999, 5, 32_768], np.int64)], axis=1), output="y")
    net.output("y", np.int8)
    compiled = compile_graph(load(net.save(tmp_path)), "net")
    model = HostModel(compiled, tmp_path)
    given = np.arange(40_000).astype(np.int8)
    port = compiled.graph.inputs[0].tensor
    (found,) = model.run({port: given}).values()
    assert found.reshape(-1).tolist() == given[[39_999, 5, 32_768]].tolist()


def test_constant_outputs_are_named(tmp_path: Path) -> None:
    net = Net(18)
    net.q(net.dq(net.input("x", IMAGE, np.int8)), output="y")
    net.output("y", np.int8)
    net.q(net.const([1.0, 2.0], np.float32), output="c")
    net.output("c", np.int8)
    with pytest.raises(VmcuError, match="output 'c': is a constant\n  fix: remove it from the outputs"):
        load(net.save(tmp_path))


def test_a_model_without_quantize_linear(tmp_path: Path) -> None:
    """int8 data are quantised data; int8 weights alone are not enough."""
    net = Net(18)
    x = net.dq(net.input("x", (1, 4), np.int8))
    net.node("ArgMax", [x], net.output("y", np.int64), axis=1)
    assert check_chain(net.save(tmp_path), tmp_path).graph.outputs[0].dtype == "int64"
    net = Net(18)
    net.node("MatMul", [net.input("x", (1, 4)), net.weights((4, 4))], net.output("y"))
    with pytest.raises(VmcuError, match="model: quantises only its weights"):
        load(net.save(tmp_path))
