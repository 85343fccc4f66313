/* Instructions of Helium (MVE of Armv8.1-M) as functions of C. Arm's reference manual, section C2.4, defines them. C99.
 *
 * VMCU_HELIUM: kernels written in assembly are used. Otherwise, on the host for one, the same kernels run as C, instruction
 * by instruction, by the functions below. `active`: only the first that many bytes of a vector take part. */
#ifndef VMCU_MVE_H
#define VMCU_MVE_H

#include <stdint.h>
#include <string.h>

#include "vmcu_dsp.h"

#if defined(__GNUC__) && defined(__thumb2__) && defined(__ARM_FEATURE_MVE)
#define VMCU_HELIUM 1
#if !defined(VMCU_NAKED)
#define VMCU_NAKED __attribute__((naked, noinline))
#define VMCU_UNUSED __attribute__((unused))
#endif
#endif

#if !defined(VMCU_HELIUM)

/* Programs call these thousands of times: compilers are told not to paste them in. */
#if defined(__GNUC__)
#define VMCU_TWIN static __attribute__((noinline, unused))
#else
#define VMCU_TWIN static inline
#endif

/* A vector register; words and halfwords lie in it as in memory. */
typedef struct {
    int8_t bytes[16];
} vmcu_q;

typedef struct {
    int32_t at[4];
} vmcu_q32;

typedef struct {
    int16_t at[8];
} vmcu_q16;

VMCU_TWIN vmcu_q32 vmcu_as32(vmcu_q q)
{
    vmcu_q32 lanes;
    memcpy(&lanes, &q, sizeof q);
    return lanes;
}

VMCU_TWIN vmcu_q vmcu_of32(vmcu_q32 lanes)
{
    vmcu_q q;
    memcpy(&q, &lanes, sizeof q);
    return q;
}

VMCU_TWIN vmcu_q16 vmcu_as16(vmcu_q q)
{
    vmcu_q16 lanes;
    memcpy(&lanes, &q, sizeof q);
    return lanes;
}

VMCU_TWIN vmcu_q vmcu_of16(vmcu_q16 lanes)
{
    vmcu_q q;
    memcpy(&q, &lanes, sizeof q);
    return q;
}

/* ---- memory ---- */

VMCU_TWIN vmcu_q vmcu_vldrb(const int8_t *from, int32_t active)
{
    vmcu_q q = {{0}};
    memcpy(&q, from, (size_t)active);
    return q;
}

VMCU_TWIN vmcu_q vmcu_vldrb_s16(const int8_t *from, int32_t active)
{
    vmcu_q16 q = {{0}};
    int32_t i;
    for (i = 0; i < active / 2; i++) {
        q.at[i] = from[i];
    }
    return vmcu_of16(q);
}

VMCU_TWIN vmcu_q vmcu_vldrb_s32(const int8_t *from, int32_t active)
{
    vmcu_q32 q = {{0}};
    int32_t i;
    for (i = 0; i < active / 4; i++) {
        q.at[i] = from[i];
    }
    return vmcu_of32(q);
}

VMCU_TWIN vmcu_q vmcu_gather(const int8_t *base, vmcu_q offsets)
{
    vmcu_q32 q, o = vmcu_as32(offsets);
    int32_t i;
    for (i = 0; i < 4; i++) {
        q.at[i] = vmcu_load(base + o.at[i]);
    }
    return vmcu_of32(q);
}

VMCU_TWIN vmcu_q vmcu_vldrb_table(const int8_t *base, vmcu_q indices, int32_t active)
{
    vmcu_q q = {{0}};
    int32_t i;
    for (i = 0; i < active; i++) {
        q.bytes[i] = base[(uint8_t)indices.bytes[i]];
    }
    return q;
}

VMCU_TWIN void vmcu_vstrb_8(int8_t *to, vmcu_q q, int32_t active)
{
    memcpy(to, &q, (size_t)active);
}

VMCU_TWIN void vmcu_vstrb_16(int8_t *to, vmcu_q q, int32_t active)
{
    int32_t i;
    for (i = 0; i < active / 2; i++) {
        to[i] = q.bytes[2 * i];
    }
}

VMCU_TWIN void vmcu_vstrb_32(int8_t *to, vmcu_q q, int32_t active)
{
    int32_t i;
    for (i = 0; i < active / 4; i++) {
        to[i] = q.bytes[4 * i];
    }
}

