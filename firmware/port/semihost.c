/* The port for Cortex-M: semihosting files (Arm IHI 0089), painted stack, counted instructions. */
#include "counter.h"
#include "cpu.h"
#include "port.h"
#include "vmcu_app.h"

#define SYS_OPEN 0x01U
#define SYS_WRITE 0x05U
#define SYS_READ 0x06U
#define SYS_EXIT_EXTENDED 0x20U
#define ADP_STOPPED_APPLICATION_EXIT 0x20026U
#define OPEN_READ_BINARY 1U
#define OPEN_WRITE_BINARY 5U
#define PAINT_MAX_WORDS 8192U /* 32 KiB: painting megabytes would take longer than the model */

extern uint32_t vmcu_ld_stack_limit[];

/* vmcu_pool is found by name by engines that write the inputs themselves. */
#ifdef VMCU_APP_SPLIT_BYTES
/* The second array in front of the first, and not beside it: what crosses the split finds no memory of the model. */
static struct {
    uint8_t second[VMCU_APP_POOL_BYTES - VMCU_APP_SPLIT_BYTES] __attribute__((aligned(VMCU_APP_POOL_ALIGN)));
    uint8_t between[64];
    uint8_t first[VMCU_APP_SPLIT_BYTES] __attribute__((aligned(VMCU_APP_POOL_ALIGN)));
} parts __attribute__((section(".pool")));
extern VMCU_APP_POOL vmcu_pool;
VMCU_APP_POOL vmcu_pool = {(int8_t *)parts.first, (int8_t *)parts.second};
#else
uint8_t vmcu_pool[VMCU_APP_POOL_BYTES] __attribute__((aligned(VMCU_APP_POOL_ALIGN), section(".pool")));
#endif

static uint32_t input_file, output_file;
static struct vmcu_sample lap_from, lap_to;
#ifndef VMCU_NO_COUNTER
static uint64_t call_instructions; /* of measuring a callee of no instructions */
#endif

static uint32_t semihost_open(const char *name, uint32_t length, uint32_t mode)
{
    uint32_t args[3];
    args[0] = (uint32_t)(uintptr_t)name;
    args[1] = mode;
    args[2] = length;
    return (uint32_t)vmcu_cpu_semihost(SYS_OPEN, args);
}

int vmcu_port_open(void)
{
    static const char input[] = "input.bin", output[] = "output.bin";
    input_file = semihost_open(input, (uint32_t)sizeof input - 1U, OPEN_READ_BINARY);
    output_file = semihost_open(output, (uint32_t)sizeof output - 1U, OPEN_WRITE_BINARY);
    return input_file == UINT32_MAX || output_file == UINT32_MAX;
}

int vmcu_port_read(void *to, uint32_t bytes)
{
    uint32_t args[3];
    args[0] = input_file;
    args[1] = (uint32_t)(uintptr_t)to;
    args[2] = bytes;
    return vmcu_cpu_semihost(SYS_READ, args);
}

int vmcu_port_write(const void *from, uint32_t bytes)
{
    uint32_t args[3];
    args[0] = output_file;
    args[1] = (uint32_t)(uintptr_t)from;
    args[2] = bytes;
    return vmcu_cpu_semihost(SYS_WRITE, args);
}

void vmcu_port_exit(int code)
{
    uint32_t args[2];
    args[0] = ADP_STOPPED_APPLICATION_EXIT;
    args[1] = (uint32_t)code;
    (void)vmcu_cpu_semihost(SYS_EXIT_EXTENDED, args);
}

void *vmcu_port_pool(void)
{
    return &vmcu_pool;
}

__attribute__((noinline)) int vmcu_port_measure(int (*fn)(void *), void *arg, struct vmcu_cost *cost)
{
    uint32_t *limit = vmcu_ld_stack_limit;
    uint32_t *frame = (uint32_t *)__builtin_frame_address(0);
    struct vmcu_sample from, to;
    int status;
    if (frame > limit + PAINT_MAX_WORDS) {
        limit = frame - PAINT_MAX_WORDS;
    }
    vmcu_cpu_paint(limit);
    from = vmcu_counter_sample();
    lap_from = from;
    status = vmcu_cpu_call(fn, arg);
    to = vmcu_counter_sample();
    cost->stack_bytes = vmcu_cpu_scan(limit) - VMCU_CPU_CALL_STACK_BYTES;
#ifdef VMCU_NO_COUNTER
    (void)to;
    cost->instructions = 0U;
#else
    cost->instructions = vmcu_counter_instructions(from, to) - call_instructions;
#endif
    return status;
}

int vmcu_port_calibrate(void)
{
#ifndef VMCU_NO_COUNTER
    struct vmcu_cost cost;
    vmcu_counter_start();
    call_instructions = 0U;
    (void)vmcu_port_measure(vmcu_cpu_empty, &vmcu_pool, &cost);
    call_instructions = cost.instructions - VMCU_CPU_EMPTY_INSTRUCTIONS;
    (void)vmcu_port_measure(vmcu_cpu_loop, &vmcu_pool, &cost);
    return cost.instructions != VMCU_CPU_LOOP_INSTRUCTIONS;
#else
    return 0;
#endif
}

void vmcu_port_lap_start(void)
{
    lap_from = vmcu_counter_sample();
}

void vmcu_port_lap_stop(void)
{
    lap_to = vmcu_counter_sample();
}

uint64_t vmcu_port_lap(void)
{
    return vmcu_counter_instructions(lap_from, lap_to);
}
