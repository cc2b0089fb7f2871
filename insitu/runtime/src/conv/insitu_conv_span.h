/* Where a convolution's window lies on the map, and sizes and sums that all of them need. */
#ifndef INSITU_CONV_SPAN_H
#define INSITU_CONV_SPAN_H

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* The kernel columns [first, end) that lie on the map when the window starts at column `start`. */
typedef struct {
  int32_t first, end;
} insitu_span_t;

static inline insitu_span_t span_on_map(int32_t start, int32_t kernel, int32_t size) {
  insitu_span_t span = {insitu_max(0, -start), insitu_min(kernel, size - start)};
  return span;
}

static inline int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

static inline int32_t row_size(const insitu_conv_params_t *p) {
  return p->kernel_height * p->kernel_width * p->in_channels;
}

/* A window, its elements less their zero point, times a row of weights. */
static inline int32_t dot_s16(int32_t size, const int16_t *restrict a, const int8_t *restrict b) {
  int32_t sum = 0;
  for (int32_t k = 0; k < size; k++)
    sum += a[k] * b[k];
  return sum;
}

#endif
