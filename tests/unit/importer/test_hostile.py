"""Hostile and broken files: a clear error that says what, where and how to fix it, or a correct import. Never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_models import Net, small_net

from vmcu.errors import Exit, VmcuError
from vmcu.importer import import_model
from vmcu.ir.graph import Graph
from vmcu.passes import canonicalise

Change = Callable[[onnx.ModelProto], None]


def refused(path: Path, *texts: str, **options: object) -> VmcuError:
    """The error of importing `path`: INPUT, complete, printable, and saying `texts`."""
    with pytest.raises(VmcuError) as caught:
        canonicalise(import_model(path, **options))  # type: ignore[arg-type]
    error = caught.value
    assert error.code is Exit.INPUT
    assert error.problems and all(p.what and p.where and p.fix for p in error.problems)
    message = str(error)
    for text in texts:
        assert text in message, message
    assert all(c.isprintable() or c == "\n" for c in message) and message.isascii()
    assert len(message) < 2000 * len(error.problems)
    assert "Traceback" not in message
    return error


def saved(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def changed(change: Change, tmp_path: Path, opset: int = 13) -> Path:
    model = small_net(opset).model()
    change(model)
    return saved(model, tmp_path)


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.op_type == op)


def put(model: onnx.ModelProto, name: str, array: object, dtype: object) -> None:
    """Replaces an initialiser."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array, dtype), name))


def initialiser(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


# ---- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"hello, this is not a model\n" * 9, "is a text file, not ONNX"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is not an ONNX file, or is truncated"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(64), "is a TFLite file, not ONNX"),
        (b"\x08\x00", "holds no ONNX model"),
        (bytes(range(256)) * 8, "is not an ONNX file, or is truncated"),
    ],
)
def test_not_a_model(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "onnx" in refused(path, text, "model.onnx").problems[0].fix


@pytest.mark.parametrize("keep", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated(keep: float, tmp_path: Path) -> None:
    data = small_net().model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * keep)])
    refused(path)


def test_every_truncation_and_many_flipped_bytes(tmp_path: Path) -> None:
    """Whatever the bytes: an import or an INPUT error."""
    data = small_net().model().SerializeToString()
    rng = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    for trial in range(400):
        broken = bytearray(data)
        if trial % 4 == 0:
            broken = broken[: rng.integers(1, len(data))]
        for at in rng.integers(0, len(broken), rng.integers(1, 4)):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            canonicalise(import_model(path))
        except VmcuError as error:
            assert error.code is Exit.INPUT, error


def test_missing_folder_and_odd_paths(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.onnx", "does not exist")
    refused(tmp_path, "is a folder, not a model file")
    refused(Path("a\0b.onnx"), "does not exist")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    refused(fifo, "is not a regular file")


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(300 * 1024 * 1024)
    refused(path, "has 314572800 bytes, the limit is 268435456")


# ---- the model as a whole ----------------------------------------------------------------------------


def opset(domain: str, version: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(domain, version))

    return change


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 7


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9999


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def new_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 9999


def cycle(model: onnx.ModelProto) -> None:
    node(model, "Conv").input[0] = "relu"


def long_cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def own_input(model: onnx.ModelProto) -> None:
    node(model, "Relu").input[0] = "relu"


def two_producers(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["conv"], ["relu"], name="second"))


def overwrites_input(model: onnx.ModelProto) -> None:
    node(model, "Relu").output[0] = "x"


def two_initialisers(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(initialiser(model, "w_q"))


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def undefined(model: onnx.ModelProto) -> None:
    node(model, "Relu").input[0] = "nowhere"


def no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def ghost_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "ghost"


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse_w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def unknown_op(model: onnx.ModelProto) -> None:
    node(model, "Relu").op_type = "Frobnicate"


def unknown_domain(model: onnx.ModelProto) -> None:
    node(model, "Relu").domain = "com.acme"


def contrib(model: onnx.ModelProto) -> None:
    node(model, "Relu").domain = "com.microsoft"
    node(model, "Relu").op_type = "BiasGelu"


def unknown_attribute(model: onnx.ModelProto) -> None:
    node(model, "Relu").attribute.append(helper.make_attribute("speed", 11))


def subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["conv"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "cond"))
    proto = helper.make_node("If", ["cond"], ["relu"], name="branch", then_branch=branch, else_branch=branch)
    node(model, "Relu").CopyFrom(proto)


