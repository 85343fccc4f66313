/* The port for the machine that runs vmcu: stdio, and a heap pool of the exact size so that
 * AddressSanitizer sees the first byte out of bounds. */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>

#include "host_pool.h"
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

void *vmcu_port_pool(void)
{
    return vmcu_host_pool();
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
