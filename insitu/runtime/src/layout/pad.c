/* From smaller maps to larger ones and back. Twin: insitu/ops/maps/pad.py. */
#include <string.h>

#include "insitu_pad.h"

void insitu_pad_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                   int8_t *y) {
  const insitu_pad_span_t rows =
      insitu_pad_span(p->low.height, p->step.height, p->small.height, p->large.height);
  const insitu_pad_span_t columns =
      insitu_pad_span(p->low.width, p->step.width, p->small.width, p->large.width);
  const insitu_pad_span_t channels =
      insitu_pad_span(p->low.channels, p->step.channels, p->small.channels, p->large.channels);
  memset(y, x_q->zero_point, (size_t)insitu_pad_size(&p->large));
  for (int32_t i = rows.first; i < rows.end; i++) {
    for (int32_t j = columns.first; j < columns.end; j++) {
      int8_t *large = y + insitu_pad_place(p, i, j);
      const int8_t *small = x + (i * p->small.width + j) * p->small.channels;
      for (int32_t c = channels.first; c < channels.end; c++)
        large[p->low.channels + c * p->step.channels] = small[c];
    }
  }
}

void insitu_slice_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                     int8_t *y) {
  const insitu_pad_span_t rows =
      insitu_pad_span(p->low.height, p->step.height, p->small.height, p->large.height);
  const insitu_pad_span_t columns =
      insitu_pad_span(p->low.width, p->step.width, p->small.width, p->large.width);
  const insitu_pad_span_t channels =
      insitu_pad_span(p->low.channels, p->step.channels, p->small.channels, p->large.channels);
  memset(y, x_q->zero_point, (size_t)insitu_pad_size(&p->small));
  for (int32_t i = rows.first; i < rows.end; i++) {
    for (int32_t j = columns.first; j < columns.end; j++) {
      const int8_t *large = x + insitu_pad_place(p, i, j);
      int8_t *small = y + (i * p->small.width + j) * p->small.channels;
      for (int32_t c = channels.first; c < channels.end; c++)
        small[c] = large[p->low.channels + c * p->step.channels];
    }
  }
}