def dynamic_quantisation(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["conv"], ["a", "b", "c"], name="dyn"))


def recursive_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("F", ["a"], ["b"], domain="my")]
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("my", 1)]
    model.functions.append(helper.make_function("my", "F", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("my", 1))
    node(model, "Relu").domain, node(model, "Relu").op_type = "my", "F"


def exploding_functions(model: onnx.ModelProto) -> None:
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("my", 1)]
    for i in range(40):
        body = [
            helper.make_node(f"F{i + 1}" if i < 39 else "Relu", [a], [b], domain="my" if i < 39 else "")
            for a, b in (("a", "t"), ("t", "b"))
        ]
        model.functions.append(helper.make_function("my", f"F{i}", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("my", 1))
    node(model, "Relu").domain, node(model, "Relu").op_type = "my", "F0"


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (old_opset, ("uses opset 7; 11 to", "version_converter")),
        (new_opset, ("uses opset 9999", "install a newer onnx package")),
        (no_opset, ("names no opset of the default domain",)),
        (opset("ai.onnx", 17), ("imports domain '' twice, in different versions",)),
        (new_ir, ("has ONNX IR version 9999",)),
        (cycle, ("graph: its nodes form a cycle", "state_in_X")),
        (long_cycle, ("its nodes form a cycle", " <- ...")),
        (own_input, ("its nodes form a cycle",)),
        (two_producers, ("tensor 'relu': has two sources: node", "and node 'second' (Relu)")),
        (overwrites_input, ("tensor 'x': has two sources: a graph input and node",)),
        (two_initialisers, ("tensor 'w_q': has two sources: an initialiser and an initialiser",)),
        (two_inputs, ("tensor 'x': has two sources: a graph input and a graph input",)),
        (undefined, ("(Relu): reads tensor 'nowhere', which nothing computes",)),
        (no_outputs, ("graph: has no outputs",)),
        (ghost_output, ("graph output 'ghost': is not computed",)),
        (sparse, ("tensor 'sparse_w': is a sparse initialiser", "store the weights densely")),
        (unknown_op, ("(Frobnicate): is not valid ONNX: No Op registered for Frobnicate",)),
        (
            unknown_domain,
            ("(Relu): is an operator of the unknown domain 'com.acme'", "standard ONNX operators"),
        ),
        (contrib, ("(BiasGelu): is an operator of domain 'com.microsoft' that is not understood",)),
        (unknown_attribute, ("(Relu): is not valid ONNX: Unrecognized attribute: speed",)),
        (subgraph, ("node 'branch' (If): holds a subgraph", "torch.jit.trace")),
        (
            dynamic_quantisation,
            ("node 'dyn' (DynamicQuantizeLinear): computes its quantisation at run time",),
        ),
        (recursive_function, ("function 'F': calls itself",)),
        (exploding_functions, ("its functions expand to", "the limit is 100000")),
    ],
)
def test_broken_model(change: Change, texts: tuple[str, ...], tmp_path: Path) -> None:
    refused(changed(change, tmp_path), *texts)


def test_all_bad_nodes_in_one_list(tmp_path: Path) -> None:
    model = small_net().model()
    for i, (op, domain) in enumerate([("Foo", ""), ("Bar", "com.acme"), ("BiasGelu", "com.microsoft")]):
        model.graph.node.append(helper.make_node(op, ["conv"], [f"out{i}"], name=f"bad{i}", domain=domain))
    error = refused(saved(model, tmp_path), "'bad0' (Foo)", "'bad1' (Bar)", "'bad2' (BiasGelu)")
    assert len(error.problems) == 3


def test_float_model(tmp_path: Path) -> None:
    net = Net()
    net.output(net.node("Conv", [net.input("x", [1, 3, 8, 8]), net.const(np.ones((4, 3, 3, 3)), np.float32)]))
    refused(
        net.save(tmp_path), "model: is a float model", "from onnxruntime.quantization import quantize_static"
    )


