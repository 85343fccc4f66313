/* What the server asks of the place it runs in. A board is start.c, counter.c, guard.c, fault.c and one console; the host has
 * a twin of all of them for fuzzing (host.c). */
#ifndef VMCU_BOARD_BOARD_H
#define VMCU_BOARD_BOARD_H

#include <stdint.h>

/* ---- console_<driver>.c ---- */
void vmcu_console_start(void);
/* A received byte, or -1. */
int vmcu_console_get(void);
/* Waits for room, but not for ever. */
void vmcu_console_put(uint8_t byte);

/* ---- counter.c ---- */
#define VMCU_COUNTER_NONE 0U
#define VMCU_COUNTER_DWT 1U
#define VMCU_COUNTER_SYSTICK 2U
#define VMCU_COUNTER_MPS 3U /* ticks of the FPGAIO counter of an MPS2 or MPS3 */

/* Starts the best counter that moves. */
void vmcu_counter_open(void);
uint32_t vmcu_counter_kind(void);
/* Since the start. */
uint64_t vmcu_counter_now(void);
/* Of the counter. */
uint32_t vmcu_counter_hz(void);

struct vmcu_board_cost {
    uint64_t ticks;       /* of the counter, from before the call to after it */
    uint32_t stack_bytes; /* painted high water of the callee */
};
/* Calls fn(arg), stores its cost and returns its status. With `shown` the board's pin for a power meter is high meanwhile. */
int vmcu_board_measure(int (*fn)(void *), void *arg, struct vmcu_board_cost *cost, uint32_t shown);
/* Ticks that vmcu_board_measure counts for a function of two instructions, and for 402 of them in a loop. */
uint64_t vmcu_board_empty_ticks(void);
uint64_t vmcu_board_loop_ticks(void);
/* Most stack used since the start. */
uint32_t vmcu_board_stack_bytes(void);

/* ---- guard.c ---- */
#define VMCU_GUARD_NONE 0U
#define VMCU_GUARD_MPU 1U   /* a region without access under the stack */
#define VMCU_GUARD_LIMIT 2U /* the stack limit register of Armv8-M */
uint32_t vmcu_guard_kind(void);
void vmcu_guard_start(void);

/* The pool as the model takes it, each of its arrays between canaries. */
void *vmcu_board_pool(void);
void vmcu_canaries_set(void);
/* 0: intact; else bit 0: in front of the pool, bit 1: behind it; bits 2 and 3: of its second array. */
uint32_t vmcu_canaries_broken(void);

/* ---- start.c ---- */
/* Number of the entry of the start table that timed out, counted from 1; 0: none. */
uint32_t vmcu_board_start_failed(void);

/* ---- server.c ---- */
/* The last task that ended: what a fault handler can say of where the model was. */
extern volatile uint32_t vmcu_task_step, vmcu_task_row, vmcu_task_count;
void vmcu_server_start(void);
/* Handles what has come in; returns at once. */
void vmcu_server_poll(void);
void vmcu_text(const char *text);

#endif
