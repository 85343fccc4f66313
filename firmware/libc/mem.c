/* memcpy, memmove and memset for a link without a C library. Compile with -fno-builtin, or the
 * compiler recognises the loops and calls the function it is compiling. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

typedef uint32_t __attribute__((may_alias)) word;

static int word_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3U) == 0U;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
    uint8_t *d = (uint8_t *)to;
    const uint8_t *s = (const uint8_t *)from;
    if (word_aligned(d, s)) {
        for (; bytes >= 4U; bytes -= 4U, d += 4, s += 4) {
            *(word *)(void *)d = *(const word *)(const void *)s;
        }
    }
    for (; bytes > 0U; bytes--) {
        *d++ = *s++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    uint8_t *d = (uint8_t *)to;
    const uint8_t *s = (const uint8_t *)from;
    if ((uintptr_t)d - (uintptr_t)s >= bytes) { /* forwards is safe */
        return memcpy(to, from, bytes);
    }
    while (bytes > 0U) {
        bytes--;
        d[bytes] = s[bytes];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    uint8_t *d = (uint8_t *)to;
    uint8_t v = (uint8_t)value;
    if (word_aligned(d, d)) {
        for (; bytes >= 4U; bytes -= 4U, d += 4) {
            *(word *)(void *)d = v * 0x01010101U;
        }
    }
    for (; bytes > 0U; bytes--) {
        *d++ = v;
    }
    return to;
}
