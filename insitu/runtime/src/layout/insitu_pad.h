/* Where the elements of a small map lie on a large one. */
#ifndef INSITU_PAD_H
#define INSITU_PAD_H

#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

/* Those [first, end) along an axis whose place low + i step is on the large map. */
typedef struct {
  int32_t first, end;
} insitu_pad_span_t;

static inline insitu_pad_span_t insitu_pad_span(int32_t low, int32_t step, int32_t small,
                                                int32_t large) {
  insitu_pad_span_t span = {0, 0};
  if (low < 0)
    span.first = (step - 1 - low) / step;
  if (low < large)
    span.end = insitu_min(small, (large - 1 - low) / step + 1);
  return span;
}

static inline int32_t insitu_pad_size(const insitu_pad_shape_t *shape) {
  return shape->height * shape->width * shape->channels;
}

/* Of the first channel of the large map's place for the small one's (i, j). */
static inline int32_t insitu_pad_place(const insitu_pad_params_t *p, int32_t i, int32_t j) {
  const int32_t y = p->low.height + i * p->step.height, x = p->low.width + j * p->step.width;
  return (y * p->large.width + x) * p->large.channels;
}

#endif
