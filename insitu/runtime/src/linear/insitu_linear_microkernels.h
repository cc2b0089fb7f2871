/* Inner loops of linear layers: the portable ones are the definition, a core may have its own.
 * All offer the same functions and INSITU_LINEAR_ constants. */
#ifndef INSITU_LINEAR_MICROKERNELS_H
#define INSITU_LINEAR_MICROKERNELS_H

#if defined(__ARM_FEATURE_MVE)
#include "insitu_linear_microkernels_mve.h"
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#include "insitu_linear_microkernels_dsp.h"
#else
#include "insitu_linear_microkernels_portable.h"
#endif

/* A core with an epilogue of its own defines both. */
#if !defined(INSITU_LINEAR_OUTPUTS)
typedef struct {
  int32_t lowest, highest;
} insitu_linear_outputs_t;

static inline insitu_linear_outputs_t linear_outputs(const insitu_qparams_t *y_q) {
  const insitu_linear_outputs_t outputs = {0, 0};
  (void)y_q;
  return outputs;
}

/* y = clamp(zero + rescale(bias + sum)) of the first rows; returns of how many. */
static inline int32_t epilogue_rows(insitu_linear_outputs_t *outputs, int32_t rows, int32_t shift,
                                    const int32_t *sum, const int32_t *bias,
                                    const int32_t *multiplier, int8_t *y) {
  (void)outputs, (void)rows, (void)shift, (void)sum, (void)bias, (void)multiplier, (void)y;
  return 0;
}
#endif

#endif