# ---- shapes ------------------------------------------------------------------------------------------


def test_dynamic_dimensions_are_never_guessed(tmp_path: Path) -> None:
    net = Net()
    a, b = net.input("a", ["batch", 3, 8, 8]), net.input("b", [1, None, 8, "w"])
    net.output(net.qdq(net.node("Add", [net.qdq(a), net.qdq(b)])))
    path = net.save(tmp_path)
    error = refused(
        path,
        "input 'a': has dynamic dimensions: 0 ('batch') of ?x3x8x8",
        "--input-shape a:?x3x8x8",
        "input 'b': has dynamic dimensions: 1, 3 ('w') of 1x?x8x?",
    )
    assert len(error.problems) == 2
    shapes = {"a": (1, 3, 8, 8), "b": (1, 3, 8, 8)}
    assert import_model(path, input_shapes=shapes).outputs[0].shape == (1, 3, 8, 8)
    refused(path, "does not fit the declared shape ?x3x8x8", input_shapes={**shapes, "a": (1, 3, 8)})
    refused(path, "--input-shape 1x4x8x8 does not fit", input_shapes={**shapes, "a": (1, 4, 8, 8)})
    refused(path, "has a dimension of size zero", input_shapes={**shapes, "a": (0, 3, 8, 8)})
    refused(path, "has a negative dimension", input_shapes={**shapes, "a": (-1, 3, 8, 8)})
    refused(path, "'aa': is not a graph input", "did you mean 'a'?", input_shapes={**shapes, "aa": (1,)})


def test_input_without_shape(tmp_path: Path) -> None:
    net = Net()
    net.output(net.qdq(net.input("x", None)))
    refused(net.save(tmp_path), "input 'x': has no shape in the file")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ([1, 3, 0, 8], "input 'x': has a dimension of size zero: [1, 3, 0, 8]"),
        ([1, 3, -4, 8], "input 'x': has a negative dimension: [1, 3, -4, 8]"),
        ([1, 3, 2**62, 2**62], "the limit is 67108864"),
        ([1] * 9, "has rank 9, the limit is 8"),
    ],
)
def test_input_shapes(shape: list[int], text: str, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, shape))

    refused(changed(change, tmp_path), text)


