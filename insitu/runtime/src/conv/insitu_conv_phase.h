/* The phases of a transposed convolution: of the input gradient dx of a convolution with a stride.
 *
 * Positions of dx with the same residue modulo the stride are a phase: a convolution of stride 1 of
 * dy with every stride-th weight, the last first. Stride 2, kernel 3, no padding:
 *
 *     dx[0] = dy[0] w[0]                  phase 0: w[2], w[0]
 *     dx[1] = dy[0] w[1]                  phase 1: w[1]
 *     dx[2] = dy[0] w[2] + dy[1] w[0]     phase 0
 *     dx[3] = dy[1] w[1]                  phase 1
 */
#ifndef INSITU_CONV_PHASE_H
#define INSITU_CONV_PHASE_H

#include "insitu_conv_tile.h"

/* One axis: dx at residue + stride m is a sum over the errors m + low .. m + low + places - 1, the
 * last with the kernel's weight `first`, each before it with one a stride later. */
typedef struct {
  int32_t first, places, low;
} insitu_conv_phase_t;

static inline insitu_conv_phase_t phase_of(int32_t residue, int32_t pad, int32_t kernel,
                                           int32_t stride) {
  insitu_conv_phase_t phase;
  phase.first = (residue + pad) % stride;
  phase.places = (kernel - phase.first + stride - 1) / stride;
  phase.low = (residue + pad) / stride - phase.places + 1;
  return phase;
}

/* The errors that all phases look at: m + low .. m + low + span - 1. */
typedef struct {
  int32_t low, span;
} insitu_conv_reach_t;

static inline insitu_conv_reach_t reach_of(int32_t pad, int32_t kernel, int32_t stride) {
  int32_t low = INT32_MAX, end = INT32_MIN;
  for (int32_t residue = 0; residue < stride; residue++) {
    const insitu_conv_phase_t phase = phase_of(residue, pad, kernel, stride);
    if (phase.places == 0)
      continue;
    low = insitu_min(low, phase.low);
    end = insitu_max(end, phase.low + phase.places);
  }
  const insitu_conv_reach_t reach = {low, end - low};
  return reach;
}

#endif
