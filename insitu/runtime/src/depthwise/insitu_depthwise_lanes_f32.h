/* Sums of depthwise convolutions in float: several channels, the lanes, side by side, each of them
 * term by term in the order given. */
#ifndef INSITU_DEPTHWISE_LANES_F32_H
#define INSITU_DEPTHWISE_LANES_F32_H

#include "insitu_fixed_point.h"

enum { INSITU_LANES_F32 = 4 }; /* channels that are summed side by side */

/* The terms of a sum: `lines` times `count`; from one to the next, and from the end of a line to
 * the next, are so many elements of the first factor and of the second. Sums of two places that
 * have the second factor in common have the first `beside` each other. */
typedef struct {
  int32_t lines, count;
  int32_t first, second, first_skip, second_skip;
  int32_t places, beside;
} insitu_terms_t;

/* sum[k] += a[.. + k] b[.. + k apart] over all terms, for each lane k by itself. */
static inline void dw_add_lanes_f32(const insitu_terms_t *t, const float *a, const float *b,
                                    int32_t apart, float *sum) {
  const float *b1 = b + apart, *b2 = b1 + apart, *b3 = b2 + apart;
  float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  for (int32_t line = t->lines; line > 0; line--) {
    for (int32_t k = t->count; k > 0; k--) {
      s0 = s0 + a[0] * *b;
      s1 = s1 + a[1] * *b1;
      s2 = s2 + a[2] * *b2;
      s3 = s3 + a[3] * *b3;
      a += t->first;
      b += t->second, b1 += t->second, b2 += t->second, b3 += t->second;
    }
    a += t->first_skip;
    b += t->second_skip, b1 += t->second_skip, b2 += t->second_skip, b3 += t->second_skip;
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

/* dw_add_lanes_f32 of two places: other[k] from the first factors beside. */
static inline void dw_add_lanes_twice_f32(const insitu_terms_t *t, const float *a, const float *b,
                                          int32_t apart, float *sum, float *other) {
  const float *beside = a + t->beside, *b1 = b + apart, *b2 = b1 + apart, *b3 = b2 + apart;
  float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  float t0 = other[0], t1 = other[1], t2 = other[2], t3 = other[3];
  for (int32_t line = t->lines; line > 0; line--) {
    for (int32_t k = t->count; k > 0; k--) {
      const float w0 = *b, w1 = *b1, w2 = *b2, w3 = *b3;
      s0 = s0 + a[0] * w0, t0 = t0 + beside[0] * w0;
      s1 = s1 + a[1] * w1, t1 = t1 + beside[1] * w1;
      s2 = s2 + a[2] * w2, t2 = t2 + beside[2] * w2;
      s3 = s3 + a[3] * w3, t3 = t3 + beside[3] * w3;
      a += t->first, beside += t->first;
      b += t->second, b1 += t->second, b2 += t->second, b3 += t->second;
    }
    a += t->first_skip, beside += t->first_skip;
    b += t->second_skip, b1 += t->second_skip, b2 += t->second_skip, b3 += t->second_skip;
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
  other[0] = t0, other[1] = t1, other[2] = t2, other[3] = t3;
}

/* sum[k] += a[.. + k] b[.. + k] over all terms, k < INSITU_LANES_F32 or, of one lane, k = 0. */
static inline void dw_add_pairs_f32(const insitu_terms_t *t, int32_t lanes, const float *a,
                                    const float *b, float *sum) {
  float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  for (int32_t line = t->lines; line > 0; line--, a += t->first_skip, b += t->second_skip) {
    for (int32_t k = t->count; k > 0; k--, a += t->first, b += t->second) {
      s0 = s0 + a[0] * b[0];
      if (lanes < INSITU_LANES_F32)
        continue;
      s1 = s1 + a[1] * b[1];
      s2 = s2 + a[2] * b[2];
      s3 = s3 + a[3] * b[3];
    }
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

static inline void dw_add_one_f32(const insitu_terms_t *t, const float *a, const float *b,
                                  float *sum) {
  for (int32_t line = 0; line < t->lines; line++, a += t->first_skip, b += t->second_skip)
    for (int32_t k = 0; k < t->count; k++, a += t->first, b += t->second)
      *sum = *sum + *a * *b;
}

/* sum[place][c] of all channels, of which the last may not fill the lanes. */
static inline void dw_add_channels_f32(const insitu_terms_t *t, int32_t channels, const float *a,
                                       const float *b, int32_t apart, float *sum) {
  if (t->lines <= 0 || t->count <= 0)
    return;
  int32_t c = 0;
  for (; c + INSITU_LANES_F32 <= channels; c += INSITU_LANES_F32) {
    if (t->places == 2)
      dw_add_lanes_twice_f32(t, a + c, b + c * apart, apart, sum + c, sum + channels + c);
    else
      dw_add_lanes_f32(t, a + c, b + c * apart, apart, sum + c);
  }
  for (; c < channels; c++)
    for (int32_t k = 0; k < t->places; k++)
      dw_add_one_f32(t, a + c + k * t->beside, b + c * apart, sum + c + k * channels);
}

#endif
