/* Pools, clips and sums against one element at a time, on random shapes and values, of which many
 * are the ends of their range. Arguments: trials, seed. Says what differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

static uint32_t state;

static int32_t draw(int32_t low, int32_t high) {
  state = state * 1664525u + 1013904223u;
  return low + (int32_t)((state >> 8) % (uint32_t)(high - low + 1));
}

static int8_t *draw_map(int32_t size, int32_t low, int32_t high) {
  const int32_t kind = draw(0, 2);
  int8_t *map = malloc((size_t)size + 1); /* a size may be 0 */
  for (int32_t i = 0; i < size; i++)
    map[i] = (int8_t)(kind == 0   ? draw(low, high)
                      : kind == 1 ? (draw(0, 1) ? low : high)
                                  : draw(-1, 1));
  return map;
}

static void check(const void *got, const void *wanted, size_t bytes, const char *what) {
  if (memcmp(got, wanted, bytes) != 0) {
    printf("%s differs\n", what);
    exit(1);
  }
}

typedef struct {
  const insitu_pool_params_t *p;
  const int8_t *x;
  int32_t zero;
  int8_t *y;
} pool_t;

static int32_t is_on_map(const insitu_pool_params_t *p, int32_t iy, int32_t ix) {
  return iy >= 0 && iy < p->in_height && ix >= 0 && ix < p->in_width;
}

/* Of channel c of an output: where its largest element is, how many are on the map, their sum. */
static int32_t look(const insitu_pool_params_t *p, const int8_t *x, int32_t at, int32_t c,
                    int32_t *present, int32_t *sum) {
  int32_t best = -1;
  *present = *sum = 0;
  for (int32_t k = 0; k < p->kernel_height * p->kernel_width; k++) {
    const int32_t iy = at / p->out_width * p->stride_height - p->pad_top + k / p->kernel_width;
    const int32_t ix = at % p->out_width * p->stride_width - p->pad_left + k % p->kernel_width;
    const int32_t i = (iy * p->in_width + ix) * p->channels + c;
    if (!is_on_map(p, iy, ix))
      continue;
    *present += 1;
    *sum += x[i];
    if (best < 0 || x[i] > x[best])
      best = i;
  }
  return best;
}

static void forward(const insitu_pool_params_t *p, const int8_t *x, const int8_t *dy) {
  const int32_t places = p->out_height * p->out_width, size = places * p->channels;
  const size_t in = (size_t)(p->in_height * p->in_width * p->channels);
  const insitu_qparams_t q = {.scale = 1.0f, .zero_point = draw(-128, 127)};
  int8_t *largest = malloc((size_t)size), *mean = malloc((size_t)size), *y = malloc((size_t)size);
  int8_t *dx = calloc(in, 1), *got = malloc(in);
  for (int32_t i = 0; i < size; i++) {
    int32_t present, sum;
    const int32_t best = look(p, x, i / p->channels, i % p->channels, &present, &sum);
    const int32_t count = p->count_padding ? p->kernel_height * p->kernel_width : present;
    const int32_t total = sum + 128 * count + (count - present) * q.zero_point;
    largest[i] = x[best];
    mean[i] = (int8_t)((2 * total + count) / (2 * count) - 128);
    dx[best] = (int8_t)insitu_clamp(dx[best] + dy[i], -127, 127);
  }
  insitu_max_pool_s8(p, &q, x, y);
  check(y, largest, (size_t)size, "max pool");
  insitu_average_pool_s8(p, &q, x, y);
  check(y, mean, (size_t)size, "average pool");
  insitu_max_pool_grad_s8(p, dy, x, got);
  check(got, dx, in, "max pool's gradient");
  free(largest), free(mean), free(y), free(dx), free(got);
}

static void average_gradient(const insitu_pool_params_t *p, const int8_t *x, const int8_t *dy) {
  const int32_t area = p->kernel_height * p->kernel_width;
  const int32_t in = p->in_height * p->in_width * p->channels;
  int32_t *sum = calloc((size_t)in, sizeof *sum);
  int8_t *got = malloc((size_t)in), *wanted = malloc((size_t)in);
  for (int32_t i = 0; i < p->out_height * p->out_width * p->channels; i++) {
    const int32_t at = i / p->channels, e = dy[i];
    int32_t present, unused;
    look(p, x, at, 0, &present, &unused);
    const int32_t count = p->count_padding ? area : present;
    const int32_t share = (2 * abs(e) * area + count) / (2 * count) * (e < 0 ? -1 : 1);
    for (int32_t k = 0; k < area; k++) {
      const int32_t iy = at / p->out_width * p->stride_height - p->pad_top + k / p->kernel_width;
      const int32_t ix = at % p->out_width * p->stride_width - p->pad_left + k % p->kernel_width;
      if (is_on_map(p, iy, ix))
        sum[(iy * p->in_width + ix) * p->channels + i % p->channels] += share;
    }
  }
  for (int32_t i = 0; i < in; i++)
    wanted[i] = (int8_t)insitu_clamp(sum[i], -127, 127);
  insitu_average_pool_grad_s8(p, dy, got);
  check(got, wanted, (size_t)in, "average pool's gradient");
  free(sum), free(got), free(wanted);
}

