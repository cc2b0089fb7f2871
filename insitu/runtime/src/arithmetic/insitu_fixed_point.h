/* Rescale, saturate, round, random bits: the arithmetic that all kernels share.
 *
 * Twin: insitu/fixed_point.py, function for function; the text is docs/arithmetic.md.
 */
#ifndef INSITU_FIXED_POINT_H
#define INSITU_FIXED_POINT_H

#include <string.h>

#include "insitu.h"
#include "insitu_no_fpu.h"
#include "insitu_soft_float.h"

/* Flags that let the compiler round otherwise, or take what is no number for one, change bits
 * without a word. (Clang has no word for a part of them: -funsafe-math-optimizations.) */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||     \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "insitu needs every float operation as it is written: no -ffast-math, no -Ofast"
#endif

/* No a * b + c in one rounding, whatever the build's flags: an IDE passes no -ffp-contract=off,
 * and GCC fuses by default. Holds to the end of every file that includes this one. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
/* Helium's vectors of floats flush subnormal numbers to zero. */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#pragma GCC optimize("no-tree-vectorize")
#endif
#endif

#define INSITU_RATIO_LIMIT 13 /* a ratio of scales is split with at most this pre-shift */
#define INSITU_BIAS_SCALE 9.5367431640625e-7f /* 2^-20 */
#define INSITU_BIAS_STEP ((1 << 30) - 1)      /* the largest step: a bias less it fits int32 */

/* a + b, a - b, modulo 2^32. What the state holds is added to by these: no sum leaves int32 while
 * the state is one that training made, and none is undefined where it is another. */
static inline int32_t insitu_wrap_add(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}
static inline int32_t insitu_wrap_subtract(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a - (uint32_t)b);
}

