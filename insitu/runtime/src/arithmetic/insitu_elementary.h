/* Elementary functions of float, without libm: the same bits on every core.
 *
 * Twin: insitu/fixed_point.py; the text is docs/arithmetic.md. One rounding an operation.
 */
#ifndef INSITU_ELEMENTARY_H
#define INSITU_ELEMENTARY_H

#include <string.h>

#include "insitu_fixed_point.h"

/* exp(x) for x <= 0, relative error below 3e-7; 0 below -87. */
static inline float exp_negative(float x) {
  if (insitu_less(x, -87.0f))
    return 0.0f;
  const int32_t n = insitu_round_clamp(insitu_multiply(x, 1.44269504f), -126, 0);
  const float whole = (float)n;
  const float r = insitu_subtract(insitu_subtract(x, insitu_multiply(whole, 0.693359375f)),
                                  insitu_multiply(whole, -2.12194440e-4f));
  float p = 1.0f / 720.0f;
  p = insitu_multiply(p, r) + 1.0f / 120.0f;
  p = insitu_multiply(p, r) + 1.0f / 24.0f;
  p = insitu_multiply(p, r) + 1.0f / 6.0f;
  p = insitu_multiply(p, r) + 0.5f;
  p = insitu_multiply(p, r) + 1.0f;
  p = insitu_multiply(p, r) + 1.0f;
  return insitu_multiply(p, insitu_float_from_bits((uint32_t)(n + 127) << 23));
}

/* exp(x) - 1 for x <= 0, relative error below 3e-7. */
static inline float expm1_negative(float x) {
  if (x < -0.5f)
    return exp_negative(x) - 1.0f;
  float p = 1.0f / 40320.0f;
  p = p * x + 1.0f / 5040.0f;
  p = p * x + 1.0f / 720.0f;
  p = p * x + 1.0f / 120.0f;
  p = p * x + 1.0f / 24.0f;
  p = p * x + 1.0f / 6.0f;
  p = p * x + 0.5f;
  p = p * x + 1.0f;
  return p * x;
}

/* 1 - erf(x) for x >= 0, error below 5e-7 of 1. */
static inline float erfc_positive(float x) {
  const float t = 1.0f / (1.0f + 0.5f * x);
  float p = 0.17087277f;
  p = p * t + -0.82215223f;
  p = p * t + 1.48851587f;
  p = p * t + -1.13520398f;
  p = p * t + 0.27886807f;
  p = p * t + -0.18628806f;
  p = p * t + 0.09678418f;
  p = p * t + 0.37409196f;
  p = p * t + 1.00002368f;
  p = p * t + -1.26551223f;
  return t * exp_negative(p - x * x);
}

/* 1 / (1 + exp(-x)), by an exponential that cannot overflow. */
static inline float logistic(float x) {
  const float e = exp_negative(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* log(x) for x >= 1, error below 3e-7 of max(1, log(x)). */
static inline float log_positive(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const int32_t n = (int32_t)(bits >> 23) - 127;
  const float m = insitu_float_from_bits((bits & 0x7FFFFFu) | 0x3F800000u);
  const float t = insitu_divide(insitu_subtract(m, 1.0f), m + 1.0f);
  const float s = insitu_multiply(t, t);
  float p = 1.0f / 11.0f;
  p = insitu_multiply(p, s) + 1.0f / 9.0f;
  p = insitu_multiply(p, s) + 1.0f / 7.0f;
  p = insitu_multiply(p, s) + 0.2f;
  p = insitu_multiply(p, s) + 1.0f / 3.0f;
  p = insitu_multiply(p, s) + 1.0f;
  return insitu_multiply((float)n, 0.69314718f) + insitu_multiply(t + t, p);
}

#endif
