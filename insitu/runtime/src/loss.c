/* Scores and the loss, in float for the few classes. Twin: insitu/ops/loss.py. */
#include <string.h>

#include "insitu_elementary.h"
#include "insitu_kernels.h"

void insitu_dequantize_s8(const insitu_size_params_t *p, const insitu_qparams_t *x_q,
                          const int8_t *x, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = (float)(x[i] - x_q->zero_point) * x_q->scale;
}

int32_t insitu_softmax_cross_entropy_s8(const insitu_loss_params_t *p, const float *scores,
                                        const int32_t *label, int8_t *dy, float *loss) {
  const float largest = scores[insitu_argmax_f32(p->size, scores)];
  float total = 0.0f;
  int32_t nonzero = 0, highest = 0;
  for (int32_t i = 0; i < p->size; i++) {
    total = total + insitu_exp_negative(scores[i] - largest);
  }
  for (int32_t i = 0; i < p->size; i++) {
    const float share = insitu_exp_negative(scores[i] - largest) / total;
    const float error = i == *label ? share - 1.0f : share;
    dy[i] = (int8_t)insitu_round_clamp(error * 127.0f, -127, 127);
    nonzero += dy[i] != 0;
    highest = insitu_max(highest, dy[i] < 0 ? -dy[i] : dy[i]);
  }
  if (highest < p->least) {
    memset(dy, 0, (size_t)p->size);
    nonzero = 0;
  }
  *loss = insitu_log_positive(total) - (scores[*label] - largest);
  return nonzero;
}

/* Whether all scores are numbers, and their differences finite. */
static int32_t insitu_finite(int32_t size, const float *scores, float largest) {
  for (int32_t i = 0; i < size; i++) {
    if (!(largest - scores[i] <= INSITU_NO_BOUND))
      return 0;
  }
  return 1;
}

int32_t insitu_softmax_cross_entropy_f32(const insitu_loss_f32_params_t *p, const float *scores,
                                         const int32_t *label, float *dy, float *loss) {
  const float largest = scores[insitu_argmax_f32(p->size, scores)];
  float total = 0.0f, highest = 0.0f;
  int32_t nonzero = 0;
  memset(dy, 0, (size_t)p->size * sizeof *dy);
  *loss = INSITU_NO_BOUND;
  if (!insitu_finite(p->size, scores, largest))
    return 0;
  for (int32_t i = 0; i < p->size; i++) {
    dy[i] = insitu_exp_negative(scores[i] - largest);
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
  *loss = insitu_log_positive(total) - (scores[*label] - largest);
  if (highest < p->least) {
    memset(dy, 0, (size_t)p->size * sizeof *dy);
    nonzero = 0;
  }
  return nonzero;
}

int32_t insitu_argmax_f32(int32_t size, const float *scores) {
  int32_t best = 0;
  for (int32_t i = 1; i < size; i++) {
    if (scores[i] > scores[best])
      best = i;
  }
  return best;
}
