"""Every error of the command line: exit code, what, where, how to fix. No traceback, no output file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import command_line
import pytest

import vmcu.cli
from vmcu.toolchain import compilers


@dataclass(frozen=True)
class Case:
    """A command line that fails.

    Attributes:
        line: arguments; names of the fixture `files` are written @name.
        code: exit code.
        texts: each occurs on stderr.
    """

    line: str
    code: int
    texts: tuple[str, ...]


def case(line: str, code: int, *texts: str) -> Case:
    return Case(line, code, texts)


CASES = (
    # The model.
    case("plan none.onnx", 1, "error: file 'none.onnx': does not exist", "fix: check the path"),
    case("plan .", 1, "is a folder, not a model file", "fix: give the .onnx file inside it"),
    case("plan @junk.onnx", 1, "is not an ONNX file", "fix: export the model again as ONNX"),
    case("plan @empty.onnx", 1, "is empty", "fix: export the model again"),
    case("plan @float.onnx", 1, "is a float model", "quantize_static"),
    case("compile @float.onnx -t cortex-m4 -o out", 1, "is a float model"),
    case("run none.onnx -t cortex-m4", 1, "does not exist"),
    case("verify @junk.onnx -t cortex-m4", 1, "is not an ONNX file"),
    # The target.
    case(
        "plan @net.onnx -t cortex-55",
        1,
        "target 'cortex-55': is no target vmcu knows",
        "did you mean 'cortex-m55'?",
    ),
    case("compile @net.onnx -t Cortex-M4 -o out", 1, "did you mean 'cortex-m4'?"),
    case("run @net.onnx -t qqqqqqqq", 1, "is no target vmcu knows", "known: cortex-m0plus, cortex-m3,"),
    case(
        "plan @net.onnx -t nucleo-h743zi --pool-region CCM",
        1,
        "--pool-region CCM: target 'nucleo-h743zi' has no such region",
        "it has DTCM (131,072 bytes), AXI (524,288 bytes)",
    ),
    case(
        "compile @net.onnx -t nucleo-f411re -o out --weights-region QSPI",
        1,
        "--weights-region QSPI: target 'nucleo-f411re' has no such region",
        "it has flash (524,288 bytes)",
    ),
    case("plan @net.onnx --pool-region DTCM", 1, "names a region of no target", "name the target, too: -t"),
    case("plan @net.onnx --weights-region QSPI", 1, "--weights-region: names a region of no target"),
    case("run @net.onnx -t mine --target-path none", 1, "--target-path 'none': is no folder", "fix: name a"),
    case("verify @net.onnx -t cortex-m4 --target-path @net.onnx", 1, "net.onnx': is no folder"),
    case("flash @net.onnx --board mine --target-path none", 1, "--target-path 'none': is no folder"),
    case("self-test --board mine --target-path none", 1, "--target-path 'none': is no folder"),
    case("flash @net.onnx --board nucleo-f411re --pool-region CCM", 1, "has no such region", "it has SRAM"),
    case("targets --target-path none", 1, "--target-path 'none': is no folder"),
    case("targets nucleo-f412re", 1, "target 'nucleo-f412re': is no target vmcu knows", "did you mean"),
    # Planning options.
    case("plan @net.onnx --ram 12Q", 2, "'12Q' is no size: write 65536, 64K or 1M"),
    case("plan @net.onnx --flash -5", 2, "'-5' is no size"),
    case("plan @net.onnx --ram 1.5K", 2, "'1.5K' is no size"),
    case("plan @dynamic.onnx", 1, "has dynamic dimensions: 0 ('n') of ?x4", "--input-shape x:?x4"),
    case("plan @dynamic.onnx --input-shape x", 2, "'x' is no shape: write NAME:1x3x96x96"),
    case("plan @dynamic.onnx --input-shape x:1xq", 2, "'x:1xq' is no shape"),
    case("plan @dynamic.onnx --input-shape x:1x5", 1, "does not fit the declared shape ?x4"),
    case(
        "plan @dynamic.onnx --input-shape z:1x4", 1, "'z': is not a graph input", "there is 'x'", "2 problems"
    ),
    case("plan @dynamic.onnx --input-shape x:1x4 --input-shape x:2x4", 1, "an input is named twice"),
    case("plan @net.onnx --state a", 2, "'a' is no pair: write INPUT=OUTPUT"),
    case("plan @net.onnx --state a=b", 1, "state 'a' <- 'b': the model has no such input", "2 problems"),
    case("plan @net.onnx --state x=y --state x=z", 1, "--state: an input is named twice"),
    case(
        "plan @net.onnx --stream-input z",
        1,
        "--stream-input: the model has no input 'z'",
        "its inputs are 'x'",
    ),
    case(
        "plan @net.onnx --stream-output z",
        1,
        "--stream-output: the model has no output 'z'",
        "fix: its outputs are 'y'",
    ),
    case("run @net.onnx -t cortex-m4 --stream-output x", 1, "the model has no output 'x'"),
    case("verify @net.onnx -t cortex-m4 --stream-output z", 1, "the model has no output 'z'"),
    case("compile @net.onnx -t cortex-m4 -o out --stream-output y --stream-output z", 1, "no output 'z'"),
    case(
        "plan @count.onnx --stream-output state_out_s",
        1,
        "output 'state_out_s' is a state: it stays in the pool",
        "its outputs are 'y'",
    ),
    case("plan @net.onnx --name 9lives", 1, "is no usable C name", "up to 31 of a-z, 0-9 and _"),
    case("plan @net.onnx --name int", 1, "name 'int': is no usable C name"),
    case("plan @net.onnx --name string", 1, "name 'string': is no usable C name"),
    case("plan @net.onnx --name vmcu_math", 1, "name 'vmcu_math': is no usable C name"),
    case("plan @net.onnx --name=", 1, "--name: is empty"),
    case("plan @net.onnx --numerics exact", 2, "'exact' is not one of 'onnx', 'tflm'"),
    # Usage.
    case("frobnicate", 2, "No such command 'frobnicate'", "vmcu --help"),
    case("plan", 2, "Missing argument 'MODEL'"),
    case("plan @net.onnx --frob", 2, "No such option '--frob'"),
    case("compile @net.onnx -o out", 2, "Missing option '-t'"),
    case("compile @net.onnx -t cortex-m4", 2, "Missing option '-o'"),
    case("verify @net.onnx -t cortex-m4 --count 0", 2, "0 is not in the range 1<=x<=1000"),
    # Does not fit.
    case(
        "plan @net.onnx --ram 100",
        5,
        "--ram 100: needs 216 bytes of RAM (pool 216), 116 more than the 100",
        "at least --ram 216",
        "of 2 plans holds 216 bytes",
        "take a larger board, microbit (16,384 bytes of RAM",
    ),
    case("plan @net.onnx --optimize least", 2, "'least' is not one of 'ram', 'balanced', 'speed', 'size'"),
    case("plan @net.onnx --ram little", 2, "'little' is no size: write 65536, 64K or 1M"),
    case("plan @net.onnx --cpi 0", 2, "0 is not in the range 0<x<=100"),
    case("plan @net.onnx --pareto --svg @text.npy", 1, "exists, and vmcu did not write it"),
    case("run @net.onnx -t cortex-m4 --ram 100", 5, "--ram 100: needs 216 bytes of RAM"),
    case("verify @net.onnx -t cortex-m4 --ram 100", 5, "--ram 100: needs 216 bytes of RAM"),
    case("compile @net.onnx -t cortex-m4 -o out --ram 100", 5, "--ram 100: needs", "allow at least --ram"),
    case("compile @net.onnx -t cortex-m4 -o out --flash 99", 5, "--flash 99: needs", "(weights and tables"),
    case(
        "compile @net.onnx -t cortex-m4 -o out --flash 99 --ram 99", 5, "--flash 99", "--ram 99", "2 problems"
    ),
    case(
        "run @large.onnx -t nucleo-f411re",
        5,
        "target 'nucleo-f411re': needs",
        "more than the 131,072 there are",
        "no known board has enough memory",
    ),
    # Inputs.
    case("run @net.onnx -t cortex-m4 --input none.npy", 1, "'none.npy': no such file"),
    case("run @net.onnx -t cortex-m4 --input .", 1, "is no NumPy file"),
    case("run @net.onnx -t cortex-m4 --input @text.npy", 1, "is no NumPy file of numbers", "numpy.save"),
    case("run @net.onnx -t cortex-m4 --input @pickle.npy", 1, "it holds pickled Python objects"),
    case(
        "run @net.onnx -t cortex-m4 --input @wrong_shape.npy", 1, "input 'x': has shape 2x3x8x7", "n x 3x8x8"
    ),
    case("run @net.onnx -t cortex-m4 --input @none.npy", 1, "input 'x': has shape 0x3x8x8"),
    case("run @net.onnx -t cortex-m4 --input @wrong_type.npy", 1, "has type int32, the model takes float32"),
    case("run @net.onnx -t cortex-m4 --input @uint8.npy", 1, "has type uint8, the model takes float32"),
    case("run @net.onnx -t cortex-m4 --input @nan.npy", 1, "contains NaN or infinity"),
    case("run @two.onnx -t cortex-m4 --input @one.npy", 1, "one array for 2 inputs", "'a', 'b'"),
    case(
        "run @two.onnx -t cortex-m4 --input @one_missing.npz",
        1,
        "missing ['a']",
        "the model's inputs are 'a', 'b'",
    ),
    case("run @two.onnx -t cortex-m4 --input @one_unknown.npz", 1, "unknown ['c']"),
    case("run @two.onnx -t cortex-m4 --input @sizes.npz", 1, "batch sizes differ: {'a': 3, 'b': 2}"),
    # Outputs.
    case("run @net.onnx -t cortex-m4 --output y.txt", 1, "its ending is neither .npy nor .npz"),
    case("run @net.onnx -t cortex-m4 --output no/y.npy", 1, "its folder does not exist"),
    case(
        "run @two.onnx -t cortex-m4 --output y.npy", 1, "2 outputs do not fit one array", "fix: name it .npz"
    ),
    case("compile @net.onnx -t cortex-m4 -o .", 1, "is the current folder", "give -o a folder of its own"),
    case("compile @net.onnx -t cortex-m4 -o /", 1, "is the current folder, or one above it"),
    case("compile @net.onnx -t cortex-m4 -o @text.npy", 1, "exists and is no folder"),
    case("compile @net.onnx -t cortex-m4 -o @text.npy/out", 1, "cannot be written", "choose another -o"),
    case("compile @net.onnx -t cortex-m4 -o /proc/none/out", 1, "cannot be written"),
    # Engines and oracles.
    case(
        "run @net.onnx -t cortex-m55 --engine unicorn",
        1,
        "Unicorn does not emulate the cortex-m55",
        "use QEMU",
    ),
    case("verify @net.onnx -t cortex-m4 --golden none.npz", 1, "'none.npz': no such file"),
    case(
        "verify @net.onnx -t cortex-m4 --golden @one.npy", 1, "has no arrays 'inputs' and 'outputs'", "--key"
    ),
    case("verify @net.onnx -t cortex-m4 --golden @two.npz", 1, "but a, b"),
    case(
        "verify @net.onnx -t cortex-m4 --against onnxruntime --numerics tflm --engine host",
        1,
        "compares with other rounding",
        "use --numerics onnx",
    ),
    case("verify @count.onnx -t cortex-m4 --against onnxruntime --engine host", 1, "supports no states"),
    case(
        "verify @net.onnx -t cortex-m4 --against tflm --engine host",
        1,
        "needs the model as .tflite",
        "--tflite FILE",
    ),
    case(
        "verify @net.onnx -t cortex-m4 --against tflm --tflite @empty.onnx --engine host",
        1,
        "add --numerics tflm",
    ),
)


@pytest.mark.parametrize("one", CASES, ids=lambda c: c.line.replace("@", ""))
def test_error(one: Case, files: Path, here: Path) -> None:
    found = vmcu_of(one.line, files)
    assert found.code == one.code, found.err
    for text in one.texts:
        assert text in " ".join(found.err.split()), found.err
    if one.code != 2:
        assert found.err.startswith("error: ") and "\n  fix: " in found.err
    assert "Traceback" not in found.err
    assert list(here.iterdir()) == [], "nothing may be left behind"


def vmcu_of(line: str, files: Path) -> command_line.Result:
    words = [str(files / w[1:]) if w.startswith("@") else w for w in line.split()]
    return command_line.vmcu(*words)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PATH is empty and ziglang is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        compilers.importlib.util, "find_spec", lambda name, *a: None if name == "ziglang" else real(name, *a)
    )


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("run @net.onnx -t cortex-m4", "no Cortex-M compiler found"),
        ("run @net.onnx -t cortex-m4 --compiler gcc", "arm-none-eabi-gcc not found"),
        ("run @net.onnx -t cortex-m4 --compiler zig", "ziglang not found"),
        ("run @net.onnx -t cortex-m4 --engine host", "no C compiler for this machine found"),
        ("verify @net.onnx -t cortex-m4", "no Cortex-M compiler found"),
        ("compile @net.onnx -t cortex-m4 -o out --compiler zig", "ziglang not found"),
    ],
)
def test_missing_compiler(line: str, text: str, files: Path, here: Path) -> None:
    found = vmcu_of(line, files)
    assert found.code == 3
    assert text in found.err
    assert ("pip install ziglang" in found.err) is ("gcc not" not in found.err)
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("no_compiler")
def test_compile_without_any_tool_leaves_gaps(files: Path, here: Path) -> None:
    """The C needs no compiler; what was not measured is null, never a guess."""
    found = vmcu_of("compile @net.onnx -t cortex-m4 -o out --json", files)
    assert found.code == 0, found.err
    report = found.json
    assert report["compiler"] is report["instructions"] is report["memory"]["stack_bytes"] is None
    assert report["memory"]["pool_bytes"] > 0
    assert (here / "out" / "net.c").exists()


def test_compiler_that_fails_is_no_missing_one(
    files: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that is there and fails must be seen, also where tools are optional."""
    monkeypatch.setattr(compilers, "_zig", lambda: None)
    bad = here / "arm-none-eabi-gcc"
    bad.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo gcc 1.2.3 && exit\necho 'x.c:1: error: broken' >&2; exit 1\n"
    )
    bad.chmod(0o755)
    monkeypatch.setenv("PATH", str(here), prepend=":")
    found = vmcu_of("compile @net.onnx -t cortex-m4 -o out", files)
    assert found.code == 3
    assert "arm-none-eabi-gcc 1.2.3 failed: x.c:1: error: broken" in found.err
    assert not (here / "out").exists()


def test_bug_of_ours(files: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcu.api.compile_graph", lambda *_, **__: 1 / 0)
    found = vmcu_of("compile @net.onnx -t cortex-m4 -o out", files)
    assert found.code == 70
    assert "error: internal: ZeroDivisionError" in found.err and "this is a bug in vmcu" in found.err
    assert list(here.iterdir()) == []


def test_interrupted(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vmcu.commands.build_commands.load", stop)
    found = vmcu_of("plan @net.onnx", files)
    assert found.code == 130 and "interrupted" in found.err


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as end:
        vmcu.cli.main(["plan", "none.onnx"])
    assert end.value.code == 1
