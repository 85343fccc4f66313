/* After every task: where the model is, and in a profile what it cost. The model calls vmcu_task_done where it is built with
 * -DVMCU_HOOKS (its generated code includes "hooks.h": this file takes the place of the harness's). */
#ifndef VMCU_HOOKS_H
#define VMCU_HOOKS_H

#include <stdint.h>

void vmcu_task_done(uint32_t step, uint32_t row, const int8_t *out, uint32_t bytes);

/* For the server. */
uint32_t vmcu_hooks_flag(void); /* VMCU_FLAG_HOOKS where the model calls vmcu_task_done */
void vmcu_hooks_begin(uint32_t is_profile);
void vmcu_hooks_start(void); /* now the first task begins */
void vmcu_hooks_end(void);
int vmcu_hooks_has_profile(void);
/* Ticks between the hooks of VMCU_CALIBRATION_LAPS tasks of one instruction. */
uint64_t vmcu_hooks_calibration(void);
/* Ticks of twice as many hooks while nothing is profiled. */
uint64_t vmcu_hooks_idle(void);
/* Ticks and tasks of a step, with what the hooks themselves take. */
uint64_t vmcu_hooks_ticks(uint32_t step);
uint32_t vmcu_hooks_tasks(uint32_t step);

#endif
