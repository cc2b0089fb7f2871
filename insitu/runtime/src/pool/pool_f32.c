/* Max and average pooling in float and their gradients. Twin: insitu/ops/maps/pool.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_f32.h"

/* The part of a window that lies on the map: rows [top, bottom), columns [left, right). */
typedef struct {
  int32_t top, bottom, left, right;
} insitu_area_t;

static insitu_area_t insitu_area(const insitu_pool_params_t *p, int32_t oy, int32_t ox) {
  const int32_t y = oy * p->stride_height - p->pad_top;
  const int32_t x = ox * p->stride_width - p->pad_left;
  const insitu_area_t area = {insitu_max(y, 0), insitu_min(y + p->kernel_height, p->in_height),
                              insitu_max(x, 0), insitu_min(x + p->kernel_width, p->in_width)};
  return area;
}

/* Index of the first largest element of channel c. */
static int32_t insitu_first_largest_f32(const insitu_pool_params_t *p, insitu_area_t area,
                                        const float *x, int32_t c) {
  int32_t best = (area.top * p->in_width + area.left) * p->channels + c;
  for (int32_t y = area.top; y < area.bottom; y++) {
    int32_t index = (y * p->in_width + area.left) * p->channels + c;
    for (int32_t column = area.left; column < area.right; column++, index += p->channels) {
      if (x[index] > x[best])
        best = index;
    }
  }
  return best;
}

void insitu_max_pool_f32(const insitu_pool_params_t *p, const float *x, float *y) {
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_area_t area = insitu_area(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++)
        *y++ = x[insitu_first_largest_f32(p, area, x, c)];
    }
  }
}

static void insitu_clear(const insitu_pool_params_t *p, float *dx) {
  memset(dx, 0, (size_t)(p->in_height * p->in_width * p->channels) * sizeof *dx);
}

void insitu_max_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, const float *x,
                              float *dx) {
  insitu_clear(p, dx);
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_area_t area = insitu_area(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++, dy++) {
        if (*dy == 0.0f)
          continue;
        const int32_t index = insitu_first_largest_f32(p, area, x, c);
        dx[index] = dx[index] + *dy;
      }
    }
  }
}

/* How many elements a window averages over. */
static float insitu_averaged(const insitu_pool_params_t *p, insitu_area_t area) {
  if (p->count_padding)
    return (float)(p->kernel_height * p->kernel_width);
  return (float)((area.bottom - area.top) * (area.right - area.left));
}

void insitu_average_pool_f32(const insitu_pool_params_t *p, const float *x, float *y) {
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_area_t area = insitu_area(p, oy, ox);
      const float count = insitu_averaged(p, area);
      for (int32_t c = 0; c < p->channels; c++) {
        float sum = 0.0f;
        for (int32_t iy = area.top; iy < area.bottom; iy++) {
          for (int32_t ix = area.left; ix < area.right; ix++)
            sum = sum + x[(iy * p->in_width + ix) * p->channels + c];
        }
        *y++ = sum / count;
      }
    }
  }
}

void insitu_average_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, float *dx) {
  insitu_clear(p, dx);
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_area_t area = insitu_area(p, oy, ox);
      const float count = insitu_averaged(p, area);
      for (int32_t c = 0; c < p->channels; c++, dy++) {
        if (*dy == 0.0f)
          continue;
        const float share = *dy / count;
        for (int32_t iy = area.top; iy < area.bottom; iy++) {
          float *to = dx + (iy * p->in_width + area.left) * p->channels + c;
          for (int32_t ix = area.left; ix < area.right; ix++, to += p->channels)
            *to = *to + share;
        }
      }
    }
  }
}
