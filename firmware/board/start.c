/* Vector table, clocks and pins by the board's table, FPU, caches, memory, and then the server for ever. */
#include <stdint.h>

#include "board.h"
#include "start.h"
#include "vmcu_board.h"

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define VTOR REG(0xE000ED08U)
#define CCR REG(0xE000ED14U)
#define CLIDR REG(0xE000ED78U)
#define CCSIDR REG(0xE000ED80U)
#define CSSELR REG(0xE000ED84U)
#define ICIALLU REG(0xE000EF50U)
#define DCISW REG(0xE000EF60U)
#define WAIT_POLLS 10000000U

void vmcu_reset(void);
void vmcu_board_fault(void);
void vmcu_systick(void);

extern const union vmcu_entry vmcu_vectors[16];
const union vmcu_entry vmcu_vectors[16] __attribute__((section(".vectors"), used)) = {
    {.stack_top = vmcu_ld_stack_top}, {.handler = vmcu_reset},       {.handler = vmcu_board_fault},
    {.handler = vmcu_board_fault},    {.handler = vmcu_board_fault}, {.handler = vmcu_board_fault},
    {.handler = vmcu_board_fault},    {.handler = vmcu_board_fault}, {.handler = vmcu_board_fault},
    {.handler = vmcu_board_fault},    {.handler = vmcu_board_fault}, {.handler = vmcu_board_fault},
    {.handler = vmcu_board_fault},    {.handler = vmcu_board_fault}, {.handler = vmcu_board_fault},
    {.handler = vmcu_systick},
};

/* An entry of the board's start table. */
struct step {
    uint32_t verb;
    uint32_t address;
    uint32_t mask;
    uint32_t value;
};

static uint32_t start_failed;

uint32_t vmcu_board_start_failed(void)
{
    return start_failed;
}

/* Registers in the order of the table; a wait ends also where the chip never gets there, and is reported. */
static uint32_t run_table(void)
{
#if VMCU_BOARD_START_COUNT > 0
    static const struct step steps[] = VMCU_BOARD_START;
    uint32_t i, polls, failed = 0U;
    for (i = 0U; i < VMCU_BOARD_START_COUNT; i++) {
        uint32_t mask = steps[i].mask, value = steps[i].value;
        switch (steps[i].verb) {
        case VMCU_START_WRITE:
            REG(steps[i].address) = value;
            break;
        case VMCU_START_MODIFY:
            REG(steps[i].address) = (REG(steps[i].address) & ~mask) | value;
            break;
        default:
            for (polls = WAIT_POLLS; (REG(steps[i].address) & mask) != value && polls > 0U; polls--) {
            }
            if (polls == 0U && failed == 0U) {
                failed = i + 1U;
            }
            break;
        }
    }
    return failed;
#else
    return 0U;
#endif
}

/* Caches, where the core has any (Armv7-M ARM, B2.2): invalidated, then on. */
static void enable_caches(void)
{
#if !defined(__ARM_ARCH_6M__) && !defined(__ARM_ARCH_8M_BASE__)
    uint32_t level = CLIDR, geometry, sets, ways, set, way, shift;
    if ((level & 1U) != 0U) {
        ICIALLU = 0U;
        __asm volatile("dsb\n\tisb" ::: "memory");
        CCR |= 1U << 17;
        __asm volatile("dsb\n\tisb" ::: "memory");
    }
    if ((level & 6U) != 0U) {
        CSSELR = 0U;
        __asm volatile("dsb" ::: "memory");
        geometry = CCSIDR;
        sets = geometry >> 13 & 0x7FFFU;
        ways = geometry >> 3 & 0x3FFU;
        for (shift = 32U; shift > 0U && (ways >> (32U - shift)) != 0U; shift--) {
        }
        for (set = 0U; set <= sets; set++) {
            for (way = 0U; way <= ways; way++) {
                DCISW = (shift < 32U ? way << shift : 0U) | set << ((geometry & 7U) + 4U);
            }
        }
        __asm volatile("dsb" ::: "memory");
        CCR |= 1U << 16;
        __asm volatile("dsb\n\tisb" ::: "memory");
    }
#endif
}

/* Not inlined: the compiler may use the vector unit, which is off before. */
static __attribute__((noinline)) void start(void)
{
    uint32_t failed = run_table();
    vmcu_start_variables();
    start_failed = failed;
    enable_caches();
    vmcu_guard_start();
    vmcu_counter_open();
    vmcu_console_start();
    vmcu_server_start();
    for (;;) {
        vmcu_server_poll();
    }
}

void vmcu_reset(void)
{
    VTOR = (uint32_t)(uintptr_t)vmcu_vectors; /* ignored by cores without it */
    vmcu_start_vector_unit();
    start();
}
