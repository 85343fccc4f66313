/* The callbacks of a model with streamed inputs or outputs. Rows longer than a frame come in several. */
#include "rows.h"

#include <string.h>

#include "vmcu_app.h"

#ifdef VMCU_APP_RUN_ROWS

struct stream {
    uint32_t port;
    uint32_t row_bytes;
};

struct port_range {
    uint32_t offset_bytes;
    uint32_t size_bytes;
    uint32_t row_bytes;
};

#ifdef VMCU_APP_SOURCE_COUNT
static struct stream vmcu_app_sources[VMCU_APP_SOURCE_COUNT];

int vmcu_app_read_rows(void *context, uint32_t row, uint32_t count, int8_t *to);
int vmcu_app_read_rows(void *context, uint32_t row, uint32_t count, int8_t *to)
{
    const struct stream *source = (const struct stream *)context;
    uint32_t at = 0U, bytes = count * source->row_bytes;
    while (at < bytes) {
        uint32_t part = bytes - at < VMCU_ROWS_CHUNK_BYTES ? bytes - at : VMCU_ROWS_CHUNK_BYTES;
        if (vmcu_rows_exchange(0U, source->port, row * source->row_bytes + at, (uint8_t *)to + at, part) != 0) {
            return 1;
        }
        at += part;
    }
    return 0;
}
#endif

#ifdef VMCU_APP_SINK_COUNT
static struct stream vmcu_app_sinks[VMCU_APP_SINK_COUNT];

int vmcu_app_write_rows(void *context, uint32_t row, uint32_t count, const int8_t *from);
int vmcu_app_write_rows(void *context, uint32_t row, uint32_t count, const int8_t *from)
{
    const struct stream *sink = (const struct stream *)context;
    static uint8_t part_of_row[VMCU_ROWS_CHUNK_BYTES];
    uint32_t at = 0U, bytes = count * sink->row_bytes;
    while (at < bytes) {
        uint32_t part = bytes - at < VMCU_ROWS_CHUNK_BYTES ? bytes - at : VMCU_ROWS_CHUNK_BYTES;
        memcpy(part_of_row, from + at, part);
        if (vmcu_rows_exchange(1U, sink->port, row * sink->row_bytes + at, part_of_row, part) != 0) {
            return 1;
        }
        at += part;
    }
    return 0;
}
#endif

static void number(struct stream *streams, const struct port_range *ports, uint32_t count)
{
    uint32_t i, n = 0U;
    for (i = 0U; i < count; i++) {
        if (ports[i].row_bytes != 0U) {
            streams[n].port = i;
            streams[n].row_bytes = ports[i].row_bytes;
            n++;
        }
    }
}

int vmcu_app_run(void *pool)
{
#ifdef VMCU_APP_SOURCE_COUNT
    static const struct port_range inputs[] = VMCU_APP_INPUTS;
    number(vmcu_app_sources, inputs, VMCU_APP_INPUT_COUNT);
#endif
#ifdef VMCU_APP_SINK_COUNT
    static const struct port_range outputs[] = VMCU_APP_OUTPUTS;
    number(vmcu_app_sinks, outputs, VMCU_APP_OUTPUT_COUNT);
#endif
    return VMCU_APP_RUN_ROWS;
}

#else
typedef int vmcu_rows_unused; /* C99 wants something in every file */
#endif
