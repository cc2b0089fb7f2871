/* Depthwise kernels by planes against those by positions, on random data. A line of the input:
 * the shape, band and bytes of scratch of each kernel, bytes for live channels, a seed. Says what
 * differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "insitu_depthwise.h"
#include "insitu_conv_taps.h"

typedef struct {
  insitu_conv_params_t shape;
  int32_t band[3], bytes[3]; /* forward, input gradient, weight gradient */
  int32_t live[2];           /* bytes, of the gradients */
  int32_t seed;
} trial_t;

static uint32_t state;

static int32_t draw(int32_t low, int32_t high) {
  state = state * 1664525u + 1013904223u;
  return low + (int32_t)((state >> 8) % (uint32_t)(high - low + 1));
}

/* Values over the whole range, or its ends. */
static int8_t *draw_map(int32_t count, int32_t low, int32_t high, int32_t extreme) {
  int8_t *map = malloc((size_t)count);
  for (int32_t k = 0; k < count; k++)
    map[k] = (int8_t)(extreme ? (draw(0, 1) ? low : high) : draw(low, high));
  return map;
}

static int32_t differs(const void *a, const void *b, size_t bytes, const char *what) {
  if (memcmp(a, b, bytes) == 0)
    return 0;
  printf("%s differs\n", what);
  return 1;
}

static int32_t forward(const trial_t *t, const int8_t *x, const int8_t *w) {
  const insitu_conv_params_t *c = &t->shape;
  const int32_t channels = c->in_channels, size = c->out_height * c->out_width * channels;
  const int32_t relu = draw(0, 2), zero = draw(0, 3) ? draw(-128, 127) : 127;
  const insitu_qparams_t x_q = {.scale = 0.1f, .zero_point = draw(0, 2) ? draw(-128, 127) : -128};
  const insitu_qparams_t y_q = {.scale = 0.1f,
                                .zero_point = zero,
                                .clamp_min = relu ? zero : -128,
                                .clamp_max = relu == 2 ? draw(zero, 127) : 127};
  int32_t *bias = malloc((size_t)channels * 8), *multiplier = bias + channels;
  const int32_t shift = draw(0, 5) == 0, large = draw(0, 3) == 0;
  for (int32_t o = 0; o < channels; o++) {
    bias[o] = large ? draw(-(1 << 20), 1 << 20) * 1000 : draw(-20000, 20000);
    multiplier[o] = large ? draw(1 << 20, 1 << 24) * 100 : draw(1 << 10, 1 << 22);
  }
  int8_t *y[2] = {malloc((size_t)size), malloc((size_t)size)};
  int32_t observed[2][2], wrong = 0;
  for (int32_t planes = 0; planes < 2; planes++) {
    const insitu_conv_groups_params_t p = {*c, channels, 1, 1, planes ? t->band[0] : 0, 0};
    void *scratch = malloc((size_t)t->bytes[0]);
    insitu_conv_groups_s8(&p, &x_q, &y_q, x, w, bias, multiplier, &shift, scratch, y[planes],
                          observed[planes]);
    free(scratch);
  }
  wrong += differs(y[0], y[1], (size_t)size, "y");
  wrong += differs(observed[0], observed[1], sizeof observed[0], "observed");
  free(bias), free(y[0]), free(y[1]);
  return wrong;
}

static int32_t grad_input(const trial_t *t, const int8_t *dy, const int8_t *w) {
  const insitu_conv_params_t *c = &t->shape;
  const int32_t channels = c->in_channels, size = c->in_height * c->in_width * channels;
  uint16_t *rel = malloc((size_t)channels * sizeof *rel);
  for (int32_t i = 0; i < channels; i++)
    rel[i] = (uint16_t)(draw(0, 2) ? draw(0, 1 << 15) : 1 << 15);
  int8_t *dx[2] = {malloc((size_t)size), malloc((size_t)size)};
  const int32_t drop = draw(0, 3) ? 0 : draw(1, 10), multiplier = draw(1 << 8, 1 << 22) * 4;
  for (int32_t planes = 0; planes < 2; planes++) {
    const insitu_conv_groups_grad_input_params_t g = {
        {*c, channels, 1, 1, planes ? t->band[1] : 0, planes ? t->live[0] : 0},
        drop,
        multiplier,
        0};
    void *scratch = malloc((size_t)t->bytes[1]);
    insitu_conv_groups_grad_input_s8(&g, dy, w, rel, scratch, dx[planes]);
    free(scratch);
  }
  const int32_t wrong = differs(dx[0], dx[1], (size_t)size, "dx");
  free(rel), free(dx[0]), free(dx[1]);
  return wrong;
}

