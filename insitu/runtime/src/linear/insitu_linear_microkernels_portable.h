/* Inner loops of linear layers in plain C: the definition, which compilers vectorise, and what
 * suits cores with few registers and no vectors (Thumb). */
#ifndef INSITU_LINEAR_MICROKERNELS_PORTABLE_H
#define INSITU_LINEAR_MICROKERNELS_PORTABLE_H

#include "insitu_fixed_point.h"

#if defined(__thumb__) && !defined(__thumb2__)
#define INSITU_ONE_COPY __attribute__((noinline, unused)) /* long, and flash is short */
#else
#define INSITU_ONE_COPY inline
#endif

static INSITU_ONE_COPY int32_t rescale_sum(int32_t acc, int32_t multiplier, int32_t shift) {
  return insitu_rescale(acc, multiplier, shift);
}

#define INSITU_LINEAR_LIST 1    /* the rows of a list are filled up to a multiple of this */
#define INSITU_LINEAR_COLUMNS 4 /* that are summed side by side */

#include "insitu_linear_sparse.h"

#if defined(__thumb__)
#include "insitu_linear_microkernels_thumb.h"
#endif

/* ---- forward ------------------------------------------------------------------------------- */

#define INSITU_LINEAR_ROWS 2 /* that are summed side by side */

/* x - zero */
static inline void centre(int32_t size, int32_t zero, const int8_t *restrict x,
                          int16_t *restrict centred) {
  for (int32_t i = 0; i < size; i++)
    centred[i] = (int16_t)(x[i] - zero);
}

/* sum of w[i] x[i], i < size */
static inline int32_t dot_row(int32_t size, const int8_t *restrict w, const int16_t *restrict x) {
  int32_t sum = 0;
  for (int32_t i = 0; i < size; i++)
    sum += w[i] * x[i];
  return sum;
}

/* sum[k] = sum of w[k size + i] x[i], i < size, k < INSITU_LINEAR_ROWS. */
static INSITU_ONE_COPY void dot_rows(int32_t size, const int8_t *restrict w,
                                     const int16_t *restrict x, int32_t *sum) {
#if defined(__thumb__)
  const int32_t whole = size & ~3;
  dot_fours(x, x + whole, w, w + size, sum);
  for (int32_t i = whole; i < size; i++) {
    sum[0] += w[i] * x[i];
    sum[1] += w[size + i] * x[i];
  }
#else
  sum[0] = dot_row(size, w, x);
  sum[1] = dot_row(size, w + size, x);
#endif
}

/* ---- input gradient ------------------------------------------------------------------------ */

#if !defined(__thumb__) || defined(__thumb2__)

/* sum[i] = sum over the list's `rows` rows of e w[begin + i], i < 4. */
static inline void add_columns(const void *list, int32_t rows, const int8_t *w, int32_t *sum) {
  const insitu_sparse_row_t *row = list, *end = row + rows;
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (; row != end; row++) {
    const int8_t *v = w + row->begin;
    const int32_t e = row->error;
    s0 += e * v[0];
    s1 += e * v[1];
    s2 += e * v[2];
    s3 += e * v[3];
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

#endif

/* dx[i] = rescale(sum[i]) clamped to [-127, 127], i < 4. */
static inline void store_errors(const int32_t *sum, int32_t multiplier, int32_t shift, int8_t *dx) {
  for (int32_t i = 0; i < 4; i++)
    dx[i] = (int8_t)insitu_clamp(rescale_sum(sum[i], multiplier, shift), -127, 127);
}

/* ---- update in place ----------------------------------------------------------------------- */

#if !defined(__thumb__)

/* The inputs as step_weights wants them. */
static inline void prepare_step(int32_t size, int32_t zero, const int8_t *x, int16_t *inputs) {
  centre(size, zero, x, inputs);
}

enum { NOISE = 64 }; /* random bytes made at a time, so that compilers vectorise their use */

/* w[i] = sat127(w[i] - ((kappa x[i] + r 2^8 + 2^7) >> 16)), i < size; returns the generator. */
static inline uint32_t step_weights(int32_t size, int32_t kappa, const int16_t *restrict x,
                                    uint32_t state, int8_t *restrict w) {
  uint8_t noise[NOISE];
  for (int32_t start = 0; start < size; start += NOISE) {
    const int32_t count = insitu_min(size - start, NOISE);
    for (int32_t i = 0; i < count; i += 4) {
      state = insitu_draw(state);
      noise[i] = (uint8_t)(state >> 24);
      noise[i + 1] = (uint8_t)(state >> 16);
      noise[i + 2] = (uint8_t)(state >> 8);
      noise[i + 3] = (uint8_t)state;
    }
    for (int32_t i = 0; i < count; i++) {
      const int32_t step = (kappa * x[start + i] + (noise[i] << 8) + (1 << 7)) >> 16;
      w[start + i] = (int8_t)insitu_clamp(w[start + i] - step, -127, 127);
    }
  }
  return state;
}

#endif

#endif
