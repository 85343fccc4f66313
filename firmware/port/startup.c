/* Vector table, reset and faults for any Cortex-M. */
#include "cpu.h"
#include "port.h"
#include "record.h"
#include "start.h"

void vmcu_reset(void);

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
    vmcu_start_variables();
    vmcu_port_exit(vmcu_harness());
}

void vmcu_reset(void)
{
    vmcu_start_vector_unit();
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