def ints(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (
            lambda n, x: n.node("Conv", [x, n.weights((4, 5, 3, 3))]),
            ("(Conv): its weights [4, 5, 3, 3] in 1 groups",),
        ),
        (lambda n, x: n.node("Conv", [x, n.weights((4, 3, 3, 3))], group=0), ("has 0 groups for 4 output",)),
        (
            lambda n, x: n.node("Conv", [x, n.weights((4, 3, 3, 3))], kernel_shape=[5, 5]),
            ("its kernel_shape (5, 5)",),
        ),
        (lambda n, x: n.node("Conv", [x, n.weights((4, 3, 3, 3))], strides=[0, 0]), ("strides",)),
        (lambda n, x: n.node("Conv", [x, n.weights((4, 3, 3, 3))], pads=[2**62] * 4), ("(Conv)", "overflow")),
        (
            lambda n, x: n.node("Conv", [x, n.weights((4, 3, 9, 9))]),
            ("has a dimension of size zero: [1, 4, 0, 0]",),
        ),
        (
            lambda n, x: n.node("Conv", [x, n.weights((4, 3, 3, 3)), n.const([1, 2, 3], np.float32)]),
            ("its bias [3] does not fit 4 output channels",),
        ),
        (lambda n, x: n.node("Gemm", [n.node("Flatten", [x]), n.weights((5, 4))]), ("(Gemm)", "5 and 192")),
        (
            lambda n, x: n.node("MatMul", [x, n.weights((5, 4))]),
            ("(MatMul): its inputs do not fit together",),
        ),
        (lambda n, x: n.node("PRelu", [x, n.const([1, 2], np.float32)]), ("its slope [2] does not fit",)),
        (lambda n, x: n.node("Reshape", [x, ints(n, 5, 5)]), ("cannot turn shape [1, 3, 8, 8] into [5, 5]",)),
        (lambda n, x: n.node("Reshape", [x, ints(n, 2**62, 2**62)]), ("(Reshape)", "overflow")),
        (lambda n, x: n.node("Tile", [x, ints(n, 1, 1, 2**40, 2**40)]), ("the limit is 67108864",)),
        (lambda n, x: n.node("Expand", [x, ints(n, 2**31, 2**31, 1, 1, 1, 1)]), ("the limit is 67108864",)),
        (
            lambda n, x: n.node("Add", [x, n.node("ConstantOfShape", [ints(n, 2**40)])]),
            ("(ConstantOfShape), output", "has 1099511627776 elements"),
        ),
        (lambda n, x: n.node("Resize", [x, "", n.const([1, 1, 1e30, 1], np.float32)]), ("(Resize)",)),
        (lambda n, x: n.node("SpaceToDepth", [x], blocksize=3), ("cannot turn shape [1, 3, 8, 8] into",)),
        (lambda n, x: n.node("Transpose", [x], perm=[0, 0, 1, 9]), ("(Transpose)",)),
        (lambda n, x: n.node("Softmax", [x], axis=12), ("(Softmax)", "axis")),
        (lambda n, x: n.node("NonZero", [x]), ("(NonZero), output", "has no static shape")),
        (lambda n, x: n.node("Slice", [x, *(ints(n, v) for v in (0, 1, 1, 0))]), ("(Slice)", "step")),
        (lambda n, x: n.node("Cast", [x], to=TensorProto.DOUBLE), ("(Cast), output", "has type double")),
    ],
)
def test_operands_that_do_not_fit(
    body: Callable[[Net, str], str], texts: tuple[str, ...], tmp_path: Path
) -> None:
    net = Net()
    y = body(net, net.qdq(net.input("x", [1, 3, 8, 8])))
    net.output(net.node("Identity", [net.qdq("x")]))
    net.output(y, np.int64 if net.nodes[-3].op_type == "NonZero" else np.float32)
    refused(net.save(tmp_path), *texts)


def test_output_declared_otherwise(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT8, [1, 4, 7, 7]))

    refused(
        changed(change, tmp_path),
        "output 'y': is declared as [1, 4, 7, 7] but computed as [1, 4, 6, 6]",
        "output 'y': is declared as int8 but computed as float32",
    )


# ---- tensors -----------------------------------------------------------------------------------------


def short_data(model: onnx.ModelProto) -> None:
    initialiser(model, "w_q").raw_data = bytes(5)


def long_data(model: onnx.ModelProto) -> None:
    initialiser(model, "w_q").raw_data += bytes(5)


def huge_tensor(model: onnx.ModelProto) -> None:
    initialiser(model, "w_q").dims[0] = 2**60


def negative_tensor(model: onnx.ModelProto) -> None:
    initialiser(model, "w_q").dims[0] = -1


def out_of_range(name: str, value: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = initialiser(model, name)
        count = int(np.prod(tensor.dims))
        tensor.ClearField("raw_data")
        tensor.int32_data.extend([0] * (count - 1) + [value])

    return change


def typed(elem_type: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for name in ("w_q", "w_zero"):
            tensor = initialiser(model, name)
            tensor.data_type = elem_type

    return change


def text_tensor(model: onnx.ModelProto) -> None:
    initialiser(model, "w_q").CopyFrom(helper.make_tensor("w_q", TensorProto.STRING, [1], [b"x"]))


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (short_data, ("tensor 'w_q', read by node", "its data does not fit its shape [4, 3, 3, 3]")),
        (long_data, ("its data does not fit its shape",)),
        (huge_tensor, ("tensor 'w_q'", "the limit is 67108864")),
        (negative_tensor, ("has a negative dimension: [-1, 3, 3, 3]",)),
        (out_of_range("w_zero", 300), ("tensor 'w_zero'", "outside the range -128 to 127 of its type int8")),
        (out_of_range("w_q", -129), ("tensor 'w_q'", "outside the range -128 to 127 of its type int8")),
        (
            typed(TensorProto.INT4),
            ("has type int4, which is not supported", "QuantType.QInt8", "(DequantizeLinear)"),
        ),
        (typed(TensorProto.INT16), ("has type int16, which is not supported",)),
        (typed(TensorProto.FLOAT8E4M3FN), ("has type float8e4m3fn, which is not supported",)),
        (typed(TensorProto.FLOAT16), ("has type float16, which is not supported", "float32")),
        (text_tensor, ("has type string, which is not supported",)),
    ],
)
def test_bad_tensor(change: Change, texts: tuple[str, ...], tmp_path: Path) -> None:
    refused(changed(change, tmp_path, 21), *texts)


