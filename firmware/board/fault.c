/* Says on the console what happened, and starts the board again: the next line is then READY. */
#include <stdint.h>

#include "board.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define ICSR REG(0xE000ED04U)
#define AIRCR REG(0xE000ED0CU)
#define CFSR REG(0xE000ED28U)
#define MMFAR REG(0xE000ED34U)
#define BFAR REG(0xE000ED38U)
#define CFSR_STACKING (1U << 4 | 1U << 12 | 1U << 20) /* MSTKERR, STKERR, STKOF: the frame was not stored */
#define CFSR_MMFAR_VALID (1U << 7)
#define CFSR_BFAR_VALID (1U << 15)
#define STACK_WORDS 32U /* of the interrupted code; vmcu looks for return addresses there */

extern uint32_t vmcu_ld_stack_limit[], vmcu_ld_stack_top[];
void vmcu_fault_report(const uint32_t *frame);

static void number(const char *name, uint32_t value)
{
    uint32_t shift;
    vmcu_text(name);
    for (shift = 32U; shift > 0U; shift -= 4U) {
        uint32_t digit = value >> (shift - 4U) & 15U;
        vmcu_console_put((uint8_t)(digit < 10U ? '0' + digit : 'a' + digit - 10U));
    }
}

void vmcu_fault_report(const uint32_t *frame)
{
    const uint32_t *words = frame < vmcu_ld_stack_limit ? vmcu_ld_stack_limit : frame;
    uint32_t cfsr = 0U, address = 0U, has_address = 0U, i;
#if !defined(__ARM_ARCH_6M__) && !defined(__ARM_ARCH_8M_BASE__)
    cfsr = CFSR;
    if ((cfsr & CFSR_MMFAR_VALID) != 0U) {
        address = MMFAR;
        has_address = 1U;
    } else if ((cfsr & CFSR_BFAR_VALID) != 0U) {
        address = BFAR;
        has_address = 1U;
    }
#endif
    vmcu_text("\nVMCU FAULT");
    number(" exception=", ICSR & 0x1FFU);
    number(" cfsr=", cfsr);
    if (has_address != 0U) {
        number(" address=", address);
    }
    if ((cfsr & CFSR_STACKING) == 0U && words == frame) {
        number(" pc=", frame[6]);
        number(" lr=", frame[5]);
    }
    number(" sp=", (uint32_t)(uintptr_t)frame);
    number(" limit=", (uint32_t)(uintptr_t)vmcu_ld_stack_limit);
    number(" step=", vmcu_task_step);
    number(" row=", vmcu_task_row);
    number(" tasks=", vmcu_task_count);
    vmcu_text(" stack=");
    for (i = 0U; i < STACK_WORDS && words + i < vmcu_ld_stack_top; i++) {
        number(i == 0U ? "" : ",", words[i]);
    }
    vmcu_text("\n");
    AIRCR = 0x05FA0004U; /* SYSRESETREQ */
    for (;;) {
    }
}
