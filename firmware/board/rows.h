/* Streamed inputs and outputs: their rows come and go over the link while the model runs. */
#ifndef VMCU_ROWS_H
#define VMCU_ROWS_H

#include <stdint.h>

#define VMCU_ROWS_HEAD_BYTES 10U
#define VMCU_ROWS_CHUNK_BYTES 480U

/* One frame to the host and its answer, with retries; 0 on success. */
int vmcu_rows_exchange(uint32_t is_output, uint32_t port, uint32_t offset_bytes, uint8_t *data, uint32_t bytes);

/* One inference of a model with callbacks, as VMCU_APP_RUN calls it. */
int vmcu_app_run(void *pool);

/* Statuses of a model with callbacks, SPEC.md section 5. */
#define VMCU_ROWS_GAVE_UP(status) ((status) == 2 || (status) == 3)

#endif