static inline int32_t insitu_min(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t insitu_max(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t insitu_clamp(int32_t v, int32_t low, int32_t high) {
  return insitu_min(insitu_max(v, low), high);
}

/* |v| < most, both as bits, whose order is that of sizes; NaN is larger than all. */
static inline int32_t insitu_is_below(float v, float most) {
  uint32_t size, limit;
  memcpy(&size, &v, sizeof size);
  memcpy(&limit, &most, sizeof limit);
  return size << 1 < limit << 1;
}

/* The same, and the sign is plus. */
static inline int32_t insitu_is_below_unsigned(float v, float most) {
  uint32_t bits, limit;
  memcpy(&bits, &v, sizeof bits);
  memcpy(&limit, &most, sizeof limit);
  return bits < limit;
}

/* Nearest integer, halves away from zero, of |v| < 2^30: trunc(2 v) is odd from a half on. */
static inline int32_t insitu_round_small(float v) {
#if defined(__thumb__) && !defined(__ARM_FP)
  return insitu_round_clamp_soft(v, -(1 << 30), 1 << 30);
#else
  const int32_t twice = (int32_t)(v + v);
  return (twice + 1 + (twice < 0 ? -1 : 0)) >> 1;
#endif
}

/* Nearest integer, halves away from zero, clamped to [low, high]; NaN gives low. One rounding an
 * operation. */
static inline int32_t insitu_round_clamp_float(float v, int32_t low, int32_t high) {
  if (low == -high && high <= 1 << 30 && insitu_is_below(v, (float)high))
    return insitu_round_small(v);
  if (low == 0 && high > 1 << 30 && insitu_is_below_unsigned(v, 1073741824.0f))
    return insitu_round_small(v);
  if (!(v > (float)low))
    return low;
  if (v >= (float)high)
    return high;
  const int32_t whole = (int32_t)v;
  const float fraction = v - (float)whole;       /* exact; v + 0.5f would round a second time */
  return whole + (int32_t)(fraction + fraction); /* 1 from 0.5 on, -1 up to -0.5 */
}

static inline int32_t insitu_round_clamp(float v, int32_t low, int32_t high) {
#if defined(__thumb__) && !defined(__ARM_FP)
  return insitu_round_clamp_soft(v, low, high);
#else
  return insitu_round_clamp_float(v, low, high);
#endif
}

/* round(a m / 2^32), halves up; m >= 0. In halves, for cores that have no 64-bit product; no sum
 * here leaves int32. */
static inline int32_t insitu_round_high_halves(int32_t a, int32_t m) {
  const uint32_t low = (uint32_t)a & 0xFFFFu, m_low = (uint32_t)m & 0xFFFFu;
  const int32_t high = a >> 16, m_high = m >> 16;
  const int32_t first = high * (int32_t)m_low + (int32_t)(low * m_low >> 16) + (1 << 15);
  const int32_t second = (int32_t)low * m_high;
  const int32_t carry = ((first & 0xFFFF) + (second & 0xFFFF)) >> 16;
  return high * m_high + (first >> 16) + (second >> 16) + carry;
}

static inline int32_t insitu_round_high(int32_t a, int32_t m) {
#if defined(__thumb__) && !defined(__thumb2__)
  return insitu_round_high_halves(a, m);
#else
  return (int32_t)(((int64_t)a * m + ((int64_t)1 << 31)) >> 32);
#endif
}

/* round(acc multiplier / 2^(32 - shift)), halves up. Where shift > 0 the accumulator is clamped to
 * +-2^(30 - shift), so that the shift cannot overflow; the result there is 256 or more while the
 * multiplier is at least 2^10, so 8 bits saturate as they would without. */
static inline int32_t insitu_rescale(int32_t acc, int32_t multiplier, int32_t shift) {
  if (shift > 0) {
    const int32_t limit = (1 << 30) >> shift;
    acc = insitu_clamp(acc, -limit, limit) * (1 << shift);
  }
  return insitu_round_high(acc, multiplier);
}

/* e' = round(e rel / 2^(8 + drop)), halves up; |e'| <= 16,256. */
static inline int32_t insitu_expand_error(int32_t e, uint16_t rel, int32_t drop) {
  return (e * (int32_t)rel + (1 << (7 + drop))) >> (8 + drop);
}

/* Where several scales meet: that of x in units of 2^-14 of that of y, clamped to 2^22, a ratio of
 * 256; a sum of two products with q - zero_point stays below 2^31. */
static inline int32_t insitu_meeting_multiplier(const insitu_qparams_t *x_q,
                                                const insitu_qparams_t *y_q) {
  return insitu_round_clamp(insitu_multiply(insitu_divide(x_q->scale, y_q->scale), 16384.0f), 0,
                            1 << 22);
}

/* Such a sum in steps of y, halves up. */
static inline int32_t insitu_meet(int32_t total) { return (total + (1 << 13)) >> 14; }

/* One step of the random generator: four random bytes, to be used from the high one down. */
static inline uint32_t insitu_draw(uint32_t state) {
  return (state >> 1) ^ (0xA3000000u & (0u - (state & 1u)));
}

/* insitu_draw so many times. While k <= 24, no bit that the polynomial (bits 31, 29, 25, 24) puts
 * in within k steps comes out again, so those that leave go in at these places at once. */
static inline uint32_t insitu_draw_ahead(uint32_t state, int32_t draws) {
  while (draws > 0) {
    const int32_t k = insitu_min(draws, 24);
    const uint32_t left = state << (32 - k);
    state = (state >> k) ^ left ^ (left >> 2) ^ (left >> 6) ^ (left >> 7);
    draws -= k;
  }
  return state;
}

/* The generator's state for a seed: never 0, and far apart for seeds that are near. */
uint32_t insitu_seed_generator(uint32_t seed);

/* Whether float operations keep subnormal numbers and round to nearest, in this thread, now. */
int32_t insitu_floats_are_ieee(void);

/* Whether a learning rate is in (0, 1]. */
int32_t insitu_is_rate(float rate);

/* Quantization in force for a range [low, high] that contains 0. */
insitu_qparams_t insitu_range_qparams(const float range[2], float clip_min, float clip_max);

/* A real bound on the int8 grid. */
int32_t insitu_quantize_bound(float bound, const insitu_qparams_t *q);

/* What turns a sum of errors into the step of a bias, in units of 2^-20. */
static inline float insitu_bias_factor(float rate, float dy_scale) {
  return insitu_multiply(insitu_multiply(rate, dy_scale), 1048576.0f);
}

/* What turns a gradient of integers into the step of a weight, in units of 1 / unit of its scale.
 */
static inline float insitu_step_factor(float rate, float dy_scale, float x_scale, float unit) {
  const float share = insitu_multiply(rate, dy_scale);
  return insitu_multiply(insitu_multiply(share, x_scale), unit);
}

/* bias minus the rounded step factor * sum of errors. */
static inline int32_t insitu_step_bias(int32_t bias, int32_t errors, float factor) {
  const int32_t step = insitu_round_clamp(insitu_multiply((float)errors, factor), -INSITU_BIAS_STEP,
                                          INSITU_BIAS_STEP);
  return insitu_clamp(insitu_wrap_subtract(bias, step), -(1 << 30), 1 << 30);
}

/* Both at once. */
int32_t insitu_update_bias(int32_t bias, int32_t errors, float rate, float dy_scale);

#endif
