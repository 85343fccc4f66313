/* The tagged pool (host only): every pool byte remembers which row of which tensor it holds, and a
 * read of a byte that holds anything else ends the program. It catches any wrong plan that the
 * kernels would turn into wrong numbers. */
#include "hooks.h"
#include "pool.h"
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

static void *tagged_pool;
static struct tag *tags;

int vmcu_tags_start(void *pool)
{
    size_t i;
    tagged_pool = pool;
    tags = (struct tag *)malloc((size_t)VMCU_APP_POOL_BYTES * sizeof *tags);
    for (i = 0U; tags != NULL && i < VMCU_APP_POOL_BYTES; i++) {
        tags[i].tensor = NOBODY;
        tags[i].row = NOBODY;
    }
    return tags == NULL;
}

/* Where p is in the pool; beyond its end where it is not. */
static uintptr_t offset_of(const int8_t *p, uint32_t bytes)
{
    uintptr_t offset = (uintptr_t)p - (uintptr_t)vmcu_pool_byte(tagged_pool, 0U);
#ifdef VMCU_APP_SPLIT_BYTES
    uintptr_t second = (uintptr_t)p - (uintptr_t)vmcu_pool_byte(tagged_pool, VMCU_APP_SPLIT_BYTES);
    if (offset >= VMCU_APP_SPLIT_BYTES) {
        return second > VMCU_APP_POOL_BYTES - VMCU_APP_SPLIT_BYTES ? UINTPTR_MAX : second + VMCU_APP_SPLIT_BYTES;
    }
    if (bytes > VMCU_APP_SPLIT_BYTES - offset) {
        return UINTPTR_MAX;
    }
#endif
    (void)bytes;
    return offset;
}

/* The first tag of [p, p + bytes), which must lie inside the pool, in one array. */
static struct tag *locate(const char *verb, const int8_t *p, uint32_t bytes, uint32_t tensor, uint32_t row)
{
    uintptr_t offset = offset_of(p, bytes);
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
                          (unsigned long)row, (unsigned long)(tag - tags) + i);
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

int vmcu_tags_start(void *pool)
{
    (void)pool;
    return 0;
}

#endif
