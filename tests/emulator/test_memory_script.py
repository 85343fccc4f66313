"""`<name>_memory.ld` of a generated project: a user's linker script includes it, and everything lies where the report says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tiny_project import need

import vmcu
from vmcu.resources import folder
from vmcu.targets import load_target
from vmcu.toolchain import find_compiler
from vmcu.toolchain.build import STRICT
from vmcu.toolchain.elf import read_elf

MODEL = Path(__file__).parents[2] / "models" / "mnist_cnn" / "model.onnx"

SCRIPT = """\
MEMORY
{
    FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 1M
    DTCM (rw) : ORIGIN = 0x20000000, LENGTH = 64K
    SRAM1 (rw) : ORIGIN = 0x20010000, LENGTH = 240K
    QSPI (rx) : ORIGIN = 0x90000000, LENGTH = 16M
}
INCLUDE mnist/mnist_cnn_memory.ld
ENTRY(main)
SECTIONS
{
    .text : { KEEP(*(.text.main .text.startup.main)) *(.text .text.*) } > FLASH
    .rodata : { *(.rodata .rodata.*) } > FLASH
    .data : { *(.data .data.*) } > %s AT > FLASH
    .bss (NOLOAD) : { *(.bss .bss.*) } > %s
    /DISCARD/ : { *(.ARM.exidx* .ARM.extab*) }
}
"""
MAIN = """\
#include "mnist_cnn.h"
int main(void);
void *memset(void *s, int c, __SIZE_TYPE__ n);
void *memcpy(void *to, const void *from, __SIZE_TYPE__ n);
extern const int32_t own_table[4];
const int32_t own_table[4] = {1, 2, 3, 4};
int32_t counter;
extern int8_t pool[MNIST_CNN_POOL_BYTES];
int8_t pool[MNIST_CNN_POOL_BYTES]
    __attribute__((section(".vmcu_pool"), aligned(MNIST_CNN_POOL_ALIGN)));
int main(void)
{
    counter += own_table[counter & 3];
    mnist_cnn_init(pool);
    return mnist_cnn_run(pool) + mnist_cnn_output(pool)[0];
}
void *memset(void *s, int c, __SIZE_TYPE__ n)
{
    for (char *p = s; n > 0U; n--) {
        *p++ = (char)c;
    }
    return s;
}
void *memcpy(void *to, const void *from, __SIZE_TYPE__ n)
{
    const char *q = from;
    for (char *p = to; n > 0U; n--) {
        *p++ = *q++;
    }
    return to;
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("pool", "weights", "other"),
    [(None, None, "SRAM1"), ("SRAM1", "QSPI", "DTCM")],
)
def test_included(tmp_path: Path, compiler: str, pool: str | None, weights: str | None, other: str) -> None:
    need(compiler)
    target = load_target("disco-f746ng")
    made = vmcu.compile(
        MODEL,
        "disco-f746ng",
        compiler=compiler,
        pool_region=pool,
        weights_region=weights,  # type: ignore[arg-type]
    )
    report = made.make_report(measure=False)
    made.save(tmp_path / "mnist", report)
    assert report["regions"]["pool"] == (pool or "DTCM")
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "board.ld").write_text(SCRIPT % (other, other))
    command = find_compiler(compiler).command  # type: ignore[arg-type]
    flags = target.zig_flags if compiler == "zig" else target.gcc_flags
    common = (
        *STRICT,
        *flags,
        "-O2",
        "-ffunction-sections",
        "-fno-sanitize=all",
        "-fno-builtin",
        "-Imnist",
        f"-I{folder('firmware') / 'libc'}",
    )
    for source, to in (("main.c", "main.o"), ("mnist/mnist_cnn.c", "mnist_cnn.c.o")):
        call(tmp_path, *command, *common, "-c", source, "-o", to)
    libraries = ("-rtlib=compiler-rt",) if compiler == "zig" else ("-lgcc",)
    link = (*flags, "-nostdlib", "-Wl,--gc-sections", "-T", "board.ld")
    call(tmp_path, *command, *link, "main.o", "mnist_cnn.c.o", *libraries, "-o", "board.elf")
    found = read_elf(tmp_path / "board.elf")
    address = {s.name: s.address for s in found.symbols}
    region = {r.name: r for r in (*target.ram, *target.flash)}
    assert within(address["pool"], region[pool or "DTCM"])
    assert within(address["counter"], region[other])
    assert within(address["own_table"], region["flash"]), "only the model's constants move"
    assert within(address["mnist_cnn_run"], region["flash"])
    sizes = {s.name: s.size_bytes for s in found.sections}
    if weights:
        constants = made.compiled.project.weights_bytes + made.compiled.project.tables_bytes
        assert abs(sizes[".vmcu_weights"] - constants) < 200, "alignment, and what the compiler needs no more"
    else:
        assert ".vmcu_weights" not in sizes


def within(address: int, region: object) -> bool:
    return region.origin <= address & ~1 < region.end  # type: ignore[attr-defined]


def call(where: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
