/* The depthwise microkernel: a channel of a kernel over its packed plane, a dot product an output.
 */
#ifndef INSITU_DEPTHWISE_MICROKERNELS_H
#define INSITU_DEPTHWISE_MICROKERNELS_H

#include "insitu_depthwise.h"

/* The packed weights of a channel, weight_words(taps) words a line, and what its sums are
 * requantized with: round((bias + sum) multiplier / 2^32), clamped to int16. */
typedef struct {
  int32_t bias, multiplier;
  int32_t taps, rows;
  uint32_t weights[INSITU_PLANES_KERNEL * INSITU_PLANES_KERNEL];
} insitu_depthwise_kernel_t;

/* A channel's packed plane and its outputs, both as pairs. Sizes of lines in halfwords. */
typedef struct {
  int32_t stride;        /* columns between outputs */
  int32_t height, width; /* outputs */
  int32_t line, down;    /* between lines of a window, between outputs' lines */
  int32_t to_line;       /* between lines of values */
} insitu_depthwise_plane_t;

/* All outputs of a channel in a band. `to` may be x, where to_line is down: a value is written when
 * its place has been read for the last time. */
void insitu_depthwise_microkernel(const insitu_depthwise_plane_t *s,
                                  const insitu_depthwise_kernel_t *kernel, const int16_t *x,
                                  int16_t *to);

/* The same of a kernel of 3 x 3 with stride 1, in place, where no value leaves int16; `pairs` of
 * outputs in a line. */
void insitu_depthwise_microkernel_3x3(const insitu_depthwise_kernel_t *kernel, int16_t *x,
                                      int32_t pairs, int32_t lines, int32_t line);

#ifdef __ARM_FEATURE_DSP
#include "insitu_depthwise_microkernel_dsp.h"
#else
#include "insitu_depthwise_microkernel_portable.h"
#endif

#endif
