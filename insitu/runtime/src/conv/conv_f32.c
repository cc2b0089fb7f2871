/* Convolution in float: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/layers/conv_f32.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_f32.h"
#include "insitu_conv_span.h"

/* The window of an output as one vector: where it lies in x, or copied to `patch`. */
static const float *window_f32(const insitu_conv_params_t *p, const float *x, int32_t oy,
                               int32_t ox, float *patch) {
  const int32_t channels = p->in_channels, line = p->kernel_width * channels;
  const int32_t start_y = oy * p->stride_height - p->pad_top;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const insitu_span_t lines = span_on_map(start_y, p->kernel_height, p->in_height);
  const insitu_span_t columns = span_on_map(start_x, p->kernel_width, p->in_width);
  const int32_t whole = columns.first == 0 && columns.end == p->kernel_width;
  if (p->kernel_height == 1 && lines.first == 0 && lines.end == 1 && whole)
    return x + (start_y * p->in_width + start_x) * channels;
  float *to = patch;
  for (int32_t ky = 0; ky < p->kernel_height; ky++, to += line) {
    const int32_t inside = ky >= lines.first && ky < lines.end && columns.first < columns.end;
    const int32_t first = inside ? columns.first * channels : line;
    const int32_t end = inside ? columns.end * channels : line;
    const int32_t from = ((start_y + ky) * p->in_width + start_x) * channels;
    for (int32_t k = 0; k < first; k++)
      to[k] = 0.0f;
    for (int32_t k = first; k < end; k++)
      to[k] = x[from + k];
    for (int32_t k = end; k < line; k++)
      to[k] = 0.0f;
  }
  return patch;
}

void insitu_conv_f32(const insitu_conv_f32_params_t *g, const float *x, const float *w,
                     const float *b, void *scratch, float *y) {
  const insitu_conv_params_t *p = &g->shape;
  const int32_t row = row_size(p), rows = p->out_channels;
  float *patch = scratch;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    int32_t ox = 0;
    for (; ox + 1 < p->out_width; ox += 2, y += 2 * rows) {
      const float *first = window_f32(p, x, oy, ox, patch);
      const float *second = window_f32(p, x, oy, ox + 1, patch + row);
      insitu_rows_times_two_f32(rows, row, w, b, first, second, g->min, g->max, y);
    }
    if (ox < p->out_width) {
      const float *last = window_f32(p, x, oy, ox, patch);
      insitu_rows_times_f32(rows, row, w, b, last, g->min, g->max, y);
      y += rows;
    }
  }
}

/* dx += e[k] w[k] over the window of one output; w[k] are rows of weights, count of them. */
static void scatter(const insitu_conv_params_t *p, int32_t oy, int32_t ox, int32_t count,
                    const float *e, const float *const *w, float *dx) {
  const int32_t channels = p->in_channels;
  const int32_t start_y = oy * p->stride_height - p->pad_top;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const insitu_span_t lines = span_on_map(start_y, p->kernel_height, p->in_height);
  const insitu_span_t columns = span_on_map(start_x, p->kernel_width, p->in_width);
  const float *from[INSITU_BLOCK];
  if (columns.first >= columns.end)
    return;
  for (int32_t ky = lines.first; ky < lines.end; ky++) {
    const int32_t skipped = (ky * p->kernel_width + columns.first) * channels;
    const int32_t to = ((start_y + ky) * p->in_width + start_x + columns.first) * channels;
    for (int32_t k = 0; k < count; k++)
      from[k] = w[k] + skipped;
    insitu_add_products_f32((columns.end - columns.first) * channels, count, e, from, dx + to);
  }
}

void insitu_conv_grad_input_f32(const insitu_conv_params_t *p, const float *dy, const float *w,
                                float *dx) {
  const int32_t row = row_size(p), rows = p->out_channels;
  float e[INSITU_BLOCK];
  const float *nonzero[INSITU_BLOCK];
  memset(dx, 0, (size_t)(p->in_height * p->in_width * p->in_channels) * sizeof *dx);
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, dy += rows) {
      int32_t count = 0;
      for (int32_t o = 0; o < rows; o++) {
        if (dy[o] == 0.0f)
          continue;
        e[count] = dy[o];
        nonzero[count++] = w + o * row;
        if (count == INSITU_BLOCK) {
          scatter(p, oy, ox, count, e, nonzero, dx);
          count = 0;
        }
      }
      if (count > 0)
        scatter(p, oy, ox, count, e, nonzero, dx);
    }
  }
}

/* Errors of one row of weights at places of one line of the output whose windows lie on the
 * same columns of the kernel. */
typedef struct {
  float e[INSITU_BLOCK];
  int32_t start[INSITU_BLOCK]; /* where their windows begin, columns of x */
  int32_t count;
} insitu_line_t;

