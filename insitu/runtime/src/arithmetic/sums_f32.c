/* Sums of products in float, several side by side. Twin: insitu/ops/numerics/sums.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_f32.h"

enum { STEPS = 4 }; /* elements a turn of the inner loops, which compilers write out */

static float clamp_f32(float v, float min, float max) { return v < min ? min : v > max ? max : v; }

/* sum[k] += w[k, 0] x[0] + w[k, 1] x[1] + ... for four rows of w, `size` apart. */
static void four_times(int32_t size, const float *w, const float *x, float *sum) {
  const float *w1 = w + size, *w2 = w1 + size, *w3 = w2 + size;
  float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  int32_t left = size;
  for (; left >= 2 * STEPS; left -= 2 * STEPS) {
    for (int32_t i = 0; i < 2 * STEPS; i++) {
      s0 = s0 + w[i] * x[i];
      s1 = s1 + w1[i] * x[i];
      s2 = s2 + w2[i] * x[i];
      s3 = s3 + w3[i] * x[i];
    }
    x += 2 * STEPS, w += 2 * STEPS, w1 += 2 * STEPS, w2 += 2 * STEPS, w3 += 2 * STEPS;
  }
  for (int32_t i = 0; i < left; i++) {
    s0 = s0 + w[i] * x[i];
    s1 = s1 + w1[i] * x[i];
    s2 = s2 + w2[i] * x[i];
    s3 = s3 + w3[i] * x[i];
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

/* The same of two vectors: sum[0..3] of x, sum[4..7] of y. */
static void four_times_two(int32_t size, const float *w, const float *x, const float *y,
                           float *sum) {
  const float *w1 = w + size, *w2 = w1 + size, *w3 = w2 + size;
  float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  float t0 = sum[4], t1 = sum[5], t2 = sum[6], t3 = sum[7];
  for (int32_t i = 0; i < size; i++) {
    const float a = *x++, b = *y++;
    const float v0 = *w++, v1 = *w1++, v2 = *w2++, v3 = *w3++;
    s0 = s0 + v0 * a;
    s1 = s1 + v1 * a;
    s2 = s2 + v2 * a;
    s3 = s3 + v3 * a;
    t0 = t0 + v0 * b;
    t1 = t1 + v1 * b;
    t2 = t2 + v2 * b;
    t3 = t3 + v3 * b;
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
  sum[4] = t0, sum[5] = t1, sum[6] = t2, sum[7] = t3;
}

static float one_times(int32_t size, const float *w, const float *x, float sum) {
  for (int32_t i = 0; i < size; i++)
    sum = sum + w[i] * x[i];
  return sum;
}

void insitu_rows_times_f32(int32_t rows, int32_t size, const float *w, const float *b,
                           const float *x, float min, float max, float *y) {
  int32_t o = 0;
  for (; o + INSITU_BLOCK <= rows; o += INSITU_BLOCK) {
    float sum[INSITU_BLOCK] = {b[o], b[o + 1], b[o + 2], b[o + 3]};
    four_times(size, w + o * size, x, sum);
    for (int32_t k = 0; k < INSITU_BLOCK; k++)
      y[o + k] = clamp_f32(sum[k], min, max);
  }
  for (; o < rows; o++)
    y[o] = clamp_f32(one_times(size, w + o * size, x, b[o]), min, max);
}

void insitu_rows_times_two_f32(int32_t rows, int32_t size, const float *w, const float *b,
                               const float *x0, const float *x1, float min, float max, float *y) {
  int32_t o = 0;
  for (; o + INSITU_BLOCK <= rows; o += INSITU_BLOCK) {
    float sum[2 * INSITU_BLOCK] = {b[o], b[o + 1], b[o + 2], b[o + 3],
                                   b[o], b[o + 1], b[o + 2], b[o + 3]};
    four_times_two(size, w + o * size, x0, x1, sum);
    for (int32_t k = 0; k < INSITU_BLOCK; k++) {
      y[o + k] = clamp_f32(sum[k], min, max);
      y[rows + o + k] = clamp_f32(sum[INSITU_BLOCK + k], min, max);
    }
  }
  for (; o < rows; o++) {
    y[o] = clamp_f32(one_times(size, w + o * size, x0, b[o]), min, max);
    y[rows + o] = clamp_f32(one_times(size, w + o * size, x1, b[o]), min, max);
  }
}

/* sum[i] = (((sum[i] + e[0] x[0][i]) + e[1] x[1][i]) + e[2] x[2][i]) + e[3] x[3][i] */
static void add_four(int32_t size, const float *e, const float *const *x, float *restrict sum) {
  const float e0 = e[0], e1 = e[1], e2 = e[2], e3 = e[3];
  const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  int32_t left = size;
  for (; left >= STEPS; left -= STEPS) {
    for (int32_t i = 0; i < STEPS; i++)
      sum[i] = (((sum[i] + e0 * x0[i]) + e1 * x1[i]) + e2 * x2[i]) + e3 * x3[i];
    sum += STEPS, x0 += STEPS, x1 += STEPS, x2 += STEPS, x3 += STEPS;
  }
  for (int32_t i = 0; i < left; i++)
    sum[i] = (((sum[i] + e0 * x0[i]) + e1 * x1[i]) + e2 * x2[i]) + e3 * x3[i];
}

static void add_two(int32_t size, const float *e, const float *const *x, float *restrict sum) {
  const float e0 = e[0], e1 = e[1];
  const float *x0 = x[0], *x1 = x[1];
  int32_t left = size;
  for (; left >= STEPS; left -= STEPS) {
    for (int32_t i = 0; i < STEPS; i++)
      sum[i] = (sum[i] + e0 * x0[i]) + e1 * x1[i];
    sum += STEPS, x0 += STEPS, x1 += STEPS;
  }
  for (int32_t i = 0; i < left; i++)
    sum[i] = (sum[i] + e0 * x0[i]) + e1 * x1[i];
}

static void add_one(int32_t size, float e, const float *x, float *restrict sum) {
  int32_t left = size;
  for (; left >= STEPS; left -= STEPS) {
    for (int32_t i = 0; i < STEPS; i++)
      sum[i] = sum[i] + e * x[i];
    sum += STEPS, x += STEPS;
  }
  for (int32_t i = 0; i < left; i++)
    sum[i] = sum[i] + e * x[i];
}

void insitu_add_products_f32(int32_t size, int32_t count, const float *e, const float *const *x,
                             float *sum) {
  if (count == INSITU_BLOCK) {
    add_four(size, e, x, sum);
    return;
  }
  if (count >= 2)
    add_two(size, e, x, sum);
  if (count % 2 == 1)
    add_one(size, e[count - 1], x[count - 1], sum);
}

void insitu_scale_f32(int32_t size, float factor, float *x) {
  for (int32_t i = 0; i < size; i++)
    x[i] = x[i] * factor;
}

/* The largest |x|; NaN is larger than all. */
static float largest_f32(int32_t size, const float *x) {
  uint32_t largest = 0;
  for (int32_t i = 0; i < size; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits <<= 1;
    largest = bits > largest ? bits : largest;
  }
  float result;
  largest >>= 1;
  memcpy(&result, &largest, sizeof result);
  return result;
}

int32_t insitu_step_is_small_f32(float factor, int32_t positions, int32_t rows, const float *dy,
                                 int32_t size, const float *x) {
  const float seen = largest_f32(size, x), share = factor * (float)positions;
  const float most = insitu_is_below(seen, 1.0f) ? 1.0f : seen;
  return insitu_is_below(share * largest_f32(positions * rows, dy) * most, INSITU_STEP_LIMIT);
}
