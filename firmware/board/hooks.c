/* A profile is the sum of laps: from the end of one call of vmcu_task_done to the beginning of the next. */
#include "hooks.h"

#include <string.h>

#include "board.h"
#include "server.h"
#include "vmcu_app.h"

volatile uint32_t vmcu_task_step, vmcu_task_row, vmcu_task_count;

#ifdef VMCU_HOOKS
#ifdef VMCU_HOST
#define HOOK_PAIR(unused) (vmcu_task_done(0U, 0U, (const int8_t *)0, 0U), vmcu_task_done(0U, 0U, (const int8_t *)0, 0U), 0)
#define EMPTY(unused) 0
#else
#include "cpu.h"
#define HOOK_PAIR(unused) vmcu_cpu_hook_pair(unused)
#define EMPTY(unused) vmcu_cpu_empty(unused)
#endif

static uint64_t ticks[VMCU_APP_STEP_COUNT], calibration, idle, lap_from, last_lap;
static uint32_t tasks[VMCU_APP_STEP_COUNT];
static enum { OFF, CALIBRATING, PROFILING } mode;
static int has_profile;

static __attribute__((noinline)) void account(uint32_t step, uint64_t now)
{
    last_lap = now - lap_from;
    if (mode == PROFILING && step < VMCU_APP_STEP_COUNT) {
        ticks[step] += last_lap;
        tasks[step]++;
    }
    lap_from = vmcu_counter_now();
}

__attribute__((noinline)) void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes)
{
    (void)out;
    (void)bytes;
    if (mode != OFF) {
        account(step, vmcu_counter_now());
    }
    vmcu_task_step = step;
    vmcu_task_row = row;
    vmcu_task_count++;
}

uint32_t vmcu_hooks_flag(void)
{
    return VMCU_FLAG_HOOKS;
}

/* Twice VMCU_CALIBRATION_LAPS hooks that do nothing but note the task, against as many calls without any. */
static uint64_t idle_ticks(void)
{
    uint64_t from = vmcu_counter_now(), middle, both;
    uint32_t i;
    for (i = 0U; i < VMCU_CALIBRATION_LAPS; i++) {
        (void)HOOK_PAIR((void *)0);
    }
    middle = vmcu_counter_now();
    for (i = 0U; i < VMCU_CALIBRATION_LAPS; i++) {
        (void)EMPTY((void *)0);
    }
    both = vmcu_counter_now() - from;
    from = middle - from;
    return 2U * from > both ? 2U * from - both : 0U;
}

void vmcu_hooks_begin(uint32_t is_profile)
{
    uint32_t i;
    if (is_profile != 0U) {
        memset(ticks, 0, sizeof ticks);
        memset(tasks, 0, sizeof tasks);
        calibration = 0U;
        idle = idle_ticks();
        mode = CALIBRATING;
        for (i = 0U; i < VMCU_CALIBRATION_LAPS; i++) {
            (void)HOOK_PAIR((void *)0);
            calibration += last_lap;
        }
        mode = PROFILING;
        has_profile = 1;
    }
    vmcu_task_step = UINT32_MAX;
    vmcu_task_row = UINT32_MAX;
    vmcu_task_count = 0U;
}

void vmcu_hooks_start(void)
{
    lap_from = vmcu_counter_now();
}

void vmcu_hooks_end(void)
{
    mode = OFF;
}

int vmcu_hooks_has_profile(void)
{
    return has_profile;
}

uint64_t vmcu_hooks_calibration(void)
{
    return calibration;
}

uint64_t vmcu_hooks_idle(void)
{
    return idle;
}

uint64_t vmcu_hooks_ticks(uint32_t step)
{
    return ticks[step];
}

uint32_t vmcu_hooks_tasks(uint32_t step)
{
    return tasks[step];
}

#else

uint32_t vmcu_hooks_flag(void)
{
    return 0U;
}

void vmcu_hooks_begin(uint32_t is_profile)
{
    (void)is_profile;
    vmcu_task_step = UINT32_MAX;
    vmcu_task_row = UINT32_MAX;
    vmcu_task_count = 0U;
}

void vmcu_hooks_start(void)
{
}

void vmcu_hooks_end(void)
{
}

int vmcu_hooks_has_profile(void)
{
    return 0;
}

uint64_t vmcu_hooks_calibration(void)
{
    return 0U;
}

uint64_t vmcu_hooks_idle(void)
{
    return 0U;
}

uint64_t vmcu_hooks_ticks(uint32_t step)
{
    (void)step;
    return 0U;
}

uint32_t vmcu_hooks_tasks(uint32_t step)
{
    (void)step;
    return 0U;
}

#endif
