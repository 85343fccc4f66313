/* A byte of a pool, which is one array, or two that lie apart (VMCU_APP_SPLIT_BYTES). */
#ifndef VMCU_POOL_H
#define VMCU_POOL_H

#include <stdint.h>

#include "vmcu_app.h"

/* Nothing that belongs together lies across the split, so that what begins at `offset` also goes on there. */
static inline uint8_t *vmcu_pool_byte(void *pool, uint32_t offset)
{
#ifdef VMCU_APP_SPLIT_BYTES
    const VMCU_APP_POOL *parts = (const VMCU_APP_POOL *)pool;
    if (offset >= VMCU_APP_SPLIT_BYTES) {
        return (uint8_t *)parts->second + (offset - VMCU_APP_SPLIT_BYTES);
    }
    return (uint8_t *)parts->first + offset;
#else
    return (uint8_t *)pool + offset;
#endif
}

#endif
