/* Cycles: DWT's counter where it moves (a debugger may own it, an emulator lack it, an M0+ never has it), else SysTick; on an
 * MPS2 or MPS3 board the FPGAIO counter, with which an emulator that counts instructions tells them. */
#include <stdint.h>

#include "board.h"
#include "counter.h"
#include "cpu.h"
#include "vmcu_board.h"

#define PAINT_MAX_WORDS 8192U /* 32 KiB: painting megabytes would take longer than the model */

extern uint32_t vmcu_ld_stack_limit[], vmcu_ld_stack_top[];
void vmcu_systick(void);

#define SYST_CSR VMCU_REG(0xE000E010U)
#define SYST_RVR VMCU_REG(0xE000E014U)
#define SYST_CVR VMCU_REG(0xE000E018U)
#define SYST_RELOAD 0x00FFFFFFU
#define DEMCR VMCU_REG(0xE000EDFCU)
#define DWT_CTRL VMCU_REG(0xE0001000U)
#define DWT_CYCCNT VMCU_REG(0xE0001004U)
#define DWT_LAR VMCU_REG(0xE0001FB0U)

static uint32_t kind;
static uint64_t empty_ticks, loop_ticks;
static uint32_t most_stack;

#if defined(VMCU_COUNTER_FPGAIO)

struct mark {
    struct vmcu_sample sample;
};

static inline struct mark mark_now(void)
{
    struct mark m;
    m.sample = vmcu_counter_sample();
    return m;
}

static uint64_t mark_ticks(struct mark m)
{
    return vmcu_counter_ticks(m.sample);
}

static void open_counter(void)
{
    vmcu_counter_start();
    kind = VMCU_COUNTER_MPS;
}

uint32_t vmcu_counter_hz(void)
{
    return VMCU_BOARD_COUNTER_HZ;
}

void vmcu_systick(void)
{
}

#else

/* 24 or 32 bits of hardware become 64: SysTick's interrupt comes more often than either wraps. */
static volatile uint32_t high;
static uint32_t last_low;
static uint64_t last_now;

struct mark {
    uint64_t ticks;
};

static uint64_t read_dwt(void)
{
    uint32_t low;
    uint64_t now;
    __asm volatile("cpsid i" ::: "memory");
    low = DWT_CYCCNT;
    if (low < last_low) {
        high++;
    }
    last_low = low;
    now = (uint64_t)high << 32 | low;
    __asm volatile("cpsie i" ::: "memory");
    return now;
}

static uint64_t read_systick(void)
{
    uint32_t before, low;
    uint64_t now;
    do {
        before = high;
        low = SYST_CVR;
    } while (before != high);
    now = ((uint64_t)before << 24) + (SYST_RELOAD - low);
    if (now < last_now) { /* it wrapped a moment before its interrupt */
        now += (uint64_t)SYST_RELOAD + 1U;
    }
    last_now = now;
    return now;
}

static struct mark mark_now(void)
{
    struct mark m;
    m.ticks = kind == VMCU_COUNTER_DWT ? read_dwt() : read_systick();
    return m;
}

static uint64_t mark_ticks(struct mark m)
{
    return m.ticks;
}

void vmcu_systick(void)
{
    if (kind == VMCU_COUNTER_DWT) {
        (void)read_dwt();
    } else {
        high++;
    }
}

static int dwt_moves(void)
{
#if defined(VMCU_COUNTER_DWT_WANTED) && !defined(__ARM_ARCH_6M__)
    uint32_t from;
    DEMCR |= 1U << 24;     /* TRCENA */
    DWT_LAR = 0xC5ACCE55U; /* a lock that the M7 has */
    if ((DWT_CTRL & 1U << 25) != 0U) {
        return 0; /* NOCYCCNT */
    }
    DWT_CYCCNT = 0U;
    DWT_CTRL |= 1U;
    from = DWT_CYCCNT;
    (void)vmcu_cpu_loop((void *)0);
    return DWT_CYCCNT - from >= 200U; /* a loop of 200 rounds takes at least that */
#else
    return 0;
#endif
}

static void open_counter(void)
{
    kind = dwt_moves() != 0 ? VMCU_COUNTER_DWT : VMCU_COUNTER_SYSTICK;
    SYST_RVR = SYST_RELOAD;
    SYST_CVR = 0U;
    SYST_CSR = 7U; /* core clock, interrupt, on */
    if (kind == VMCU_COUNTER_SYSTICK) {
        uint64_t from = read_systick();
        (void)vmcu_cpu_loop((void *)0);
        if (read_systick() == from) {
            kind = VMCU_COUNTER_NONE; /* stuck, or not there */
        }
    }
}

uint32_t vmcu_counter_hz(void)
{
    return VMCU_BOARD_CLOCK_HZ;
}

#endif

/* Where nothing counts, time is counted in looks at it, so that waiting ends nevertheless. */
uint64_t vmcu_counter_now(void)
{
    static uint64_t looks;
    if (kind == VMCU_COUNTER_NONE) {
        looks += 64U;
        return looks;
    }
    return mark_ticks(mark_now());
}

uint32_t vmcu_counter_kind(void)
{
    return kind;
}

/* The pin for a power meter, where the board's file names one; not for what is no inference. */
static inline void show(uint32_t shown, uint32_t is_high)
{
#ifdef VMCU_METER_HIGH
    if (shown != 0U) {
        VMCU_REG(is_high != 0U ? VMCU_METER_HIGH_ADDRESS : VMCU_METER_LOW_ADDRESS) = is_high != 0U ? VMCU_METER_HIGH : VMCU_METER_LOW;
    }
#else
    (void)shown;
    (void)is_high;
#endif
}

__attribute__((noinline)) int vmcu_board_measure(int (*fn)(void *), void *arg, struct vmcu_board_cost *cost, uint32_t shown)
{
    uint32_t *limit = vmcu_ld_stack_limit;
    uint32_t *frame = (uint32_t *)__builtin_frame_address(0);
    struct mark from, to;
    uint32_t below;
    int status;
    if (frame > limit + PAINT_MAX_WORDS) {
        limit = frame - PAINT_MAX_WORDS;
    }
    vmcu_cpu_paint(limit);
    show(shown, 1U);
    from = mark_now();
    status = vmcu_cpu_call(fn, arg);
    to = mark_now();
    show(shown, 0U);
    below = vmcu_cpu_scan(limit);
    cost->ticks = mark_ticks(to) - mark_ticks(from);
    cost->stack_bytes = below > VMCU_CPU_CALL_STACK_BYTES ? below - VMCU_CPU_CALL_STACK_BYTES : 0U;
    below += (uint32_t)((uintptr_t)vmcu_ld_stack_top - (uintptr_t)frame);
    if (below > most_stack) {
        most_stack = below;
    }
    return status;
}

void vmcu_counter_open(void)
{
    struct vmcu_board_cost cost;
    open_counter();
    (void)vmcu_board_measure(vmcu_cpu_empty, (void *)0, &cost, 0U);
    (void)vmcu_board_measure(vmcu_cpu_empty, (void *)0, &cost, 0U); /* again, from a warm cache */
    empty_ticks = cost.ticks;
    (void)vmcu_board_measure(vmcu_cpu_loop, (void *)0, &cost, 0U);
    loop_ticks = cost.ticks;
}

uint64_t vmcu_board_empty_ticks(void)
{
    return empty_ticks;
}

uint64_t vmcu_board_loop_ticks(void)
{
    return loop_ticks;
}

uint32_t vmcu_board_stack_bytes(void)
{
    return most_stack;
}
