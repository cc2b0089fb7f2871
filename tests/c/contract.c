/* What a model does with a wrong arena, before init and without info: see test_c_contract.py. */
#include <stdio.h>
#include <string.h>

#include "insitu_model.h"

static insitu_model_t model; /* zeros: no init yet */
static insitu_model_arena_t arena, spare;
static insitu_model_input_t x[insitu_model_input_size];
static float scores[insitu_model_outputs];

static int train(insitu_info_t *info) {
#if insitu_model_float_labels
  static const float target[insitu_model_outputs];
  return (int)insitu_model_train_step(&model, x, target, info);
#else
  return (int)insitu_model_train_step(&model, x, 0, info);
#endif
}

static void say(const char *when) {
  insitu_info_t info = {-7.0f, -7, -7, -7};
  scores[0] = -7.0f;
  const int predicted = (int)insitu_model_predict(&model, x, scores);
  const int rated = (int)insitu_model_set_learning_rate(&model, 0.5f);
  const int trained = train(&info);
  printf("%s: predict %d, rate %d, train %d, %s\n", when, predicted < 0 ? predicted : predicted > 3,
         rated, trained, info.loss == -7.0f && scores[0] == -7.0f ? "untouched" : "written");
}

int main(void) {
  insitu_model_state_t with_info;
  insitu_info_t info;
  uint8_t *const odd = spare.bytes;
  say("before init");
  printf("init at 0: %d\n", (int)insitu_model_init(&model, 0));
  say("after it");
  for (int i = 1; i < 8; i++)
    printf("init at %d: %d\n", i, (int)insitu_model_init(&model, odd + i));
  say("after it");
  printf("init: %d\n", (int)insitu_model_init(&model, &arena));
  say("after it");
  printf("init at 4: %d\n", (int)insitu_model_init(&model, odd + 4));
  say("after it");

  for (int i = 0; i < insitu_model_input_size; i++)
    x[i] = (insitu_model_input_t)(i % 7);
  (void)insitu_model_init(&model, &arena);
  (void)train(&info);
  memcpy(&with_info, &model.state, sizeof with_info);
  (void)insitu_model_init(&model, &arena);
  printf("train without info: %d", train(0));
  printf(", %s\n", memcmp(&with_info, &model.state, sizeof with_info) ? "another" : "the same");
  return 0;
}
