/* Two models in one program, their steps in turn, one arena for both: see test_generate.py. */
#include <string.h>

#include "insitu_first.h"
#include "insitu_second.h"

__attribute__((visibility("default"))) void run_both(const int8_t *x, const int32_t *labels,
                                                     int32_t n, uint8_t *first, uint8_t *second);

enum {
  BYTES = (int)insitu_first_arena_bytes > (int)insitu_second_arena_bytes
              ? (int)insitu_first_arena_bytes
              : (int)insitu_second_arena_bytes
};

void run_both(const int8_t *x, const int32_t *labels, int32_t n, uint8_t *first, uint8_t *second) {
  static uint64_t arena[BYTES / 8 + 1];
  insitu_first_t a;
  insitu_second_t b;
  insitu_info_t info;
  insitu_first_init(&a, arena);
  insitu_second_init(&b, arena);
  insitu_first_set_seed(&a, 1);
  insitu_second_set_seed(&b, 2);
  for (int32_t i = 0; i < n; i++) {
    (void)insitu_first_set_learning_rate(&a, 0.1f);
    (void)insitu_second_set_learning_rate(&b, 0.05f);
    (void)insitu_first_train_step(&a, x + i * insitu_first_input_size, labels[i], &info);
    (void)insitu_second_train_step(&b, x + i * insitu_second_input_size, labels[i], &info);
  }
  memcpy(first, &a.state, sizeof a.state);
  memcpy(second, &b.state, sizeof b.state);
}
