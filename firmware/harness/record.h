/* The output file: records of a 16-byte header and a payload, little endian.
 * vmcu/run/records.py reads it. */
#ifndef VMCU_RECORD_H
#define VMCU_RECORD_H

#include <stdint.h>

#define VMCU_RECORD_COST 1U    /* inference; payload: u64 instructions, u32 stack bytes, u32 status */
#define VMCU_RECORD_OUTPUT 2U  /* port index, inference; payload: its bytes */
#define VMCU_RECORD_TRACE 3U   /* step, row; payload: the segment's bytes */
#define VMCU_RECORD_PROFILE 4U /* payload: u64 instructions per step */
#define VMCU_RECORD_FAULT 5U   /* payload: u32 pc, lr, cfsr, exception number */
#define VMCU_RECORD_INIT 6U    /* payload as COST */
#define VMCU_RECORD_END 7U     /* the harness came to its end */

/* Exit codes of the program. */
#define VMCU_EXIT_OK 0
#define VMCU_EXIT_FILE 10      /* a file is missing or short */
#define VMCU_EXIT_COUNTER 11   /* the instruction counter miscounts a loop of known length */
#define VMCU_EXIT_MEMORY 12    /* no memory for the pool */
#define VMCU_EXIT_STATUS 13    /* the model returned an error */
#define VMCU_EXIT_FAULT 14     /* the processor took a fault */
#define VMCU_EXIT_TAG 15       /* a pool byte carries another tensor's or row's tag */

/* Appends one record; 0 on success. */
int vmcu_record(uint32_t kind, uint32_t index, uint32_t row, const void *data, uint32_t bytes);

/* The whole run; returns an exit code. */
int vmcu_harness(void);

#endif