/* gradient[ky, kx, i] += sum over the line of e x. */
static void add_line(const insitu_conv_params_t *p, const float *x, int32_t oy, insitu_line_t *line,
                     float *gradient) {
  const int32_t channels = p->in_channels, start_y = oy * p->stride_height - p->pad_top;
  const insitu_span_t lines = span_on_map(start_y, p->kernel_height, p->in_height);
  const insitu_span_t columns = span_on_map(line->start[0], p->kernel_width, p->in_width);
  const float *from[INSITU_BLOCK];
  const int32_t count = line->count;
  line->count = 0;
  if (columns.first >= columns.end)
    return;
  for (int32_t ky = lines.first; ky < lines.end; ky++) {
    const int32_t at = (start_y + ky) * p->in_width + columns.first;
    for (int32_t k = 0; k < count; k++)
      from[k] = x + (at + line->start[k]) * channels;
    insitu_add_products_f32((columns.end - columns.first) * channels, count, line->e, from,
                            gradient + (ky * p->kernel_width + columns.first) * channels);
  }
}

int32_t insitu_conv_row_gradient_f32(const insitu_conv_params_t *p, const float *dy, const float *x,
                                     float *gradient, float *errors) {
  int32_t nonzero = 0;
  insitu_line_t line;
  line.count = 0;
  *errors = 0.0f;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, dy += p->out_channels) {
      if (*dy == 0.0f)
        continue;
      if (!nonzero)
        memset(gradient, 0, (size_t)row_size(p) * sizeof *gradient);
      nonzero = 1;
      *errors = *errors + *dy;
      const int32_t start = ox * p->stride_width - p->pad_left;
      const int32_t whole = start >= 0 && start + p->kernel_width <= p->in_width;
      if (line.count > 0 && !whole)
        add_line(p, x, oy, &line, gradient);
      line.e[line.count] = *dy;
      line.start[line.count++] = start;
      if (line.count == INSITU_BLOCK || !whole)
        add_line(p, x, oy, &line, gradient);
    }
    if (line.count > 0)
      add_line(p, x, oy, &line, gradient);
  }
  return nonzero;
}

/* w -= rate (sum over positions of dy x), b -= rate (sum of dy), a row at a time.
 * gradient: float[weights in a row]. */
static void update_by_row(const insitu_conv_params_t *p, const float *dy, const float *x,
                          float rate, float *gradient, float *b, float *w) {
  const int32_t row = row_size(p);
  for (int32_t o = 0; o < p->out_channels; o++, w += row) {
    float errors;
    if (!insitu_conv_row_gradient_f32(p, dy + o, x, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      w[k] = w[k] - rate * gradient[k];
    b[o] = b[o] - rate * errors;
  }
}

/* gradient[o] += sum over `count` positions of dy[k, o] window[k] */
static void add_windows(int32_t rows, int32_t row, int32_t count, const float *dy,
                        const float *const *window, float *gradient) {
  float e[INSITU_BLOCK];
  const float *from[INSITU_BLOCK];
  for (int32_t o = 0; o < rows; o++) {
    int32_t nonzero = 0;
    for (int32_t k = 0; k < count; k++) {
      if (dy[k * rows + o] == 0.0f)
        continue;
      e[nonzero] = dy[k * rows + o];
      from[nonzero++] = window[k];
    }
    if (nonzero > 0)
      insitu_add_products_f32(row, nonzero, e, from, gradient + o * row);
  }
}

/* The same, all rows at once. gradient: float[rows + INSITU_BLOCK][weights in a row]. */
static void update_at_once(const insitu_conv_params_t *p, const float *dy, const float *x,
                           float rate, float *gradient, float *b, float *w) {
  const int32_t rows = p->out_channels, row = row_size(p);
  const int32_t positions = p->out_height * p->out_width;
  float *patch = gradient + rows * row;
  memset(gradient, 0, (size_t)(rows * row) * sizeof *gradient);
  for (int32_t first = 0; first < positions; first += INSITU_BLOCK) {
    const int32_t count = insitu_min(positions - first, INSITU_BLOCK);
    const float *window[INSITU_BLOCK];
    for (int32_t k = 0; k < count; k++) {
      const int32_t oy = (first + k) / p->out_width, ox = (first + k) % p->out_width;
      window[k] = window_f32(p, x, oy, ox, patch + k * row);
    }
    add_windows(rows, row, count, dy + first * rows, window, gradient);
  }
  for (int32_t k = 0; k < rows * row; k++)
    w[k] = w[k] - rate * gradient[k];
  for (int32_t o = 0; o < rows; o++) {
    float errors = 0.0f;
    for (int32_t position = 0; position < positions; position++)
      errors = errors + dy[position * rows + o];
    b[o] = b[o] - rate * errors;
  }
}

int32_t insitu_conv_update_f32(const insitu_conv_update_f32_params_t *g, const float *dy,
                               const float *x, const float *rate, void *scratch, float *b,
                               float *w) {
  const insitu_conv_params_t *p = &g->shape;
  if (!insitu_step_is_small_f32(rate[0], p->out_height * p->out_width, p->out_channels, dy,
                                p->in_height * p->in_width * p->in_channels, x))
    return p->out_channels;
  if (g->weight_decay > 0.0f) {
    const int32_t weights = p->out_channels * row_size(p);
    insitu_scale_f32(weights, 1.0f - rate[0] * g->weight_decay, w);
  }
  if (p->kernel_width * p->in_channels < INSITU_SHORT_LINE)
    update_at_once(p, dy, x, rate[0], scratch, b, w);
  else
    update_by_row(p, dy, x, rate[0], scratch, b, w);
  return 0;
}
