/* A hand-written model with the interface of generated C: a linear layer trained in place.
 * It stands in for the generator in the tests of building and running. */
#ifndef INSITU_FAKE_H
#define INSITU_FAKE_H

#include "insitu.h"

enum {
  insitu_fake_input_size = 1022,
  insitu_fake_outputs = 10,
  insitu_fake_classes = 10,
  insitu_fake_label_size = 1,
  insitu_fake_arena_bytes = 128,
  insitu_fake_nodes = 3
};

#define insitu_fake_float_labels 0

typedef int8_t insitu_fake_input_t;
typedef int32_t insitu_fake_label_t;

typedef struct {
  float learning_rate;
  uint32_t seed;
  uint32_t generator;
  float loss_average;
  int8_t w[10220]; /* w[10, 1022] */
} insitu_fake_state_t;

typedef struct {
  insitu_fake_state_t state;
  uint8_t *arena;
} insitu_fake_t;

typedef union {
  uint64_t aligned;
  uint8_t bytes[insitu_fake_arena_bytes];
} insitu_fake_arena_t;

insitu_status_t insitu_fake_init(insitu_fake_t *model, void *arena);
int32_t insitu_fake_predict(insitu_fake_t *model, const int8_t *x, float *scores);
insitu_status_t insitu_fake_train_step(insitu_fake_t *model, const int8_t *x, int32_t label,
                                       insitu_info_t *info);
insitu_status_t insitu_fake_set_learning_rate(insitu_fake_t *model, float rate);
float insitu_fake_get_learning_rate(const insitu_fake_t *model);
void insitu_fake_set_seed(insitu_fake_t *model, uint32_t seed);
uint32_t insitu_fake_get_seed(const insitu_fake_t *model);
int32_t insitu_fake_quantize_input(const float *x, int8_t *q);

#endif
