/* Linear layers in float: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/layers/linear_f32.py. */
#include <string.h>

#include "insitu_kernels_f32.h"

void insitu_linear_f32(const insitu_linear_f32_params_t *p, const float *x, const float *w,
                       const float *b, float *y) {
  insitu_rows_times_f32(p->shape.out_features, p->shape.in_features, w, b, x, p->min, p->max, y);
}

void insitu_linear_grad_input_f32(const insitu_linear_params_t *p, const float *dy, const float *w,
                                  float *dx) {
  const int32_t columns = p->in_features;
  float e[INSITU_BLOCK];
  const float *row[INSITU_BLOCK];
  int32_t count = 0;
  memset(dx, 0, (size_t)columns * sizeof *dx);
  for (int32_t o = 0; o < p->out_features; o++) {
    if (dy[o] != 0.0f) {
      e[count] = dy[o];
      row[count++] = w + o * columns;
    }
    if (count == INSITU_BLOCK || o + 1 == p->out_features) {
      insitu_add_products_f32(columns, count, e, row, dx);
      count = 0;
    }
  }
}

enum { STEPS = 4 }; /* elements a turn of the inner loops, which compilers write out */

/* w[k][i] -= step[k] x[i] for four rows */
static void step_four(int32_t size, const float *step, float *const *w, const float *restrict x) {
  const float s0 = step[0], s1 = step[1], s2 = step[2], s3 = step[3];
  float *restrict w0 = w[0], *restrict w1 = w[1], *restrict w2 = w[2], *restrict w3 = w[3];
  int32_t left = size;
  for (; left >= STEPS; left -= STEPS) {
    for (int32_t i = 0; i < STEPS; i++) {
      w0[i] = w0[i] - s0 * x[i];
      w1[i] = w1[i] - s1 * x[i];
      w2[i] = w2[i] - s2 * x[i];
      w3[i] = w3[i] - s3 * x[i];
    }
    x += STEPS, w0 += STEPS, w1 += STEPS, w2 += STEPS, w3 += STEPS;
  }
  for (int32_t i = 0; i < left; i++) {
    w0[i] = w0[i] - s0 * x[i];
    w1[i] = w1[i] - s1 * x[i];
    w2[i] = w2[i] - s2 * x[i];
    w3[i] = w3[i] - s3 * x[i];
  }
}

static void step_one(int32_t size, float step, float *restrict w, const float *restrict x) {
  int32_t left = size;
  for (; left >= STEPS; left -= STEPS) {
    for (int32_t i = 0; i < STEPS; i++)
      w[i] = w[i] - step * x[i];
    w += STEPS, x += STEPS;
  }
  for (int32_t i = 0; i < left; i++)
    w[i] = w[i] - step * x[i];
}

int32_t insitu_linear_update_f32(const insitu_linear_update_f32_params_t *p, const float *dy,
                                 const float *x, const float *rate, float *b, float *w) {
  const int32_t rows = p->shape.out_features, columns = p->shape.in_features;
  float step[INSITU_BLOCK];
  float *row[INSITU_BLOCK];
  int32_t count = 0;
  if (!insitu_step_is_small_f32(rate[0], 1, rows, dy, columns, x))
    return rows;
  if (p->weight_decay > 0.0f)
    insitu_scale_f32(rows * columns, 1.0f - rate[0] * p->weight_decay, w);
  for (int32_t o = 0; o < rows; o++) {
    if (dy[o] == 0.0f)
      continue;
    step[count] = rate[0] * dy[o];
    b[o] = b[o] - step[count];
    row[count++] = w + o * columns;
    if (count == INSITU_BLOCK) {
      step_four(columns, step, row, x);
      count = 0;
    }
  }
  for (int32_t k = 0; k < count; k++)
    step_one(columns, step[k], row[k], x);
  return 0;
}
