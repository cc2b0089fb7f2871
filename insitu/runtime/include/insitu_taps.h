/* Where the window of a dilated convolution lies on the map, and how its channels are grouped. */
#ifndef INSITU_TAPS_H
#define INSITU_TAPS_H

#include "insitu_fixed_point.h"
#include "insitu_kernels_groups.h"

/* Channels of a depthwise convolution that are worked on side by side; builds for machines with
 * wide registers may take more, up to INSITU_DEPTHWISE_BLOCK. */
#ifndef INSITU_LANES
#define INSITU_LANES 4
#endif

/* The kernel's places [first, end) that lie on the map, in one direction. */
typedef struct {
  int32_t first, end;
} insitu_taps_t;

/* Of a window that starts at `start` and has its places `dilation` apart. */
static inline insitu_taps_t insitu_taps(int32_t start, int32_t kernel, int32_t dilation,
                                        int32_t size) {
  const insitu_taps_t taps = {start < 0 ? (dilation - 1 - start) / dilation : 0,
                              start < size ? insitu_min(kernel, (size - 1 - start) / dilation + 1)
                                           : 0};
  return taps;
}

/* The same for the windows over an element at `place`, counted from the first window's start:
 * place - tap dilation is a multiple of the stride, and the window exists. Returns the window's
 * number, or -1. */
static inline int32_t insitu_window_over(int32_t place, int32_t stride, int32_t windows) {
  if (place < 0 || place % stride != 0 || place / stride >= windows)
    return -1;
  return place / stride;
}

/* Weights of one output channel. */
static inline int32_t insitu_group_row(const insitu_conv_groups_params_t *p) {
  return p->conv.kernel_height * p->conv.kernel_width * (p->conv.in_channels / p->groups);
}

/* Whether every channel is a group of its own, with one row of weights. */
static inline int32_t insitu_is_depthwise(const insitu_conv_groups_params_t *p) {
  return p->groups == p->conv.in_channels && p->groups == p->conv.out_channels;
}

/* Rows whose gradients are made at a time. */
static inline int32_t insitu_rows_at_once(const insitu_conv_groups_params_t *p) {
  return insitu_is_depthwise(p) ? INSITU_LANES : 1;
}

#endif
