/* Scores and the losses, in float for the few outputs.
 * Twin: insitu/ops/losses/cross_entropy.py, insitu/ops/losses/targets.py. */
#include <string.h>

#include "insitu_elementary.h"
#include "insitu_kernels.h"

void insitu_dequantize_s8(const insitu_size_params_t *p, const insitu_qparams_t *x_q,
                          const int8_t *x, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = (float)(x[i] - x_q->zero_point) * x_q->scale;
}

/* dy = 0 where a sample is `skipped`; returns how many errors are not zero. */
static int32_t teach(int32_t skipped, int32_t nonzero, size_t bytes, void *dy) {
  if (skipped) {
    memset(dy, 0, bytes);
    nonzero = 0;
  }
  return nonzero;
}

int32_t insitu_softmax_cross_entropy_s8(const insitu_loss_params_t *p, const float *scores,
                                        const int32_t *label, void *scratch, int8_t *dy,
                                        float *loss) {
  const float largest = scores[insitu_argmax_f32(p->size, scores)];
  float *const exponentials = scratch;
  float total = 0.0f;
  int32_t nonzero = 0, highest = 0;
  for (int32_t i = 0; i < p->size; i++) {
    exponentials[i] = exp_negative(insitu_subtract(scores[i], largest));
    total = total + exponentials[i];
  }
  for (int32_t i = 0; i < p->size; i++) {
    const float share = insitu_divide(exponentials[i], total);
    const float error = i == *label ? insitu_subtract(share, 1.0f) : share;
    dy[i] = (int8_t)insitu_round_clamp(insitu_multiply(error, 127.0f), -127, 127);
    nonzero += dy[i] != 0;
    highest = insitu_max(highest, dy[i] < 0 ? -dy[i] : dy[i]);
  }
  nonzero = teach(highest < p->least, nonzero, (size_t)p->size * sizeof *dy, dy);
  *loss = insitu_subtract(log_positive(total), insitu_subtract(scores[*label], largest));
  return nonzero;
}

int32_t insitu_softmax_cross_entropy_f32(const insitu_loss_f32_params_t *p, const float *scores,
                                         const int32_t *label, float *dy, float *loss) {
  const float largest = scores[insitu_argmax_f32(p->size, scores)];
  float total = 0.0f, highest = 0.0f;
  int32_t nonzero = 0;
  for (int32_t i = 0; i < p->size; i++) {
    dy[i] = exp_negative(scores[i] - largest);
    total = total + dy[i];
  }
  for (int32_t i = 0; i < p->size; i++) {
    dy[i] = dy[i] / total;
    if (i == *label)
      dy[i] = dy[i] - 1.0f;
    const float size = dy[i] < 0.0f ? -dy[i] : dy[i];
    highest = size > highest ? size : highest;
    nonzero += dy[i] != 0.0f;
  }
  *loss = log_positive(total) - (scores[*label] - largest);
  return teach(highest < p->least, nonzero, (size_t)p->size * sizeof *dy, dy);
}

int32_t insitu_argmax_f32(int32_t size, const float *scores) {
  int32_t best = 0;
  for (int32_t i = 1; i < size; i++) {
    if (insitu_less(scores[best], scores[i]))
      best = i;
  }
  return best;
}

static float absolute(float x) { return x < 0.0f ? -x : x; }

/* The mean of `size` losses, clamped to INSITU_NO_BOUND where it left the finite numbers. */
static float mean_loss(float total, int32_t size) {
  const float mean = total / (float)size;
  return mean <= INSITU_NO_BOUND ? mean : INSITU_NO_BOUND;
}

/* -target log sigmoid(score) - (1 - target) log(1 - sigmoid(score)) */
static float binary_loss(float score, float target) {
  const float rest = log_positive(1.0f + exp_negative(-absolute(score)));
  return ((score < 0.0f ? 0.0f : score) - score * target) + rest;
}

