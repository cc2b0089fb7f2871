/* Inner loops of pools for cores with the DSP extension, Cortex-M4, M7, M33, M55: four channels at
 * once, then those that are left. Contracts: insitu_pool_microkernels_portable.h. */
#ifndef INSITU_POOL_MICROKERNELS_DSP_H
#define INSITU_POOL_MICROKERNELS_DSP_H

#include "insitu_dsp.h"
#include "insitu_pool_microkernels.h"

/* The largest of four channels. */
static inline uint32_t pool_max_four(const insitu_places_t *p, const int8_t *x) {
  uint32_t best = load_word(x);
  for (int32_t row = p->rows; row > 0; row--, x += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, x += p->channels)
      best = max_s8x4(best, load_word(x));
  }
  return best;
}

static inline uint32_t pool_max_few(const int32_t *at, const int8_t *x) {
  const uint32_t a = load_word(x + at[0]), b = load_word(x + at[1]);
  const uint32_t d = load_word(x + at[2]), e = load_word(x + at[3]);
  return max_s8x4(max_s8x4(a, b), max_s8x4(d, e));
}

/* Those errors that go to a place, to dx; the rest stays. */
static inline uint32_t route_to_place(uint32_t rest, uint32_t best, const int8_t *x, int8_t *dx) {
  const uint32_t part = take_ge_s8x4(load_word(x), best, &rest);
  const uint32_t sum = qadd8(load_word(dx), part);
  store_word(dx, max_s8x4(sum, 0x81818181u));
  return rest;
}

static inline void route_four(const insitu_places_t *p, uint32_t rest, const int8_t *x,
                              int8_t *dx) {
  const uint32_t best = pool_max_four(p, x);
  for (int32_t row = p->rows; row > 0 && rest != 0; row--, x += p->skip, dx += p->skip) {
    for (int32_t column = p->columns; column > 0; column--, x += p->channels, dx += p->channels)
      rest = route_to_place(rest, best, x, dx);
  }
}

static inline uint32_t pool_mean_four(const insitu_places_t *p, const insitu_mean_t *mean,
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

static inline void pool_max(const insitu_places_t *p, const int8_t *x, int8_t *y) {
  const int32_t at[4] = {p->at[0], p->at[1], p->at[2], p->at[3]};
  int32_t c = p->channels;
  if (p->count <= 4) {
    for (; c >= 4; c -= 4, x += 4, y += 4)
      store_word(y, pool_max_few(at, x));
  }
  for (; c >= 4; c -= 4, x += 4, y += 4)
    store_word(y, pool_max_four(p, x));
  for (; c > 0; c--, x++, y++)
    *y = x[pool_argmax(p, x)];
}

static inline void pool_route_errors(const insitu_places_t *p, const int8_t *dy, const int8_t *x,
                                     int8_t *dx) {
  int32_t c = p->channels;
  const int32_t at[4] = {p->at[0], p->at[1], p->at[2], p->at[3]};
  for (; c >= 4 && p->count <= 4; c -= 4, dy += 4, x += 4, dx += 4) {
    uint32_t rest = load_word(dy);
    if (rest != 0) {
      const uint32_t best = pool_max_few(at, x);
      for (int32_t k = 0; k < 4; k++)
        rest = route_to_place(rest, best, x + at[k], dx + at[k]);
    }
  }
  for (; c >= 4; c -= 4, dy += 4, x += 4, dx += 4)
    route_four(p, load_word(dy), x, dx);
  for (int32_t i = 0; i < c; i++) {
    if (dy[i] == 0)
      continue;
    pool_add_error(i + pool_argmax(p, x + i), dy[i], dx);
  }
}

static inline void pool_average(const insitu_places_t *p, const insitu_mean_t *mean,
                                const int8_t *x, int8_t *y) {
  int32_t c = p->channels;
  for (; c >= 4 && mean->multiplier; c -= 4, x += 4, y += 4)
    store_word(y, pool_mean_four(p, mean, x));
  for (; c > 0; c--, x++, y++)
    *y = pool_mean(mean, pool_sum(p, x));
}

#endif
