/* The twin of a board for this machine: the server talks on stdin and stdout, so that its every line can be fuzzed under
 * sanitizers. The pool is a heap block of exactly its size. */
#define _POSIX_C_SOURCE 200112L
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "host_pool.h"
#include "vmcu_app.h"

#define COUNTER_HZ 1000000U
#define JUMP (COUNTER_HZ / 10U) /* after the end of stdin nobody is waited for */

static uint8_t waiting[4096];
static ssize_t have, at;
static int is_at_end;
static uint64_t jumped;

void vmcu_console_start(void)
{
}

int vmcu_console_get(void)
{
    if (at == have) {
        struct pollfd line = {STDIN_FILENO, POLLIN, 0};
        (void)fflush(stdout);
        at = 0;
        have = 0;
        if (is_at_end != 0) {
            jumped += JUMP;
            return -1;
        }
        if (poll(&line, 1, 1) <= 0) {
            return -1;
        }
        have = read(STDIN_FILENO, waiting, sizeof waiting);
        if (have <= 0) {
            have = 0;
            is_at_end = 1;
            return -1;
        }
    }
    return waiting[at++];
}

void vmcu_console_put(uint8_t byte)
{
    (void)putchar(byte);
}

void vmcu_counter_open(void)
{
}

uint32_t vmcu_counter_kind(void)
{
    return VMCU_COUNTER_NONE;
}

uint64_t vmcu_counter_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * COUNTER_HZ + (uint64_t)now.tv_nsec / 1000U + jumped;
}

uint32_t vmcu_counter_hz(void)
{
    return COUNTER_HZ;
}

int vmcu_board_measure(int (*fn)(void *), void *arg, struct vmcu_board_cost *cost, uint32_t shown)
{
    uint64_t from = vmcu_counter_now();
    int status = fn(arg);
    cost->ticks = vmcu_counter_now() - from;
    cost->stack_bytes = 0U;
    (void)shown;
    return status;
}

uint64_t vmcu_board_empty_ticks(void)
{
    return 0U;
}

uint64_t vmcu_board_loop_ticks(void)
{
    return 0U;
}

uint32_t vmcu_board_stack_bytes(void)
{
    return 0U;
}

uint32_t vmcu_guard_kind(void)
{
    return VMCU_GUARD_NONE;
}

void vmcu_guard_start(void)
{
}

void *vmcu_board_pool(void)
{
    void *pool = vmcu_host_pool();
    if (pool == NULL) {
        exit(1);
    }
    return pool;
}

void vmcu_canaries_set(void)
{
}

uint32_t vmcu_canaries_broken(void)
{
    return 0U;
}

uint32_t vmcu_board_start_failed(void)
{
    return 0U;
}

int main(void)
{
    int polls = 0;
    vmcu_server_start();
    while (polls < 100) { /* what is still in the server at the end of stdin is finished */
        vmcu_server_poll();
        polls = is_at_end != 0 ? polls + 1 : 0;
    }
    return 0;
}
