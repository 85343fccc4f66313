/* Time, read from a peripheral of the emulated machine that never wraps in practice.
 *
 * QEMU with -icount advances virtual time by 2^shift ns per instruction. The target file gives the
 * peripheral, its address and the ratio VMCU_TICKS_NUM / VMCU_TICKS_DEN ticks per instruction, which
 * must exceed two: then a difference of two readings, each cut to a whole tick, still names one
 * instruction count.
 *
 * A sample is straight-line code of constant length; making sense of it comes later, outside the
 * measured time. */
#ifndef VMCU_COUNTER_H
#define VMCU_COUNTER_H

#include <stdint.h>

struct vmcu_sample {
    uint32_t low;
    uint32_t high_before;
    uint32_t high_after;
};

#define VMCU_REG(address) (*(volatile uint32_t *)(address))

#if defined(VMCU_COUNTER_FPGAIO)
/* MPS2/MPS3 FPGAIO (Arm DAI0385D, table 4-5): COUNTER steps each time PSCNTR, counting down from
 * PRESCALE, passes zero. Together: 56 bits. */
#define VMCU_FPGAIO_COUNTER VMCU_REG(VMCU_COUNTER_BASE + 0x18U)
#define VMCU_FPGAIO_PRESCALE VMCU_REG(VMCU_COUNTER_BASE + 0x1cU)
#define VMCU_FPGAIO_PSCNTR VMCU_REG(VMCU_COUNTER_BASE + 0x20U)
#define VMCU_FPGAIO_RELOAD 0x00ffffffU

static inline void vmcu_counter_start(void)
{
    VMCU_FPGAIO_PRESCALE = VMCU_FPGAIO_RELOAD;
    VMCU_FPGAIO_PSCNTR = VMCU_FPGAIO_RELOAD;
    VMCU_FPGAIO_COUNTER = 0U;
}

static inline struct vmcu_sample vmcu_counter_sample(void)
{
    struct vmcu_sample s;
    s.high_before = VMCU_FPGAIO_COUNTER;
    s.low = VMCU_FPGAIO_PSCNTR;
    s.high_after = VMCU_FPGAIO_COUNTER;
    return s;
}

static inline uint64_t vmcu_counter_ticks(struct vmcu_sample s)
{
    /* Where the high word stepped between its two readings, a large `low` was read after the step. */
    uint32_t high = s.low > VMCU_FPGAIO_RELOAD / 2U ? s.high_after : s.high_before;
    return (((uint64_t)high + 1U) << 24) - 1U - s.low;
}

#else
/* No counter: instruction counts read as zero. */
static inline void vmcu_counter_start(void)
{
}

static inline struct vmcu_sample vmcu_counter_sample(void)
{
    struct vmcu_sample s = {0U, 0U, 0U};
    return s;
}

static inline uint64_t vmcu_counter_ticks(struct vmcu_sample s)
{
    return s.low;
}
#endif

#ifndef VMCU_TICKS_NUM
#define VMCU_NO_COUNTER
#define VMCU_TICKS_NUM 1U
#define VMCU_TICKS_DEN 1U
#endif

/* Instructions between two samples. */
static inline uint64_t vmcu_counter_instructions(struct vmcu_sample from, struct vmcu_sample to)
{
    uint64_t ticks = vmcu_counter_ticks(to) - vmcu_counter_ticks(from);
    return (ticks * VMCU_TICKS_DEN + VMCU_TICKS_NUM / 2U) / VMCU_TICKS_NUM;
}

#endif
