/* Max and average pooling and their gradients. Twin: insitu/ops/pool.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* The part of a window that lies on the map: rows [top, bottom), columns [left, right). */
typedef struct {
  int32_t top, bottom, left, right;
} insitu_window_t;

static insitu_window_t insitu_window(const insitu_pool_params_t *p, int32_t oy, int32_t ox) {
  const int32_t y = oy * p->stride_height - p->pad_top;
  const int32_t x = ox * p->stride_width - p->pad_left;
  insitu_window_t window = {insitu_max(y, 0), insitu_min(y + p->kernel_height, p->in_height),
                            insitu_max(x, 0), insitu_min(x + p->kernel_width, p->in_width)};
  return window;
}

/* Index of the first largest element of channel c in the window. */
static int32_t insitu_first_largest(const insitu_pool_params_t *p, insitu_window_t window,
                                    const int8_t *x, int32_t c) {
  int32_t best = (window.top * p->in_width + window.left) * p->channels + c;
  for (int32_t y = window.top; y < window.bottom; y++) {
    for (int32_t column = window.left; column < window.right; column++) {
      const int32_t index = (y * p->in_width + column) * p->channels + c;
      if (x[index] > x[best])
        best = index;
    }
  }
  return best;
}

void insitu_max_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                        int8_t *y) {
  (void)x_q;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = insitu_window(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++) {
        *y++ = x[insitu_first_largest(p, window, x, c)];
      }
    }
  }
}

void insitu_max_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, const int8_t *x,
                             int8_t *dx) {
  memset(dx, 0, (size_t)(p->in_height * p->in_width * p->channels));
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = insitu_window(p, oy, ox);
      for (int32_t c = 0; c < p->channels; c++, dy++) {
        if (*dy == 0)
          continue;
        const int32_t index = insitu_first_largest(p, window, x, c);
        dx[index] = (int8_t)insitu_clamp(dx[index] + *dy, -127, 127);
      }
    }
  }
}

/* How many elements a window averages over. */
static int32_t insitu_count(const insitu_pool_params_t *p, insitu_window_t window) {
  if (p->count_padding)
    return p->kernel_height * p->kernel_width;
  return (window.bottom - window.top) * (window.right - window.left);
}

void insitu_average_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q,
                            const int8_t *x, int8_t *y) {
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      const insitu_window_t window = insitu_window(p, oy, ox);
      const int32_t count = insitu_count(p, window);
      const int32_t present = (window.bottom - window.top) * (window.right - window.left);
      const int32_t padding = (count - present) * (x_q->zero_point + 128);
      for (int32_t c = 0; c < p->channels; c++) {
        int32_t sum = padding;
        for (int32_t iy = window.top; iy < window.bottom; iy++) {
          for (int32_t ix = window.left; ix < window.right; ix++) {
            sum += x[(iy * p->in_width + ix) * p->channels + c] + 128;
          }
        }
        *y++ = (int8_t)((2 * sum + count) / (2 * count) - 128);
      }
    }
  }
}

/* The first and one past the last output whose window holds place `i` of an axis. */
static int32_t insitu_first_window(int32_t i, int32_t pad, int32_t kernel, int32_t stride) {
  const int32_t reach = i + pad - kernel + 1;
  return reach <= 0 ? 0 : (reach + stride - 1) / stride;
}

static int32_t insitu_end_window(int32_t i, int32_t pad, int32_t stride, int32_t outputs) {
  return insitu_min((i + pad) / stride + 1, outputs);
}

/* round(e window / count), halves away from zero. */
static int32_t insitu_share(int32_t e, int32_t window, int32_t count) {
  const int32_t size = (2 * (e < 0 ? -e : e) * window + count) / (2 * count);
  return e < 0 ? -size : size;
}

void insitu_average_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, int8_t *dx) {
  const int32_t area = p->kernel_height * p->kernel_width;
  for (int32_t iy = 0; iy < p->in_height; iy++) {
    const int32_t top = insitu_first_window(iy, p->pad_top, p->kernel_height, p->stride_height);
    const int32_t bottom = insitu_end_window(iy, p->pad_top, p->stride_height, p->out_height);
    for (int32_t ix = 0; ix < p->in_width; ix++) {
      const int32_t left = insitu_first_window(ix, p->pad_left, p->kernel_width, p->stride_width);
      const int32_t right = insitu_end_window(ix, p->pad_left, p->stride_width, p->out_width);
      const insitu_window_t window = insitu_window(p, top, left);
      if (bottom - top == 1 && right - left == 1 && insitu_count(p, window) == area) {
        memcpy(dx, dy + (top * p->out_width + left) * p->channels, (size_t)p->channels);
        dx += p->channels;
        continue;
      }
      for (int32_t c = 0; c < p->channels; c++) {
        int32_t sum = 0;
        for (int32_t oy = top; oy < bottom; oy++) {
          for (int32_t ox = left; ox < right; ox++) {
            const int32_t count = insitu_count(p, insitu_window(p, oy, ox));
            sum += insitu_share(dy[(oy * p->out_width + ox) * p->channels + c], area, count);
          }
        }
        *dx++ = (int8_t)insitu_clamp(sum, -127, 127);
      }
    }
  }
}
