"""Streamed outputs: the same bits as resident ones on every engine, in less memory; giving up ends the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from broken_plans import stream
from command_line import vmcu
from host_library import GaveUp, HostModel
from streamed_nets import heads, segmenter
from tiny_models import Net
from tiny_project import need

from vmcu.api import Model, compile
from vmcu.batch import make_batch, random_batch
from vmcu.errors import VmcuError
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.quant.reference import Reference
from vmcu.run import Engine, run
from vmcu.targets import load_target
from vmcu.toolchain import build_host, find_compiler
from vmcu.verify.firmware import verify_model

INFERENCES = 3
ENGINES = ("host", "qemu", "unicorn")
NETS = {"segmenter": segmenter, "heads": heads, "state": stream}
ROWS = {"segmenter": 32, "heads": 12}
NO_INPUT, NO_OUTPUT = 2, 3


def compiled(net: Net, folder: Path, inputs: str = "", outputs: str = "") -> Compiled:
    graph = load(net.save(folder))
    return compile_graph(graph, "net", streamed=inputs.split(), streamed_outputs=outputs.split())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("inputs", [(), ("*",)], ids=["resident", "streamed"])
def test_same_bits_as_resident(name: str, inputs: tuple[str, ...], engine: Engine, tmp_path: Path) -> None:
    """The callback of the harness refuses a row that is not the next, and asks for all."""
    need("gcc" if engine == "host" else engine)
    path = NETS[name]().save(tmp_path)
    resident = compile(path, "cortex-m4")
    streamed = compile(path, "cortex-m4", stream_inputs=inputs, stream_outputs=["*"])
    batch = random_batch(resident.compiled.graph, INFERENCES)
    reports = [m.run_batch(batch, engine=engine) for m in (resident, streamed)]
    assert reports[0].outputs == reports[1].outputs
    reference = Reference(resident.compiled.graph)
    for given, found in zip(batch.tensors, reports[1].outputs, strict=True):
        tensors = reference.run_tensors(given)
        for port, data in zip(resident.compiled.graph.outputs, found, strict=True):
            assert data == tensors[port.tensor].astype(tensors[port.tensor].dtype).tobytes()


def test_pool_is_smaller(tmp_path: Path) -> None:
    pools = {
        streamed: compiled(segmenter(), tmp_path, *streamed).project.pool_bytes
        for streamed in (("", ""), ("", "mask"), ("", "*"), ("*", "*"))
    }
    resident, mask, outputs, both = pools.values()
    assert resident == 32 * 40 * (5 + 4), "the two outputs"
    assert resident - mask >= 4000 and mask - outputs >= 3000 and outputs - both >= 1500
    assert outputs < resident / 2 and both < resident / 5


@pytest.mark.parametrize("optimise", ["ram", "speed"])
def test_rows_are_handed_out_when_they_are_made(optimise: str, tmp_path: Path) -> None:
    """Between the computation of a row of an output and its way out nothing else is computed."""
    graph = load(segmenter().save(tmp_path))
    one = compile_graph(graph, "net", streamed_outputs=["*"], optimise=optimise)  # type: ignore[arg-type]
    steps, tasks = one.plan.schedule.steps, one.plan.schedule.tasks
    made = {op.output: i for i, op in enumerate(steps)}
    hands = [n for n, t in enumerate(tasks) if steps[t.step].is_output]
    assert len(hands) == 64
    for n in hands:
        before = tasks[n - 1]
        assert (before.step, before.row) == (made[steps[tasks[n].step].inputs[0]], tasks[n].row)


def test_heads_advance_together(tmp_path: Path) -> None:
    """Two heads on one trunk: neither waits for the other, so the trunk's rows need not either."""
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 40, 10)))
    trunk = net.qdq(net.node("Conv", [x, net.weights((16, 2, 1, 1))]), 0.1)
    for name in ("left", "right"):
        head = net.qdq(net.node("Conv", [trunk, net.weights((4, 16, 3, 3))], pads=[1, 1, 1, 1]), 0.1)
        net.node("Identity", [head], name)
        net.output(name, shape=(1, 4, 40, 10))
    pool = compiled(net, tmp_path, "*", "*").project.pool_bytes
    assert pool < 5 * 160, "a few rows of the trunk, of 40"


def test_a_row_is_where_it_was_made(tmp_path: Path) -> None:
    """A concatenation of whole rows that is streamed costs no copy."""
    one = compiled(heads(), tmp_path, outputs="stacked")
    assert any(p.name == "stacked" and p.tensor in one.plan.schedule.aliases for p in one.graph.outputs)


@pytest.mark.parametrize("name", NETS)
def test_tagged_pool(name: str, tmp_path: Path) -> None:
    one = compiled(NETS[name](), tmp_path, "*", "*")
    batch, reference = random_batch(one.graph, INFERENCES), Reference(one.graph)
    report = run(build_host(one.project, workdir=tmp_path, tags=True), batch.payload(one.graph))
    for given, found in zip(batch.tensors, report.outputs, strict=True):
        expected = reference.run_tensors(given)
        assert found == tuple(expected[p.tensor].tobytes() for p in one.graph.outputs)


