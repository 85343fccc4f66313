"""The linker script of firmware that stays on a board: every board's addresses; where QEMU has the board, it speaks."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.run.process import find_qemu
from vmcu.targets import Region, Target, emulated, list_targets, load_target, place_ram, with_regions
from vmcu.toolchain import find_compiler
from vmcu.toolchain.app import GUARD_BYTES, SECOND_STAGE_BYTES, VECTORS_BYTES, board_script
from vmcu.toolchain.build import STRICT
from vmcu.toolchain.elf import read_elf

pytestmark = pytest.mark.qemu

POOL, STACK, STATIC = 4096, 1024, 512
TARGETS = [t.name for t in list_targets() if t.console is not None and t.console.driver != "rtt"]
EMULATED = [name for name in TARGETS if load_target(name).machine is not None]

# A console that needs one store a byte in the emulator. The board firmware has real drivers; here only addresses are at stake.
DRIVERS = {
    "cmsdk": ("REG(BASE + 0x10U) = 16U; REG(BASE + 8U) = 1U;", "REG(BASE) = c;"),
    "pl011": ("REG(BASE + 0x30U) = 0x301U;", "REG(BASE) = c;"),
    "nrf_uart": ("REG(BASE + 0x500U) = 4U; REG(BASE + 8U) = 1U;", "REG(BASE + 0x51cU) = c;"),
    "stm32_usart": ("REG(BASE + 0xcU) = 0x2008U;", "REG(BASE + 4U) = c;"),
    "stm32_usart_v2": ("REG(BASE) = 9U;", "REG(BASE + 0x28U) = c;"),
}
PROGRAM = """\
#include <stdint.h>
#define REG(a) (*(volatile uint32_t *)(a))
#define BASE %(base)sU
extern uint32_t vmcu_ld_data_load[], vmcu_ld_data_start[], vmcu_ld_data_end[];
extern uint32_t vmcu_ld_bss_start[], vmcu_ld_bss_end[], vmcu_ld_stack_top[];
extern const uint32_t weights[64];
int8_t pool[%(pool)d] __attribute__((section(".pool"), aligned(16)));
volatile uint32_t started = 0x600df00dU, zero[25];
void vmcu_reset(void);
void fault(void);
typedef void (*entry)(void);
struct table {
    uint32_t *top;
    entry handlers[15];
};
extern const struct table vectors;
const struct table vectors __attribute__((section(".vectors"), used)) = {
    vmcu_ld_stack_top, {vmcu_reset, fault, fault, fault, fault, fault}};