VMCU_TWIN void vmcu_scatter(int8_t *base, vmcu_q offsets, vmcu_q q, int32_t active)
{
    vmcu_q32 o = vmcu_as32(offsets);
    int32_t i;
    for (i = 0; i < active / 4; i++) {
        base[o.at[i]] = q.bytes[4 * i];
    }
}

VMCU_TWIN void vmcu_vst4(int8_t *to, vmcu_q a, vmcu_q b, vmcu_q c, vmcu_q d)
{
    int32_t i;
    for (i = 0; i < 16; i++) {
        to[4 * i] = a.bytes[i];
        to[4 * i + 1] = b.bytes[i];
        to[4 * i + 2] = c.bytes[i];
        to[4 * i + 3] = d.bytes[i];
    }
}

/* ---- lanes from numbers ---- */

VMCU_TWIN vmcu_q vmcu_words(int32_t a, int32_t b, int32_t c, int32_t d)
{
    vmcu_q32 q;
    q.at[0] = a;
    q.at[1] = b;
    q.at[2] = c;
    q.at[3] = d;
    return vmcu_of32(q);
}

VMCU_TWIN vmcu_q vmcu_dup32(int32_t value)
{
    return vmcu_words(value, value, value, value);
}

VMCU_TWIN vmcu_q vmcu_dup16(int32_t value)
{
    return vmcu_dup32(vmcu_lows(value, value));
}

VMCU_TWIN vmcu_q vmcu_dup8(int32_t value)
{
    return vmcu_dup32(vmcu_wrap(((uint32_t)value & 0xFFU) * 0x01010101U));
}

/* ---- arithmetic ---- */

VMCU_TWIN int32_t vmcu_vmladav(vmcu_q a, vmcu_q b)
{
    int32_t sum = 0, i;
    for (i = 0; i < 16; i++) {
        sum += a.bytes[i] * b.bytes[i];
    }
    return sum;
}

VMCU_TWIN int32_t vmcu_saturated(int64_t x, int64_t low, int64_t high)
{
    return (int32_t)(x < low ? low : (x > high ? high : x));
}

#define VMCU_WORDWISE(name, expression)                                                            \
    VMCU_TWIN vmcu_q name(vmcu_q p, vmcu_q q)                                                  \
    {                                                                                              \
        vmcu_q32 a = vmcu_as32(p), b = vmcu_as32(q);                                               \
        int32_t i;                                                                                 \
        for (i = 0; i < 4; i++) {                                                                  \
            a.at[i] = expression;                                                                  \
        }                                                                                          \
        return vmcu_of32(a);                                                                       \
    }

#define VMCU_HALFWISE(name, expression)                                                            \
    VMCU_TWIN vmcu_q name(vmcu_q p, vmcu_q q)                                                  \
    {                                                                                              \
        vmcu_q16 a = vmcu_as16(p), b = vmcu_as16(q);                                               \
        int32_t i;                                                                                 \
        for (i = 0; i < 8; i++) {                                                                  \
            a.at[i] = (int16_t)(expression);                                                       \
        }                                                                                          \
        return vmcu_of16(a);                                                                       \
    }

#define VMCU_WIDE(name, lane) ((int64_t)(name).at[lane])

VMCU_WORDWISE(vmcu_vadd32, vmcu_add(a.at[i], b.at[i]))
VMCU_WORDWISE(vmcu_vsub32, vmcu_sub(a.at[i], b.at[i]))
VMCU_WORDWISE(vmcu_vmul32, vmcu_wrap((uint32_t)a.at[i] * (uint32_t)b.at[i]))
VMCU_WORDWISE(vmcu_veor, a.at[i] ^ b.at[i])
VMCU_WORDWISE(vmcu_vmax32, a.at[i] > b.at[i] ? a.at[i] : b.at[i])
VMCU_WORDWISE(vmcu_vmin32, a.at[i] < b.at[i] ? a.at[i] : b.at[i])
VMCU_WORDWISE(vmcu_vmulh, (int32_t)((VMCU_WIDE(a, i) * b.at[i]) >> 32))
/* The doubled product would not fit 64 bits in one case; halves of both numbers do. */
VMCU_WORDWISE(vmcu_vqrdmulh, vmcu_saturated((VMCU_WIDE(a, i) * b.at[i] + 0x40000000) >> 31, INT32_MIN, INT32_MAX))
/* a / 2^right to the nearest, ties up; right in 0..31. */
VMCU_TWIN int32_t vmcu_rounded(int64_t a, int32_t right)
{
    return (int32_t)(right ? (a + (INT64_C(1) << (right - 1))) >> right : a);
}

