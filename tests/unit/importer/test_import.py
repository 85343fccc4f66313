"""What a well-formed file may look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_to_onnx import random_feeds, run_graph, run_onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_models import Net, small_net

from vmcu.errors import Exit, VmcuError
from vmcu.importer import import_model
from vmcu.ir.graph import Graph, State
from vmcu.passes import canonicalise


def imported(model: onnx.ModelProto, tmp_path: Path, **options: object) -> Graph:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return import_model(path, **options)  # type: ignore[arg-type]


def check_same(model: onnx.ModelProto, graph: Graph) -> None:
    feeds = random_feeds(graph)
    for a, b in zip(run_graph(graph, feeds), run_onnx(model, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("opset", range(13, onnx.defs.onnx_opset_version() + 1))
def test_every_opset(opset: int, tmp_path: Path) -> None:
    graph = imported(small_net(opset).model(), tmp_path)
    assert graph.opset == opset and [n.op for n in canonicalise(graph).nodes].count("Conv") == 1


def test_fields(tmp_path: Path) -> None:
    graph = imported(small_net().model(), tmp_path)
    assert graph.name == "net" and len(graph.sha256) == 64
    assert [(v.name, v.shape, v.dtype) for v in graph.inputs] == [("x", (1, 3, 8, 8), "float32")]
    assert [(v.name, v.shape, v.dtype) for v in graph.outputs] == [("y", (1, 4, 6, 6), "float32")]
    assert graph.values["conv"].shape == (1, 4, 6, 6) and "w_q" in graph.constants


def test_initialisers_as_inputs(tmp_path: Path) -> None:
    model = small_net().model()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [v.name for v in imported(model, tmp_path).inputs] == ["x"]


def test_constant_nodes_of_every_kind(tmp_path: Path) -> None:
    net = Net()
    x = net.qdq(net.input("x", [1, 4]))
    tensor = numpy_helper.from_array(np.arange(4, dtype=np.float32))
    for attributes in ({"value": tensor}, {"value_float": 2.0}, {"value_floats": [1.0, 2.0, 3.0, 4.0]}):
        x = net.qdq(net.node("Mul", [x, net.node("Constant", [], **attributes)]))
    shape = net.node("Constant", [], value_ints=[2, 2])
    x = net.node("Gather", [net.node("Reshape", [x, shape]), net.node("Constant", [], value_int=1)], axis=1)
    net.output(x)
    graph = imported(net.model(), tmp_path)
    assert "Constant" not in [n.op for n in graph.nodes]
    check_same(net.model(), graph)


def test_unused_parts_are_dropped(tmp_path: Path) -> None:
    net = small_net()
    net.const(np.zeros(99), np.float64, "unused")  # a type that is refused where it is used
    net.node("Relu", ["relu"], "nobody")
    graph = imported(net.model(), tmp_path)
    assert "unused" not in graph.constants and "nobody" not in graph.values


def test_nodes_in_any_order(tmp_path: Path) -> None:
    model = small_net().model()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    assert imported(model, tmp_path).nodes[-1].outputs == ("y",)


def test_empty_and_repeated_node_names(tmp_path: Path) -> None:
    model = small_net().model()
    for node in model.graph.node:
        node.name = "" if node.op_type == "Conv" else "same"
    names = [n.name for n in imported(model, tmp_path).nodes]
    assert "Conv:conv" in names and len(set(names)) == len(names)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    net = small_net()
    for node in net.nodes:
        if node.op_type == "Relu":
            node.op_type, node.domain = "MyRelu", "my"
    net.domains["my"] = 1
    model = net.model()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(
        helper.make_function("my", "MyRelu", ["a"], ["b"], body, [helper.make_opsetid("", 13)])
    )
    assert "Relu" in [n.op for n in imported(model, tmp_path).nodes]


def test_external_data(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = small_net().model()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert initialiser_is_external(path)
    check_same(small_net().model(), import_model(path))


def initialiser_is_external(path: Path) -> bool:
    return (
        onnx.load(path, load_external_data=False).graph.initializer[0].data_location == TensorProto.EXTERNAL
    )


def test_dynamic_input_with_shape(tmp_path: Path) -> None:
    net = Net()
    net.output(net.qdq(net.node("Relu", [net.qdq(net.input("x", ["batch", 3, None]))])))
    graph = imported(net.model(), tmp_path, input_shapes={"x": (1, 3, 7)})
    assert graph.outputs[0].shape == (1, 3, 7)


def test_int8_input_and_output(tmp_path: Path) -> None:
    net = Net()
    x = net.dq(net.input("x", [1, 4], np.uint8), dtype=np.uint8)
    net.output(net.q(net.node("Relu", [x]), output="y"), np.int8)
    graph = imported(net.model(), tmp_path)
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == ("uint8", "int8")


# ---- states ------------------------------------------------------------------------------------------


def stateful(state_in: str = "state_in_a", state_out: str = "state_out_a", size: int = 4) -> Net:
    net = Net()
    x, s = net.qdq(net.input("x", [1, 4])), net.qdq(net.input(state_in, [1, 4]))
    joined = net.node("Concat", [x, s], axis=1)
    part = net.node("Slice", [joined, *(net.const([v], np.int64) for v in (8 - size, 8, 1))])
    net.output(net.node("Identity", [net.qdq(part)], state_out))
    net.output(net.qdq(net.node("Relu", [joined])))
    return net


def test_states_by_name(tmp_path: Path) -> None:
    assert imported(stateful().model(), tmp_path).states == (State("state_in_a", "state_out_a"),)


def test_states_named_by_the_user(tmp_path: Path) -> None:
    graph = imported(stateful("h0", "h1").model(), tmp_path, states=[State("h0", "h1")])
    assert graph.states == (State("h0", "h1"),)
    assert imported(stateful("h0", "h1").model(), tmp_path).states == ()


@pytest.mark.parametrize(
    ("net", "states", "texts"),
    [
        (
            stateful(state_out="state_out_b"),
            None,
            (
                "input 'state_in_a': is a state without its output 'state_out_a'",
                "did you mean 'state_out_b'?",
                "output 'state_out_b': is a state without its input 'state_in_b'",
            ),
        ),
        (stateful(size=3), None, ("input is float32[1, 4], output is float32[1, 3]", "same shape and type")),
        (
            stateful("hidden_in", "hidden_out"),
            [State("hiden_in", "hidden_out"), State("x", "hidden_aut")],
            (
                "has no such input",
                "did you mean 'hidden_in'?",
                "has no such output",
                "did you mean 'hidden_out'?",
            ),
        ),
        (
            stateful("h0", "h1"),
            [State("h0", "h1"), State("x", "h1")],
            ("output 'h1': is named in two state pairs",),
        ),
    ],
)
def test_state_problems(net: Net, states: list[State] | None, texts: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(VmcuError) as error:
        imported(net.model(), tmp_path, states=states)
    assert error.value.code is Exit.INPUT
    for text in texts:
        assert text in str(error.value)


def test_elem_types_are_all_handled(tmp_path: Path) -> None:
    """Every type onnx knows is a supported graph input or refused by name."""
    for number in TensorProto.DataType.values():
        if number == TensorProto.UNDEFINED:
            continue
        model = small_net().model()
        model.graph.input.append(helper.make_tensor_value_info("other", number, [1, 2]))
        if number in (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8):
            assert len(imported(model, tmp_path).inputs) == 2
        else:
            with pytest.raises(VmcuError, match="input 'other': has type"):
                imported(model, tmp_path)
