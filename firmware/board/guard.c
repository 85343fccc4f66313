/* What notices that memory is written which nobody owns: canaries beside the pool, and no access under the stack. */
#include <stdint.h>
#include <string.h>

#include "board.h"
#include "vmcu_app.h"

#define CANARY_BYTES 16U

extern uint32_t vmcu_ld_stack_guard[], vmcu_ld_stack_limit[]; /* board.ld.in keeps and aligns a region of 256 bytes between */

#ifdef VMCU_APP_SPLIT_BYTES
#define FIRST_BYTES VMCU_APP_SPLIT_BYTES
#else
#define FIRST_BYTES VMCU_APP_POOL_BYTES
#endif

static struct {
    uint8_t before[CANARY_BYTES];
    uint8_t pool[FIRST_BYTES] __attribute__((aligned(VMCU_APP_POOL_ALIGN)));
    uint8_t behind[CANARY_BYTES];
} guarded __attribute__((aligned(8), section(".pool")));

#ifdef VMCU_APP_SPLIT_BYTES
static struct {
    uint8_t before[CANARY_BYTES];
    uint8_t pool[VMCU_APP_POOL_BYTES - FIRST_BYTES] __attribute__((aligned(VMCU_APP_POOL_ALIGN)));
    uint8_t behind[CANARY_BYTES];
} second __attribute__((aligned(8), section(".pool_second")));

void *vmcu_board_pool(void)
{
    static VMCU_APP_POOL parts;
    parts.first = (int8_t *)guarded.pool;
    parts.second = (int8_t *)second.pool;
    return &parts;
}
#else
void *vmcu_board_pool(void)
{
    return guarded.pool;
}
#endif

static uint8_t canary(uint32_t i)
{
    return (uint8_t)(0xC5U ^ i * 29U);
}

static void set(uint8_t *before, uint8_t *behind)
{
    uint32_t i;
    for (i = 0U; i < CANARY_BYTES; i++) {
        before[i] = canary(i);
        behind[i] = canary(i);
    }
}

static uint32_t broken(const volatile uint8_t *before, const volatile uint8_t *behind)
{
    uint32_t i, found = 0U;
    for (i = 0U; i < CANARY_BYTES; i++) {
        found |= (before[i] != canary(i) ? 1U : 0U) | (behind[i] != canary(i) ? 2U : 0U);
    }
    return found;
}

void vmcu_canaries_set(void)
{
    set(guarded.before, guarded.behind);
#ifdef VMCU_APP_SPLIT_BYTES
    set(second.before, second.behind);
#endif
}

uint32_t vmcu_canaries_broken(void)
{
    uint32_t found = broken(guarded.before, guarded.behind);
#ifdef VMCU_APP_SPLIT_BYTES
    found |= broken(second.before, second.behind) << 2;
#endif
    return found;
}

#define REG(address) (*(volatile uint32_t *)(address))
#define MPU_TYPE REG(0xE000ED90U)
#define MPU_CTRL REG(0xE000ED94U)
#define MPU_RNR REG(0xE000ED98U)
#define MPU_RBAR REG(0xE000ED9CU)
#define MPU_RASR REG(0xE000EDA0U)

static uint32_t kind;

void vmcu_guard_start(void)
{
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    /* Armv8-M compares the stack pointer itself, which also stops a frame that leaps over a guard. */
    __asm volatile("msr msplim, %0" ::"r"(vmcu_ld_stack_limit));
    kind = VMCU_GUARD_LIMIT;
#elif !defined(__ARM_ARCH_8M_BASE__)
    /* PMSAv6 and v7 (Armv7-M ARM, B3.5): one region without access, the default map for all else. Faults run without the
     * MPU (HFNMIENA is 0), so that their handler can be entered. */
    if ((MPU_TYPE >> 8 & 0xFFU) == 0U) {
        return;
    }
    MPU_RNR = 0U;
    MPU_RBAR = (uint32_t)(uintptr_t)vmcu_ld_stack_guard;
    MPU_RASR = 1U << 28 | 7U << 1 | 1U; /* never executed, nobody's, 2^(7 + 1) bytes, on */
    MPU_CTRL = 1U << 2 | 1U;
    __asm volatile("dsb\n\tisb" ::: "memory");
    kind = VMCU_GUARD_MPU;
#endif
}

uint32_t vmcu_guard_kind(void)
{
    return kind;
}
