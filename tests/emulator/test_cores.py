"""Every core, compiler and engine: same answers, same counts, no more stack than promised."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_project import expected, need, samples, trace

from vmcu.errors import Exit, VmcuError
from vmcu.run import run
from vmcu.toolchain import Firmware

Built = Callable[..., Firmware]
HELIUM = ("cortex-m55", "cortex-m85")  # not in Unicorn
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", *HELIUM)
COMPILERS = ("gcc", "zig")
ENGINES = (pytest.param("qemu", marks=pytest.mark.qemu), "unicorn")


def combinations() -> list[object]:
    """(core, compiler, engine) of everything that can run."""
    found = []
    for core in CORES:
        for compiler in COMPILERS:
            found.append(pytest.param(core, compiler, "qemu", marks=pytest.mark.qemu))
            if core not in HELIUM:
                found.append(pytest.param(core, compiler, "unicorn"))
    return found


@pytest.mark.parametrize(("core", "compiler", "engine"), combinations())
def test_answers_and_stack(built: Built, core: str, compiler: str, engine: str) -> None:
    need(engine)
    firmware = built(core, compiler)
    report = run(firmware, samples(), engine=engine)
    assert [o[0] for o in report.outputs] == [expected(x[0], i + 1) for i, x in enumerate(samples())]
    assert report.instructions is not None and len(report.instructions) == 3
    assert all(500 < n < 10_000 for n in report.instructions)
    assert report.init_instructions is not None and 0 < report.init_instructions < 100
    assert report.stack_painted_bytes is not None
    assert 64 <= report.stack_painted_bytes <= firmware.stack_bytes < 600
    assert report.engine == engine and report.version
    assert report.trace == {} and report.profile is None


@pytest.mark.parametrize(("core", "compiler", "engine"), combinations())
def test_trace(built: Built, core: str, compiler: str, engine: str) -> None:
    need(engine)
    report = run(built(core, compiler, "trace"), samples(2), engine=engine)
    assert report.trace == trace(samples()[0][0])
    assert [o[0] for o in report.outputs] == [expected(x[0], i + 1) for i, x in enumerate(samples(2))]
    assert report.instructions is None  # not the model's alone


@pytest.mark.qemu
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("core", CORES[:-2])
@pytest.mark.parametrize("hooks", ["none", "profile"])
def test_engines_count_alike(built: Built, core: str, compiler: str, hooks: str) -> None:
    need("unicorn")
    firmware = built(core, compiler, hooks)
    qemu, unicorn = (run(firmware, samples(), engine=e) for e in ("qemu", "unicorn"))
    assert qemu.outputs == unicorn.outputs
    assert qemu.instructions == unicorn.instructions
    assert qemu.init_instructions == unicorn.init_instructions
    assert qemu.stack_painted_bytes == unicorn.stack_painted_bytes
    assert qemu.profile == unicorn.profile
    assert (qemu.profile is None) == (hooks == "none")


@pytest.mark.qemu
@pytest.mark.parametrize("compiler", COMPILERS)
def test_profile_of_the_m55(built: Built, compiler: str) -> None:
    profile = run(built("cortex-m55", compiler, "profile"), samples(1), engine="qemu").profile
    total = run(built("cortex-m55", compiler), samples(1), engine="qemu").instructions
    assert profile is not None and total is not None
    assert len(profile) == 2 and all(n > 100 for n in profile)
    assert abs(sum(profile) - total[0]) < 200  # the calls of the hook, and other inlining


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("optimise", ["-Os", "-O2"])
def test_other_optimisations(built: Built, engine: str, compiler: str, optimise: str) -> None:
    """The harness compiles without a warning, too."""
    need(engine)
    firmware = built("cortex-m4", compiler, "none", optimise)
    report = run(firmware, samples(1), engine=engine)
    assert report.outputs[0][0] == expected(samples()[0][0], 1)
    assert report.stack_painted_bytes is not None and report.stack_painted_bytes <= firmware.stack_bytes


@pytest.mark.parametrize("engine", ENGINES)
def test_reset_between(built: Built, engine: str) -> None:
    need(engine)
    report = run(built("cortex-m4", "zig"), samples(), engine=engine, reset_between=True)
    assert [o[0] for o in report.outputs] == [expected(x[0], 1) for x in samples()]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_inference_at_all(built: Built, engine: str) -> None:
    need(engine)
    report = run(built("cortex-m4", "zig"), [], engine=engine)
    assert report.outputs == () and report.instructions == ()


def test_unicorn_has_no_m55(built: Built) -> None:
    with pytest.raises(VmcuError, match="Unicorn does not emulate the cortex-m55") as e:
        run(built("cortex-m55", "zig"), samples(1), engine="unicorn")
    assert e.value.code == Exit.INPUT


def test_native_and_python_counters_agree(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    need("unicorn")
    firmware = built("cortex-m4", "zig", "profile")
    native = run(firmware, samples(2), engine="unicorn")
    monkeypatch.setattr("vmcu.run.counter._native_callback", lambda: None)
    assert run(firmware, samples(2), engine="unicorn") == native


def test_sizes(built: Built) -> None:
    """64 bytes of weights and a little more; no variables; the 64-bit division is library code."""
    firmware = built("cortex-m4", "zig")
    assert 64 <= firmware.rodata_bytes < 256
    assert 100 < firmware.code_bytes < 2000
    assert 100 < firmware.library_bytes < 4000
    assert firmware.static_bytes == 0
    assert firmware.ram_bytes == 4096 + firmware.stack_bytes
    assert firmware.flash_bytes == firmware.code_bytes + firmware.library_bytes + firmware.rodata_bytes


def test_builds_repeat(built: Built, tmp_path: pytest.TempPathFactory) -> None:
    """Same input, same bytes: nothing of the folder is in the program."""
    from tiny_project import tiny

    from vmcu.toolchain import build

    first = built("cortex-m4", "gcc")
    second = build(tiny(), first.target, first.compiler, workdir=tmp_path)
    assert first.elf.read_bytes() == second.elf.read_bytes()


def test_only_the_pool_differs(tmp_path: pytest.TempPathFactory) -> None:
    """zig caches objects by the path of their headers: two builds must not share one."""
    from tiny_project import tiny

    from vmcu.targets import load_target
    from vmcu.toolchain import build, find_compiler
    from vmcu.toolchain.elf import read_elf

    need("zig")
    sizes = []
    for pool_bytes in (4096, 8192):
        work = tmp_path / str(pool_bytes)
        firmware = build(
            tiny(pool_bytes=pool_bytes), load_target("cortex-m4"), find_compiler("zig"), workdir=work
        )
        sizes.append(next(s.size_bytes for s in read_elf(firmware.elf).symbols if s.name == "vmcu_pool"))
    assert sizes == [4096, 8192]
