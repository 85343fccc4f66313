/* Runs a model over every input of a file, in one start of the emulator.
 *
 * input.bin: u32 inferences, u32 flags, then for each inference its inputs in port order. */
#include <string.h>

#include "hooks.h"
#include "pool.h"
#include "port.h"
#include "record.h"
#include "vmcu_app.h"

#define FLAG_RESET_BETWEEN 1U

struct port_range {
    uint32_t offset_bytes;
    uint32_t size_bytes;
    uint32_t row_bytes; /* of a streamed input or output; 0: it lies in the pool */
};

static const struct port_range inputs[] = VMCU_APP_INPUTS;
static const struct port_range outputs[] = VMCU_APP_OUTPUTS;

#ifdef VMCU_APP_SOURCE_COUNT
/* Streamed inputs lie here, as in a camera, and not in the model's RAM. */
struct vmcu_app_source {
    const uint8_t *rows;
    uint32_t row_bytes;
};

uint8_t vmcu_app_stream[VMCU_APP_SOURCE_BYTES];
static struct vmcu_app_source vmcu_app_sources[VMCU_APP_SOURCE_COUNT];

int vmcu_app_read_rows(void *context, uint32_t row, uint32_t count, int8_t *to);
int vmcu_app_read_rows(void *context, uint32_t row, uint32_t count, int8_t *to)
{
    const struct vmcu_app_source *source = (const struct vmcu_app_source *)context;
    memcpy(to, source->rows + row * source->row_bytes, count * source->row_bytes);
    return 0;
}

static void start_sources(void)
{
    uint32_t i, n = 0U, at = 0U;
    for (i = 0U; i < VMCU_APP_INPUT_COUNT; i++) {
        if (inputs[i].row_bytes != 0U) {
            vmcu_app_sources[n].rows = vmcu_app_stream + at;
            vmcu_app_sources[n].row_bytes = inputs[i].row_bytes;
            at += inputs[i].size_bytes;
            n++;
        }
    }
}
#endif

#ifdef VMCU_APP_SINK_COUNT
/* Streamed outputs go here, as to a display, and not to the model's RAM. */
struct vmcu_app_sink {
    uint8_t *next;
    uint8_t *end;
    uint32_t row;
    uint32_t row_bytes;
};

uint8_t vmcu_app_received[VMCU_APP_SINK_BYTES];
static struct vmcu_app_sink vmcu_app_sinks[VMCU_APP_SINK_COUNT];

/* Takes every row once, in ascending order, and nothing else. */
int vmcu_app_write_rows(void *context, uint32_t row, uint32_t count, const int8_t *from);
int vmcu_app_write_rows(void *context, uint32_t row, uint32_t count, const int8_t *from)
{
    struct vmcu_app_sink *sink = (struct vmcu_app_sink *)context;
    uint32_t bytes = count * sink->row_bytes;
    if (row != sink->row || bytes > (uint32_t)(sink->end - sink->next)) {
        return 1;
    }
    memcpy(sink->next, from, bytes);
    sink->next += bytes;
    sink->row += count;
    return 0;
}

static void start_sinks(void)
{
    uint32_t i, n = 0U, at = 0U;
    for (i = 0U; i < VMCU_APP_OUTPUT_COUNT; i++) {
        if (outputs[i].row_bytes != 0U) {
            vmcu_app_sinks[n].next = vmcu_app_received + at;
            at += outputs[i].size_bytes;
            vmcu_app_sinks[n].end = vmcu_app_received + at;
            vmcu_app_sinks[n].row = 0U;
            vmcu_app_sinks[n].row_bytes = outputs[i].row_bytes;
            n++;
        }
    }
}

/* Have all rows come? */
static int are_sinks_full(void)
{
    uint32_t n;
    for (n = 0U; n < VMCU_APP_SINK_COUNT; n++) {
        if (vmcu_app_sinks[n].next != vmcu_app_sinks[n].end) {
            return 0;
        }
    }
    return 1;
}
#endif

#ifdef VMCU_APP_RUN_ROWS
#define ROWS_MISSING 255 /* no status of a model */

int vmcu_app_run(void *pool);
int vmcu_app_run(void *pool)
{
    int status;
#ifdef VMCU_APP_SOURCE_COUNT
    start_sources();
#endif
#ifdef VMCU_APP_SINK_COUNT
    start_sinks();
#endif
    status = VMCU_APP_RUN_ROWS;
#ifdef VMCU_APP_SINK_COUNT
    if (status == 0 && !are_sinks_full()) {
        status = ROWS_MISSING;
    }
#endif
    return status;
}
#endif

