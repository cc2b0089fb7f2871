/* Float operations in integers: what the C operators give where an FPU computes them as IEEE 754
 * says, bit for bit, subnormal numbers included. Where there is no FPU, insitu_no_fpu.h has them do
 * what the compiler would call its library for. */
#ifndef INSITU_SOFT_FLOAT_H
#define INSITU_SOFT_FLOAT_H

#include <stdint.h>

/* ---- soft_float.c ---------------------------------------------------------------------------- */

/* a b and a / b in IEEE single, rounded to nearest even. */
float insitu_multiply_soft(float a, float b);
float insitu_divide_soft(float a, float b);

/* ---- soft_float_sum.c ------------------------------------------------------------------------ */

/* a + b and a - b, rounded to nearest even. */
float insitu_add_soft(float a, float b);
float insitu_subtract_soft(float a, float b);

/* ---- soft_float_order.c ---------------------------------------------------------------------- */

/* 1 or 0; 0 where one of them is no number, but in the last, which asks for that. */
int32_t insitu_less_soft(float a, float b);
int32_t insitu_at_most_soft(float a, float b);
int32_t insitu_greater_soft(float a, float b);
int32_t insitu_at_least_soft(float a, float b);
int32_t insitu_equal_soft(float a, float b);
int32_t insitu_unordered_soft(float a, float b);

/* Nearest integer, halves away from zero, clamped to [low, high]; NaN gives low. |low|, |high| <
 * 2^31.
 */
int32_t insitu_round_clamp_soft(float v, int32_t low, int32_t high);

/* ---- soft_float_convert.c -------------------------------------------------------------------- */

/* (float)v, rounded to nearest even. */
float insitu_float_of_int_soft(int32_t v);
float insitu_float_of_unsigned_soft(uint32_t v);
float insitu_float_of_long_soft(int64_t v);

/* (int32_t)v, (uint32_t)v: towards zero; what is beyond the type gives its end, NaN gives 0. */
int32_t insitu_int_of_float_soft(float v);
uint32_t insitu_unsigned_of_float_soft(float v);

/* ---------------------------------------------------------------------------------------------- */

/* A float and its bits; no memcpy, which a build without built-in functions would call. */
typedef union {
  float value;
  uint32_t bits;
} insitu_float_t;

static inline uint32_t insitu_float_bits(float v) {
  const insitu_float_t f = {v};
  return f.bits;
}

static inline float insitu_float_from_bits(uint32_t bits) {
  insitu_float_t f;
  f.bits = bits;
  return f.value;
}

static inline float insitu_multiply(float a, float b) { return a * b; }
static inline float insitu_divide(float a, float b) { return a / b; }
static inline float insitu_subtract(float a, float b) { return a - b; }
static inline int32_t insitu_less(float a, float b) { return a < b; }

#endif
