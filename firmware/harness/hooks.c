/* What happens after every task: nothing, a trace of its bytes, or a profile of its instructions.
 * Only the first inference is observed. An engine that watches from outside stops at the entry of
 * vmcu_task_done and reads its arguments. */
#include "hooks.h"
#include "port.h"
#include "record.h"
#include "vmcu_app.h"

#if defined(VMCU_HOOK_TRACE)

static int tracing;

void vmcu_hooks_start(void)
{
    tracing = 1;
}

void vmcu_hooks_stop(void)
{
    tracing = 0;
}

void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes)
{
    if (tracing != 0) {
        (void)vmcu_record(VMCU_RECORD_TRACE, step, row, out, bytes);
    }
}

#elif defined(VMCU_HOOK_PROFILE)

#include "cpu.h"

static uint64_t step_instructions[VMCU_APP_STEP_COUNT];
static uint64_t overhead[2]; /* of the first lap of a measured call, and of every later one */
static uint32_t laps;
static enum { IDLE, CALIBRATING, PROFILING } mode;

static __attribute__((noinline)) void account(uint32_t step)
{
    uint32_t kind = laps == 0U ? 0U : 1U;
    uint64_t instructions = vmcu_port_lap();
    laps++;
    if (mode == CALIBRATING) {
        overhead[kind] = instructions - (kind == 0U ? VMCU_CPU_HOOK_PAIR_FIRST : VMCU_CPU_HOOK_PAIR_SECOND);
    } else if (mode == PROFILING && step < VMCU_APP_STEP_COUNT) {
        step_instructions[step] += instructions - overhead[kind];
    }
}

/* Straight-line code, so that its share of a lap is the same in every call. */
__attribute__((noinline)) void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes)
{
    vmcu_port_lap_stop();
    (void)row;
    (void)out;
    (void)bytes;
    account(step);
    vmcu_port_lap_start();
}

void vmcu_hooks_start(void)
{
    struct vmcu_cost cost;
    laps = 0U;
    mode = CALIBRATING;
    (void)vmcu_port_measure(vmcu_cpu_hook_pair, (void *)0, &cost);
    laps = 0U;
    mode = PROFILING;
}

void vmcu_hooks_stop(void)
{
    mode = IDLE;
    (void)vmcu_record(VMCU_RECORD_PROFILE, 0U, 0U, step_instructions, (uint32_t)sizeof step_instructions);
}

#else

void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes)
{
    (void)step;
    (void)row;
    (void)out;
    (void)bytes;
}

void vmcu_hooks_start(void)
{
}

void vmcu_hooks_stop(void)
{
}

#endif
