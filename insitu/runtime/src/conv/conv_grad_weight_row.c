/* The weight gradient of one row of a convolution: where errors are sparse, and for buffers.
 * Twin: insitu/ops/layers/conv.py. This portable version is the definition. */
#include <string.h>

#include "insitu_conv_span.h"

/* gradient[k] += e (x[k] - zero) */
static void add_outer(int32_t size, int32_t e, int32_t zero, const int8_t *restrict x,
                      int32_t *restrict gradient) {
  for (int32_t k = 0; k < size; k++)
    gradient[k] += e * (x[k] - zero);
}

/* gradient[ky, kx, i] += e (x[iy, ix, i] - zero) over the part of the window on the map. */
static void add_position(const insitu_conv_params_t *p, int32_t zero, const int8_t *x, int32_t oy,
                         int32_t ox, int32_t e, int32_t *gradient) {
  const int32_t channels = p->in_channels;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const int32_t start_y = oy * p->stride_height - p->pad_top;
  const insitu_span_t columns = span_on_map(start_x, p->kernel_width, p->in_width);
  const insitu_span_t lines = span_on_map(start_y, p->kernel_height, p->in_height);
  if (columns.first >= columns.end)
    return;
  for (int32_t ky = lines.first; ky < lines.end; ky++) {
    const int32_t from = (start_y + ky) * p->in_width + start_x + columns.first;
    const int32_t to = ky * p->kernel_width + columns.first;
    add_outer((columns.end - columns.first) * channels, e, zero, x + from * channels,
              gradient + to * channels);
  }
}

int32_t insitu_conv_row_gradient(const insitu_conv_params_t *p, int32_t zero, const int8_t *dy,
                                 const int8_t *x, int32_t o, int32_t *gradient, int32_t *errors) {
  int32_t nonzero = 0;
  *errors = 0;
  dy += o;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, dy += p->out_channels) {
      if (*dy == 0)
        continue;
      if (!nonzero)
        memset(gradient, 0, (size_t)row_size(p) * sizeof *gradient);
      nonzero = 1;
      *errors += *dy;
      add_position(p, zero, x, oy, ox, *dy, gradient);
    }
  }
  return nonzero;
}
