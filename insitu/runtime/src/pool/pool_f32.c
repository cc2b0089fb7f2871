/* Max and average pooling in float and their gradients. Twin: insitu/ops/maps/pool.py. */
#include <string.h>

#include "insitu_kernels_f32.h"
#include "insitu_pool_window.h"

/* Index of the first largest element of channel c. */
static int32_t window_argmax(const insitu_pool_params_t *p, insitu_window_t window, const float *x,
                             int32_t c) {
  int32_t best = (window.top * p->in_width + window.left) * p->channels + c;
  for (int32_t y = window.top; y < window.bottom; y++) {
    int32_t index = (y * p->in_width + window.left) * p->channels + c;
    for (int32_t column = window.left; column < window.right; column++, index += p->channels) {
      if (x[index] > x[best])
        best = index;
    }
  }
  return best;
}

void insitu_max_pool_f32(const insitu_pool_params_t *p, const float *x, float *y) {
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = pool_window(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++)
        *y++ = x[window_argmax(p, window, x, c)];
    }
  }
}

static void clear_map(const insitu_pool_params_t *p, float *dx) {
  memset(dx, 0, (size_t)(p->in_height * p->in_width * p->channels) * sizeof *dx);
}

void insitu_max_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, const float *x,
                              float *dx) {
  clear_map(p, dx);
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = pool_window(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++, dy++) {
        if (*dy == 0.0f)
          continue;
        const int32_t index = window_argmax(p, window, x, c);
        dx[index] = dx[index] + *dy;
      }
    }
  }
}

static float averaged(const insitu_pool_params_t *p, insitu_window_t window) {
  if (p->count_padding)
    return (float)(p->kernel_height * p->kernel_width);
  return (float)((window.bottom - window.top) * (window.right - window.left));
}

void insitu_average_pool_f32(const insitu_pool_params_t *p, const float *x, float *y) {
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = pool_window(p, oy, ox);
      const float count = averaged(p, window);
      for (int32_t c = 0; c < p->channels; c++) {
        float sum = 0.0f;
        for (int32_t iy = window.top; iy < window.bottom; iy++) {
          for (int32_t ix = window.left; ix < window.right; ix++)
            sum = sum + x[(iy * p->in_width + ix) * p->channels + c];
        }
        *y++ = sum / count;
      }
    }
  }
}

void insitu_average_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, float *dx) {
  clear_map(p, dx);
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = pool_window(p, oy, ox);
      const float count = averaged(p, window);
      for (int32_t c = 0; c < p->channels; c++, dy++) {
        if (*dy == 0.0f)
          continue;
        const float share = *dy / count;
        for (int32_t iy = window.top; iy < window.bottom; iy++) {
          float *to = dx + (iy * p->in_width + window.left) * p->channels + c;
          for (int32_t ix = window.left; ix < window.right; ix++, to += p->channels)
            *to = *to + share;
        }
      }
    }
  }
}
