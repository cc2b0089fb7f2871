/* Float: from smaller maps to larger ones and back. Twin: insitu/ops/maps/pad.py. */
#include <string.h>

#include "insitu_pad.h"

void insitu_pad_f32(const insitu_pad_params_t *p, const float *x, float *y) {
  const insitu_pad_span_t rows =
      insitu_pad_span(p->low.height, p->step.height, p->small.height, p->large.height);
  const insitu_pad_span_t columns =
      insitu_pad_span(p->low.width, p->step.width, p->small.width, p->large.width);
  const insitu_pad_span_t channels =
      insitu_pad_span(p->low.channels, p->step.channels, p->small.channels, p->large.channels);
  memset(y, 0, (size_t)insitu_pad_size(&p->large) * sizeof *y);
  for (int32_t i = rows.first; i < rows.end; i++) {
    for (int32_t j = columns.first; j < columns.end; j++) {
      float *large = y + insitu_pad_place(p, i, j);
      const float *small = x + (i * p->small.width + j) * p->small.channels;
      for (int32_t c = channels.first; c < channels.end; c++)
        large[p->low.channels + c * p->step.channels] = small[c];
    }
  }
}

void insitu_slice_f32(const insitu_pad_params_t *p, const float *x, float *y) {
  const insitu_pad_span_t rows =
      insitu_pad_span(p->low.height, p->step.height, p->small.height, p->large.height);
  const insitu_pad_span_t columns =
      insitu_pad_span(p->low.width, p->step.width, p->small.width, p->large.width);
  const insitu_pad_span_t channels =
      insitu_pad_span(p->low.channels, p->step.channels, p->small.channels, p->large.channels);
  memset(y, 0, (size_t)insitu_pad_size(&p->small) * sizeof *y);
  for (int32_t i = rows.first; i < rows.end; i++) {
    for (int32_t j = columns.first; j < columns.end; j++) {
      const float *large = x + insitu_pad_place(p, i, j);
      float *small = y + (i * p->small.width + j) * p->small.channels;
      for (int32_t c = channels.first; c < channels.end; c++)
        small[c] = large[p->low.channels + c * p->step.channels];
    }
  }
}
