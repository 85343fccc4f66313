/* Vector table, reset and faults for any Cortex-M. */
#include "cpu.h"
#include "port.h"
#include "record.h"

extern uint32_t vmcu_ld_data_load[], vmcu_ld_data_start[], vmcu_ld_data_end[];
extern uint32_t vmcu_ld_bss_start[], vmcu_ld_bss_end[], vmcu_ld_stack_top[];

void vmcu_reset(void);

typedef void (*vmcu_vector)(void);

/* Entry 0 is the initial stack pointer, not a function. */
union vmcu_entry {
    uint32_t *stack_top;
    vmcu_vector handler;
};

extern const union vmcu_entry vmcu_vectors[16];
const union vmcu_entry vmcu_vectors[16] __attribute__((section(".vectors"), used)) = {
    {.stack_top = vmcu_ld_stack_top}, {.handler = vmcu_reset},     {.handler = vmcu_cpu_fault},
    {.handler = vmcu_cpu_fault},      {.handler = vmcu_cpu_fault}, {.handler = vmcu_cpu_fault},
    {.handler = vmcu_cpu_fault},      {.handler = vmcu_cpu_fault}, {.handler = vmcu_cpu_fault},
    {.handler = vmcu_cpu_fault},      {.handler = vmcu_cpu_fault}, {.handler = vmcu_cpu_fault},
    {.handler = vmcu_cpu_fault},      {.handler = vmcu_cpu_fault}, {.handler = vmcu_cpu_fault},
    {.handler = vmcu_cpu_fault},
};

/* Not inlined: the compiler may use the vector unit, which is off before. */
static __attribute__((noinline)) void start(void)
{
    const uint32_t *from = vmcu_ld_data_load;
    uint32_t *to;
    for (to = vmcu_ld_data_start; to < vmcu_ld_data_end; to++) {
        *to = *from++;
    }
    for (to = vmcu_ld_bss_start; to < vmcu_ld_bss_end; to++) {
        *to = 0U;
    }
    vmcu_port_exit(vmcu_harness());
}

void vmcu_reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* CPACR: full access to CP10 and CP11, the FPU and Helium (Armv7-M ARM, B3.2.20). */
    *(volatile uint32_t *)0xe000ed88U |= 0x00f00000U;
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    start();
    for (;;) {
    }
}

void vmcu_fault(const uint32_t *frame)
{
    uint32_t report[4];
    report[0] = frame[6]; /* pc */
    report[1] = frame[5]; /* lr */
#if defined(__ARM_ARCH_6M__)
    report[2] = 0U; /* ARMv6-M has no CFSR */
#else
    report[2] = *(volatile uint32_t *)0xe000ed28U;
#endif
    report[3] = *(volatile uint32_t *)0xe000ed04U & 0x1ffU; /* ICSR.VECTACTIVE */
    (void)vmcu_record(VMCU_RECORD_FAULT, 0U, 0U, report, (uint32_t)sizeof report);
    vmcu_port_exit(VMCU_EXIT_FAULT);
    for (;;) {
    }
}
