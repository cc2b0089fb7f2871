/* Loops over int8 elements, one after the other: the definition. */
#ifndef INSITU_BYTES_PORTABLE_H
#define INSITU_BYTES_PORTABLE_H

#include "insitu_bytes.h"

/* y[i] = x[i], clamped to [low, high], both int8. */
static inline void clamp_bytes(int32_t size, int32_t low, int32_t high, const int8_t *x,
                               int8_t *y) {
  for (int32_t i = 0; i < size; i++)
    y[i] = (int8_t)insitu_clamp(x[i], low, high);
}

/* dx[i] = dy[i] where first <= y[i] <= last, else 0. */
static inline void mask_bytes(int32_t size, int32_t first, int32_t last, const int8_t *dy,
                              const int8_t *y, int8_t *dx) {
  for (int32_t i = 0; i < size; i++)
    dx[i] = y[i] >= first && y[i] <= last ? dy[i] : 0;
}

/* e[i] = (a[i] first + b[i] second + 2^13) >> 14, clamped to [-127, 127]; 0 <= first, second <=
 * 2^14. */
static inline void weighted_add_errors(int32_t size, insitu_weighted_add_t by, const int8_t *a,
                                       const int8_t *b, int8_t *e) {
  for (int32_t i = 0; i < size; i++)
    e[i] = weighted_add_error(by, a[i], b[i]);
}

/* v = (a[i] first + b[i] second + offset) >> 14, which stays below 2^17; y[i] = v + zero, clamped;
 * observed: the least and the largest v, 0 among them. */
static inline void weighted_add_values(int32_t size, insitu_weighted_add_t by, int32_t offset,
                                       const insitu_qparams_t *y_q, const int8_t *a,
                                       const int8_t *b, int8_t *y, int32_t *observed) {
  const insitu_qparams_t q = *y_q; /* local: y could be any of what lies in memory */
  int32_t low = 0, high = 0;
  for (int32_t i = 0; i < size; i++)
    y[i] = weighted_add_value(by, offset, &q, a[i], b[i], &low, &high);
  observed[0] = low;
  observed[1] = high;
}

#endif
