/* Input gradient of a convolution from sparse errors, position by position: those that a position
 * of dx is made of and that are not 0 are gathered with their rows of weights, then multiplied as a
 * linear layer's. For maps with few errors, and layers too large for a tile. */
#include "insitu_conv_tile.h"
#include "insitu_error_words.h"
#include "insitu_linear_microkernels.h"
#include "insitu_conv_span.h"

typedef struct {
  const insitu_conv_grad_input_params_t *g;
  const int8_t *w;
  const uint16_t *rel;
  void *list;
  int32_t count;
  int32_t *sums;   /* [in_channels] of lists before this one */
  int32_t spilled; /* whether there were any */
} insitu_error_list_t;

/* sum[i] = sum of e' w over the list, i < INSITU_LINEAR_COLUMNS, of which the first `count` are
 * asked for. */
static void sum_list(const insitu_error_list_t *errors, int32_t i, int32_t count, int32_t *sum) {
  const int8_t *const w = errors->w + i;
  if (count == INSITU_LINEAR_COLUMNS) {
    add_columns(errors->list, errors->count, w, sum);
  } else {
    for (int32_t j = 0; j < count; j++)
      sum[j] = add_column(errors->list, errors->count, w + j);
  }
  if (errors->spilled) {
    for (int32_t j = 0; j < count; j++)
      sum[j] += errors->sums[i + j];
  }
}

/* Fills the list up with errors of 0. */
static void end_list(insitu_error_list_t *errors) {
  while (errors->count % INSITU_LINEAR_LIST != 0)
    append_row(errors->list, errors->count++, 0, 0);
}

/* Empties a full list into the sums. */
static void spill_list(insitu_error_list_t *errors) {
  const int32_t channels = errors->g->shape.in_channels;
  end_list(errors);
  for (int32_t i = 0; i < channels; i += INSITU_LINEAR_COLUMNS) {
    const int32_t count = insitu_min(channels - i, INSITU_LINEAR_COLUMNS);
    int32_t sum[INSITU_LINEAR_COLUMNS];
    sum_list(errors, i, count, sum);
    memcpy(errors->sums + i, sum, (size_t)count * sizeof *sum);
  }
  errors->spilled = 1;
  errors->count = 0;
}

/* Empties the list into dx of one position. */
static void list_epilogue(insitu_error_list_t *errors, int8_t *dx) {
  const insitu_conv_grad_input_params_t *g = errors->g;
  const int32_t channels = g->shape.in_channels;
  int32_t i = 0, sum[INSITU_LINEAR_COLUMNS];
  if (errors->count == 0 && !errors->spilled) {
    memset(dx, 0, (size_t)channels);
    return;
  }
  end_list(errors);
  for (; i + INSITU_LINEAR_COLUMNS <= channels; i += INSITU_LINEAR_COLUMNS) {
    sum_list(errors, i, INSITU_LINEAR_COLUMNS, sum);
    store_errors(sum, g->multiplier, g->shift, dx + i);
  }
  if (i < channels)
    sum_list(errors, i, channels - i, sum);
  for (int32_t j = 0; i < channels; i++, j++)
    dx[i] = (int8_t)insitu_clamp(insitu_rescale(sum[j], g->multiplier, g->shift), -127, 127);
  errors->spilled = 0;
  errors->count = 0;
}

/* Gathers the errors e[out_channels] of one place of the window, whose weights begin at `place`. */
static void append_errors(insitu_error_list_t *errors, const int8_t *e, int32_t place) {
  const insitu_conv_grad_input_params_t *g = errors->g;
  const int32_t channels = g->shape.out_channels, row = row_size(&g->shape);
  int32_t o = next_error(0, channels, e), count = errors->count;
  for (; o < channels; o = next_error(o + 1, channels, e)) {
    if (count == g->entries) {
      errors->count = count;
      spill_list(errors);
      count = 0;
    }
    const int32_t error = insitu_expand_error(e[o], errors->rel[o], g->drop);
    append_row(errors->list, count++, o * row + place, error);
  }
  errors->count = count;
}

void insitu_conv_grad_input_sparse(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                                   const int8_t *w, const uint16_t *rel, void *scratch,
                                   int8_t *dx) {
  const insitu_conv_params_t *p = &g->shape;
  int32_t *const sums = scratch;
  insitu_error_list_t errors = {g, w, rel, sums + p->in_channels, 0, sums, 0};
  for (int32_t iy = 0; iy < p->in_height; iy++) {
    const int32_t y = iy + p->pad_top;
    const int32_t bottom = insitu_min(y / p->stride_height, p->out_height - 1);
    for (int32_t ix = 0; ix < p->in_width; ix++, dx += p->in_channels) {
      const int32_t x = ix + p->pad_left;
      const int32_t right = insitu_min(x / p->stride_width, p->out_width - 1);
      int32_t ky = y - bottom * p->stride_height;
      for (int32_t oy = bottom; oy >= 0 && ky < p->kernel_height; oy--, ky += p->stride_height) {
        int32_t kx = x - right * p->stride_width;
        for (int32_t ox = right; ox >= 0 && kx < p->kernel_width; ox--, kx += p->stride_width)
          append_errors(&errors, dy + (oy * p->out_width + ox) * p->out_channels,
                        (ky * p->kernel_width + kx) * p->in_channels);
      }
      list_epilogue(&errors, dx);
    }
  }
}