# ---- quantisation ------------------------------------------------------------------------------------


def scale(*values: float) -> Change:
    return lambda model: put(model, "w_scale", values, np.float32)


def computed_scale(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [1]))
    node(model, "QuantizeLinear").input[1] = "s"


def computed_zero(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.INT8, [1]))
    node(model, "QuantizeLinear").input[2] = "z"


def block(model: onnx.ModelProto) -> None:
    proto = next(n for n in model.graph.node if n.output[0] == "w")
    proto.attribute.append(helper.make_attribute("block_size", 2))
    put(model, "w_scale", np.full((2, 3, 3, 3), 0.01), np.float32)
    put(model, "w_zero", np.zeros((2, 3, 3, 3)), np.int8)


def axis(value: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        proto = next(n for n in model.graph.node if n.output[0] == "w")
        proto.attribute[0].i = value

    return change


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (
            scale(0.01, float("nan"), 0.01, 0.01),
            ("its scale is not a finite number: nan (channel 1)", "calibration"),
        ),
        (scale(0.01, 0.01, float("inf"), 0.01), ("its scale is not a finite number: inf (channel 2)",)),
        (scale(0.01, 0.01, 0.01, 0.0), ("its scale is not above zero: 0 (channel 3)",)),
        (scale(-0.01, 0.01, 0.01, 0.01), ("its scale is not above zero: -0.01 (channel 0)",)),
        (scale(0.01, 0.01, 0.01), ("has 3 scales but 4 zero points", "has 3 scales for 4 channels (axis 0")),
        (axis(1), ("has 4 scales for 3 channels (axis 1 of shape [4, 3, 3, 3])",)),
        (axis(9), ("(DequantizeLinear)", "axis")),
        (lambda m: put(m, "w_zero", [0] * 4, np.uint8), ("(DequantizeLinear)",)),
        (computed_scale, ("(QuantizeLinear): its scale 's' is not a constant", "constant scales")),
        (computed_zero, ("(QuantizeLinear): its zero point 'z' is not a constant",)),
        (block, ("uses block quantisation", "per tensor or per channel")),
    ],
)
def test_bad_quantisation(change: Change, texts: tuple[str, ...], tmp_path: Path) -> None:
    refused(changed(change, tmp_path, 21), *texts)


def test_int32_zero_point_and_activations(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 4]))
    bias = net.dq(net.const([1, 2, 3, 4], np.int32), 0.01, 7, np.int32)
    net.output(net.qdq(net.node("Add", [x, bias])))
    refused(net.save(tmp_path), "has int32 data (a bias) with a zero point other than 0")


def test_int16_activations(tmp_path: Path) -> None:
    net = Net(21)
    net.output(net.qdq(net.input("x", [1, 4]), 0.05, 0, np.int16))
    refused(net.save(tmp_path), "(QuantizeLinear", "has type int16, which is not supported", "int8 or uint8")


# ---- names -------------------------------------------------------------------------------------------

NASTY = {
    "quotes": "a\"b'c",
    "slashes": "../../etc/passwd\\..\\x",
    "newline": 'a\nint main(void){system("rm");}\r\n',
    "comment": "x */ evil(); /* y // z",
    "html": "<script>alert(1)</script>",
    "format": "%s%n{0}{{x}}",
    "unicode": "тензор\u202e\u0000\U0001f600",
    "terminal": "\x1b[31mred\x07",
    "long": "n" * 10_000,
    "space": "  ",
    "keyword": "for",
}


