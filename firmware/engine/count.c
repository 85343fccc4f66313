/* Counts instructions for the Unicorn engine, which calls this at the entry of every basic block.
 * Built for the machine vmcu runs on; vmcu/run/counter.py has the same in Python, far slower. */
#include <stdint.h>

struct vmcu_count {
    uint64_t instructions;
    uint64_t start;         /* address of the first halfword of code */
    const uint32_t *before; /* for every halfword, the number of instructions before it */
};

void vmcu_count_block(void *engine, uint64_t address, uint32_t bytes, void *user);

void vmcu_count_block(void *engine, uint64_t address, uint32_t bytes, void *user)
{
    struct vmcu_count *count = (struct vmcu_count *)user;
    const uint32_t *at = count->before + (address - count->start) / 2U;
    (void)engine;
    count->instructions += (uint64_t)at[bytes / 2U] - at[0];
}
