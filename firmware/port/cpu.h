/* Functions of cpu.S. */
#ifndef VMCU_CPU_H
#define VMCU_CPU_H

#include <stdint.h>

#define VMCU_CPU_CALL_STACK_BYTES 8U     /* of vmcu_cpu_call itself */
#define VMCU_CPU_EMPTY_INSTRUCTIONS 2U   /* of vmcu_cpu_empty */
#define VMCU_CPU_LOOP_INSTRUCTIONS 402U  /* of vmcu_cpu_loop */
#define VMCU_CPU_HOOK_PAIR_FIRST 2U      /* of vmcu_cpu_hook_pair up to its first call */
#define VMCU_CPU_HOOK_PAIR_SECOND 1U     /* between its two calls */

int vmcu_cpu_semihost(uint32_t operation, void *argument);
int vmcu_cpu_call(int (*fn)(void *), void *arg);
void vmcu_cpu_paint(uint32_t *limit);
uint32_t vmcu_cpu_scan(const uint32_t *limit);
int vmcu_cpu_empty(void *unused);
int vmcu_cpu_loop(void *unused);
int vmcu_cpu_hook_pair(void *unused);
void vmcu_cpu_fault(void);
void vmcu_fault(const uint32_t *frame);

#endif