/* Reads the inputs of one inference to where the model takes them from; 0 on success. */
static int read_inputs(void *pool)
{
    uint32_t i, at = 0U;
    for (i = 0U; i < VMCU_APP_INPUT_COUNT; i++) {
        uint8_t *to = vmcu_pool_byte(pool, inputs[i].offset_bytes);
#ifdef VMCU_APP_SOURCE_COUNT
        if (inputs[i].row_bytes != 0U) {
            to = vmcu_app_stream + at;
            at += inputs[i].size_bytes;
        }
#endif
        if (vmcu_port_read(to, inputs[i].size_bytes) != 0) {
            return 1;
        }
    }
    (void)at;
    return 0;
}

int vmcu_record(uint32_t kind, uint32_t index, uint32_t row, const void *data, uint32_t bytes)
{
    uint32_t header[4];
    header[0] = kind;
    header[1] = index;
    header[2] = row;
    header[3] = bytes;
    if (vmcu_port_write(header, (uint32_t)sizeof header) != 0) {
        return 1;
    }
    return bytes == 0U ? 0 : vmcu_port_write(data, bytes);
}

static int record_cost(uint32_t kind, uint32_t inference, int status, const struct vmcu_cost *cost)
{
    uint32_t payload[4];
    payload[0] = (uint32_t)cost->instructions;
    payload[1] = (uint32_t)(cost->instructions >> 32);
    payload[2] = cost->stack_bytes;
    payload[3] = (uint32_t)status;
    return vmcu_record(kind, inference, 0U, payload, (uint32_t)sizeof payload);
}

static int infer(void *pool, uint32_t inference, uint32_t flags)
{
    struct vmcu_cost cost;
    uint32_t i, at = 0U;
    int status;
    if ((flags & FLAG_RESET_BETWEEN) != 0U && inference > 0U && VMCU_APP_RESET(pool) != 0) {
        return VMCU_EXIT_STATUS;
    }
    if (read_inputs(pool) != 0) {
        return VMCU_EXIT_FILE;
    }
    if (inference == 0U) {
        vmcu_hooks_start();
    }
    status = vmcu_port_measure(VMCU_APP_RUN, pool, &cost);
    if (inference == 0U) {
        vmcu_hooks_stop();
    }
    if (record_cost(VMCU_RECORD_COST, inference, status, &cost) != 0) {
        return VMCU_EXIT_FILE;
    }
    if (status != 0) {
        return VMCU_EXIT_STATUS;
    }
    for (i = 0U; i < VMCU_APP_OUTPUT_COUNT; i++) {
        const uint8_t *from = vmcu_pool_byte(pool, outputs[i].offset_bytes);
#ifdef VMCU_APP_SINK_COUNT
        if (outputs[i].row_bytes != 0U) {
            from = vmcu_app_received + at;
            at += outputs[i].size_bytes;
        }
#endif
        if (vmcu_record(VMCU_RECORD_OUTPUT, i, inference, from, outputs[i].size_bytes) != 0) {
            return VMCU_EXIT_FILE;
        }
    }
    (void)at;
    return VMCU_EXIT_OK;
}

int vmcu_harness(void)
{
    uint32_t request[2], i;
    struct vmcu_cost cost;
    void *pool;
    int status;
    if (vmcu_port_open() != 0 || vmcu_port_read(request, (uint32_t)sizeof request) != 0) {
        return VMCU_EXIT_FILE;
    }
    if (vmcu_port_calibrate() != 0) {
        return VMCU_EXIT_COUNTER;
    }
    pool = vmcu_port_pool();
    if (pool == (void *)0 || vmcu_tags_start(pool) != 0) {
        return VMCU_EXIT_MEMORY;
    }
    status = vmcu_port_measure(VMCU_APP_INIT, pool, &cost);
    if (record_cost(VMCU_RECORD_INIT, 0U, status, &cost) != 0) {
        return VMCU_EXIT_FILE;
    }
    if (status != 0) {
        return VMCU_EXIT_STATUS;
    }
    for (i = 0U; i < request[0]; i++) {
        int code = infer(pool, i, request[1]);
        if (code != VMCU_EXIT_OK) {
            return code;
        }
    }
    return vmcu_record(VMCU_RECORD_END, 0U, 0U, (const void *)0, 0U) == 0 ? VMCU_EXIT_OK : VMCU_EXIT_FILE;
}