static int32_t pool(void) {
  const int32_t large = draw(0, 9) == 0;
  const int32_t kernel_height = draw(1, large ? 19 : 4), kernel_width = draw(1, large ? 19 : 4);
  insitu_pool_params_t p = {.in_height = draw(1, large ? 24 : 9),
                            .in_width = draw(1, large ? 24 : 9),
                            .channels = draw(1, 11),
                            .kernel_height = kernel_height,
                            .kernel_width = kernel_width,
                            .stride_height = draw(1, 4),
                            .stride_width = draw(1, 4),
                            .pad_top = draw(0, kernel_height - 1),
                            .pad_left = draw(0, kernel_width - 1),
                            .count_padding = draw(0, 1)};
  const int32_t high = p.in_height + p.pad_top + draw(0, kernel_height - 1) - kernel_height;
  const int32_t wide = p.in_width + p.pad_left + draw(0, kernel_width - 1) - kernel_width;
  if (high < 0 || wide < 0)
    return 0;
  p.out_height = high / p.stride_height + 1, p.out_width = wide / p.stride_width + 1;
  int8_t *x = draw_map(p.in_height * p.in_width * p.channels, -128, 127);
  int8_t *dy = draw_map(p.out_height * p.out_width * p.channels, -127, 127);
  forward(&p, x, dy);
  average_gradient(&p, x, dy);
  free(x), free(dy);
  return 1;
}

static void add(int32_t size) {
  static const float scales[] = {1.0f, 0.37f, 0.004f, 90.0f, 300.0f};
  const insitu_qparams_t a_q = {.scale = scales[draw(0, 4)], .zero_point = draw(-128, 127)};
  const insitu_qparams_t b_q = {.scale = scales[draw(0, 4)], .zero_point = draw(-128, 127)};
  const int32_t zero = draw(-128, 127), low = draw(0, 1) ? zero : -128;
  const insitu_qparams_t y_q = {
      .scale = 1.0f, .zero_point = zero, .clamp_min = low, .clamp_max = draw(low, 127)};
  const insitu_add_params_t p = {.size = size, .sign = draw(0, 1) ? 1 : -1};
  const int32_t first = insitu_meeting_multiplier(&a_q, &y_q);
  const int32_t second = p.sign * insitu_meeting_multiplier(&b_q, &y_q);
  int8_t *a = draw_map(size, -128, 127), *b = draw_map(size, -128, 127), *y = draw_map(size, 0, 1);
  int32_t extremes[2] = {0, 0}, observed[2];
  for (int32_t i = 0; i < size; i++) {
    const int32_t v =
        insitu_meet((a[i] - a_q.zero_point) * first + (b[i] - b_q.zero_point) * second);
    extremes[0] = insitu_min(extremes[0], v), extremes[1] = insitu_max(extremes[1], v);
    y[i] = (int8_t)insitu_clamp(v + zero, low, y_q.clamp_max);
  }
  int8_t *to = draw(0, 1) ? a : b; /* in place */
  insitu_add_s8(&p, &a_q, &b_q, &y_q, a, b, to, observed);
  check(to, y, (size_t)size, "add");
  check(observed, extremes, sizeof observed, "what an add observes");
  free(a), free(b), free(y);
}

static void add_errors(int32_t size) {
  const int32_t less = draw(0, 1) ? 1 << 14 : draw(0, 1 << 14), swap = draw(0, 1);
  const insitu_add_errors_params_t p = {size, swap ? less : 1 << 14, swap ? 1 << 14 : less};
  int8_t *a = draw_map(size, -127, 127), *b = draw_map(size, -127, 127);
  int8_t *e = draw_map(size, 0, 1);
  for (int32_t i = 0; i < size; i++)
    e[i] = (int8_t)insitu_clamp(insitu_meet(a[i] * p.first + b[i] * p.second), -127, 127);
  insitu_add_errors_s8(&p, a, b, a);
  check(a, e, (size_t)size, "the sum of errors");
  free(a), free(b), free(e);
}

static void clip(int32_t size) {
  const insitu_qparams_t q = {.scale = 0.5f,
                              .zero_point = draw(-128, 127),
                              .pass_min = draw(-128, 128),
                              .pass_max = draw(-129, 127)};
  const insitu_size_params_t p = {size};
  int8_t *y = draw_map(size, -128, 127), *dy = draw_map(size, -127, 127);
  int8_t *dx = draw_map(size, 0, 1), *held = draw_map(size, 0, 1);
  const insitu_clip_params_t clip = {size, (float)draw(-90, 0), (float)draw(0, 90)};
  const int32_t low = insitu_round_clamp(clip.min / q.scale, -128 - q.zero_point,
                                         127 - q.zero_point) + q.zero_point;
  const int32_t high = insitu_round_clamp(clip.max / q.scale, -128 - q.zero_point,
                                          127 - q.zero_point) + q.zero_point;
  for (int32_t i = 0; i < size; i++) {
    dx[i] = y[i] >= q.pass_min && y[i] <= q.pass_max ? dy[i] : 0;
    held[i] = (int8_t)insitu_clamp(y[i], low, high);
  }
  insitu_layer_clip_grad_s8(&p, &q, dy, y, dy);
  check(dy, dx, (size_t)size, "the error of a clip");
  insitu_clip_s8(&clip, &q, y, y);
  check(y, held, (size_t)size, "clip");
  free(y), free(dy), free(dx), free(held);
}

int main(int count, char **arguments) {
  int32_t pools = 0;
  if (count != 3)
    return 2;
  state = (uint32_t)atoi(arguments[2]);
  for (int32_t k = 0; k < atoi(arguments[1]); k++) {
    pools += pool();
    add(draw(0, 40));
    add_errors(draw(0, 40));
    clip(draw(0, 40));
  }
  return pools == 0;
}
