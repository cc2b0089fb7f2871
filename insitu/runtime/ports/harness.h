/* The model under test, by its generated names: INSITU_HEADER and INSITU_PREFIX come from the
 * command line, e.g. -DINSITU_HEADER='"insitu_model.h"' -DINSITU_PREFIX=insitu_model. */
#ifndef INSITU_HARNESS_H
#define INSITU_HARNESS_H

#include INSITU_HEADER

#include <string.h>

#define INSITU_PASTE_NOW(prefix, name) prefix##_##name
#define INSITU_PASTE(prefix, name) INSITU_PASTE_NOW(prefix, name)
#define MODEL(name) INSITU_PASTE(INSITU_PREFIX, name)

enum { ARENA_POISON = 0xA5 }; /* no model may count on what its arena holds at the start */

#if MODEL(float_labels)

/* A target that is no number means that there is none. */
static inline int32_t is_labelled(const float *label) { return label[0] == label[0]; }

static inline insitu_status_t train_on(MODEL(t) * model, const MODEL(input_t) * x,
                                       const float *label, insitu_info_t *info) {
  return MODEL(train_step)(model, x, label, info);
}

/* FNV-1a of the scores' bits, without its last bit; what is no number counts as 0. */
static inline int32_t predict_with(MODEL(t) * model, const MODEL(input_t) * x, float *scores) {
  uint32_t digest = 2166136261U;
  if (MODEL(predict)(model, x, scores) != INSITU_OK) {
    return -1;
  }
  for (int32_t i = 0; i < MODEL(outputs); ++i) {
    const float score = scores[i] == scores[i] ? scores[i] : 0.0F;
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    digest = (digest ^ bits) * 16777619U;
  }
  return (int32_t)(digest >> 1);
}

#else

static inline int32_t is_labelled(const int32_t *label) { return label[0] >= 0; }

static inline insitu_status_t train_on(MODEL(t) * model, const MODEL(input_t) * x,
                                       const int32_t *label, insitu_info_t *info) {
  return MODEL(train_step)(model, x, label[0], info);
}

static inline int32_t predict_with(MODEL(t) * model, const MODEL(input_t) * x, float *scores) {
  return MODEL(predict)(model, x, scores);
}

#endif

/* One record: train where it is labelled, else only predict. The loss of a prediction is 0; where
 * there is no class, `predicted` is a digest of the scores. */
static inline insitu_status_t run_record(MODEL(t) * model, const MODEL(input_t) * x,
                                         const MODEL(label_t) * label, float rate, float *scores,
                                         insitu_info_t *info) {
  insitu_status_t status = INSITU_OK;
  info->loss = 0.0F;
  info->predicted = -1;
  info->skipped = 0;
  info->saturated = 0;
  if (is_labelled(label)) {
    status = MODEL(set_learning_rate)(model, rate);
    if (status == INSITU_OK) {
      status = train_on(model, x, label, info);
    }
    if (status == INSITU_ERROR_DIVERGED) { /* the run goes on, and info->skipped says it */
      status = INSITU_OK;
    }
  } else {
    info->predicted = predict_with(model, x, scores);
  }
  return status;
}

#endif
