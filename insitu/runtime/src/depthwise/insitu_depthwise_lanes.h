/* Inner loops of depthwise convolutions: several channels, the lanes, side by side.
 *
 * Weights of a block of lanes are interleaved, columns[k][place of the lane] = w[lane][k], int16.
 * |w (x - zero)| and |dy (x - zero)| <= 127 255 < 2^15.
 */
#ifndef INSITU_DEPTHWISE_LANES_H
#define INSITU_DEPTHWISE_LANES_H

#include "insitu_dsp.h"

/* Builds for machines with wide registers may take more, up to INSITU_DEPTHWISE_BLOCK. */
#ifndef INSITU_LANES
#define INSITU_LANES 4
#endif

/* The terms of a sum: lines of so many, and the elements from one term, and from one line, to the
 * next, of the first factor and of the second. */
typedef struct {
  int32_t lines, count;
  int32_t first, second, first_line, second_line;
} insitu_steps_t;

#if defined(__ARM_FEATURE_DSP) && INSITU_LANES == 4
#include <arm_acle.h>

/* Lanes 0, 2, 1, 3: pairs as SXTB16 makes them. */
static inline int32_t insitu_place(int32_t lane) { return (lane & 1) * 2 + (lane >> 1); }

static inline int16x2_t insitu_pair(const void *from) { return (int16x2_t)load_word(from); }

static inline int8x4_t insitu_odd(int16x2_t bytes) {
  const uint32_t v = (uint32_t)bytes;
  return (int8x4_t)(v >> 8 | v << 24);
}

/* sum[lane] += sum over lines and k of columns[k] (x[k, lane] - zero) */
__attribute__((noinline, unused)) static void insitu_add_products(const insitu_steps_t *steps,
                                                                  int32_t zero, const int8_t *x,
                                                                  const int16_t *columns,
                                                                  int32_t *sum) {
  const int16x2_t minus = (int16x2_t)(((uint32_t)-zero & 0xFFFFu) * 0x10001u);
  const int32_t apart = steps->first, columns_apart = steps->second;
  int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line;
    const int16_t *by = columns + line * steps->second_line;
    for (int32_t k = steps->count; k > 0; k--, from += apart, by += columns_apart) {
      const int16x2_t v = insitu_pair(from), w02 = insitu_pair(by), w13 = insitu_pair(by + 2);
      const int16x2_t even = __sxtab16(minus, (int8x4_t)v);
      const int16x2_t odd = __sxtab16(minus, insitu_odd(v));
      s0 = __smlabb(even, w02, s0);
      s1 = __smlabb(odd, w13, s1);
      s2 = __smlatt(even, w02, s2);
      s3 = __smlatt(odd, w13, s3);
    }
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

/* sum[lane] += sum over lines and k of dy[k, lane] (x[k, lane] - zero) */
__attribute__((noinline, unused)) static void insitu_add_errors(const insitu_steps_t *steps,
                                                                int32_t zero, const int8_t *x,
                                                                const int8_t *dy, int32_t *sum) {
  const int16x2_t minus = (int16x2_t)(((uint32_t)-zero & 0xFFFFu) * 0x10001u);
  const int32_t apart = steps->first, dy_apart = steps->second;
  int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line;
    const int8_t *by = dy + line * steps->second_line;
    for (int32_t k = steps->count; k > 0; k--, from += apart, by += dy_apart) {
      const int16x2_t v = insitu_pair(from), e = insitu_pair(by);
      const int16x2_t even = __sxtab16(minus, (int8x4_t)v), e02 = __sxtb16((int8x4_t)e);
      const int16x2_t odd = __sxtab16(minus, insitu_odd(v)), e13 = __sxtb16(insitu_odd(e));
      s0 = __smlabb(even, e02, s0);
      s1 = __smlabb(odd, e13, s1);
      s2 = __smlatt(even, e02, s2);
      s3 = __smlatt(odd, e13, s3);
    }
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}
#else
static inline int32_t insitu_place(int32_t lane) { return lane; }

static inline void insitu_add_products(const insitu_steps_t *steps, int32_t zero, const int8_t *x,
                                       const int16_t *columns, int32_t *sum) {
  int32_t total[INSITU_LANES];
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)
    total[lane] = sum[lane];
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line;
    const int16_t *by = columns + line * steps->second_line;
    for (int32_t k = 0; k < steps->count; k++, from += steps->first, by += steps->second)
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        total[lane] += (int16_t)(by[lane] * (int16_t)(from[lane] - zero));
  }
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)
    sum[lane] = total[lane];
}

static inline void insitu_add_errors(const insitu_steps_t *steps, int32_t zero, const int8_t *x,
                                     const int8_t *dy, int32_t *sum) {
  int32_t total[INSITU_LANES];
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)
    total[lane] = sum[lane];
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line;
    const int8_t *by = dy + line * steps->second_line;
    for (int32_t k = 0; k < steps->count; k++, from += steps->first, by += steps->second)
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        total[lane] += (int16_t)(by[lane] * (int16_t)(from[lane] - zero));
  }
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)
    sum[lane] = total[lane];
}
#endif

/* The same for a block at the end with fewer lanes. */
static inline void insitu_add_products_of(int32_t lanes, const insitu_steps_t *steps, int32_t zero,
                                          const int8_t *x, const int16_t *columns, int32_t *sum) {
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line;
    const int16_t *by = columns + line * steps->second_line;
    for (int32_t k = 0; k < steps->count; k++, from += steps->first, by += steps->second)
      for (int32_t lane = 0; lane < lanes; lane++)
        sum[lane] += by[insitu_place(lane)] * (from[lane] - zero);
  }
}

static inline void insitu_add_errors_of(int32_t lanes, const insitu_steps_t *steps, int32_t zero,
                                        const int8_t *x, const int8_t *dy, int32_t *sum) {
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *from = x + line * steps->first_line, *by = dy + line * steps->second_line;
    for (int32_t k = 0; k < steps->count; k++, from += steps->first, by += steps->second)
      for (int32_t lane = 0; lane < lanes; lane++)
        sum[lane] += by[lane] * (from[lane] - zero);
  }
}

/* sum[lane] += sum over lines and k of columns[k] e'(dy[k, lane]) */
static inline void insitu_add_expanded(int32_t lanes, const insitu_steps_t *steps, int32_t drop,
                                       const uint16_t *rel, const int8_t *dy,
                                       const int16_t *columns, int32_t *sum) {
  for (int32_t line = 0; line < steps->lines; line++) {
    const int8_t *e = dy + line * steps->first_line;
    const int16_t *by = columns + line * steps->second_line;
    for (int32_t k = 0; k < steps->count; k++, e += steps->first, by += steps->second)
      for (int32_t lane = 0; lane < lanes; lane++)
        sum[lane] += by[insitu_place(lane)] * insitu_expand_error(e[lane], rel[lane], drop);
  }
}

#endif
