/* The pool of a program that runs on this computer: NULL where there is no memory. */
#ifndef VMCU_HOST_POOL_H
#define VMCU_HOST_POOL_H

#include <stdint.h>
#include <stdlib.h>

#include "vmcu_app.h"

static void *vmcu_host_aligned(size_t bytes)
{
    size_t align = VMCU_APP_POOL_ALIGN < sizeof(void *) ? sizeof(void *) : VMCU_APP_POOL_ALIGN;
    void *found;
    return posix_memalign(&found, align, bytes) != 0 ? NULL : found;
}

static void *vmcu_host_pool(void)
{
    /* Static, so that they are reachable to the end and no leak is reported. */
#ifdef VMCU_APP_SPLIT_BYTES
    static VMCU_APP_POOL parts;
    if (parts.first == NULL) {
        parts.first = (int8_t *)vmcu_host_aligned(VMCU_APP_SPLIT_BYTES);
        parts.second = (int8_t *)vmcu_host_aligned(VMCU_APP_POOL_BYTES - VMCU_APP_SPLIT_BYTES);
    }
    return parts.first == NULL || parts.second == NULL ? NULL : &parts;
#else
    static void *pool;
    if (pool == NULL) {
        pool = vmcu_host_aligned(VMCU_APP_POOL_BYTES);
    }
    return pool;
#endif
}

#endif
