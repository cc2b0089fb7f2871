/* Inner loops of pools, over all channels of a window: the portable ones are the definition, cores
 * with the DSP extension take four channels at once. */
#ifndef INSITU_POOL_MICROKERNELS_H
#define INSITU_POOL_MICROKERNELS_H

#include "insitu_fixed_point.h"

/* The places of a window: `rows` of `columns`; from one to the next are `channels` elements, from
 * the end of a row to the next `skip`. at: the first four, of fewer the first one again. */
typedef struct {
  int32_t rows, columns, channels, skip, count;
  int32_t at[4];
} insitu_places_t;

/* The mean of sum elements is (sum + offset) / count - 128. A multiplier of 2^24 / count + 1, in
 * place of the division, is exact up to INSITU_MOST_PLACES, (sum + offset) multiplier < 2^32; 0
 * where there are more. */
typedef struct {
  uint32_t count, offset, multiplier;
} insitu_mean_t;

enum { INSITU_MOST_PLACES = 256 };

static inline int32_t pool_sum(const insitu_places_t *p, const int8_t *x) {
  int32_t sum = 0;
  if (p->count == 4)
    return x[p->at[0]] + x[p->at[1]] + x[p->at[2]] + x[p->at[3]];
  for (int32_t row = p->rows; row > 0; row--, x += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, x += p->channels)
      sum += *x;
  }
  return sum;
}

/* Where the first of the largest elements lies. */
static inline int32_t pool_argmax(const insitu_places_t *p, const int8_t *x) {
  int32_t best = *x, found = 0, index = 0;
  if (p->count <= 4) {
    for (int32_t k = 1; k < 4; k++) {
      if (x[p->at[k]] > best)
        best = x[p->at[k]], found = p->at[k];
    }
    return found;
  }
  for (int32_t row = p->rows; row > 0; row--, index += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, index += p->channels) {
      if (x[index] > best)
        best = x[index], found = index;
    }
  }
  return found;
}

static inline int8_t pool_mean(const insitu_mean_t *mean, int32_t sum) {
  const uint32_t shifted = (uint32_t)sum + mean->offset;
  const uint32_t y = mean->multiplier ? shifted * mean->multiplier >> 24 : shifted / mean->count;
  return (int8_t)((int32_t)y - 128);
}

/* dx[at] += e, clamped to [-127, 127]. */
static inline void pool_add_error(int32_t at, int32_t e, int8_t *dx) {
  dx[at] = (int8_t)insitu_clamp(dx[at] + e, -127, 127);
}

#if defined(__ARM_FEATURE_DSP)
#include "insitu_pool_microkernels_dsp.h"
#else
#include "insitu_pool_microkernels_portable.h"
#endif

#endif
