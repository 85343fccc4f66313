"""The decoder of instruction kinds and registers, against GNU objdump and by hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from disassembly import OBJDUMP, Line, disassemble, registers

from vmcu.cycles.decode import Instruction, decode

GCC = shutil.which("arm-none-eabi-gcc")
HERE = Path(__file__).parent
NO_REGISTERS = ("branch", "call", "other", "it")

needs_binutils = pytest.mark.skipif(not GCC or not OBJDUMP, reason="no arm-none-eabi-gcc and objdump")


def differences(line: Line) -> list[str]:
    """What the decoder says differently from objdump about one instruction."""
    one = decode(line.first, line.second)
    found = []
    if one.kind != line.kind:
        found.append(f"{line.mnemonic} {line.operands}: {one.kind}, not {line.kind}")
    named = registers(line.operands)
    if line.mnemonic.startswith(("push", "pop", "vpush", "vpop")):
        named |= 1 << 13
    if one.kind not in NO_REGISTERS and named != one.reads | one.late | one.writes:
        found.append(f"{line.mnemonic} {line.operands}: {one}, not {named:#x}")
    return found


@needs_binutils
def test_every_kind(tmp_path: Path) -> None:
    binary = tmp_path / "every_kind.o"
    flags = ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
    subprocess.run((GCC or "", *flags, "-c", str(HERE / "every_kind.s"), "-o", str(binary)), check=True)
    lines = list(disassemble(binary))
    assert len(lines) > 180
    assert [d for line in lines for d in differences(line)] == []
    assert len({decode(line.first, line.second).kind for line in lines}) == 29  # all of them


@needs_binutils
@pytest.mark.parametrize(
    ("core", "compiler"), [("cortex-m0plus", "gcc"), ("cortex-m4", "zig"), ("cortex-m33", "gcc")]
)
def test_a_whole_firmware(core: str, compiler: str) -> None:
    import vmcu

    if compiler == "zig":
        pytest.importorskip("ziglang")
    model = vmcu.compile(HERE.parents[2] / "models/mnist_cnn/model.onnx", core, compiler=compiler)  # type: ignore[arg-type]
    lines = [line for line in disassemble(model.firmware().elf) if not line.is_copy_to_itself]
    assert len(lines) > 1000
    assert [d for line in lines for d in differences(line)] == []


def r(*numbers: int) -> int:
    return sum(1 << n for n in numbers)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0xFB21, 0x3002, Instruction("mla", r(1, 2), r(3), r(0))),  # smlad r0, r1, r2, r3
        (0xFB21, 0xF002, Instruction("mul", r(1, 2), 0, r(0))),  # smuad r0, r1, r2
        (0xF851, 0x0B04, Instruction("load", r(1), 0, r(0))),  # ldr r0, [r1], #4
        (0x5088, 0, Instruction("store", r(1, 2), r(0))),  # str r0, [r1, r2]
        (0xB5F0, 0, Instruction("store_many", r(13), r(4, 5, 6, 7, 14), 0, 5)),  # push {r4-r7, lr}
        (0xBDF0, 0, Instruction("load_many", r(13), 0, r(4, 5, 6, 7), 5)),  # pop {r4-r7, pc}
        (0xE9D2, 0x0100, Instruction("load_pair", r(2), 0, r(0, 1), 2)),  # ldrd r0, r1, [r2]
        (0x2A03, 0, Instruction("alu", r(2), 0, 0)),  # cmp r2, #3
        (0xEE40, 0x0A81, Instruction("vfp_mac", r(17, 18), r(17), r(17))),  # vmla.f32 s1, s1, s2
    ],
)
def test_by_hand(first: int, second: int, expected: Instruction) -> None:
    assert decode(first, second) == expected
