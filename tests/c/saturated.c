/* What a program on a device asks a model about its weights: see test_saturation.py. */
#include <string.h>

#include "insitu_model.h"

__attribute__((visibility("default"))) int32_t saturated(const uint8_t *state);
__attribute__((visibility("default"))) int32_t fixed_range_weights(void);

int32_t saturated(const uint8_t *state) {
  insitu_model_t model;
  memcpy(&model.state, state, sizeof model.state);
  return insitu_model_saturated_weights(&model);
}

int32_t fixed_range_weights(void) { return insitu_model_fixed_range_weights; }
