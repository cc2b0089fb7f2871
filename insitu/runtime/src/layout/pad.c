/* Pad and slice; each is the other's gradient. Twin: insitu/ops/maps/pad.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

/* The elements [first, end) of the small map along an axis whose place low + i step is on the large
 * one. */
typedef struct {
  int32_t first, end;
} insitu_pad_span_t;

static inline insitu_pad_span_t pad_span(int32_t low, int32_t step, int32_t small, int32_t large) {
  insitu_pad_span_t span = {0, 0};
  if (low < 0)
    span.first = (step - 1 - low) / step;
  if (low < large)
    span.end = insitu_min(small, (large - 1 - low) / step + 1);
  return span;
}

/* Of the first channel of the large map's place for the small one's (i, j). */
static inline int32_t pad_place(const insitu_pad_params_t *p, int32_t i, int32_t j) {
  const int32_t y = p->low.height + i * p->step.height, x = p->low.width + j * p->step.width;
  return (y * p->large.width + x) * p->large.channels;
}

static inline size_t pad_size(const insitu_pad_shape_t *shape) {
  return (size_t)(shape->height * shape->width * shape->channels);
}

/* y = `fill`, where `made` is the large or the small map, then `move` for all elements that lie on
 * both: large[at] and small[c], which are declared with where the maps begin. */
#define INSITU_MOVE_SHARED(made, fill, to_large, to_small, move)                                   \
  const insitu_pad_span_t rows =                                                                   \
      pad_span(p->low.height, p->step.height, p->small.height, p->large.height);                   \
  const insitu_pad_span_t columns =                                                                \
      pad_span(p->low.width, p->step.width, p->small.width, p->large.width);                       \
  const insitu_pad_span_t channels =                                                               \
      pad_span(p->low.channels, p->step.channels, p->small.channels, p->large.channels);           \
  memset(y, fill, pad_size(&p->made) * sizeof *y);                                                 \
  for (int32_t i = rows.first; i < rows.end; i++) {                                                \
    for (int32_t j = columns.first; j < columns.end; j++) {                                        \
      to_large + pad_place(p, i, j);                                                               \
      to_small + (i * p->small.width + j) * p->small.channels;                                     \
      for (int32_t c = channels.first; c < channels.end; c++) {                                    \
        const int32_t at = p->low.channels + c * p->step.channels;                                 \
        move;                                                                                      \
      }                                                                                            \
    }                                                                                              \
  }

void insitu_pad_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                   int8_t *y) {
  INSITU_MOVE_SHARED(large, x_q->zero_point, int8_t *large = y, const int8_t *small = x,
                     large[at] = small[c])
}

void insitu_slice_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                     int8_t *y) {
  INSITU_MOVE_SHARED(small, x_q->zero_point, const int8_t *large = x, int8_t *small = y,
                     small[c] = large[at])
}

void insitu_pad_f32(const insitu_pad_params_t *p, const float *x, float *y) {
  INSITU_MOVE_SHARED(large, 0, float *large = y, const float *small = x, large[at] = small[c])
}

void insitu_slice_f32(const insitu_pad_params_t *p, const float *x, float *y) {
  INSITU_MOVE_SHARED(small, 0, const float *large = x, float *small = y, small[c] = large[at])
}
