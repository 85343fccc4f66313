/* Counts instructions for the Unicorn engine, which calls this at the entry of every basic block.
 * Built for the machine vmcu runs on; vmcu/run/counter.py has the same in Python, far slower. */
#include <stdint.h>

struct vmcu_count {
    uint64_t instructions;
    uint64_t start;         /* address of the first halfword of code */
    const uint32_t *before; /* for every halfword, the number of instructions before it */
    int64_t *entered;       /* for every halfword, blocks that begin there less blocks that end in front of it */
    int64_t *left;          /* for every halfword, blocks that end in front of it and were not followed by it */
    int64_t end;            /* halfword behind the last block; -1: there is none */
};

void vmcu_count_block(void *engine, uint64_t address, uint32_t bytes, void *user);

void vmcu_count_block(void *engine, uint64_t address, uint32_t bytes, void *user)
{
    struct vmcu_count *count = (struct vmcu_count *)user;
    int64_t first = (int64_t)((address - count->start) / 2U), end = first + (int64_t)(bytes / 2U);
    (void)engine;
    count->instructions += (uint64_t)count->before[end] - count->before[first];
    count->entered[first]++;
    count->entered[end]--;
    if (count->end >= 0 && count->end != first) {
        count->left[count->end]++;
    }
    count->end = end;
}
