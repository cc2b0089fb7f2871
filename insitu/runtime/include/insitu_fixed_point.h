/* Rescale, saturate, round, random bits: the arithmetic that all kernels share.
 *
 * Twin: insitu/fixed_point.py, function for function; the text is docs/arithmetic.md.
 */
#ifndef INSITU_FIXED_POINT_H
#define INSITU_FIXED_POINT_H

#include "insitu.h"

/* No a * b + c in one rounding, whatever the build's flags: an IDE passes no -ffp-contract=off,
 * and GCC fuses by default. Holds to the end of every file that includes this one. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#define INSITU_RATIO_LIMIT 13 /* a ratio of scales is split with at most this pre-shift */
#define INSITU_BIAS_SCALE 9.5367431640625e-7f /* 2^-20 */
#define INSITU_BIAS_STEP ((1 << 30) - 1)      /* the largest step: a bias less it fits int32 */

static inline int32_t insitu_min(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t insitu_max(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t insitu_clamp(int32_t v, int32_t low, int32_t high) {
  return insitu_min(insitu_max(v, low), high);
}

/* Nearest integer, halves away from zero, held to [low, high]; NaN gives low. */
static inline int32_t insitu_round_clamp(float v, int32_t low, int32_t high) {
  if (!(v > (float)low))
    return low;
  if (v >= (float)high)
    return high;
  const int32_t whole = (int32_t)v;
  const float rest = v - (float)whole; /* exact; v + 0.5f would round a second time */
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* round(acc multiplier / 2^(32 - shift)), halves up. Where shift > 0 the accumulator is held to
 * +-2^(30 - shift), so that the shift cannot overflow; the result there is 256 or more while the
 * multiplier is at least 2^10, so 8 bits saturate as they would without. */
static inline int32_t insitu_rescale(int32_t acc, int32_t multiplier, int32_t shift) {
  if (shift > 0) {
    const int32_t limit = (1 << 30) >> shift;
    acc = insitu_clamp(acc, -limit, limit) * (1 << shift);
  }
  return (int32_t)(((int64_t)acc * multiplier + ((int64_t)1 << 31)) >> 32);
}

/* e' = round(e rel / 2^(8 + drop)), halves up; |e'| <= 16,256. */
static inline int32_t insitu_expand_error(int32_t e, uint16_t rel, int32_t drop) {
  return (e * (int32_t)rel + (1 << (7 + drop))) >> (8 + drop);
}

/* Where several scales meet: that of x in units of 2^-14 of that of y, held to 2^22, a ratio of
 * 256; a sum of two products with q - zero_point stays below 2^31. */
static inline int32_t insitu_meeting_multiplier(const insitu_qparams_t *x_q,
                                                const insitu_qparams_t *y_q) {
  return insitu_round_clamp(x_q->scale / y_q->scale * 16384.0f, 0, 1 << 22);
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

/* Quantization in force for a range [low, high] that contains 0. */
insitu_qparams_t insitu_range_qparams(const float range[2], float clip_min, float clip_max);

/* A real bound on the int8 grid. */
int32_t insitu_quantize_bound(float bound, const insitu_qparams_t *q);

/* bias minus the rounded step rate * dy_scale * sum of errors, in units of 2^-20. */
int32_t insitu_update_bias(int32_t bias, int32_t errors, float rate, float dy_scale);

#endif
