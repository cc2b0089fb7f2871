/* What the positions of dx look at that leave the same rest by a convolution's stride. */
#ifndef INSITU_CONV_PHASE_H
#define INSITU_CONV_PHASE_H

#include "insitu_conv_tile.h"

/* One axis: dx at rest + stride m is made of errors m + low .. m + low + places - 1, the last with
 * the window's place `first`, each before it a stride later in the window. */
typedef struct {
  int32_t first, places, low;
} insitu_conv_phase_t;

static inline insitu_conv_phase_t phase_of(int32_t rest, int32_t pad, int32_t kernel,
                                           int32_t stride) {
  insitu_conv_phase_t phase;
  phase.first = (rest + pad) % stride;
  phase.places = (kernel - phase.first + stride - 1) / stride;
  phase.low = (rest + pad) / stride - phase.places + 1;
  return phase;
}

/* The errors that all phases look at: m + low .. m + low + span - 1. */
typedef struct {
  int32_t low, span;
} insitu_conv_reach_t;

static inline insitu_conv_reach_t reach_of(int32_t pad, int32_t kernel, int32_t stride) {
  int32_t low = INT32_MAX, end = INT32_MIN;
  for (int32_t rest = 0; rest < stride; rest++) {
    const insitu_conv_phase_t phase = phase_of(rest, pad, kernel, stride);
    if (phase.places == 0)
      continue;
    low = insitu_min(low, phase.low);
    end = insitu_max(end, phase.low + phase.places);
  }
  const insitu_conv_reach_t reach = {low, end - low};
  return reach;
}

#endif