static int32_t update(const trial_t *t, const int8_t *dy, const int8_t *x, const int8_t *w) {
  const insitu_conv_params_t *c = &t->shape;
  const int32_t channels = c->in_channels, zero = draw(-128, 127);
  const size_t bytes = (size_t)(channels * c->kernel_height * c->kernel_width);
  const insitu_qparams_t dy_q = {.scale = 0.01f}, x_q = {.scale = 0.01f, .zero_point = zero};
  const float rate = draw(0, 1) ? 0.5f : 0.001f;
  float *row_scale = malloc((size_t)channels * sizeof *row_scale);
  for (int32_t o = 0; o < channels; o++)
    row_scale[o] = 0.01f * (float)draw(1, 9);
  int8_t *moved[2] = {malloc(bytes), malloc(bytes)};
  int32_t *bias[2] = {calloc((size_t)channels, 4), calloc((size_t)channels, 4)};
  uint32_t generator[2] = {77, 77};
  int32_t saturated[2], wrong = 0;
  for (int32_t planes = 0; planes < 2; planes++) {
    const insitu_conv_groups_params_t p = {
        *c, channels, 1, 1, planes ? t->band[2] : 0, planes ? t->live[1] : 0};
    memcpy(moved[planes], w, bytes);
    void *scratch = malloc((size_t)t->bytes[2]);
    saturated[planes] =
        insitu_conv_groups_update_s8(&p, &dy_q, &x_q, dy, x, row_scale, &rate, scratch,
                                     &generator[planes], bias[planes], moved[planes]);
    free(scratch);
  }
  wrong += differs(moved[0], moved[1], bytes, "w");
  wrong += differs(bias[0], bias[1], (size_t)channels * 4, "bias");
  wrong += differs(&generator[0], &generator[1], 4, "generator");
  wrong += differs(&saturated[0], &saturated[1], 4, "saturated");
  free(row_scale), free(moved[0]), free(moved[1]), free(bias[0]), free(bias[1]);
  return wrong;
}

int main(void) {
  trial_t t;
  int32_t values[sizeof t / sizeof t.seed], trials = 0;
  const int32_t count = (int32_t)(sizeof t / sizeof t.seed);
  while (1) {
    for (int32_t k = 0; k < count; k++)
      if (scanf("%d", &values[k]) != 1)
        return printf("%d trials\n", trials) < 0;
    memcpy(&t, values, sizeof t);
    state = (uint32_t)t.seed;
    const insitu_conv_params_t *c = &t.shape;
    const int32_t channels = c->in_channels, dead = draw(0, 4);
    int8_t *x = draw_map(c->in_height * c->in_width * channels, -128, 127, draw(0, 3) == 0);
    int8_t *w = draw_map(c->kernel_height * c->kernel_width * channels, -127, 127, draw(0, 3) == 0);
    const int32_t positions = c->out_height * c->out_width;
    int8_t *dy = draw_map(positions * channels, -127, 127, draw(0, 3) == 0);
    for (int32_t k = 0; k < positions * channels; k++)
      if ((dead == 0 && k % channels % 3 == 0) || (dead == 3 && k % channels % 4 != 1) ||
          (dead == 1 && k % 7 != 0) || (dead == 2 && k < positions * channels / 2))
        dy[k] = 0;
    const int32_t wrong = forward(&t, x, w) + grad_input(&t, dy, w) + update(&t, dy, x, w);
    free(x), free(w), free(dy);
    for (int32_t k = 0; wrong > 0 && k < count; k++)
      printf("%d ", values[k]);
    if (wrong > 0)
      return 1;
    trials++;
  }
}
