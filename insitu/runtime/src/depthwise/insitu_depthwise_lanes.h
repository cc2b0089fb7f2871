/* Inner loops of depthwise convolutions without planes: several channels, the lanes, side by side.
 *
 * Weights of a block of lanes are interleaved, columns[k][place of the lane] = w[lane][k], int16.
 * |w (x - zero)| and |dy (x - zero)| <= 127 255 < 2^15.
 */
#ifndef INSITU_DEPTHWISE_LANES_H
#define INSITU_DEPTHWISE_LANES_H

#include "insitu_fixed_point.h"

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

/* `add` for every term and each of its lanes; the factors are declared, as `from` and `by`, with
 * where they begin. */
#define INSITU_FOR_TERMS(first_factor, second_factor, lanes, add)                                  \
  for (int32_t line = 0; line < steps->lines; line++) {                                            \
    first_factor + line * steps->first_line;                                                       \
    second_factor + line * steps->second_line;                                                     \
    for (int32_t k = 0; k < steps->count; k++, from += steps->first, by += steps->second)          \
      for (int32_t lane = 0; lane < lanes; lane++)                                                 \
        add;                                                                                       \
  }

#if defined(__ARM_FEATURE_DSP) && INSITU_LANES == 4
#include "insitu_depthwise_lanes_dsp.h"
#else
#include "insitu_depthwise_lanes_portable.h"
#endif

/* The same for a block at the end with fewer lanes. */
static inline void dw_add_products_of(int32_t lanes, const insitu_steps_t *steps, int32_t zero,
                                      const int8_t *x, const int16_t *columns, int32_t *sum) {
  INSITU_FOR_TERMS(const int8_t *from = x, const int16_t *by = columns, lanes,
                   sum[lane] += by[lane_place(lane)] * (from[lane] - zero))
}

static inline void dw_add_errors_of(int32_t lanes, const insitu_steps_t *steps, int32_t zero,
                                    const int8_t *x, const int8_t *dy, int32_t *sum) {
  INSITU_FOR_TERMS(const int8_t *from = x, const int8_t *by = dy, lanes,
                   sum[lane] += by[lane] * (from[lane] - zero))
}

/* sum[lane] += sum over lines and k of columns[k] e'(dy[k, lane]) */
static inline void dw_add_expanded(int32_t lanes, const insitu_steps_t *steps, int32_t drop,
                                   const uint16_t *rel, const int8_t *dy, const int16_t *columns,
                                   int32_t *sum) {
  INSITU_FOR_TERMS(const int8_t *from = dy, const int16_t *by = columns, lanes,
                   sum[lane] +=
                   by[lane_place(lane)] * insitu_expand_error(from[lane], rel[lane], drop))
}

#endif
