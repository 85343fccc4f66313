/* What the harness asks of the place it runs in: files, an exit, an instruction counter.
 * Two implementations: semihosting on an emulated or real Cortex-M, stdio on the host. */
#ifndef VMCU_PORT_H
#define VMCU_PORT_H

#include <stdint.h>

/* Opens the input and the output file; 0 on success. */
int vmcu_port_open(void);
/* Reads exactly `bytes`; 0 on success. */
int vmcu_port_read(void *to, uint32_t bytes);
/* Writes exactly `bytes`; 0 on success. */
int vmcu_port_write(const void *from, uint32_t bytes);
/* Flushes the output and ends the program. */
void vmcu_port_exit(int code);
/* The pool as the model takes it: exactly VMCU_APP_POOL_BYTES, aligned; a null pointer where there is no memory. */
void *vmcu_port_pool(void);

/* What one measured call cost. */
struct vmcu_cost {
    uint64_t instructions; /* executed by the callee, from its entry to its return; 0 on the host */
    uint32_t stack_bytes;  /* painted high water below the caller; 0 on the host */
};

/* Starts and checks the counter; 0 on success. */
int vmcu_port_calibrate(void);
/* Calls fn(arg), stores its cost and returns its status. */
int vmcu_port_measure(int (*fn)(void *), void *arg, struct vmcu_cost *cost);

/* A lap: vmcu_port_measure starts one, a hook stops it first thing and starts the next last thing. */
void vmcu_port_lap_start(void);
void vmcu_port_lap_stop(void);
/* Instructions between the last start and the last stop. */
uint64_t vmcu_port_lap(void);

#endif
