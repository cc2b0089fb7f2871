/* Elementwise loops over int8: the portable ones are the definition, cores
 * with the DSP extension take four elements at once. Results may take the place of an operand. */
#ifndef INSITU_BYTES_H
#define INSITU_BYTES_H

#include "insitu_fixed_point.h"

/* Two int8 operands become a first + b second. */
typedef struct {
  int32_t first, second;
} insitu_weighted_add_t;

static inline int8_t weighted_add_error(insitu_weighted_add_t by, int8_t a, int8_t b) {
  return (int8_t)insitu_clamp(insitu_meet(a * by.first + b * by.second), -127, 127);
}

/* v + zero, clamped, where v = (a first + b second + offset) >> 14, which is noted. */
static inline int8_t weighted_add_value(insitu_weighted_add_t by, int32_t offset,
                                        const insitu_qparams_t *y_q, int8_t a, int8_t b,
                                        int32_t *low, int32_t *high) {
  const int32_t v = (a * by.first + offset + b * by.second) >> 14;
  *low = insitu_min(*low, v);
  *high = insitu_max(*high, v);
  return (int8_t)insitu_clamp(v + y_q->zero_point, y_q->clamp_min, y_q->clamp_max);
}

#if defined(__ARM_FEATURE_DSP)
#include "insitu_bytes_dsp.h"
#else
#include "insitu_bytes_portable.h"
#endif

#endif
