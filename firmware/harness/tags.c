/* The tagged pool (host only): every pool byte remembers which row of which tensor it holds, and a
 * read of a byte that holds anything else ends the program. It catches any wrong plan that the
 * kernels would turn into wrong numbers. */
#include "hooks.h"
#include "port.h"
#include "record.h"
#include "vmcu_app.h"

#if defined(VMCU_TAGS)

#include <stdio.h>
#include <stdlib.h>

struct tag {
    uint32_t tensor;
    uint32_t row;
};

#define NOBODY UINT32_MAX

static const int8_t *tagged_pool;
static struct tag *tags;

int vmcu_tags_start(const void *pool)
{
    size_t i;
    tagged_pool = (const int8_t *)pool;
    tags = (struct tag *)malloc((size_t)VMCU_APP_POOL_BYTES * sizeof *tags);
    for (i = 0U; tags != NULL && i < VMCU_APP_POOL_BYTES; i++) {
        tags[i].tensor = NOBODY;
        tags[i].row = NOBODY;
    }
    return tags == NULL;
}

/* The first tag of [p, p + bytes), which must lie inside the pool. */
static struct tag *locate(const char *verb, const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row)
{
    uintptr_t offset = (uintptr_t)p - (uintptr_t)tagged_pool;
    if (offset > VMCU_APP_POOL_BYTES || bytes > VMCU_APP_POOL_BYTES - offset) {
        (void)fprintf(stderr, "tensor %lu row %lu: %s of %lu bytes outside the pool, at offset %ld\n",
                      (unsigned long)tensor, (unsigned long)row, verb, (unsigned long)bytes, (long)offset);
        vmcu_port_exit(VMCU_EXIT_TAG);
    }
    return tags + offset;
}

void vmcu_tag_write(const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row)
{
    struct tag *tag = locate("write", p, bytes, tensor, row);
    uint32_t i;
    for (i = 0U; i < bytes; i++) {
        tag[i].tensor = tensor;
        tag[i].row = row;
    }
}

void vmcu_tag_read(const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row)
{
    const struct tag *tag = locate("read", p, bytes, tensor, row);
    uint32_t i;
    for (i = 0U; i < bytes; i++) {
        if (tag[i].tensor != tensor || tag[i].row != row) {
            (void)fprintf(stderr, "tensor %lu row %lu: pool offset %lu holds ", (unsigned long)tensor,
                          (unsigned long)row, (unsigned long)((size_t)(p - tagged_pool) + i));
            if (tag[i].tensor == NOBODY) {
                (void)fprintf(stderr, "nothing written\n");
            } else {
                (void)fprintf(stderr, "tensor %lu row %lu\n", (unsigned long)tag[i].tensor,
                              (unsigned long)tag[i].row);
            }
            vmcu_port_exit(VMCU_EXIT_TAG);
        }
    }
}

#else

int vmcu_tags_start(const void *pool)
{
    (void)pool;
    return 0;
}

#endif
