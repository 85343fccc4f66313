/* The three functions generated code needs, for a compiler that brings no C library.
 * They map to builtins, so that a copy of a few constant bytes stays inline even where the
 * compiler was told that there is no library. */
#ifndef VMCU_STRING_H
#define VMCU_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#define memcpy(to, from, bytes) __builtin_memcpy((to), (from), (bytes))
#define memmove(to, from, bytes) __builtin_memmove((to), (from), (bytes))
#define memset(to, value, bytes) __builtin_memset((to), (value), (bytes))

#endif
