/* Max and average pooling and their gradients. Twin: insitu/ops/maps/pool.py. */
#include <string.h>

#include "insitu_pool_window.h"
#include "insitu_pool_microkernels.h"

/* The places of a window on a map of so many columns. */
static insitu_places_t pool_places(int32_t rows, int32_t columns, int32_t channels, int32_t width) {
  insitu_places_t places = {rows,           columns, channels, (width - columns) * channels,
                            rows * columns, {0}};
  for (int32_t k = 0; k < insitu_min(places.count, 4); k++)
    places.at[k] = (k / columns * width + k % columns) * channels;
  return places;
}

/* Those of the next window, which mostly are as those of the one before it. */
static void set_places(const insitu_pool_params_t *p, insitu_window_t window,
                       insitu_places_t *places) {
  const int32_t rows = window.bottom - window.top, columns = window.right - window.left;
  if (rows != places->rows || columns != places->columns)
    *places = pool_places(rows, columns, p->channels, p->in_width);
}

/* Where in x, or dx, a window begins. */
static int32_t window_start(const insitu_pool_params_t *p, insitu_window_t window) {
  return (window.top * p->in_width + window.left) * p->channels;
}

void insitu_max_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                        int8_t *y) {
  insitu_places_t places = {0};
  (void)x_q;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, y += p->channels) {
      const insitu_window_t window = pool_window(p, oy, ox);
      set_places(p, window, &places);
      pool_max(&places, x + window_start(p, window), y);
    }
  }
}

void insitu_max_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, const int8_t *x,
                             int8_t *dx) {
  insitu_places_t places = {0};
  memset(dx, 0, (size_t)(p->in_height * p->in_width * p->channels));
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, dy += p->channels) {
      const insitu_window_t window = pool_window(p, oy, ox);
      set_places(p, window, &places);
      const int32_t begin = window_start(p, window);
      pool_route_errors(&places, dy, x + begin, dx + begin);
    }
  }
}

void insitu_average_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q,
                            const int8_t *x, int8_t *y) {
  insitu_places_t places = {0};
  insitu_mean_t mean = {0};
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++, y += p->channels) {
      const insitu_window_t window = pool_window(p, oy, ox);
      set_places(p, window, &places);
      const uint32_t count = (uint32_t)pool_count(p, window);
      const uint32_t padding = count - (uint32_t)places.count;
      if (count != mean.count)
        mean.multiplier = count <= INSITU_MOST_PLACES ? (1u << 24) / count + 1 : 0;
      mean.count = count;
      mean.offset = 128 * count + padding * (uint32_t)x_q->zero_point + count / 2;
      pool_average(&places, &mean, x + window_start(p, window), y);
    }
  }
}

typedef struct {
  int32_t pad, kernel, stride, in, out, count_padding;
} insitu_axis_t;

/* The outputs [first, end) of an axis whose windows cover a place, and whether all of these average
 * over as many elements as they have places. */
typedef struct {
  int32_t first, end, are_whole;
} insitu_covering_t;

/* From place i - 1 to i. */
static void advance(const insitu_axis_t *axis, int32_t i, insitu_covering_t *covering) {
  const int32_t at = i + axis->pad;
  int32_t first = covering->first, end = covering->end;
  while (first < axis->out && first * axis->stride + axis->kernel <= at)
    first++;
  while (end < axis->out && end * axis->stride <= at)
    end++;
  const int32_t last = (end - 1) * axis->stride + axis->kernel - axis->pad;
  covering->first = first, covering->end = end;
  covering->are_whole =
      axis->count_padding || (first * axis->stride >= axis->pad && last <= axis->in);
}

/* round(e window / count), halves away from zero. */
static int32_t error_share(int32_t e, int32_t window, int32_t count) {
  if (window == count)
    return e;
  const int32_t size = (2 * (e < 0 ? -e : e) * window + count) / (2 * count);
  return e < 0 ? -size : size;
}

/* dx[c] = the sum of the shares that all windows around a place give it. */
static void sum_shares(const insitu_pool_params_t *p, insitu_covering_t rows,
                       insitu_covering_t columns, const int8_t *dy, int8_t *dx) {
  const int32_t area = p->kernel_height * p->kernel_width;
  for (int32_t c = 0; c < p->channels; c++) {
    int32_t sum = 0;
    for (int32_t oy = rows.first; oy < rows.end; oy++) {
      for (int32_t ox = columns.first; ox < columns.end; ox++) {
        const int32_t count = pool_count(p, pool_window(p, oy, ox));
        sum += error_share(dy[(oy * p->out_width + ox) * p->channels + c], area, count);
      }
    }
    dx[c] = (int8_t)insitu_clamp(sum, -127, 127);
  }
}

/* The error of a place, given the windows around it. */
static void place_error(const insitu_pool_params_t *p, insitu_covering_t rows,
                        insitu_covering_t columns, const int8_t *dy, int8_t *dx) {
  const int32_t high = rows.end - rows.first, wide = columns.end - columns.first;
  if (high <= 0 || wide <= 0) {
    memset(dx, 0, (size_t)p->channels);
    return;
  }
  const int8_t *from = dy + (rows.first * p->out_width + columns.first) * p->channels;
  if (!rows.are_whole || !columns.are_whole) {
    sum_shares(p, rows, columns, dy, dx);
  } else if (high == 1 && wide == 1) {
    memcpy(dx, from, (size_t)p->channels);
  } else {
    const insitu_places_t places = pool_places(high, wide, p->channels, p->out_width);
    for (int32_t c = 0; c < p->channels; c++)
      dx[c] = (int8_t)insitu_clamp(pool_sum(&places, from + c), -127, 127);
  }
}

void insitu_average_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, int8_t *dx) {
  const insitu_axis_t down = {p->pad_top,   p->kernel_height, p->stride_height,
                              p->in_height, p->out_height,    p->count_padding};
  const insitu_axis_t across = {p->pad_left, p->kernel_width, p->stride_width,
                                p->in_width, p->out_width,    p->count_padding};
  insitu_covering_t rows = {0, 0, 0};
  for (int32_t iy = 0; iy < p->in_height; iy++) {
    insitu_covering_t columns = {0, 0, 0};
    advance(&down, iy, &rows);
    for (int32_t ix = 0; ix < p->in_width; ix++, dx += p->channels) {
      advance(&across, ix, &columns);
      place_error(p, rows, columns, dy, dx);
    }
  }
}
