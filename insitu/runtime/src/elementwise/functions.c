/* Activation functions and their slopes. Twin: insitu/ops/activations/functions.py. */
#include "insitu_activation.h"
#include "insitu_elementary.h"

/* -|x| */
static float minus_absolute(float x) { return -(x < 0.0f ? -x : x); }

/* s (1 - s), s the logistic function of a distance from 0 that is given negative */
static float logistic_slope(float below) {
  const float e = exp_negative(below);
  const float s = 1.0f / (1.0f + e);
  return e * s * s;
}

/* x where a bell curve is not 0 in float32. */
static float clamp_to_bell(float x) { return x < -16.0f ? -16.0f : x > 16.0f ? 16.0f : x; }

/* The share of a normal distribution beyond |x|. */
static float normal_tail(float x) {
  return 0.5f * erfc_positive(-minus_absolute(clamp_to_bell(x)) * 0.707106781f);
}

float insitu_sigmoid(const insitu_activation_params_t *p, float x) {
  (void)p;
  return logistic(x);
}

float insitu_sigmoid_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  return logistic_slope(minus_absolute(x));
}

float insitu_tanh(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float t = expm1_negative(2.0f * minus_absolute(x));
  const float y = -t / (2.0f + t);
  return x < 0.0f ? -y : y;
}

float insitu_tanh_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  return 4.0f * logistic_slope(2.0f * minus_absolute(x));
}

float insitu_hard_sigmoid(const insitu_activation_params_t *p, float x) {
  const float v = p->alpha * x + p->beta;
  return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}

float insitu_hard_sigmoid_slope(const insitu_activation_params_t *p, float x) {
  const float v = p->alpha * x + p->beta;
  return v > 0.0f && v < 1.0f ? p->alpha : 0.0f;
}

float insitu_hard_swish(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float v = x + 3.0f;
  return x * ((v < 0.0f ? 0.0f : v > 6.0f ? 6.0f : v) * (1.0f / 6.0f));
}

float insitu_hard_swish_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  if (!(x > -3.0f))
    return 0.0f;
  return x < 3.0f ? x * (1.0f / 3.0f) + 0.5f : 1.0f;
}

float insitu_silu(const insitu_activation_params_t *p, float x) {
  (void)p;
  return x * logistic(x);
}

float insitu_silu_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float s = logistic(x);
  return s + x * s * (1.0f - s);
}

float insitu_elu(const insitu_activation_params_t *p, float x) {
  if (x > 0.0f)
    return p->beta * x;
  return p->beta * (p->alpha * expm1_negative(x));
}

float insitu_elu_slope(const insitu_activation_params_t *p, float x) {
  return x > 0.0f ? p->beta : p->beta * (p->alpha * exp_negative(x));
}

float insitu_gelu(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float tail = x * normal_tail(x);
  return x < 0.0f ? tail : x - tail;
}

float insitu_gelu_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float tail = normal_tail(x), near = clamp_to_bell(x);
  const float density = 0.398942280f * exp_negative(-0.5f * near * near);
  return (x < 0.0f ? tail : 1.0f - tail) + near * density;
}

/* x (1 + tanh(v / 2)) / 2 = x s(v), v = first x + second x^3 */
#define INSITU_GELU_FIRST 1.59576912f
#define INSITU_GELU_SECOND 0.0713548163f
#define INSITU_GELU_THIRD 0.214064449f /* three times the second */

static float gelu_share(float near) {
  return logistic(near * (INSITU_GELU_FIRST + INSITU_GELU_SECOND * near * near));
}

float insitu_gelu_tanh(const insitu_activation_params_t *p, float x) {
  (void)p;
  return x * gelu_share(clamp_to_bell(x));
}

float insitu_gelu_tanh_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float near = clamp_to_bell(x), s = gelu_share(near);
  return s + near * s * (1.0f - s) * (INSITU_GELU_FIRST + INSITU_GELU_THIRD * near * near);
}

float insitu_softplus(const insitu_activation_params_t *p, float x) {
  (void)p;
  const float rest = log_positive(1.0f + exp_negative(minus_absolute(x)));
  return (x > 0.0f ? x : 0.0f) + rest;
}

float insitu_softplus_slope(const insitu_activation_params_t *p, float x) {
  (void)p;
  return logistic(x);
}
