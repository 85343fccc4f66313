"""The file format between vmcu and the harness, and what exit codes mean."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import MappingProxyType

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.ir.cproject import CProject, Port
from vmcu.resources import folder
from vmcu.run import records
from vmcu.run.records import Record, failure, input_file, read_records, report_of
from vmcu.targets import load_target
from vmcu.toolchain import Compiler, Firmware
from vmcu.toolchain.elf import STT_FUNC, Elf, Symbol

ELF = Elf(b"", (), (Symbol("net_run", 0x101, 0x40, STT_FUNC, 1), Symbol("net_dot", 0x141, 0x40, STT_FUNC, 1)))


def firmware(hooks: str = "none") -> Firmware:
    ports = (Port("x", "x", 0, 4),), (Port("y", "y", 4, 2), Port("z", "z", 8, 1))
    project = CProject("net", MappingProxyType({}), (), 16, 4, 0, *ports, ("a", "b"), 0, 0)
    target, compiler = load_target("cortex-m4"), Compiler("gcc", "gcc 1", ("gcc",))
    return Firmware(Path("net.elf"), project, target, compiler, 0, 0, 0, 0, 0, hooks, "-O3")  # type: ignore[arg-type]


def packed(record: Record) -> bytes:
    return struct.pack("<4I", record.kind, record.index, record.row, len(record.payload)) + record.payload


def cost(kind: int, index: int, instructions: int, stack: int, status: int = 0) -> Record:
    return Record(kind, index, 0, struct.pack("<QII", instructions, stack, status))


WHOLE = (
    cost(records.INIT, 0, 5, 16),
    cost(records.COST, 0, 1 << 33, 100),
    Record(records.OUTPUT, 0, 0, b"ab"),
    Record(records.OUTPUT, 1, 0, b"c"),
    cost(records.COST, 1, 7, 90),
    Record(records.OUTPUT, 0, 1, b"de"),
    Record(records.OUTPUT, 1, 1, b"f"),
    Record(records.END, 0, 0, b""),
)


def test_numbers_agree_with_the_header() -> None:
    text = (folder("firmware") / "harness" / "record.h").read_text()
    kinds = dict(re.findall(r"#define VMCU_RECORD_(\w+) (\d+)U", text))
    assert {k: int(v) for k, v in kinds.items()} == {k: getattr(records, k) for k in kinds} and len(
        kinds
    ) == 7
    exits = {k: int(v) for k, v in re.findall(r"#define VMCU_EXIT_(\w+) (\d+)", text)}
    assert (exits["STATUS"], exits["FAULT"], exits["TAG"]) == (records._STATUS, records._FAULT, records._TAG)
    assert set(exits.values()) == {0, *records._EXITS, records._STATUS, records._FAULT, records._TAG}


def test_input_file() -> None:
    assert input_file([[b"ab", b"c"], [b"de", b"f"]], True) == struct.pack("<2I", 2, 1) + b"abcdef"


def test_records_survive_the_file() -> None:
    data = b"".join(map(packed, WHOLE))
    assert tuple(read_records(data)) == WHOLE
    assert tuple(read_records(data[:-1])) == WHOLE[:-1]
    assert tuple(read_records(packed(WHOLE[0]) + packed(WHOLE[1])[:-3])) == WHOLE[:1]


def test_report() -> None:
    report = report_of(firmware(), 2, "qemu", "QEMU 1", WHOLE)
    assert report.outputs == ((b"ab", b"c"), (b"de", b"f"))
    assert report.instructions == (1 << 33, 7)
    assert (report.init_instructions, report.stack_painted_bytes) == (5, 100)


def test_report_of_a_profile() -> None:
    profile = Record(records.PROFILE, 0, 0, struct.pack("<2Q", 3, 4))
    report = report_of(firmware("profile"), 2, "qemu", "QEMU 1", (*WHOLE[:-1], profile, WHOLE[-1]))
    assert report.profile == (3, 4)
    assert report.instructions is None and report.stack_painted_bytes is None


def test_incomplete_output() -> None:
    with pytest.raises(VmcuError, match="output of the program is not complete"):
        report_of(firmware(), 2, "qemu", "QEMU 1", WHOLE[:-1])


def test_fault() -> None:
    fault = Record(records.FAULT, 0, 0, struct.pack("<4I", 0x112, 0x145, 0x8200, 3))
    error = failure(14, "", "qemu", ELF, [fault])
    assert error.code == Exit.BUG
    assert "took a fault at net_run+0x12, link register at net_dot+0x4: exception 3, CFSR 0x00008200" in str(
        error
    )


def test_lockup() -> None:
    messages = (
        "qemu-system-arm: warning: nic lan9118.0 has no peer\n"
        "qemu: fatal: Lockup: can't escalate 3 to HardFault (current priority -1)\n\n"
        "R12=00000000 R13=203fffe0 R14=00000141 R15=00000106\n"
    )
    text = str(failure(-6, messages, "qemu", ELF, []))
    assert "at net_run+0x6, link register at net_dot: Lockup: can't escalate 3" in text


@pytest.mark.parametrize(
    ("code", "messages", "text", "exit_code"),
    [
        (10, "", "input file missing or short", Exit.TOOL),
        (11, "qemu-system-arm: warning: x\n", "miscounts a loop of known length", Exit.TOOL),
        (13, "", "the model returned the error 9", Exit.BUG),
        (
            15,
            "tensor 1 row 2: pool offset 3 holds nothing written\n",
            "the plan is wrong: tensor 1 row 2",
            Exit.BUG,
        ),
        (
            1,
            "==12==ERROR: AddressSanitizer: bad\n    #0 0x1 in net_run /x/y/src/net.c:3\n",
            ": bad, in net_run net.c:3",
            Exit.BUG,
        ),
        (
            1,
            "/x/y/src/net.c:4:2: runtime error: shift\n",
            "program: net.c:4:2: runtime error: shift",
            Exit.BUG,
        ),
        (-6, "thread 1 panic: signed integer overflow\ntrace\n", "panic: signed integer overflow", Exit.BUG),
        (77, "one\ntwo\n", "ended with code 77: one | two", Exit.TOOL),
        (-9, "", "ended with code -9", Exit.TOOL),
    ],
)
def test_exit_codes(code: int, messages: str, text: str, exit_code: Exit) -> None:
    error = failure(code, messages, "host", None, [cost(records.COST, 0, 1, 2, 9)])
    assert text in str(error) and error.code == exit_code
    assert "warning" not in str(error) and "/x/y" not in str(error)
