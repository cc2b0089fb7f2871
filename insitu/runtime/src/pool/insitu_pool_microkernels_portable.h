/* Inner loops of pools, channel after channel: the definition. */
#ifndef INSITU_POOL_MICROKERNELS_PORTABLE_H
#define INSITU_POOL_MICROKERNELS_PORTABLE_H

#include "insitu_pool_microkernels.h"

/* y[c] = the largest of x. */
static inline void pool_max(const insitu_places_t *p, const int8_t *x, int8_t *y) {
  const int32_t at[4] = {p->at[0], p->at[1], p->at[2], p->at[3]};
  int32_t c = p->channels;
  if (p->count <= 4) {
    for (; c > 0; c--, x++, y++) {
      const int32_t a = insitu_max(x[at[0]], x[at[1]]), b = insitu_max(x[at[2]], x[at[3]]);
      *y = (int8_t)insitu_max(a, b);
    }
  }
  for (; c > 0; c--, x++, y++)
    *y = x[pool_argmax(p, x)];
}

/* y[c] = the mean of x. */
static inline void pool_average(const insitu_places_t *p, const insitu_mean_t *mean,
                                const int8_t *x, int8_t *y) {
  for (int32_t c = p->channels; c > 0; c--, x++, y++)
    *y = pool_mean(mean, pool_sum(p, x));
}

/* dx[first largest of x] += dy[c], clamped to [-127, 127]. */
static inline void pool_route_errors(const insitu_places_t *p, const int8_t *dy, const int8_t *x,
                                     int8_t *dx) {
  const int32_t channels = p->channels;
  for (int32_t c = 0; c < channels; c++) {
    if (dy[c] == 0)
      continue;
    pool_add_error(c + pool_argmax(p, x + c), dy[c], dx);
  }
}

#endif
