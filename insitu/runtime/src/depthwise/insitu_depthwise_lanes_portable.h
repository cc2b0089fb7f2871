/* Sums of all lanes: the definition. */
#ifndef INSITU_DEPTHWISE_LANES_PORTABLE_H
#define INSITU_DEPTHWISE_LANES_PORTABLE_H

#include "insitu_depthwise_lanes.h"

/* Where the weight of a lane lies in a column. */
static inline int32_t lane_place(int32_t lane) { return lane; }

/* Sums are local, and their terms fit int16, so that they can be vectors. */
#define INSITU_SUM_LANES(factor)                                                                   \
  int32_t total[INSITU_LANES];                                                                     \
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)                                              \
    total[lane] = sum[lane];                                                                       \
  INSITU_FOR_TERMS(const int8_t *from = x, factor, INSITU_LANES,                                   \
                   total[lane] += (int16_t)(by[lane] * (int16_t)(from[lane] - zero)))              \
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)                                              \
    sum[lane] = total[lane];

/* sum[lane] += sum over lines and k of columns[k] (x[k, lane] - zero) */
static inline void dw_add_products(const insitu_steps_t *steps, int32_t zero, const int8_t *x,
                                   const int16_t *columns, int32_t *sum) {
  INSITU_SUM_LANES(const int16_t *by = columns)
}

/* sum[lane] += sum over lines and k of dy[k, lane] (x[k, lane] - zero) */
static inline void dw_add_errors(const insitu_steps_t *steps, int32_t zero, const int8_t *x,
                                 const int8_t *dy, int32_t *sum) {
  INSITU_SUM_LANES(const int8_t *by = dy)
}

#endif
