"""Models and files for the command line, in a folder that is the current one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import Net, small_net


def two_ports() -> Net:
    """Inputs a and b, outputs sum and file (the name of an argument of numpy.savez)."""
    net = Net()
    a, b = net.qdq(net.input("a", (1, 4))), net.qdq(net.input("b", (1, 4)))
    net.node("Identity", [net.qdq(net.node("Add", [a, b]))], "sum")
    net.node("Identity", [net.qdq(net.node("Sub", [a, b]))], "file")
    net.output("sum", shape=(1, 4))
    net.output("file", shape=(1, 4))
    return net


def counter() -> Net:
    """y = state + x, which is the next state."""
    net = Net()
    x, old = (
        net.dq(net.input("x", (1, 4), np.int8), 1.0, 0),
        net.dq(net.input("state_in_s", (1, 4), np.int8), 1.0, 0),
    )
    new = net.q(net.node("Add", [x, old]), 1.0, 0)
    net.node("Identity", [new], "y")
    net.node("Identity", [new], "state_out_s")
    net.output("y", np.int8, (1, 4))
    net.output("state_out_s", np.int8, (1, 4))
    return net


def dynamic() -> Net:
    net = Net()
    x = net.qdq(net.input("x", ["n", 4]))
    net.node("Identity", [net.qdq(net.node("MatMul", [x, net.weights((4, 3))]))], "y")
    net.output("y")
    return net


def large() -> Net:
    """20 MB of image: on no chip."""
    net = Net()
    x = net.qdq(net.input("x", (1, 8, 1600, 1600)))
    net.node("Identity", [net.qdq(net.node("Sigmoid", [x]))], "y")
    net.output("y", shape=(1, 8, 1600, 1600))
    return net


def float_net() -> Net:
    net = Net()
    net.node("MatMul", [net.input("x", (1, 4)), net.const(np.ones((4, 3)), np.float32)], "y")
    net.output("y", shape=(1, 3))
    return net


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file the tests read; nobody writes here."""
    folder = tmp_path_factory.mktemp("files")
    for name, net in {
        "net": small_net(),
        "two": two_ports(),
        "count": counter(),
        "dynamic": dynamic(),
        "float": float_net(),
        "large": large(),
    }.items():
        net.save(folder, f"{name}.onnx")
    (folder / "junk.onnx").write_bytes(bytes(range(256)))
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.npy").write_text("hello")
    image = (1, 3, 8, 8)
    rng = np.random.default_rng(0)
    for name, array in {
        "batch": rng.normal(0, 2, (3, 3, 8, 8)).astype(np.float32),
        "one": rng.normal(0, 2, image).astype(np.float32),
        "int8": rng.integers(-128, 128, image).astype(np.int8),
        "wrong_shape": np.zeros((2, 3, 8, 7), np.float32),
        "wrong_type": np.zeros(image, np.int32),
        "uint8": np.zeros(image, np.uint8),
        "none": np.zeros((0, 3, 8, 8), np.float32),
        "nan": np.full(image, np.nan, np.float32),
        "ones": np.ones((5, 4), np.int8),
    }.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "pickle.npy", np.array([{}], object), allow_pickle=True)
    row = np.ones((1, 4), np.float32) * 0.25
    np.savez(folder / "two.npz", a=row, b=row * 2)
    np.savez(folder / "one_unknown.npz", a=row, b=row, c=row)
    np.savez(folder / "one_missing.npz", b=row)
    np.savez(folder / "sizes.npz", a=np.repeat(row[None], 3, 0), b=np.repeat(row[None], 2, 0))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
