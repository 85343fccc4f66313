/* Integer arithmetic of vmcu kernels. SPEC.md section 2 defines every function to the bit; the
 * Python reference (vmcu/quant) computes the same. C99, no dependencies. */
#ifndef VMCU_MATH_H
#define VMCU_MATH_H

#include <limits.h>
#include <stdint.h>

/* In front of a loop: it stays one. Unrolled, long lists of pointers take more stack than they save instructions. */
#if defined(__clang__)
#define VMCU_ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)")
#elif defined(__GNUC__)
#define VMCU_ROLLED _Pragma("GCC unroll 1")
#else
#define VMCU_ROLLED
#endif

/* In a loop over rows that mostly has one: compilers shall keep no pointer of every table that a row is looked up in. */
#if defined(__GNUC__)
#define VMCU_ANY_ROW(row) __asm__("" : "+r"(row))
#else
#define VMCU_ANY_ROW(row) ((void)0)
#endif

/* What the arithmetic below relies on, and C99 leaves to the compiler. */
typedef char vmcu_check_byte_is_8_bits[CHAR_BIT == 8 ? 1 : -1];
typedef char vmcu_check_right_shift_keeps_the_sign[(-3 >> 1) == -2 ? 1 : -1];

/* An accumulator in the pool, which is bytes to everybody else. */
#if defined(__GNUC__)
typedef int32_t __attribute__((may_alias)) vmcu_word;
#else
typedef int32_t vmcu_word;
#endif

static inline int32_t vmcu_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

/* `onnx` numerics: floor((floor(acc * multiplier / 2^32) + add) / 2^right), clamped. */
static inline int8_t vmcu_requant_onnx(int32_t acc, int32_t multiplier, int32_t add, int32_t right,
                                       int32_t low, int32_t high)
{
    int32_t product = (int32_t)(((int64_t)acc * multiplier) >> 32);
    return (int8_t)vmcu_clamp((product + add) >> right, low, high);
}

/* `onnx` numerics, Add and Sub: floor((a * m + b * n + add) / 2^shift), clamped. */
static inline int8_t vmcu_requant_sum(int32_t a, int32_t m, int32_t b, int32_t n, int64_t add,
                                      int32_t shift, int32_t low, int32_t high)
{
    int64_t sum = (int64_t)a * m + (int64_t)b * n + add;
    return (int8_t)vmcu_clamp((int32_t)(sum >> shift), low, high);
}

/* a * b / 2^31: half away from zero, but -0.5 up (gemmlowp's SaturatingRoundingDoublingHighMul). */
static inline int32_t vmcu_high_mul(int32_t a, int32_t b)
{
    int64_t product = (int64_t)a * b;
    int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
    int64_t result = (product + nudge) / ((int64_t)1 << 31);
    return result > INT32_MAX ? INT32_MAX : (int32_t)result;
}

/* x / 2^exponent for exponent 0..62: half away from zero (gemmlowp's RoundingDivideByPOT). */
static inline int32_t vmcu_divide_by_pot(int32_t x, int32_t exponent)
{
    int32_t mask, remainder, threshold;
    if (exponent > 31) {
        return 0;
    }
    mask = (int32_t)(((uint32_t)1 << exponent) - 1U);
    remainder = x & mask;
    threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* `tflm` numerics: x * multiplier * 2^(shift - 31) with two roundings. */
static inline int32_t vmcu_multiply_tflm(int32_t x, int32_t multiplier, int32_t shift)
{
    int32_t left = shift > 0 ? shift : 0;
    int32_t right = shift > 0 ? 0 : -shift;
    int32_t shifted = (int32_t)((uint32_t)x << left);
    return vmcu_divide_by_pot(vmcu_high_mul(shifted, multiplier), right);
}

static inline int8_t vmcu_requant_tflm(int32_t acc, int32_t multiplier, int32_t shift,
                                       int32_t zero_point, int32_t low, int32_t high)
{
    return (int8_t)vmcu_clamp(vmcu_multiply_tflm(acc, multiplier, shift) + zero_point, low, high);
}

/* acc / count, half away from zero, clamped. */
static inline int8_t vmcu_average(int32_t acc, int32_t count, int32_t low, int32_t high)
{
    int32_t half = count / 2;
    return (int8_t)vmcu_clamp(acc > 0 ? (acc + half) / count : (acc - half) / count, low, high);
}

/* x * 2^bits, saturating. */
static inline int32_t vmcu_shift_left(int32_t x, int32_t bits)
{
    int64_t wide = (int64_t)x * ((int64_t)1 << bits);
    return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

/* 1 / (1 + a) for 0 <= a <= 1 in 31 fraction bits: three Newton steps (gemmlowp). */
static inline int32_t vmcu_one_over_one_plus_x(int32_t a)
{
    int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + vmcu_high_mul(half, -1010580540); /* 48/17 and -32/17, 29 fraction bits */
    int32_t i;
    for (i = 0; i < 3; i++) {
        int32_t error = ((int32_t)1 << 29) - vmcu_high_mul(half, x);
        x += vmcu_shift_left(vmcu_high_mul(x, error), 2);
    }
    return vmcu_shift_left(x, 1);
}

/* Leading zero bits of a positive number. */
static inline int32_t vmcu_leading_zeros(int32_t x)
{
    int32_t zeros = 0;
    uint32_t bits = (uint32_t)x;
    while ((bits & 0x80000000U) == 0U) {
        bits <<= 1;
        zeros++;
    }
    return zeros;
}

#endif
