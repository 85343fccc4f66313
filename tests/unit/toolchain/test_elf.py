"""Our ELF reader against pyelftools, and on what is no ELF file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.toolchain.elf import SHF_EXECINSTR, SHF_WRITE, STT_FUNC, read_elf

SOURCE = """
const char text[100] = "constant";
int variable = 3, zero[50];
int twice(int x) { return x + x + zero[x]; }
"""


@pytest.fixture
def object_file(tmp_path: Path) -> Path:
    source, path = tmp_path / "a.c", tmp_path / "a.o"
    source.write_text(SOURCE)
    command = ["arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4"]
    if not shutil.which(command[0]):
        pytest.importorskip("ziglang")
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "thumb-freestanding-eabi",
            "-mcpu=cortex_m4",
        ]
    subprocess.run([*command, "-O1", "-ffunction-sections", "-c", str(source), "-o", str(path)], check=True)
    return path


def test_against_pyelftools(object_file: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    ours = read_elf(object_file)
    with object_file.open("rb") as f:
        theirs = elffile.ELFFile(f)
        assert [s.name for s in ours.sections] == [s.name for s in theirs.iter_sections()]
        assert [s.size_bytes for s in ours.sections] == [s["sh_size"] for s in theirs.iter_sections()]
        symbols = [
            (s.name, s["st_value"], s["st_size"])
            for s in theirs.get_section_by_name(".symtab").iter_symbols()
        ]
        names = {s.name for s in theirs.iter_sections()}
        assert [(s.address, s.size_bytes) for s in ours.symbols] == [s[1:] for s in symbols]
        # Section symbols have no name of their own; pyelftools borrows the section's.
        assert all(a.name == b[0] or b[0] in names for a, b in zip(ours.symbols, symbols, strict=True))


def test_sizes_and_functions(object_file: Path) -> None:
    elf = read_elf(object_file)
    assert 8 <= elf.size_bytes(SHF_EXECINSTR, 0) <= 40
    assert elf.size_bytes(SHF_WRITE, 0) == 4 + 200
    assert 100 <= elf.size_bytes(0, SHF_EXECINSTR | SHF_WRITE) < 150
    function = next(s for s in elf.symbols if s.kind == STT_FUNC)
    assert function.name == "twice" and function.address == 1  # the Thumb bit
    assert elf.function_at(0) == "twice" and elf.function_at(2) == "twice+0x2"
    assert elf.function_at(0x1000) == "0x00001000"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(60), b"MZ" * 50])
def test_no_elf(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.o"
    path.write_bytes(data)
    with pytest.raises(VmcuError, match="is no 32-bit little-endian ELF") as e:
        read_elf(path)
    assert e.value.code == Exit.TOOL
