/* Instructions of cores without DSP (Thumb-2 on Armv7-M, Thumb-1 on Armv6-M) as functions of C, beside those of vmcu_dsp.h.
 * Arm's reference manuals define them. C99, no dependencies.
 *
 * VMCU_THUMB2, VMCU_THUMB1: kernels written in assembly of that kind are used. Otherwise, on the host for one, the same
 * kernels run as C, instruction by instruction. */
#ifndef VMCU_SMALL_H
#define VMCU_SMALL_H

#include "vmcu_dsp.h"

#if defined(__GNUC__) && defined(__thumb__)
#define VMCU_THUMB1 1
#if defined(__thumb2__)
#define VMCU_THUMB2 1
#endif
#ifndef VMCU_NAKED
#define VMCU_NAKED __attribute__((naked, noinline))
#define VMCU_UNUSED __attribute__((unused))
#endif
#endif

static inline int32_t vmcu_mul(int32_t a, int32_t b)
{
    return vmcu_wrap((uint32_t)a * (uint32_t)b);
}

static inline int32_t vmcu_mla(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(vmcu_mul(a, b), acc);
}

/* Upper word of c * 2^32 + low + a * b. */
static inline int32_t vmcu_smlal(int32_t a, int32_t b, int32_t c, uint32_t low)
{
    return vmcu_add(c, (int32_t)(((int64_t)a * b + (int64_t)low) >> 32));
}

/* high * 2^32 + low += a * b. */
static inline void vmcu_long_mla(int32_t *low, int32_t *high, int32_t a, int32_t b)
{
    uint64_t sum = ((uint64_t)(uint32_t)*high << 32 | (uint32_t)*low) + (uint64_t)((int64_t)a * b);
    *low = vmcu_wrap((uint32_t)sum);
    *high = vmcu_wrap((uint32_t)(sum >> 32));
}

/* Of high * 2^32 + low: bits 0 to 22 minus 2^22, and bits 23 to 54. */
static inline void vmcu_unpack(int32_t *low, int32_t *high)
{
    uint32_t bits = (uint32_t)*low;
    *high = vmcu_wrap((uint32_t)*high << 9 | bits >> 23);
    *low = (int32_t)(bits & 0x7FFFFFU) - 0x400000;
}

/* The same with 24 bits. */
static inline void vmcu_unpack24(int32_t *low, int32_t *high)
{
    uint32_t bits = (uint32_t)*low;
    *high = vmcu_wrap((uint32_t)*high << 8 | bits >> 24);
    *low = (int32_t)(bits & 0xFFFFFFU) - 0x800000;
}

/* Bytes 0 and 3 of a word rotated right. */
static inline int32_t vmcu_ends(int32_t word, int32_t ror)
{
    uint32_t bits = (uint32_t)word;
    return vmcu_wrap((ror ? bits >> ror | bits << (32 - ror) : bits) & 0xFF0000FFU);
}

/* a >> by, plus the last bit shifted out, plus b: ASRS and ADCS. */
static inline int32_t vmcu_asr_adc(int32_t a, int32_t by, int32_t b)
{
    return vmcu_add(vmcu_add(a >> by, (a >> (by - 1)) & 1), b);
}

#endif
