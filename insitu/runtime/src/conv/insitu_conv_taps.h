/* Where the window of a dilated convolution lies on the map, and how its channels are grouped. */
#ifndef INSITU_CONV_TAPS_H
#define INSITU_CONV_TAPS_H

#include "insitu_conv_span.h"
#include "insitu_kernels_groups.h"

/* What of several places, apart from each other, lies on the map, [first, end), in one direction:
 * places of the kernel, or windows for one place of it. */
typedef struct {
  int32_t first, end;
} insitu_taps_t;

/* Of `count` places, `apart` from each other, the first at `start`. */
static inline insitu_taps_t taps_on_map(int32_t start, int32_t count, int32_t apart, int32_t size) {
  const insitu_taps_t taps = {start < 0 ? (apart - 1 - start) / apart : 0,
                              start < size ? insitu_min(count, (size - 1 - start) / apart + 1) : 0};
  return taps;
}

/* The windows over an element of the map, in one direction: the kernel's places first, first +
 * apart, ... below end, of the windows `window`, window - back, ... */
typedef struct {
  int32_t first, apart, end;
  int32_t window, back;
} insitu_over_t;

/* Of an element at `place` >= 0, counted from where the first window starts. */
static inline insitu_over_t windows_over(int32_t place, int32_t kernel, int32_t dilation,
                                         int32_t stride, int32_t windows) {
  insitu_over_t over = {0, 1, place / dilation + 1, 0, dilation};
  if (stride > 1) {
    while (over.apart * dilation % stride != 0)
      over.apart++;
    while (over.first < over.apart && (place - over.first * dilation) % stride != 0)
      over.first++;
    if (over.first == over.apart)
      over.end = 0;
    over.back = over.apart * dilation / stride;
  }
  over.end = insitu_min(over.end, kernel);
  over.window = (place - over.first * dilation) / stride;
  while (over.first < over.end && over.window >= windows) {
    over.first += over.apart;
    over.window -= over.back;
  }
  return over;
}

static inline insitu_over_t over_line(const insitu_conv_groups_params_t *p, int32_t iy) {
  const insitu_conv_params_t *c = &p->conv;
  return windows_over(iy + c->pad_top, c->kernel_height, p->dilation_height, c->stride_height,
                      c->out_height);
}

static inline insitu_over_t over_column(const insitu_conv_groups_params_t *p, int32_t ix) {
  const insitu_conv_params_t *c = &p->conv;
  return windows_over(ix + c->pad_left, c->kernel_width, p->dilation_width, c->stride_width,
                      c->out_width);
}

static inline int32_t count_windows(const insitu_over_t *over) {
  return over->first < over->end ? (over->end - 1 - over->first) / over->apart + 1 : 0;
}

/* Weights of one output channel. */
static inline int32_t group_row(const insitu_conv_groups_params_t *p) {
  return p->conv.kernel_height * p->conv.kernel_width * (p->conv.in_channels / p->groups);
}

/* Whether every channel is a group of its own, with one row of weights. */
static inline int32_t is_depthwise(const insitu_conv_groups_params_t *p) {
  return p->groups == p->conv.in_channels && p->groups == p->conv.out_channels;
}

#endif