int32_t insitu_mean_squared_error_s8(const insitu_mean_squared_error_params_t *p,
                                     const float *scores, const float *target, int8_t *dy,
                                     float *loss) {
  float total = 0.0f;
  int32_t nonzero = 0, highest = 0;
  for (int32_t i = 0; i < p->size; i++) {
    const float error = scores[i] - target[i];
    total = total + error * error;
    dy[i] = (int8_t)insitu_round_clamp(error * p->factor, -127, 127);
    nonzero += dy[i] != 0;
    highest = insitu_max(highest, dy[i] < 0 ? -dy[i] : dy[i]);
  }
  nonzero = teach(highest < p->least, nonzero, (size_t)p->size * sizeof *dy, dy);
  *loss = mean_loss(total, p->size);
  return nonzero;
}

int32_t insitu_binary_cross_entropy_s8(const insitu_loss_params_t *p, const float *scores,
                                       const float *target, int8_t *dy, float *loss) {
  float total = 0.0f;
  int32_t nonzero = 0, highest = 0;
  for (int32_t i = 0; i < p->size; i++) {
    const float error = logistic(scores[i]) - target[i];
    total = total + binary_loss(scores[i], target[i]);
    dy[i] = (int8_t)insitu_round_clamp(error * 127.0f, -127, 127);
    nonzero += dy[i] != 0;
    highest = insitu_max(highest, dy[i] < 0 ? -dy[i] : dy[i]);
  }
  nonzero = teach(highest < p->least, nonzero, (size_t)p->size * sizeof *dy, dy);
  *loss = mean_loss(total, p->size);
  return nonzero;
}

/* dy *= factor where some error reaches `least`, else 0; returns how many are not zero. */
static int32_t scale_errors(const insitu_mean_loss_f32_params_t *p, float *dy) {
  float highest = 0.0f;
  int32_t nonzero = 0;
  for (int32_t i = 0; i < p->size; i++) {
    const float size = absolute(dy[i]);
    highest = size > highest ? size : highest;
    dy[i] = dy[i] * p->factor;
    nonzero += dy[i] != 0.0f;
  }
  return teach(highest < p->least, nonzero, (size_t)p->size * sizeof *dy, dy);
}

/* Whether all of these are numbers, and finite; else dy = 0, loss = INSITU_NO_BOUND. */
static int32_t teaches(int32_t size, const float *x, float *dy, float *loss) {
  if (insitu_within_f32(size, x, -INSITU_NO_BOUND, INSITU_NO_BOUND))
    return 1;
  memset(dy, 0, (size_t)size * sizeof *dy);
  *loss = INSITU_NO_BOUND;
  return 0;
}

int32_t insitu_mean_squared_error_f32(const insitu_mean_loss_f32_params_t *p, const float *scores,
                                      const float *target, float *dy, float *loss) {
  float total = 0.0f;
  for (int32_t i = 0; i < p->size; i++) {
    dy[i] = scores[i] - target[i];
    total = total + dy[i] * dy[i];
  }
  if (!teaches(p->size, dy, dy, loss))
    return 0;
  *loss = mean_loss(total, p->size);
  return scale_errors(p, dy);
}

int32_t insitu_binary_cross_entropy_f32(const insitu_mean_loss_f32_params_t *p, const float *scores,
                                        const float *target, float *dy, float *loss) {
  float total = 0.0f;
  if (!teaches(p->size, scores, dy, loss))
    return 0;
  for (int32_t i = 0; i < p->size; i++) {
    dy[i] = logistic(scores[i]) - target[i];
    total = total + binary_loss(scores[i], target[i]);
  }
  *loss = mean_loss(total, p->size);
  return scale_errors(p, dy);
}

int32_t insitu_within_f32(int32_t size, const float *x, float min, float max) {
  for (int32_t i = 0; i < size; i++) {
    if (!(x[i] >= min && x[i] <= max))
      return 0;
  }
  return 1;
}

int32_t insitu_are_finite_f32(int32_t size, const float *x) {
  for (int32_t i = 0; i < size; i++) {
    if (!insitu_is_below(x[i], INSITU_DIVERGED))
      return 0;
  }
  return 1;
}
