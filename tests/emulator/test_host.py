"""The program of this machine: sanitizers, tagged pool, trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import expected, samples, tiny, trace

from vmcu.errors import Exit, VmcuError
from vmcu.run import run
from vmcu.toolchain import build_host, find_compiler, find_host_compiler


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("sanitize", [False, True])
def test_answers(tmp_path: Path, tags: bool, sanitize: bool) -> None:
    report = run(build_host(tiny(), workdir=tmp_path, tags=tags, sanitize=sanitize), samples())
    assert [o[0] for o in report.outputs] == [expected(x[0], i + 1) for i, x in enumerate(samples())]
    assert report.engine == "host"
    assert report.instructions is None and report.stack_painted_bytes is None


def test_trace(tmp_path: Path) -> None:
    report = run(build_host(tiny(), workdir=tmp_path, hooks="trace", tags=True), samples(2))
    assert report.trace == trace(samples()[0][0])


def test_reset_between(tmp_path: Path) -> None:
    report = run(build_host(tiny(), workdir=tmp_path), samples(), reset_between=True)
    assert [o[0] for o in report.outputs] == [expected(x[0], 1) for x in samples()]


def test_tags_catch_a_wrong_row(tmp_path: Path) -> None:
    """A plan that is off by one row traps, whatever the numbers would have been."""
    firmware = build_host(tiny(read_row="row + 1U"), workdir=tmp_path, tags=True)
    with pytest.raises(VmcuError, match="tensor 1 row 1: pool offset 1024 holds tensor 1 row 0") as e:
        run(firmware, samples(1))
    assert e.value.code == Exit.BUG


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("VMCU_READ(pool + 3000, 4U, 9U, 2U);", "tensor 9 row 2: pool offset 3000 holds nothing written"),
        (
            "VMCU_READ(pool + 4094, 4U, 9U, 2U);",
            "tensor 9 row 2: read of 4 bytes outside the pool, at offset 4094",
        ),
        (
            "VMCU_WRITTEN(pool - 1, 4U, 9U, 2U);",
            "tensor 9 row 2: write of 4 bytes outside the pool, at offset -1",
        ),
    ],
)
def test_tags_catch_wild_accesses(tmp_path: Path, extra: str, text: str) -> None:
    with pytest.raises(VmcuError) as e:
        run(build_host(tiny(extra=extra), workdir=tmp_path, tags=True), samples(1))
    assert text in str(e.value)


def test_sanitizer_catches_undefined_behaviour(tmp_path: Path) -> None:
    firmware = build_host(tiny(extra="{ volatile int32_t z = INT32_MAX; z = z + out[3]; }"), workdir=tmp_path)
    with pytest.raises(VmcuError, match="the sanitizer stopped the program") as e:
        run(firmware, samples(1))
    assert "overflow" in str(e.value) and str(tmp_path) not in str(e.value)


def test_sanitizer_catches_the_first_byte_too_many(tmp_path: Path) -> None:
    if find_host_compiler().name == "zig":
        pytest.skip("ziglang has no AddressSanitizer")
    firmware = build_host(tiny(extra="pool[4096] = 1;"), workdir=tmp_path)
    with pytest.raises(VmcuError, match=r"AddressSanitizer: heap-buffer-overflow.*in tiny_run tiny\.c:\d+"):
        run(firmware, samples(1))


def test_host_and_target_do_not_mix(tmp_path: Path) -> None:
    firmware = build_host(tiny(), workdir=tmp_path)
    for engine in ("qemu", "unicorn"):
        with pytest.raises(VmcuError, match="runs only what was built for it"):
            run(firmware, samples(1), engine=engine)


def test_ziglang_alone_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip only: no compiler of the system."""
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_host_compiler().name == "zig" and find_compiler().name == "zig"
    report = run(build_host(tiny(), workdir=tmp_path, tags=True), samples(1))
    assert report.outputs[0][0] == expected(samples()[0][0], 1)
    firmware = build_host(tiny(extra="{ volatile int32_t z = INT32_MAX; z = z + out[3]; }"), workdir=tmp_path)
    with pytest.raises(VmcuError, match=r"the sanitizer stopped the program: .*integer overflow"):
        run(firmware, samples(1))
