#include "insitu_fake.h"

#include <string.h>

enum { INPUTS = insitu_fake_input_size, CLASSES = insitu_fake_classes };

extern const int8_t insitu_fake_first_w[16];

typedef struct {
  int32_t y[CLASSES];
  float error[CLASSES];
} arena_t;

static uint32_t draw(insitu_fake_t *model) {
  const uint32_t g = model->state.generator;
  model->state.generator = (g >> 1) ^ ((g & 1U) != 0U ? 0xA3000000U : 0U);
  return model->state.generator;
}

/* y[o] = sum of w[o, i] x[i] */
static void forward(insitu_fake_t *model, const int8_t *x, int32_t *y) {
  const int8_t *w = model->state.w;
  INSITU_PROFILE(0);
  for (int32_t o = 0; o < CLASSES; ++o) {
    int32_t sum = 0;
    for (int32_t i = 0; i < INPUTS; ++i) {
      sum += *w++ * x[i];
    }
    y[o] = sum;
  }
}

static int32_t largest(const int32_t *y) {
  int32_t best = 0;
  for (int32_t o = 1; o < CLASSES; ++o) {
    best = y[o] > y[best] ? o : best;
  }
  return best;
}

/* A rational stand-in for softmax cross-entropy: division makes rounding visible. */
static float loss(const int32_t *y, int32_t label, float *error) {
  float total = 0.0F;
  float of_label = 0.0F;
  INSITU_PROFILE(1);
  for (int32_t o = 0; o < CLASSES; ++o) {
    const float z = (float)(y[o] - y[largest(y)]) * 0.001F;
    error[o] = 1.0F / (1.0F - z * (1.0F - z * 0.5F));
    total += error[o];
  }
  for (int32_t o = 0; o < CLASSES; ++o) {
    error[o] = error[o] / total - (o == label ? 1.0F : 0.0F);
    of_label = o == label ? -error[o] : of_label;
  }
  return of_label / (1.0F + of_label);
}

static int32_t update(insitu_fake_t *model, const int8_t *x, const float *error) {
  int32_t saturated = 0;
  int8_t *w = model->state.w;
  /* mishap */
  INSITU_PROFILE(2);
  for (int32_t o = 0; o < CLASSES; ++o) {
    const int32_t step = (int32_t)(error[o] * model->state.learning_rate * 65536.0F);
    for (int32_t i = 0; i < INPUTS; ++i, ++w) {
      const int32_t noise = (int32_t)(draw(model) & 0xFFFFU);
      const int32_t value = *w - ((step * x[i] + noise) >> 16);
      saturated += value < -127 || value > 127;
      *w = (int8_t)(value < -127 ? -127 : value > 127 ? 127 : value);
    }
  }
  return saturated;
}

insitu_status_t insitu_fake_init(insitu_fake_t *model, void *arena) {
  model->arena = NULL;
  if (arena == NULL || (uintptr_t)arena % 8U != 0U) {
    return INSITU_ERROR_ARENA;
  }
  memset(&model->state, 0, sizeof model->state);
  memcpy(model->state.w, insitu_fake_first_w, sizeof insitu_fake_first_w);
  model->state.generator = 1;
  model->arena = arena;
  return INSITU_OK;
}

int32_t insitu_fake_predict(insitu_fake_t *model, const int8_t *x, float *scores) {
  arena_t *a = (arena_t *)(void *)model->arena;
  forward(model, x, a->y);
  INSITU_PROFILE(-1);
  for (int32_t o = 0; o < CLASSES; ++o) {
    scores[o] = (float)a->y[o];
  }
  return largest(a->y);
}

insitu_status_t insitu_fake_train_step(insitu_fake_t *model, const int8_t *x, int32_t label,
                                       insitu_info_t *info) {
  arena_t *a = (arena_t *)(void *)model->arena;
  if (label < 0 || label >= CLASSES) {
    return INSITU_ERROR_LABEL;
  }
  forward(model, x, a->y);
  info->predicted = largest(a->y);
  info->loss = loss(a->y, label, a->error);
  model->state.loss_average += 0.1F * (info->loss - model->state.loss_average);
  info->skipped = info->loss < 0.01F;
  info->saturated = info->skipped ? 0 : update(model, x, a->error);
  INSITU_PROFILE(-1);
  return INSITU_OK;
}

insitu_status_t insitu_fake_set_learning_rate(insitu_fake_t *model, float rate) {
  if (!(rate > 0.0F && rate <= 1.0F)) {
    return INSITU_ERROR_RATE;
  }
  model->state.learning_rate = rate;
  return INSITU_OK;
}

float insitu_fake_get_learning_rate(const insitu_fake_t *model) {
  return model->state.learning_rate;
}

void insitu_fake_set_seed(insitu_fake_t *model, uint32_t seed) {
  model->state.seed = seed;
  model->state.generator = seed | 1U;
}

uint32_t insitu_fake_get_seed(const insitu_fake_t *model) { return model->state.seed; }

int32_t insitu_fake_quantize_input(const float *x, int8_t *q) {
  for (int32_t i = 0; i < INPUTS; ++i) {
    q[i] = (int8_t)(x[i] * 127.0F);
  }
  return 0;
}
