/* Instructions of Armv7E-M (Thumb-2 with DSP) as functions of C. SPEC.md section 2 uses them; Arm's reference manual,
 * section A7.7, defines them. C99, no dependencies.
 *
 * VMCU_THUMB2_DSP: kernels written in assembly are used. Otherwise, on the host for one, the same kernels run as C, instruction
 * by instruction, by the functions below. */
#ifndef VMCU_DSP_H
#define VMCU_DSP_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && defined(__thumb2__) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_UNALIGNED)
#define VMCU_THUMB2_DSP 1
#define VMCU_NAKED __attribute__((naked, noinline))
#define VMCU_UNUSED __attribute__((unused))
#endif

/* What a kernel gets for a pointer that it uses as far from `p` as another one has gone from `q`: in assembly the distance. */
#if defined(VMCU_THUMB2_DSP)
#define VMCU_FROM(p, q) ((const int8_t *)((uintptr_t)(p) - (uintptr_t)(q)))
#else
#define VMCU_FROM(p, q) (p)
#endif

static inline int32_t vmcu_load(const void *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline int32_t vmcu_load_half(const void *from)
{
    uint8_t bytes[2];
    memcpy(bytes, from, sizeof bytes);
    return bytes[0] | bytes[1] << 8;
}

static inline void vmcu_store(void *to, int32_t word)
{
    memcpy(to, &word, sizeof word);
}

static inline void vmcu_store_byte(int8_t *to, int32_t byte)
{
    *to = (int8_t)byte; /* has been limited to it */
}

static inline int32_t vmcu_wrap(uint32_t bits)
{
    int32_t word;
    memcpy(&word, &bits, sizeof word);
    return word;
}

static inline int32_t vmcu_add(int32_t a, int32_t b)
{
    return vmcu_wrap((uint32_t)a + (uint32_t)b);
}

static inline int32_t vmcu_sub(int32_t a, int32_t b)
{
    return vmcu_wrap((uint32_t)a - (uint32_t)b);
}

static inline int32_t vmcu_shl(int32_t a, int32_t bits)
{
    return vmcu_wrap((uint32_t)a << bits);
}

static inline int32_t vmcu_lsr(int32_t a, int32_t bits)
{
    return vmcu_wrap((uint32_t)a >> bits);
}

/* The halves of a word, with their sign. */
static inline int32_t vmcu_low(int32_t word)
{
    return vmcu_wrap((uint32_t)word << 16) >> 16;
}

static inline int32_t vmcu_high(int32_t word)
{
    return word >> 16;
}

static inline int32_t vmcu_halves(int32_t low, int32_t high)
{
    return vmcu_wrap(((uint32_t)low & 0xFFFFU) | (uint32_t)high << 16);
}

/* Byte `ror` / 8 and the one two above it, as two signed halves; ror is 0 or 8. */
static inline int32_t vmcu_sxtb16(int32_t word, int32_t ror)
{
    uint32_t bits = (uint32_t)word >> ror;
    return vmcu_halves(vmcu_wrap(bits << 24) >> 24, vmcu_wrap(bits << 8) >> 24);
}

/* The byte at bit `at`, with its sign. */
static inline int32_t vmcu_sxtb(int32_t word, int32_t at)
{
    return vmcu_wrap((uint32_t)word << (24 - at)) >> 24;
}

static inline int32_t vmcu_lows(int32_t a, int32_t b)
{
    return vmcu_halves(a, b);
}

static inline int32_t vmcu_highs(int32_t a, int32_t b)
{
    return vmcu_halves(vmcu_high(a), vmcu_high(b));
}

static inline int32_t vmcu_sadd16(int32_t a, int32_t b)
{
    return vmcu_halves(vmcu_low(a) + vmcu_low(b), vmcu_high(a) + vmcu_high(b));
}

static inline int32_t vmcu_smlabb(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, vmcu_low(a) * vmcu_low(b));
}

static inline int32_t vmcu_smlabt(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, vmcu_low(a) * vmcu_high(b));
}

static inline int32_t vmcu_smlatb(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, vmcu_high(a) * vmcu_low(b));
}

static inline int32_t vmcu_smlatt(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, vmcu_high(a) * vmcu_high(b));
}

static inline int32_t vmcu_smlad(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_smlatt(a, b, vmcu_smlabb(a, b, acc));
}

/* a * b + c, modulo 2^32. */
static inline int32_t vmcu_muladd(int32_t a, int32_t b, int32_t c)
{
    return vmcu_wrap((uint32_t)a * (uint32_t)b + (uint32_t)c);
}

/* a * b / 2^32, rounded down. */
static inline int32_t vmcu_smmul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}

/* acc + a * b / 2^32, rounded down. */
static inline int32_t vmcu_smmla(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, (int32_t)(((int64_t)a * b) >> 32));
}

/* acc + a * b / 2^32, to the nearest, ties up. */
static inline int32_t vmcu_smmlar(int32_t a, int32_t b, int32_t acc)
{
    return vmcu_add(acc, (int32_t)(((int64_t)a * b + INT64_C(0x80000000)) >> 32));
}

/* high:low += a * b. */
static inline void vmcu_mla64(int32_t *low, int32_t *high, int32_t a, int32_t b)
{
    uint64_t sum = ((uint64_t)(uint32_t)*high << 32 | (uint32_t)*low) + (uint64_t)((int64_t)a * b);
    *low = vmcu_wrap((uint32_t)sum);
    *high = vmcu_wrap((uint32_t)(sum >> 32));
}

static inline int32_t vmcu_ssat8(int32_t x, int32_t shift)
{
    int32_t y = x >> shift;
    return y < -128 ? -128 : (y > 127 ? 127 : y);
}

#endif
