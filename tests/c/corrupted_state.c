/* Kernels on what no training leaves in a state, for UBSan: see test_c_contract.py. */
#include <stdio.h>
#include <string.h>

#include "insitu_kernels_f32.h"
#include "insitu_kernels_groups.h"

static const float nan_value = 0.0f / 0.0f;
static const insitu_qparams_t unit = {1.0f, 0, -128, 127, -128, 127};

static void biases(void) {
  int32_t low = INT32_MIN, high = INT32_MAX;
  const int8_t up = 127, down = -127;
  const insitu_bias_update_params_t p = {.rows = 1, .positions = 1};
  const float rate = 1.0f;
  insitu_bias_update_s8(&p, &unit, &up, &rate, &low);
  insitu_bias_update_s8(&p, &unit, &down, &rate, &high);
  (void)insitu_add_bias(INT32_MAX, INT32_MAX, 1.0f);
  (void)insitu_add_bias(INT32_MIN, INT32_MIN, 1.0f);
  (void)insitu_add_bias(0, 1, nan_value);
}

/* The count of a batch comes back into it. */
static void batches(void) {
  const int32_t counts[] = {INT32_MAX, INT32_MIN, -1, 7, 0x7FFFFFFE};
  const insitu_batch_params_t p = {.batch = 3};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    int32_t count = counts[i];
    (void)insitu_count_sample(&p, &count);
    if (count < 0 || count >= p.batch)
      printf("count %d of %d\n", (int)count, (int)p.batch);
  }
}

static void buffers(int32_t wide, int32_t momentum, float weight_decay) {
  const int32_t ends[] = {INT32_MIN, INT32_MAX, INT32_MIN + 1, -1};
  const insitu_apply_params_t p = {
      .weights = 4, .rows = 4, .momentum = momentum, .weight_decay = weight_decay, .wide = wide};
  int8_t w[] = {-128, 127, -127, -128};
  for (int32_t turn = 0; turn < 2; turn++) {
    int32_t buffer[4], bias_buffer[4], bias[4];
    uint32_t generator = 1;
    const float rate = 1.0f;
    memcpy(buffer, ends, sizeof buffer);
    memcpy(bias_buffer, ends, sizeof bias_buffer);
    memcpy(bias, ends + turn * 2, sizeof bias / 2);
    memcpy(bias + 2, ends, sizeof bias / 2);
    insitu_apply_s8(&p, &rate, &generator, bias_buffer, buffer, bias, w);
  }
}

/* The row whose turn it is is one of them, whatever the state says. */
static void decay(void) {
  const int32_t rows[] = {INT32_MAX, INT32_MIN, -1, 2, 1};
  const insitu_decay_params_t p = {.weights = 3, .rows = 2, .weight_decay = 0.5f};
  const float rate = 1.0f;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int32_t row = rows[i];
    uint32_t generator = 1;
    int8_t w[] = {-128, 127, 1, -128, 127, 1};
    insitu_decay_s8(&p, &rate, &generator, &row, w);
    if (row < 0 || row >= p.rows)
      printf("row %d of %d\n", (int)row, (int)p.rows);
  }
}

static void paper(void) {
  const insitu_conv_groups_params_t p = {.conv = {.in_height = 1,
                                                  .in_width = 1,
                                                  .in_channels = 2,
                                                  .out_height = 1,
                                                  .out_width = 1,
                                                  .out_channels = 1,
                                                  .kernel_height = 1,
                                                  .kernel_width = 1,
                                                  .stride_height = 1,
                                                  .stride_width = 1},
                                         .groups = 1,
                                         .dilation_height = 1,
                                         .dilation_width = 1};
  const insitu_linear_params_t shape = {.out_features = 1, .in_features = 2};
  const int8_t dy = 127, x[] = {127, -128};
  const float rate = 1.0f;
  int16_t patch[2];
  int32_t bias_buffer = INT32_MAX, buffer[] = {INT32_MAX, INT32_MIN}, bias = INT32_MIN;
  int8_t w[] = {-128, 127};
  float standard[2], range[] = {nan_value, -1.0f};
  insitu_affine_accumulate_s8(&p, &unit, &dy, x, patch, &bias_buffer, buffer);
  bias_buffer = INT32_MAX;
  insitu_affine_apply_s8(&shape, &unit, &rate, standard, &bias_buffer, buffer, &bias, range, w);
}

static void selections(void) {
  const float largest[] = {nan_value, -nan_value, -1.0f, 1e-45f, 1.0f / 0.0f};
  const insitu_select_rows_params_t p = {.rows = 3, .positions = 1, .least = 100, .most = 65536};
  for (size_t i = 0; i < sizeof largest / sizeof *largest; i++) {
    float kept = largest[i], dy[] = {1.0f, -2.0f, 3.0f}, scratch[3];
    insitu_select_rows_f32(&p, dy, scratch, &kept, dy);
    if (!(kept > 0.0f))
      printf("largest %g\n", (double)kept);
  }
}

int main(void) {
  biases();
  batches();
  for (int32_t wide = 0; wide < 2; wide++) {
    buffers(wide, 0, 0.0f);
    buffers(wide, 0, 1.0f);
    buffers(wide, 65535, 1.0f);
  }
  decay();
  paper();
  selections();
  return 0;
}