static void put(const char *text)
{
    for (; *text; text++) {
        uint32_t c = (uint32_t)*text;
        %(put)s
    }
}
static void end(void)
{
    register uint32_t r0 __asm("r0") = 0x18U;
    register uint32_t r1 __asm("r1") = 0x20026U;
    __asm volatile("bkpt 0xab" : : "r"(r0), "r"(r1) : "memory");
}
void fault(void)
{
    put("FAULT");
    end();
}
void vmcu_reset(void)
{
    const uint32_t *from = vmcu_ld_data_load;
    uint32_t *to, sum = 0U, i;
    for (to = vmcu_ld_data_start; to < vmcu_ld_data_end; to++) {
        *to = *from++;
    }
    for (to = vmcu_ld_bss_start; to < vmcu_ld_bss_end; to++) {
        *to = 0U;
    }
%(start)s
    %(enable)s
    for (i = 0U; i < sizeof pool; i++) {
        pool[i] = (int8_t)i;
    }
    for (i = 0U; i < 64U; i++) {
        sum += weights[i];
    }
    put(started == 0x600df00dU && zero[7] == 0U && pool[100] == 100 && sum == 2016U ? "READY" : "WRONG");
    end();
    for (;;) {
    }
}
"""
WEIGHTS = "#include <stdint.h>\nextern const uint32_t weights[64];\nconst uint32_t weights[64] = {%s};\n"


def start_text(target: Target) -> str:
    assert target.firmware is not None
    lines = []
    for step in target.firmware.start:
        register = f"REG({step.address:#x}U)"
        if step.kind == "wait":
            lines.append(f"    while (({register} & {step.mask:#x}U) != {step.value:#x}U) {{\n    }}")
        else:
            lines.append(f"    {register} = ({register} & {~step.mask & 0xFFFFFFFF:#x}U) | {step.value:#x}U;")
    return "\n".join(lines)


def link(target: Target, folder: Path, compiler: str = "gcc") -> Path:
    assert target.console is not None
    found = find_compiler(compiler)  # type: ignore[arg-type]
    enable, put = DRIVERS[target.console.driver]
    words = {
        "base": f"{target.console.base:#x}",
        "pool": POOL,
        "enable": enable,
        "put": put,
        "start": start_text(target),
    }
    (folder / "main.c").write_text(PROGRAM % words)
    (folder / "model_w.c").write_text(WEIGHTS % ", ".join(f"{i}U" for i in range(64)))
    script = board_script(target, pool_bytes=POOL, stack_bytes=STACK, static_bytes=STATIC)
    (folder / "board.ld").write_text(script)
    flags = target.zig_flags if compiler == "zig" else target.gcc_flags
    for name in ("main", "model_w"):
        options = (*STRICT, *flags, "-Os", "-ffreestanding", "-ffunction-sections", "-fno-sanitize=all")
        call(folder, *found.command, *options, "-c", f"{name}.c", "-o", f"{name}.o")
    call(
        folder,
        *(*found.command, *flags, "-nostdlib", "-Wl,--gc-sections", "-T", str(folder / "board.ld")),
        *("main.o", "model_w.o", "-o", "board.elf"),
    )
    return folder / "board.elf"


def call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def addresses(elf: Path) -> dict[str, int]:
    return {s.name: s.address for s in read_elf(elf).symbols}


@pytest.mark.parametrize("name", TARGETS)
def test_addresses(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    found = addresses(link(target, tmp_path))
    place = place_ram(target, POOL, GUARD_BYTES + STACK + STATIC)
    assert place is not None
    flash = target.flash[0]
    if target.is_board:
        stage = target.firmware is not None and target.firmware.boot == "second_stage"
        assert found["vectors"] == flash.origin + (SECOND_STAGE_BYTES if stage else 0)
        assert found["weights"] >= flash.origin + VECTORS_BYTES
    else:
        assert found["vectors"] == target.memory.vectors_origin
    assert flash.origin <= found["weights"] < flash.end
    assert flash.origin <= found["vmcu_reset"] & ~1 < flash.end
    ram = place.rest
    assert found["vmcu_ld_stack_guard"] == ram.origin, "below the stack's guard is nothing of ours"
    assert found["vmcu_ld_stack_limit"] == ram.origin + GUARD_BYTES
    assert found["vmcu_ld_stack_top"] == ram.origin + GUARD_BYTES + STACK
    assert found["vmcu_ld_stack_top"] <= found["started"] < found["zero"] < ram.end
    assert place.pool.origin <= found["pool"] and found["pool"] + POOL <= place.pool.end
    assert found["vmcu_ld_pool_start"] == found["pool"]
    assert found["vmcu_ld_pool_end"] == found["pool"] + POOL


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("name", EMULATED)
def test_speaks(name: str, compiler: str, tmp_path: Path) -> None:
    """Vectors, start table and console are where the emulated machine has them."""
    assert say(load_target(name), tmp_path, compiler) == "READY"


def test_a_board_without_a_machine_speaks_as_its_core(tmp_path: Path) -> None:
    assert say(emulated(load_target("nucleo-f767zi")), tmp_path) == "READY"


def say(target: Target, folder: Path, compiler: str = "gcc") -> str:
    elf, qemu = link(target, folder, compiler), find_qemu()
    assert qemu is not None and target.machine is not None
    done = subprocess.run(
        (
            *(qemu, "-M", target.machine, "-kernel", str(elf), "-display", "none", "-monitor", "none"),
            *("-serial", "stdio", "-semihosting-config", "enable=on,target=native"),
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("name", [n for n in EMULATED if load_target(n).is_board])
def test_every_region_of_an_emulated_board_takes_a_pool(name: str, tmp_path: Path) -> None:
    """What a board's file says it has, its machine has; weights, too, are read from every flash."""
    board = load_target(name)
    for region in board.ram:
        assert say(with_regions(board, region.name, None), tmp_path) == "READY", region
    for region in board.flash:
        assert say(with_regions(board, None, region.name), tmp_path) == "READY", region


def two_regions() -> Target:
    """The memory of a machine of QEMU as a board with two regions of each kind."""
    return replace(
        load_target("cortex-m4"),
        ram=(Region("fast", 0x20000000, 0x1000, 0), Region("slow", 0x20100000, 0x10000, 0)),
        flash=(Region("flash", 0x21000000, 0x10000, 0), Region("QSPI", 0x21800000, 0x10000, 0, "external")),
    )


def test_pool_and_constants_in_regions_of_their_own(tmp_path: Path) -> None:
    """The pool fills the fast region to the byte; stack and variables find the other one."""
    target = with_regions(two_regions(), None, "qspi")
    found = addresses(link(target, tmp_path))
    assert found["pool"] == 0x20000000 and found["vmcu_ld_stack_guard"] == 0x20100000
    assert found["weights"] == 0x21800000 and found["vmcu_reset"] & ~1 < 0x21010000
    assert say(target, tmp_path) == "READY"
    target = with_regions(two_regions(), "SLOW", None)
    found = addresses(link(target, tmp_path))
    assert found["pool"] > 0x20100000 and found["vmcu_ld_stack_guard"] == 0x20100000


def test_no_room() -> None:
    with pytest.raises(VmcuError) as e:
        board_script(two_regions(), pool_bytes=0x10001, stack_bytes=STACK, static_bytes=STATIC)
    assert e.value.code is Exit.DOES_NOT_FIT
    assert "pool 65,537, stack 1,024 and variables 512 bytes find no place" in str(e.value)
    assert "its RAM is fast (4,096), slow (65,536): choose another --pool-region" in str(e.value)