@pytest.mark.parametrize("name", ["segmenter", "heads"])
def test_order_of_calls(name: str, tmp_path: Path) -> None:
    one = compiled(NETS[name](), tmp_path, "*", "*")
    model = HostModel(one, tmp_path)
    model.run(random_batch(one.graph, 1).tensors[0])
    for port in one.project.outputs:
        rows = [row for who, row in model.calls if who == port.name]
        assert rows == list(range(port.size_bytes // port.row_bytes)), port.name
    asked = [row for who, row in model.calls if who == one.project.inputs[0].name]
    assert asked == sorted(set(asked)) and len(asked) == ROWS[name]


@pytest.mark.parametrize(("inputs", "status"), [("", NO_OUTPUT), ("*", NO_INPUT)])
def test_giving_up(inputs: str, status: int, tmp_path: Path) -> None:
    """The first failure decides the status, nothing is asked for after it, and the next run is a good one."""
    one = compiled(segmenter(8, 10), tmp_path, inputs, "*")
    model, given = HostModel(one, tmp_path), random_batch(one.graph, 1).tensors[0]
    expected = Reference(one.graph).run_tensors(given)
    model.run(given)
    sequence = list(model.calls)
    seen = set()
    for calls in range(len(sequence)):
        with pytest.raises(GaveUp) as gave_up:
            model.run(given, calls)
        failing = NO_INPUT if sequence[calls][0] == "image" else NO_OUTPUT
        assert gave_up.value.args == (failing,) and model.calls == sequence[:calls]
        seen.add(failing)
    assert status in seen
    for name, found in model.run(given).items():
        np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_giving_up_keeps_the_states(calls: int, tmp_path: Path) -> None:
    """A run that was given up did not happen: the next one sees the states of the one before."""
    one = compiled(stream(), tmp_path, outputs="y")
    model, reference = HostModel(one, tmp_path), Reference(one.graph)
    first, lost, second = random_batch(one.graph, 3).tensors
    model.run(first)
    reference.run_tensors(first)
    with pytest.raises(GaveUp, match=str(NO_OUTPUT)):
        model.run(lost, calls)
    expected = reference.run_tensors(second)
    for name, found in model.run(second).items():
        np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize("inputs", ["", "*"])
def test_verify(inputs: str, tmp_path: Path) -> None:
    """Layer by layer: what the caller receives is compared row by row, too."""
    need("qemu")
    path = heads().save(tmp_path)
    model = compile(path, "cortex-m4", stream_inputs=inputs.split(), stream_outputs=["*"])
    assert verify_model(model, random_batch(model.compiled.graph, 2)).mismatches == []
    options = ["--stream-output", *(["--stream-input"] if inputs else [])]
    done = vmcu("verify", path, "-t", "cortex-m4", *options)
    assert done.code == 0 and "ok" in done.out, done.err


@pytest.mark.parametrize("streamed", [(), ("*",)], ids=["resident", "streamed"])
def test_verify_where_rows_are_left_out(streamed: tuple[str, ...], tmp_path: Path) -> None:
    """A stride skips every second row of image and first layer: they are neither asked for nor compared."""
    need("qemu")
    net = Net()
    x = net.qdq(net.input("x", (1, 2, 8, 8)))
    first = net.qdq(net.node("Conv", [x, net.weights((2, 2, 1, 1))]), 0.1)
    last = net.qdq(net.node("Conv", [first, net.weights((2, 2, 1, 1))], strides=[2, 2]), 0.1)
    net.node("Identity", [last], "y")
    net.output("y", shape=(1, 2, 4, 4))
    model = compile(net.save(tmp_path), "cortex-m4", stream_inputs=streamed, stream_outputs=streamed)
    verified = verify_model(model, random_batch(model.compiled.graph, 2))
    assert verified.mismatches == []
    assert f" {(64 + 32) * (2 if streamed else 1)} values" in verified.text


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_stack_of_both_callbacks(compiler: str, tmp_path: Path) -> None:
    """The call graph follows pointers to whatever they may point at."""
    need(compiler)
    model = Model(compiled(segmenter(8, 10), tmp_path, "*", "*"), load_target("cortex-m4"), compiler)  # type: ignore[arg-type]
    firmware = model.firmware()
    assert find_compiler(compiler).name == firmware.compiler.name  # type: ignore[arg-type]
    model.run_batch(random_batch(model.compiled.graph, 1))
    report = model.make_report(measure=True)
    assert 0 < report["memory"]["stack_painted_bytes"] <= report["memory"]["stack_bytes"]
    layers = {layer["name"]: layer for layer in report["layers"] if layer["op"] == "WriteRows"}
    assert set(layers) == {"scores", "mask"} and layers["mask"]["output_shape"] == [8, 10, 1]
    assert all(layer["instructions"] > 0 for layer in layers.values())


def test_missing_rows_are_noticed(tmp_path: Path) -> None:
    """The harness's own check: a program that hands out too few rows, or one twice, does not pass as a run."""
    one = compiled(segmenter(8, 10), tmp_path, outputs="scores")
    name, good = "net.c", one.project.files["net.c"]
    for wrong, status in (("(uint32_t)row + 1U", 3), ("(uint32_t)row & 6U", 3)):
        text = good.replace("caller->write_context[0], (uint32_t)row", f"caller->write_context[0], {wrong}")
        assert text != good
        with pytest.raises(VmcuError, match=f"returned the error {status}"):
            run_project(one, {**one.project.files, name: text}, tmp_path)
    text = good.replace("if (caller->status == 0 && caller->write_rows", "if (row < 5 && caller->write_rows")
    assert text != good
    with pytest.raises(VmcuError, match="returned the error 255"):
        run_project(one, {**one.project.files, name: text}, tmp_path)


def run_project(one: Compiled, files: dict[str, str], folder: Path) -> None:
    project = replace(one.project, files=MappingProxyType(files))
    batch = make_batch(one.graph, np.zeros((1, 3, 8, 10), np.int8))
    run(build_host(project, workdir=folder), batch.payload(one.graph))
