"""The example that a user copies: it compiles as its comment says, and computes what vmcu computes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

import vmcu
from vmcu.resources import folder
from vmcu.toolchain.build import STRICT
from vmcu.toolchain.compilers import find_host_compiler

MODEL = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"


def test_example(tmp_path: Path) -> None:
    made = vmcu.compile(MODEL, "cortex-m4")
    for name, text in made.compiled.project.files.items():
        (tmp_path / name).write_text(text)
    source = folder("firmware") / "example" / "main.c"
    program = tmp_path / "example"
    command = (
        *find_host_compiler().command,
        *STRICT,
        "-O2",
        f"-I{tmp_path}",
        str(source),
        "mnist_cnn.c",
        "-o",
        str(program),
    )
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run((str(program),), capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = np.asarray(made.run(np.zeros((1, 28, 28), np.float32), engine="host")).reshape(-1)
    got = [int(word) for word in printed[0].split()]
    assert len(got) == 10 and printed[1] == f"best: {int(np.argmax(wanted))}"
    assert np.array_equal(np.argsort(got, kind="stable"), np.argsort(wanted, kind="stable"))
