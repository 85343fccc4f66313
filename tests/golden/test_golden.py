"""Generated C and the text of `vmcu plan`, compared with the files beside this one.

A change of the generator shows as a diff that a person reads. Refresh with `pytest tests/golden --update-golden`.
The golden C itself is compiled with every compiler there is, all warnings on and errors.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from broken_plans import stream
from command_line import vmcu
from streamed_nets import segmenter
from tiny_models import Net

from vmcu.errors import VmcuError
from vmcu.pipeline import compile_graph, load
from vmcu.resources import folder
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler, find_host_compiler
from vmcu.toolchain.build import STRICT

HERE = Path(__file__).parent
NUMERICS = ("onnx", "tflm")
WITH_HOOKS = ("-DVMCU_HOOKS", "-DVMCU_TAGS", f"-I{folder('firmware') / 'harness'}")


def digits() -> Net:
    """What a small image classifier has: convolutions, a residual, pools, a dense layer, Softmax."""
    net = Net()
    x = net.qdq(net.input("image", (1, 2, 8, 8)), 0.02, -5)
    frame = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    bias = net.const(net.rng.normal(size=4), "float32")
    first = net.node("Relu", [net.node("Conv", [x, net.weights((4, 2, 3, 3), axis=0), bias], **frame)])
    first = net.qdq(first, 0.05, -128)
    deep = net.qdq(net.node("Conv", [first, net.weights((4, 1, 3, 3), axis=0)], group=4, **frame), 0.07, 3)
    both = net.qdq(net.node("Add", [first, deep]), 0.09, -20)
    pool = net.qdq(net.node("MaxPool", [both], kernel_shape=[2, 2], strides=[2, 2]), 0.09, -20)
    mean = net.qdq(net.node("GlobalAveragePool", [pool]), 0.04, -20)
    dense = net.node("Gemm", [net.node("Flatten", [mean]), net.weights((3, 4))], transB=1)
    net.node(
        "Identity", [net.qdq(net.node("Softmax", [net.qdq(dense, 0.1, 0)], axis=1), 1 / 256, -128)], "class"
    )
    net.output("class", shape=(1, 3))
    return net


def segment() -> Net:
    """Streamed from end to end: an image in, two images out."""
    return segmenter(8, 10)


NETS = {"digits": digits, "segment": segment, "stream": stream}
STREAMED = {"segment": ("*",)}  # inputs and outputs of these


def compare(name: str, found: Mapping[str, str], update: bool) -> None:
    """Texts by path below this folder."""
    where = HERE / name
    if update:
        shutil.rmtree(where, ignore_errors=True)
        for path, text in found.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_text(text, encoding="utf-8")
    present = {
        str(p.relative_to(where)): p.read_text(encoding="utf-8") for p in where.rglob("*") if p.is_file()
    }
    assert set(present) == set(found), (
        f"golden files of {name} are missing or too many: run with --update-golden"
    )
    for path, text in found.items():
        assert text == present[path], f"{name}/{path} changed: if it should, run with --update-golden"


@pytest.mark.parametrize("numerics", NUMERICS)
@pytest.mark.parametrize("net", NETS)
def test_c(net: str, numerics: str, update_golden: bool, tmp_path: Path) -> None:
    graph = load(NETS[net]().save(tmp_path), numerics=numerics)  # type: ignore[arg-type]
    streamed = STREAMED.get(net, ())
    graph = replace(graph, sha256="0" * 64)
    files = compile_graph(graph, net, streamed=streamed, streamed_outputs=streamed).project.files
    # vmcu_math.h is written by hand and copied.
    compare(f"{net}_{numerics}", {k: v for k, v in files.items() if k != "vmcu_math.h"}, update_golden)


@pytest.mark.parametrize("net", NETS)
def test_plan_text(net: str, update_golden: bool, tmp_path: Path) -> None:
    options = ["--stream-input", "--stream-output"] if net in STREAMED else []
    found = vmcu("plan", NETS[net]().save(tmp_path), "-t", "nucleo-f411re", *options)
    assert found.code == 0 and found.err == ""
    compare(f"{net}_plan", {"plan.txt": found.out}, update_golden)


def test_missing_golden_fails() -> None:
    with pytest.raises(AssertionError, match="--update-golden"):
        compare("none", {"a.c": ""}, update=False)


def commands() -> dict[str, tuple[str, ...]]:
    """Compilers by name; those that are not installed are empty."""
    m4, m0 = load_target("cortex-m4"), load_target("cortex-m0plus")
    libc = f"-I{folder('firmware') / 'libc'}"
    found: dict[str, tuple[str, ...]] = {"host": find_host_compiler().command}
    for name in ("gcc", "zig"):
        try:
            command = find_compiler(name).command  # type: ignore[arg-type]
        except VmcuError:
            command = ()
        for target in (m4, m0):
            flags = target.gcc_flags if name == "gcc" else target.zig_flags
            found[f"{name} {target.name}"] = (*command, *flags, libc) if command else ()
    return found


@pytest.mark.parametrize("optimise", ["-Os", "-O2", "-O3"])
@pytest.mark.parametrize("compiler", list(commands()))
def test_golden_c_compiles_without_a_warning(compiler: str, optimise: str, tmp_path: Path) -> None:
    command = commands()[compiler]
    if not command:
        pytest.skip(f"{compiler} is not installed")
    runtime = folder("firmware") / "runtime"
    for net in NETS:
        for numerics in NUMERICS:
            source = HERE / f"{net}_{numerics}" / f"{net}.c"
            for hooks in ((), WITH_HOOKS) if compiler == "host" else ((),):
                options = (*STRICT, optimise, *hooks, f"-I{runtime}", "-c", str(source), "-o", "out.o")
                done = subprocess.run((*command, *options), cwd=tmp_path, capture_output=True, text=True)
                assert done.returncode == 0 and done.stderr == "", done.stderr
