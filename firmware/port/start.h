/* What every program does first, whatever is around the model: entries of the vector table, variables, vector unit. */
#ifndef VMCU_START_H
#define VMCU_START_H

#include <stdint.h>

extern uint32_t vmcu_ld_data_load[], vmcu_ld_data_start[], vmcu_ld_data_end[];
extern uint32_t vmcu_ld_bss_start[], vmcu_ld_bss_end[], vmcu_ld_stack_top[];

typedef void (*vmcu_vector)(void);

/* Entry 0 is the initial stack pointer, not a function. */
union vmcu_entry {
    uint32_t *stack_top;
    vmcu_vector handler;
};

/* Before anything that the compiler may use the unit for, so in a function of its own that is not inlined into. */
static inline void vmcu_start_vector_unit(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* CPACR: full access to CP10 and CP11, the FPU and Helium (Armv7-M ARM, B3.2.20). */
    *(volatile uint32_t *)0xE000ED88U |= 0x00F00000U;
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
}

/* Variables with a value, then those of zero. */
static inline void vmcu_start_variables(void)
{
    const uint32_t *from = vmcu_ld_data_load;
    uint32_t *to;
    for (to = vmcu_ld_data_start; to < vmcu_ld_data_end; to++) {
        *to = *from++;
    }
    for (to = vmcu_ld_bss_start; to < vmcu_ld_bss_end; to++) {
        *to = 0U;
    }
}

#endif
