/* The port for the machine that runs vmcu: stdio, and a heap pool of the exact size so that
 * AddressSanitizer sees the first byte out of bounds. */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>

#include "port.h"
#include "record.h"
#include "vmcu_app.h"

static FILE *input_file, *output_file;

int vmcu_port_open(void)
{
    input_file = fopen("input.bin", "rb");
    output_file = fopen("output.bin", "wb");
    return input_file == NULL || output_file == NULL;
}

int vmcu_port_read(void *to, uint32_t bytes)
{
    return fread(to, 1U, bytes, input_file) != bytes;
}

int vmcu_port_write(const void *from, uint32_t bytes)
{
    return fwrite(from, 1U, bytes, output_file) != bytes;
}

void vmcu_port_exit(int code)
{
    (void)fclose(output_file);
    exit(code);
}

static void *aligned(size_t bytes)
{
    size_t align = VMCU_APP_POOL_ALIGN < sizeof(void *) ? sizeof(void *) : VMCU_APP_POOL_ALIGN;
    void *found;
    return posix_memalign(&found, align, bytes) != 0 ? NULL : found;
}

void *vmcu_port_pool(void)
{
    /* Static, so that they are reachable to the end and no leak is reported. */
#ifdef VMCU_APP_SPLIT_BYTES
    static VMCU_APP_POOL parts;
    if (parts.first == NULL) {
        parts.first = (int8_t *)aligned(VMCU_APP_SPLIT_BYTES);
        parts.second = (int8_t *)aligned(VMCU_APP_POOL_BYTES - VMCU_APP_SPLIT_BYTES);
    }
    return parts.first == NULL || parts.second == NULL ? NULL : &parts;
#else
    static void *pool;
    if (pool == NULL) {
        pool = aligned(VMCU_APP_POOL_BYTES);
    }
    return pool;
#endif
}

int vmcu_port_measure(int (*fn)(void *), void *arg, struct vmcu_cost *cost)
{
    cost->instructions = 0U;
    cost->stack_bytes = 0U;
    return fn(arg);
}

int vmcu_port_calibrate(void)
{
    return 0;
}

int main(void)
{
    vmcu_port_exit(vmcu_harness());
    return 1;
}
