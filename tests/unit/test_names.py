"""Text from a model in C: identifiers, comments, and whole projects of hostile models compiled strictly."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import Net, small_net

from vmcu.api import default_name
from vmcu.codegen.names import c_comment, c_ident, project_name, why_reserved
from vmcu.errors import Exit, VmcuError
from vmcu.pipeline import Compiled, compile_graph, load
from vmcu.toolchain import find_host_compiler
from vmcu.toolchain.build import STRICT

HOSTILE = {
    "quotes": "a\"b'c",
    "comment end": "*/ int evil; /*",
    "comment end in two halves": "**//",
    "line comment": "// x",
    "newline": "a\n#error injected\n",
    "carriage return": "a\r\n#error injected",
    "backslash at the end": "a\\",
    "trigraph": "??/\n#error injected",
    "trigraph for a backslash": "a??/",
    "path": "../../etc/passwd",
    "percent": "%s%n",
    "braces": "{{ 7 * 7 }}{% raw %}",
    "unicode": "Zähler 数 \u202e\u2028#error\u0085",
    "control": "\x00\x07\x1b[31m",
    "keyword": "int",
    "digits": "123",
    "empty words": "---",
    "10,000 characters": "x" * 10_000,
    "10,000 comment ends": "*/" * 5_000,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Conv_1/Relu:0", "conv_1_relu_0"),
        ("3x3", "n3x3"),
        ("int", "net_int"),
        ("string", "net_string"),
        ("vmcu", "net_vmcu"),
        ("vmcu math", "net_vmcu_math"),
        ("", "unnamed"),
        ("ß", "unnamed"),
        ("a" * 50, "a" * 40),
    ],
)
def test_c_ident(text: str, expected: str) -> None:
    assert c_ident(text) == expected


def test_c_ident_tells_apart() -> None:
    taken: list[str] = []
    for text in ("a.b", "a b", "A/B", "a_b"):
        taken.append(c_ident(text, taken))
    assert taken == ["a_b", "a_b_2", "a_b_3", "a_b_4"]


@settings(derandomize=True)
@given(st.text())
def test_c_ident_is_always_one(text: str) -> None:
    name = c_ident(text)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name) and not why_reserved(name)
    assert c_ident(name) == name or len(name) > 40


@settings(derandomize=True)
@given(st.text() | st.text("*/\\?\n%a"))
def test_c_comment_stays_a_comment(text: str) -> None:
    safe = c_comment(text)
    assert safe.isascii() and safe.isprintable() and len(safe) <= 80
    assert not any(mark in safe for mark in ("*/", "/*", "\\", "??"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x/My Net-2.onnx", "my_net_2"),
        ("x/string.onnx", "net_string"),
        ("x/int.onnx", "net_int"),
        ("x/main.onnx", "net_main"),
        ("x/hooks.onnx", "net_hooks"),
        ("x/vmcu.onnx", "net_vmcu"),
        ("x/" + "a_" * 20 + ".onnx", "a_" * 15 + "a"),
        ("kws/model.onnx", "kws"),
    ],
)
def test_default_name(path: str, expected: str) -> None:
    assert default_name(path) == expected


@pytest.mark.parametrize("name", ["default", "static", "stdint", "port", "vmcu", "vmcu_record", "_", "0"])
def test_project_names_are_usable(name: str, tmp_path: Path) -> None:
    """Also for the name of a graph, as `compile_graph` takes it."""
    graph = replace(load(small_net().save(tmp_path)), name=name)
    assert compile_graph(graph).project.name == project_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("static", "it is a word of C"),
        ("stdint", r"its header would hide another stdint\.h"),
        ("vmcu", "own functions and headers"),
        ("vmcu_tag", "own functions and headers"),
        ("a__b", "use up to 31"),
        ("A", "use up to 31"),
        ("a" * 32, "use up to 31"),
    ],
)
def test_reserved_project_names_are_refused(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match=reason) as error:
        compile_graph(load(small_net().save(tmp_path)), name)
    assert error.value.code is Exit.INPUT


def hostile_net(text: str, folder: Path) -> Compiled:
    """Every name of the file is `text`, or begins or ends with it."""
    net = Net()
    x = net.input(text, (1, 3, 4, 4))
    y = net.input(f"{text}!", (1, 3, 4, 4))
    total = net.node("Add", [net.qdq(x), net.qdq(y)], f"{text} sum")
    real = net.qdq(total)
    net.node("Identity", [real], f"out {text}")
    net.output(f"out {text}", shape=(1, 3, 4, 4))
    second = net.qdq(net.node("Sigmoid", [real], f"{text}{text}"), 1 / 256, -128)
    net.node("Identity", [second], f"?{text}")
    net.output(f"?{text}", shape=(1, 3, 4, 4))
    for node in net.nodes:
        node.name = f"{text} {node.name}"
    model = net.model()
    model.graph.name = text
    (folder / "hostile.onnx").write_bytes(model.SerializeToString())
    return compile_graph(load(folder / "hostile.onnx"), "hostile")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_compile(kind: str, tmp_path: Path) -> None:
    """Strictly, with every warning an error; and nothing but C of ours is in it."""
    project = hostile_net(HOSTILE[kind], tmp_path).project
    for name, text in project.files.items():
        assert re.fullmatch(r"[A-Za-z0-9_.]+", name)
        assert (
            text.isascii()
            and "\\" not in text.replace("\\\n", "").replace('\\n"\n', "")  # ends of lines of assembly
            and "#error" not in re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        )
        assert max(map(len, text.splitlines())) < 400
        (tmp_path / name).write_text(text)
    compiler = find_host_compiler()
    for standard in ("-std=c99", "-std=c11"):
        command = (
            *compiler.command,
            *STRICT,
            standard,
            "-Wcomment",
            "-Wtrigraphs",
            "-c",
            "hostile.c",
            "-o",
            "hostile.o",
        )
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
