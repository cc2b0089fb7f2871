/* Inner loops of pools, over all channels of a window. What is done to one channel is the
 * definition; with the DSP extension four go at once. */
#ifndef INSITU_POOL_MICROKERNELS_H
#define INSITU_POOL_MICROKERNELS_H

#include "insitu_dsp.h"

/* The places of a window: `rows` of `columns`; from one to the next are `channels` elements, from
 * the end of a row to the next `skip`. Where the first four are, of fewer the first again. */
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

static inline int32_t insitu_sum_places(const insitu_places_t *p, const int8_t *x) {
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
static inline int32_t insitu_first_largest(const insitu_places_t *p, const int8_t *x) {
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

static inline int8_t insitu_mean_of(const insitu_mean_t *mean, int32_t sum) {
  const uint32_t shifted = (uint32_t)sum + mean->offset;
  const uint32_t y = mean->multiplier ? shifted * mean->multiplier >> 24 : shifted / mean->count;
  return (int8_t)((int32_t)y - 128);
}

#if defined(__ARM_FEATURE_DSP)
/* The largest of four channels. */
static inline uint32_t insitu_best_four(const insitu_places_t *p, const int8_t *x) {
  uint32_t best = load_word(x);
  for (int32_t row = p->rows; row > 0; row--, x += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, x += p->channels)
      best = max_s8x4(best, load_word(x));
  }
  return best;
}

static inline uint32_t insitu_best_of_few(const int32_t *at, const int8_t *x) {
  const uint32_t a = load_word(x + at[0]), b = load_word(x + at[1]);
  const uint32_t d = load_word(x + at[2]), e = load_word(x + at[3]);
  return max_s8x4(max_s8x4(a, b), max_s8x4(d, e));
}

/* Those errors that go to a place, to dx; the rest stays. */
static inline uint32_t insitu_route_part(uint32_t rest, uint32_t best, const int8_t *x,
                                         int8_t *dx) {
  const uint32_t part = take_ge_s8x4(load_word(x), best, &rest);
  const uint32_t sum = qadd8(load_word(dx), part);
  store_word(dx, max_s8x4(sum, 0x81818181u));
  return rest;
}

static inline void insitu_route_four(const insitu_places_t *p, uint32_t rest, const int8_t *x,
                                     int8_t *dx) {
  const uint32_t best = insitu_best_four(p, x);
  for (int32_t row = p->rows; row > 0 && rest != 0; row--, x += p->skip, dx += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, x += p->channels, dx += p->channels)
      rest = insitu_route_part(rest, best, x, dx);
  }
}

static inline uint32_t insitu_mean_four(const insitu_places_t *p, const insitu_mean_t *mean,
                                        const int8_t *x) {
  const uint32_t by = mean->multiplier, offset = mean->offset * by;
  uint32_t even = 0, odd = 0;
  if (p->count == 4) {
    for (int32_t k = 0; k < 4; k++) {
      const uint32_t v = load_word(x + p->at[k]);
      even = sxtab16(even, v);
      odd = sxtab16_ror8(odd, v);
    }
  } else {
    for (int32_t row = p->rows; row > 0; row--, x += p->skip) {
      for (int32_t column = p->columns; column > 0; column--, x += p->channels) {
        const uint32_t v = load_word(x);
        even = sxtab16(even, v);
        odd = sxtab16_ror8(odd, v);
      }
    }
  }
  const uint32_t y0 = (uint32_t)(int16_t)even * by + offset;
  const uint32_t y1 = (uint32_t)(int16_t)odd * by + offset;
  const uint32_t y2 = (uint32_t)((int32_t)even >> 16) * by + offset;
  const uint32_t y3 = (uint32_t)((int32_t)odd >> 16) * by + offset;
  const uint32_t low = y0 >> 24 | (y1 >> 24) << 8, high = y2 >> 24 | (y3 >> 24) << 8;
  return (low | high << 16) ^ 0x80808080u;
}
#endif

/* y[c] = the largest of x. */
static inline void insitu_largest(const insitu_places_t *p, const int8_t *x, int8_t *y) {
  const int32_t at[4] = {p->at[0], p->at[1], p->at[2], p->at[3]};
  int32_t c = p->channels;
#if defined(__ARM_FEATURE_DSP)
  if (p->count <= 4) {
    for (; c >= 4; c -= 4, x += 4, y += 4)
      store_word(y, insitu_best_of_few(at, x));
  }
  for (; c >= 4; c -= 4, x += 4, y += 4)
    store_word(y, insitu_best_four(p, x));
#else
  if (p->count <= 4) {
    for (; c > 0; c--, x++, y++) {
      const int32_t a = insitu_max(x[at[0]], x[at[1]]), b = insitu_max(x[at[2]], x[at[3]]);
      *y = (int8_t)insitu_max(a, b);
    }
  }
#endif
  for (; c > 0; c--, x++, y++)
    *y = x[insitu_first_largest(p, x)];
}

/* dx[first largest of x] += dy[c], held to [-127, 127]. */
static inline void insitu_route_errors(const insitu_places_t *p, const int8_t *dy, const int8_t *x,
                                       int8_t *dx) {
  int32_t c = p->channels;
#if defined(__ARM_FEATURE_DSP)
  const int32_t at[4] = {p->at[0], p->at[1], p->at[2], p->at[3]};
  for (; c >= 4 && p->count <= 4; c -= 4, dy += 4, x += 4, dx += 4) {
    uint32_t rest = load_word(dy);
    if (rest != 0) {
      const uint32_t best = insitu_best_of_few(at, x);
      for (int32_t k = 0; k < 4; k++)
        rest = insitu_route_part(rest, best, x + at[k], dx + at[k]);
    }
  }
  for (; c >= 4; c -= 4, dy += 4, x += 4, dx += 4)
    insitu_route_four(p, load_word(dy), x, dx);
#endif
  for (int32_t i = 0; i < c; i++) {
    if (dy[i] == 0)
      continue;
    const int32_t at_best = i + insitu_first_largest(p, x + i);
    dx[at_best] = (int8_t)insitu_clamp(dx[at_best] + dy[i], -127, 127);
  }
}

/* y[c] = the mean of x. */
static inline void insitu_average(const insitu_places_t *p, const insitu_mean_t *mean,
                                  const int8_t *x, int8_t *y) {
  int32_t c = p->channels;
#if defined(__ARM_FEATURE_DSP)
  for (; c >= 4 && mean->multiplier; c -= 4, x += 4, y += 4)
    store_word(y, insitu_mean_four(p, mean, x));
#endif
  for (; c > 0; c--, x++, y++)
    *y = insitu_mean_of(mean, insitu_sum_places(p, x));
}

#endif