def renamed(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """Every node and tensor name ends in `text`."""
    for proto in model.graph.node:
        proto.name += text
        proto.input[:] = [name + text for name in proto.input]
        proto.output[:] = [name + text for name in proto.output]
    for thing in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        thing.name += text
    model.graph.name += text
    return model


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_nasty_names_are_data(text: str, tmp_path: Path) -> None:
    graph: Graph = import_model(saved(renamed(small_net().model(), text), tmp_path))
    assert graph.inputs[0].name == "x" + text and graph.outputs[0].name == "y" + text
    plain = import_model(saved(small_net().model(), tmp_path))
    canonical = canonicalise(graph)
    assert [n.op for n in canonical.nodes] == [n.op for n in canonicalise(plain).nodes]
    assert all(name.endswith(text) for name in canonical.values)
    if "\0" not in text:  # onnxruntime's C interface ends names there
        feeds = random_feeds(plain)
        wanted = run_onnx(small_net().model(), feeds)
        for a, b in zip(run_graph(canonical, {"x" + text: feeds["x"]}), wanted, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_nasty_names_in_messages(text: str, tmp_path: Path) -> None:
    model = small_net().model()
    put(model, "w_scale", [0.01, 0.0, 0.01, 0.01], np.float32)
    error = refused(saved(renamed(model, text), tmp_path), "its scale is not above zero")
    assert "\n" not in error.problems[0].where and len(error.problems[0].where) < 200
    model = small_net().model()
    node(model, "Relu").input[0] = "gone"
    refused(saved(renamed(model, text), tmp_path), "which nothing computes")


def test_invalid_utf8_name(tmp_path: Path) -> None:
    data = small_net().model().SerializeToString().replace(b"relu", b"re\xff\xfe")
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(path, "holds a name that is not UTF-8 text")


# ---- external data -----------------------------------------------------------------------------------


def external(model: onnx.ModelProto, location: str, **entries: object) -> onnx.ModelProto:
    tensor = initialiser(model, "w_q")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


@pytest.mark.parametrize(
    ("location", "entries", "text"),
    [
        ("../secret.bin", {}, "external data at '../secret.bin' is outside the model's folder"),
        ("/etc/passwd", {}, "external data at '/etc/passwd' is outside the model's folder"),
        ("sub/../../secret.bin", {}, "is outside the model's folder"),
        ("..\\secret.bin", {}, "is outside the model's folder"),
        ("a\0b", {}, "is outside the model's folder"),
        ("link.bin", {}, "leads out of the model's folder through a link"),
        ("folder/secret.bin", {}, "leads out of the model's folder through a link"),
        ("missing.bin", {}, "external data file 'missing.bin' is missing"),
        (".", {}, "is missing"),
        ("", {}, "external data without a location"),
        ("w.bin", {"offset": 200}, "external data 'w.bin' has 108 bytes"),
        ("w.bin", {"length": 10**18}, "external data 'w.bin' has 108 bytes"),
        ("w.bin", {"offset": -5}, "is not a number"),
        ("w.bin", {"length": "0x10"}, "is not a number"),
        ("w.bin", {"length": 7}, "its data does not fit its shape"),
        ("w.bin", {"offset": "9" * 5000}, "external data"),
    ],
)
def test_external_data(location: str, entries: dict[str, object], text: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for secret in (tmp_path / "secret.bin", outside / "secret.bin", inside / "w.bin"):
        secret.write_bytes(bytes(108))
    (inside / "link.bin").symlink_to(outside / "secret.bin")
    (inside / "folder").symlink_to(outside)
    refused(saved(external(small_net().model(), location, **entries), inside), "'w_q'", text)


def test_external_data_inside(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(range(4)) + bytes(range(108)))
    path = saved(external(small_net().model(), "w.bin", offset=4, length=108), tmp_path)
    np.testing.assert_array_equal(import_model(path).constants["w_q"].reshape(-1), np.arange(108))
