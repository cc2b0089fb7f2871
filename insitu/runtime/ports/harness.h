/* The model under test, by its generated names: INSITU_HEADER and INSITU_PREFIX come from the
 * command line, e.g. -DINSITU_HEADER='"insitu_model.h"' -DINSITU_PREFIX=insitu_model. */
#ifndef INSITU_HARNESS_H
#define INSITU_HARNESS_H

#include INSITU_HEADER

#define INSITU_PASTE_NOW(prefix, name) prefix##_##name
#define INSITU_PASTE(prefix, name) INSITU_PASTE_NOW(prefix, name)
#define MODEL(name) INSITU_PASTE(INSITU_PREFIX, name)

enum { ARENA_POISON = 0xA5 }; /* no model may count on what its arena holds at the start */

/* One record: train where label >= 0, else only predict. The loss of a prediction is 0. */
static inline insitu_status_t run_record(MODEL(t) * model, const MODEL(input_t) * x, int32_t label,
                                         float rate, float *scores, insitu_info_t *info) {
  insitu_status_t status = INSITU_OK;
  info->loss = 0.0F;
  info->predicted = -1;
  info->skipped = 0;
  info->saturated = 0;
  if (label >= 0) {
    status = MODEL(set_learning_rate)(model, rate);
    if (status == INSITU_OK) {
      status = MODEL(train_step)(model, x, label, info);
    }
  } else {
    info->predicted = MODEL(predict)(model, x, scores);
  }
  return status;
}

#endif
