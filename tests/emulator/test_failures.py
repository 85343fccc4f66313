"""What goes wrong is said in words: faults, loops, memory, stacks without bound, broken C."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import need, samples, tiny

from vmcu.errors import Exit, VmcuError
from vmcu.run import run
from vmcu.targets import load_target
from vmcu.toolchain import Firmware, build, find_compiler

ENGINES = (pytest.param("qemu", marks=pytest.mark.qemu), "unicorn")
COMPILERS = ("gcc", "zig")
WILD = "{ volatile int32_t *p = (volatile int32_t *)(uintptr_t)0xA0000000U; *p = 1; }"
UNALIGNED = "{ volatile int32_t *p = (volatile int32_t *)(void *)(pool + 3001); *p = 1; }"
NO_STACK = '{ __asm volatile("mov sp, %0\\n\\tpush {r4}" : : "r"(0xA0000000U)); }'


def make(work: Path, target: str = "cortex-m4", compiler: str = "zig", **changes: object) -> Firmware:
    need(compiler)
    return build(tiny(**changes), load_target(target), find_compiler(compiler), workdir=work)


def failing(firmware: Firmware, engine: str, limit_seconds: float | None = None) -> VmcuError:
    need(engine)
    with pytest.raises(VmcuError) as e:
        run(firmware, samples(1), engine=engine, limit_seconds=limit_seconds)
    return e.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m33"])
def test_fault_names_the_function(tmp_path: Path, engine: str, core: str) -> None:
    error = failing(make(tmp_path, core, extra=WILD), engine)
    assert error.code == Exit.BUG
    assert "took a fault at tiny_run+0x" in str(error)


def test_unaligned_access_of_an_m0(tmp_path: Path) -> None:
    """QEMU's machine forgives it; the Unicorn engine is as strict as the chip."""
    assert "took a fault at tiny_run+0x" in str(
        failing(make(tmp_path, "cortex-m0plus", extra=UNALIGNED), "unicorn")
    )


@pytest.mark.qemu
def test_lockup_names_the_function(tmp_path: Path) -> None:
    text = str(failing(make(tmp_path, extra=NO_STACK), "qemu"))
    assert "took a fault at" in text and "Lockup" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_error_of_the_model(tmp_path: Path, engine: str) -> None:
    assert "the model returned the error 7" in str(failing(make(tmp_path, extra="return 7;"), engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_endless_loop(tmp_path: Path, engine: str) -> None:
    error = failing(make(tmp_path, extra="for (;;) { pool[5]++; }"), engine, 1.0)
    assert error.code == Exit.TOOL
    assert "did not end within 1 seconds" in str(error)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_board_too_small(tmp_path: Path, compiler: str) -> None:
    with pytest.raises(
        VmcuError, match=r"needs 131,\d+ bytes of RAM \(pool 131000, stack \d+, variables 0\)"
    ) as e:
        make(tmp_path, "nucleo-f411re", compiler, pool_bytes=131_000)
    assert e.value.code == Exit.DOES_NOT_FIT
    assert "there are 131,072" in str(e.value)


def test_board_just_large_enough(tmp_path: Path) -> None:
    stack = make(tmp_path, "nucleo-f411re").stack_bytes
    fits = make(tmp_path, "nucleo-f411re", pool_bytes=131_072 - stack)
    assert fits.ram_bytes == 131_072
    with pytest.raises(VmcuError, match="there are 131,072: 4 too many"):
        make(tmp_path, "nucleo-f411re", pool_bytes=131_072 - stack + 4)


def test_flash_too_small(tmp_path: Path) -> None:
    more = "extern const int8_t big[600000];\nconst int8_t big[600000] = {1};\n"
    with pytest.raises(VmcuError, match=r"bytes of flash \(constants 60\d+, code \d+, library \d+\)") as e:
        make(tmp_path, "nucleo-f411re", more=more, extra="out[2] = big[pool[0]];")
    assert e.value.code == Exit.DOES_NOT_FIT


@pytest.mark.parametrize("compiler", COMPILERS)
def test_machine_too_small(tmp_path: Path, compiler: str) -> None:
    with pytest.raises(VmcuError, match=r"RAM of the emulated machine overflows by 82\d,\d+ bytes") as e:
        make(tmp_path, "cortex-m4", compiler, pool_bytes=5_000_000)
    assert e.value.code == Exit.DOES_NOT_FIT


@pytest.mark.parametrize("compiler", COMPILERS)
def test_recursion_is_refused(tmp_path: Path, compiler: str) -> None:
    more = "static int32_t deep(int32_t n) { return n < 2 ? 1 : deep(n - 1) + deep(n - 2); }"
    with pytest.raises(VmcuError, match=r"tiny_run -> deep -> deep: recursion") as e:
        make(tmp_path, compiler=compiler, more=more, extra="out[3] = (int8_t)deep(pool[0]);")
    assert e.value.code == Exit.BUG


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_call_through_a_pointer_is_refused(tmp_path: Path, core: str, compiler: str) -> None:
    more = "static int32_t (*volatile chosen)(const int8_t *, const int8_t *, int32_t) = scale_dot;"
    with pytest.raises(VmcuError, match="function tiny_run: calls through a pointer"):
        make(tmp_path, core, compiler, more=more, extra="out[3] = (int8_t)chosen(rows, weights, 3);")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_warning_is_an_error(tmp_path: Path, compiler: str) -> None:
    with pytest.raises(VmcuError, match=r"src/tiny\.c:\d+:\d+: error: unused variable 'idle'") as e:
        make(tmp_path, compiler=compiler, extra="int32_t idle = pool[3];")
    assert e.value.code == Exit.TOOL
    assert str(tmp_path) not in str(e.value)


def test_files_stay_in_the_project(tmp_path: Path) -> None:
    from dataclasses import replace

    need("zig")
    project = tiny()
    for name in ("../outside.h", "/outside.h"):
        bad = replace(project, files={**project.files, name: ""})
        with pytest.raises(VmcuError, match="a file would lie outside of the project"):
            build(bad, load_target("cortex-m4"), find_compiler("zig"), workdir=tmp_path)
    assert not (tmp_path.parent / "outside.h").exists()


def test_inputs_are_checked(tmp_path: Path) -> None:
    firmware = make(tmp_path)
    with pytest.raises(VmcuError, match="inference 0: has 2 inputs; the model takes 1"):
        run(firmware, [[b"", b""]])
    with pytest.raises(VmcuError, match="inference 1, input 'input': is of 3 bytes; the model takes 64"):
        run(firmware, [samples(1)[0], [b"abc"]])