/* Exponents are the lowest bytes, -31..0. */
VMCU_WORDWISE(vmcu_vrshl, vmcu_rounded(VMCU_WIDE(a, i), (int32_t)((0U - (uint32_t)b.at[i]) & 0xFFU)))
VMCU_HALFWISE(vmcu_vadd16, vmcu_low(a.at[i] + b.at[i]))
VMCU_HALFWISE(vmcu_vsub16, vmcu_low(a.at[i] - b.at[i]))
VMCU_HALFWISE(vmcu_vmul16, vmcu_low(a.at[i] * b.at[i]))
VMCU_HALFWISE(vmcu_vmax16, a.at[i] > b.at[i] ? a.at[i] : b.at[i])
VMCU_HALFWISE(vmcu_vmin16, a.at[i] < b.at[i] ? a.at[i] : b.at[i])

VMCU_TWIN vmcu_q vmcu_vmax8(vmcu_q a, vmcu_q b)
{
    int32_t i;
    for (i = 0; i < 16; i++) {
        a.bytes[i] = a.bytes[i] > b.bytes[i] ? a.bytes[i] : b.bytes[i];
    }
    return a;
}

VMCU_TWIN vmcu_q vmcu_vmin8(vmcu_q a, vmcu_q b)
{
    int32_t i;
    for (i = 0; i < 16; i++) {
        a.bytes[i] = a.bytes[i] < b.bytes[i] ? a.bytes[i] : b.bytes[i];
    }
    return a;
}

VMCU_TWIN vmcu_q vmcu_vshl(vmcu_q p, int32_t by)
{
    vmcu_q32 a = vmcu_as32(p);
    int32_t i;
    for (i = 0; i < 4; i++) {
        a.at[i] = vmcu_wrap((uint32_t)a.at[i] << by);
    }
    return vmcu_of32(a);
}

VMCU_TWIN vmcu_q vmcu_vshlc32(vmcu_q p, int32_t *carry)
{
    vmcu_q32 a = vmcu_as32(p);
    int32_t top = a.at[3], i;
    for (i = 3; i > 0; i--) {
        a.at[i] = a.at[i - 1];
    }
    a.at[0] = *carry;
    *carry = top;
    return vmcu_of32(a);
}

VMCU_TWIN vmcu_q vmcu_vshr(vmcu_q p, int32_t by)
{
    vmcu_q32 a = vmcu_as32(p);
    int32_t i;
    for (i = 0; i < 4; i++) {
        a.at[i] >>= by;
    }
    return vmcu_of32(a);
}

VMCU_TWIN vmcu_q vmcu_narrow(vmcu_q to, vmcu_q from, int32_t top)
{
    vmcu_q16 halves = vmcu_as16(to);
    vmcu_q32 a = vmcu_as32(from);
    int32_t i;
    for (i = 0; i < 4; i++) {
        halves.at[2 * i + top] = (int16_t)vmcu_saturated(a.at[i], INT16_MIN, INT16_MAX);
    }
    return vmcu_of16(halves);
}

VMCU_TWIN vmcu_q vmcu_narrow_halves(vmcu_q to, vmcu_q from, int32_t top)
{
    vmcu_q16 a = vmcu_as16(from);
    int32_t i;
    for (i = 0; i < 8; i++) {
        to.bytes[2 * i + top] = (int8_t)vmcu_saturated(a.at[i], INT8_MIN, INT8_MAX);
    }
    return to;
}

VMCU_TWIN vmcu_q vmcu_vmull(vmcu_q a, vmcu_q b, int32_t top)
{
    vmcu_q16 to;
    int32_t i;
    for (i = 0; i < 8; i++) {
        to.at[i] = (int16_t)(a.bytes[2 * i + top] * b.bytes[2 * i + top]);
    }
    return vmcu_of16(to);
}

VMCU_TWIN vmcu_q vmcu_vmovl(vmcu_q from, int32_t top)
{
    vmcu_q16 a = vmcu_as16(from);
    vmcu_q32 to;
    int32_t i;
    for (i = 0; i < 4; i++) {
        to.at[i] = a.at[2 * i + top];
    }
    return vmcu_of32(to);
}

#endif
#endif
