"""A board whose RAM is regions with holes between: the pool fits none of them, and runs in two.

QEMU's microbit and netduinoplus2 have one SRAM; the boards here use parts of it and leave what is between alone.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from command_line import vmcu as command
from host_server import build_host_server
from tiny_project import need

import vmcu
import vmcu.pipeline
from vmcu.batch import random_batch
from vmcu.board.client import Client
from vmcu.board.emulated import EmulatedBoard
from vmcu.board.link import open_link
from vmcu.board.session import EMULATED, run_on_board
from vmcu.errors import Exit, VmcuError
from vmcu.quant.reference import Reference
from vmcu.resources import folder
from vmcu.targets import Target, load_target
from vmcu.toolchain import find_compiler
from vmcu.toolchain.elf import read_elf

MODEL = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"
REGIONS = {  # the pool needs 3,880 bytes; stack and variables go to a third region, or behind the pool's second part
    "netduinoplus2": {"FAST": (0x2000_0000, 2304), "SLOW": (0x2001_0000, 2304), "REST": (0x2001_8000, 3800)},
    "microbit": {"FAST": (0x2000_0000, 3856), "SLOW": (0x2000_2000, 3840)},
}
INFERENCES = 20

pytestmark = pytest.mark.qemu


def two_regions(where: Path, board: str, second_bytes: int | None = None) -> Path:
    """A folder with the board `torn`."""
    text = (folder("targets") / "boards" / f"{board}.toml").read_text()
    start, end = text.index("[[ram]]"), text.index("[[flash]]")
    ram = ""
    for name, (origin, size) in REGIONS[board].items():
        size = second_bytes or size if name == "SLOW" else size
        ram += f'[[ram]]\nname = "{name}"\norigin = {origin:#x}\nbytes = {size}\nwait_states = 0\n\n'
    (where / "torn.toml").write_text(text[:start] + ram + text[end:])
    return where


def torn(where: Path, board: str) -> Target:
    return load_target("torn", [two_regions(where, board)])


@cache
def compiled(board: str) -> vmcu.Model:
    with tempfile.TemporaryDirectory() as folder:
        return vmcu.compile(MODEL, torn(Path(folder), board))


@pytest.mark.parametrize("board", REGIONS)
def test_inferences(tmp_path: Path, board: str) -> None:
    """Found without being asked for, and equal to the reference, over the serial line and in the batch harness."""
    need("gcc")
    made = compiled(board)
    project, graph = made.compiled.project, made.compiled.graph
    size, room = REGIONS[board]["FAST"][1], REGIONS[board]["SLOW"][1]
    assert project.split_bytes == size - 64 < project.pool_bytes < size + room
    assert made.target.pool_region == "FAST,SLOW"
    batch, reference = random_batch(graph, INFERENCES), Reference(graph.original)
    found = run_on_board(made.on_board(), EMULATED, batch.payload(graph))
    assert found.outputs == made.run_batch(batch, engine="qemu").outputs
    assert found.outputs == made.run_batch(batch, engine="unicorn").outputs
    assert found.outputs == made.run_batch(batch, engine="host").outputs
    for given, outputs in zip(batch.tensors, found.outputs, strict=True):
        (port,) = graph.outputs
        want = reference.run_tensors(given)[port.tensor]
        np.testing.assert_array_equal(np.frombuffer(outputs[0], want.dtype), want.reshape(-1))
    with EmulatedBoard(made.target, made.on_board().build(made.target, tmp_path).elf) as running:
        link = open_link(running.port, 115_200)
        client = Client(link, ready_seconds=20)
        payload = batch.payload(graph)[0]
        assert client.infer(payload)[0] == found.outputs[0]
        # A look across the split, and a test of every byte of both arrays.
        port = project.outputs[0]
        around = client.peek(project.split_bytes - 8, 16)
        assert len(around) == 16
        assert client.peek(port.offset_bytes, port.size_bytes) == found.outputs[0][0]
        test = client.self_test()
        assert test.canaries_broken == 0 and test.bad_byte is None
        assert client.infer(payload)[0] == found.outputs[0]
        link.close()


def test_server_under_sanitizers(tmp_path: Path) -> None:
    """Each array is a heap block of exactly its size; every port, and a look that crosses the split."""
    made = compiled("netduinoplus2")
    project, graph = made.compiled.project, made.compiled.graph
    program = build_host_server(project, "5a" * 32, tmp_path)
    batch, reference = random_batch(graph, 3), Reference(graph.original)
    with program.start() as pipe:
        client = Client(pipe.link(), ready_seconds=20)
        for given, payload in zip(batch.tensors, batch.payload(graph), strict=True):
            (port,) = graph.outputs
            want = reference.run_tensors(given)[port.tensor]
            assert client.infer(payload)[0][0] == want.tobytes()
        whole = b"".join(
            client.peek(at, min(500, project.pool_bytes - at)) for at in range(0, project.pool_bytes, 500)
        )
        out = project.outputs[0]
        assert whole[out.offset_bytes : out.offset_bytes + out.size_bytes] == want.tobytes()
        with pytest.raises(VmcuError, match="beyond"):
            client.peek(project.pool_bytes - 4, 5)
        assert client.self_test().bad_byte is None
        assert client.infer(payload)[0][0] == want.tobytes()


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_every_core(core: str) -> None:
    """Kernels of every instruction set, in a pool of two arrays that lie apart."""
    need("gcc")
    graph = vmcu.pipeline.load(MODEL)
    one = vmcu.pipeline.compile_graph(graph, "net", core=core, split_bytes=2048)
    assert one.project.split_bytes == 2048
    batch, reference = random_batch(graph, 2), Reference(graph.original)
    found = vmcu.Model(one, load_target(core)).run_batch(batch, engine="qemu")
    for given, outputs in zip(batch.tensors, found.outputs, strict=True):
        (port,) = one.graph.outputs
        want = reference.run_tensors(given)[port.tensor]
        np.testing.assert_array_equal(np.frombuffer(outputs[0], want.dtype), want.reshape(-1))


def test_everything_lies_where_it_should(tmp_path: Path) -> None:
    need("gcc")
    made = compiled("netduinoplus2")
    symbols = {s.name: s for s in made.on_board().build(made.target, tmp_path).read().symbols}
    first, second = symbols["guarded"], symbols["second"]
    assert first.address >= 0x2000_0000 and first.address + first.size_bytes <= 0x2000_0900
    assert second.address >= 0x2001_0000 and second.address + second.size_bytes <= 0x2001_0900
    assert 0x2001_8000 < symbols["vmcu_ld_stack_top"].address <= 0x2001_8ED8
    assert second.size_bytes >= made.compiled.project.pool_bytes - made.compiled.project.split_bytes


@pytest.mark.parametrize(
    ("where", "message"), [("-1", "in front of"), ("TINY", "behind")], ids=["front", "behind"]
)
def test_write_beside_the_second_array(tmp_path: Path, where: str, message: str) -> None:
    need("gcc")
    made = compiled("netduinoplus2")
    project = made.compiled.project
    where = where.replace("TINY", f"{project.pool_bytes - project.split_bytes}")
    name = f"{project.name}.c"
    text = project.files[name]
    at = text.rindex(f"    return {project.name.upper()}_OK;")
    harm = f"    {{ volatile int8_t *p = pool->second; p[{where}] ^= 1; }}\n"
    changed = replace(project, files=MappingProxyType({**project.files, name: text[:at] + harm + text[at:]}))
    model = replace(made.on_board(), project=changed)
    batch = random_batch(made.compiled.graph, 1)
    with pytest.raises(VmcuError, match=f"the model wrote {message} the second array of its pool"):
        run_on_board(model, EMULATED, batch.payload(made.compiled.graph))


def test_two_regions_that_do_not_suffice(tmp_path: Path) -> None:
    boards = two_regions(tmp_path, "microbit", 28)
    with pytest.raises(VmcuError) as e:
        vmcu.compile(MODEL, "torn", target_path=[boards])
    assert e.value.code is Exit.DOES_NOT_FIT
    assert "more than the 3,856 there are in one piece, and no two pieces take it either" in str(e.value)
    with pytest.raises(VmcuError) as e:
        vmcu.compile(MODEL, "torn", target_path=[boards], pool_region="SLOW,FAST")
    assert e.value.code is Exit.DOES_NOT_FIT
    assert "more than the 3,864 there are" in str(e.value) and "FAST" in str(e.value)


def test_stack_that_a_build_tells(tmp_path: Path) -> None:
    """The pool fits the larger region alone, with 180 bytes left for 204 of stack; it is split so that all fits."""
    need("gcc")
    boards = two_regions(tmp_path, "netduinoplus2")
    text = (boards / "torn.toml").read_text()
    start, end = text.index("[[ram]]"), text.index("[[flash]]")
    small = '[[ram]]\nname = "{}"\norigin = {:#x}\nbytes = {}\nwait_states = 0\n\n'
    ram = small.format("MAIN", 0x2000_0000, 4060) + small.format("SMALL", 0x2001_0000, 200)
    (boards / "torn.toml").write_text(text[:start] + ram + text[end:])
    made = vmcu.compile(MODEL, "torn", target_path=[boards])
    assert made.target.pool_region == "SMALL,MAIN" and made.compiled.project.split_bytes == 136
    assert made.report["regions"] == {"pool": "SMALL,MAIN", "rest": "MAIN", "weights": None}
    report = command(
        "compile", MODEL, "-t", "torn", "--target-path", boards, "-o", tmp_path / "out", "--json"
    ).json
    assert report["memory"]["ram_total_bytes"] <= 136 + 4060


def test_on_the_command_line(tmp_path: Path) -> None:
    need("gcc")
    boards = two_regions(tmp_path, "netduinoplus2")
    options = (MODEL, "-t", "torn", "--target-path", boards)
    plan = command("plan", *options, "--json").json
    assert plan["pool_region"] == "FAST,SLOW" and plan["fits"]
    out = tmp_path / "out"
    command("compile", *options, "-o", out)
    header = (out / "mnist_cnn.h").read_text()
    assert "#define MNIST_CNN_FIRST_BYTES 2240\n" in header and "struct mnist_cnn_pool {" in header
    script = (out / "mnist_cnn_memory.ld").read_text()
    assert ".vmcu_pool_second (NOLOAD) : ALIGN(16) { *(.vmcu_pool_second) } > SLOW" in script
    run = ("run", MODEL, "--board", "torn", "--target-path", boards, "--port", "emulated")
    assert command(*run).code == 0


def test_named_regions(tmp_path: Path) -> None:
    """In the order of the user, on a board where one region would do."""
    made = vmcu.compile(MODEL, "nucleo-h743zi", pool_region="axi,dtcm")
    assert made.target.pool_region == "AXI,DTCM" and made.compiled.project.split_bytes == 0
    states = vmcu.compile(MODEL.parents[1] / "gesture" / "model.onnx", torn(tmp_path, "netduinoplus2"))
    assert states.compiled.project.split_bytes == 0  # it fits the first


SCRIPT = """\
MEMORY
{
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 1M
    FAST (rw) : ORIGIN = 0x20000000, LENGTH = 2304
    SLOW (rw) : ORIGIN = 0x20010000, LENGTH = 2304
}
INCLUDE out/mnist_cnn_memory.ld
ENTRY(main)
SECTIONS
{
    .text : { *(.text .text.* .rodata .rodata.*) } > FLASH
    .bss : { *(.bss .bss.* COMMON) } > SLOW
}
"""
MAIN = """\
#include "mnist_cnn.h"
static int8_t first[MNIST_CNN_FIRST_BYTES]
    __attribute__((section(".vmcu_pool"), aligned(MNIST_CNN_POOL_ALIGN)));
static int8_t second[MNIST_CNN_SECOND_BYTES]
    __attribute__((section(".vmcu_pool_second"), aligned(MNIST_CNN_POOL_ALIGN)));
static const struct mnist_cnn_pool pool = {first, second};
int main(void)
{
    return mnist_cnn_init((void *)&pool) + mnist_cnn_run((void *)&pool);
}
"""


def test_part_of_a_users_linker_script(tmp_path: Path) -> None:
    """What the written script tells its reader to do, done."""
    need("gcc")
    made = compiled("netduinoplus2")
    made.save(tmp_path / "out", made.make_report(measure=False))
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "board.ld").write_text(SCRIPT)
    program = find_compiler("gcc").command
    options = (*made.target.gcc_flags, "-O2", "-Iout", "-Wall", "-Werror", "-nostartfiles", "-T", "board.ld")
    sources = ("main.c", "out/mnist_cnn.c")
    subprocess.run([*program, *options, *sources, "-o", "x.elf"], cwd=tmp_path, check=True)
    address = {s.name: s.address for s in read_elf(tmp_path / "x.elf").symbols}
    assert (address["first"], address["second"]) == (0x2000_0000, 0x2001_0000)
