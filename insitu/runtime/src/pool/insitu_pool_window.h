/* The windows of pools. */
#ifndef INSITU_POOL_WINDOW_H
#define INSITU_POOL_WINDOW_H

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* The part of a window that lies on the map: rows [top, bottom), columns [left, right). */
typedef struct {
  int32_t top, bottom, left, right;
} insitu_window_t;

static inline insitu_window_t pool_window(const insitu_pool_params_t *p, int32_t oy, int32_t ox) {
  const int32_t y = oy * p->stride_height - p->pad_top;
  const int32_t x = ox * p->stride_width - p->pad_left;
  insitu_window_t window = {insitu_max(y, 0), insitu_min(y + p->kernel_height, p->in_height),
                            insitu_max(x, 0), insitu_min(x + p->kernel_width, p->in_width)};
  return window;
}

/* How many elements a window averages over. */
static inline int32_t pool_count(const insitu_pool_params_t *p, insitu_window_t window) {
  if (p->count_padding)
    return p->kernel_height * p->kernel_width;
  return (window.bottom - window.top) * (window.right - window.left);
}

#endif
