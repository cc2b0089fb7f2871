/* Convolution: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/layers/conv.py. This portable version is the definition. */
#include <string.h>

#include "insitu_conv_gradient.h"
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_conv_span.h"

/* patch[ky, kx, i] = x[iy, ix, i] - zero, 0 outside the map. */
static void gather_patch(const insitu_conv_params_t *p, int32_t zero, const int8_t *x, int32_t oy,
                         int32_t ox, int16_t *patch) {
  const int32_t channels = p->in_channels;
  const int32_t line = p->kernel_width * channels;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const insitu_span_t columns = span_on_map(start_x, p->kernel_width, p->in_width);
  const int32_t first = insitu_min(columns.first, p->kernel_width) * channels;
  const int32_t end = insitu_max(columns.end, 0) * channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky++, patch += line) {
    const int32_t iy = oy * p->stride_height - p->pad_top + ky;
    if (iy < 0 || iy >= p->in_height || first >= end) {
      memset(patch, 0, (size_t)line * sizeof *patch);
      continue;
    }
    const int32_t from = (iy * p->in_width + start_x) * channels; /* below 0 left of the map */
    for (int32_t k = 0; k < first; k++)
      patch[k] = 0;
    for (int32_t k = first; k < end; k++)
      patch[k] = (int16_t)(x[from + k] - zero);
    for (int32_t k = end; k < line; k++)
      patch[k] = 0;
  }
}

/* The whole layer, position by position. */
static void conv_positions(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                           int16_t *patch, int8_t *y, int32_t *observed) {
  const int32_t row = row_size(p);
  const insitu_qparams_t *q = layer->y_q;
  int32_t lowest = 0, highest = 0;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      gather_patch(p, layer->zero, layer->x, oy, ox, patch);
      for (int32_t o = 0; o < p->out_channels; o++) {
        const int32_t acc = layer->bias[o] + dot_s16(row, patch, layer->w + o * row);
        const int32_t v = insitu_rescale(acc, layer->multiplier[o], layer->shift[0]);
        lowest = insitu_min(lowest, v);
        highest = insitu_max(highest, v);
        *y++ = (int8_t)insitu_clamp(v + q->zero_point, q->clamp_min, q->clamp_max);
      }
    }
  }
  if (observed) {
    observed[0] = lowest;
    observed[1] = highest;
  }
}

void insitu_conv_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                    const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                    const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                    void *scratch, int8_t *y, int32_t *observed) {
  const insitu_conv_layer_t layer = {x_q->zero_point, y_q, x, w, bias, multiplier, shift};
  if (p->tile_width == 0 || !insitu_conv_tiles(p, &layer, scratch, y, observed))
    conv_positions(p, &layer, scratch, y, observed);
}

void insitu_conv_grad_input_s8(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                               const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  if (g->shape.tile_width == 0 || !insitu_conv_grad_input_tiles(g, dy, w, rel, scratch, dx))
    insitu_conv_grad_input_sparse(g, dy, w, rel, scratch, dx);
}

/* Multiplier and generator of each row with an error; returns how many multipliers are clamped. */
static int32_t begin_rows(const insitu_conv_gradient_t *block, float factor, const float *row_scale,
                          uint32_t *generator) {
  const int32_t draws = (row_size(&block->p) + 3) / 4;
  int32_t saturated = 0;
  for (int32_t r = 0; r < block->nonzero; r++) {
    const float ratio = insitu_divide(factor, row_scale[block->list[r]]);
    block->multiplier[r] = insitu_round_clamp(ratio, 0, INT32_MAX);
    saturated += block->multiplier[r] == INT32_MAX;
    block->state[r] = *generator;
    *generator = insitu_draw_ahead(*generator, draws);
  }
  return saturated;
}

/* Steps of four weights after four, of which the last may be fewer. The first begins `rest` bytes
 * into the bytes of `state`. Returns the last state. */
static uint32_t step_odd_groups(int32_t count, int32_t rest, int32_t multiplier,
                                const int32_t *sums, uint32_t state, int8_t *w) {
  while (1) {
    const uint32_t next = insitu_draw(state);
    const uint32_t bits = rest == 0 ? state : state << (8 * rest) | next >> (32 - 8 * rest);
    insitu_step_part(insitu_min(count, INSITU_CHANNELS), multiplier, sums, bits, w);
    if (count <= INSITU_CHANNELS)
      return state;
    state = next;
    count -= INSITU_CHANNELS, sums += INSITU_NEXT_GROUP, w += INSITU_CHANNELS;
  }
}

/* Steps of some lines of a row, from its element k on; groups have draws of their own. */
static __attribute__((noinline)) void step_lines(const insitu_conv_gradient_t *block,
                                                 int32_t multiplier, const int32_t *sums,
                                                 uint32_t state, int8_t *w) {
  const int32_t groups = block->groups, line = block->p.kernel_width * block->p.in_channels;
  int32_t ahead = block->element / 4;
  w += block->element;
  for (int32_t left = block->p.kernel_height; left > 0;
       left--, w += line, sums += groups * INSITU_NEXT_GROUP) {
    state = insitu_draw_ahead(state, ahead);
    state = insitu_step_groups(groups, multiplier, sums, state, w);
    ahead = line / 4 - groups;
  }
}

/* The same where they have not. */
static void step_odd_lines(const insitu_conv_gradient_t *block, int32_t multiplier,
                           const int32_t *sums, uint32_t state, int8_t *w) {
  const int32_t groups = block->groups, line = block->p.kernel_width * block->p.in_channels;
  const int32_t count = insitu_min(line - block->element, groups * INSITU_CHANNELS);
  int32_t drawn = 0, k = block->element;
  for (int32_t ky = 0; ky < block->p.kernel_height;
       ky++, k += line, sums += groups * INSITU_NEXT_GROUP) {
    state = insitu_draw_ahead(state, k / 4 + 1 - drawn);
    state = step_odd_groups(count, k % 4, multiplier, sums, state, w + k);
    drawn = k / 4 + groups;
  }
}

/* w[row] -= the step of the block's elements of row r. */
static void step_block_row(const insitu_conv_gradient_t *block, int32_t r, int8_t *w) {
  const int32_t multiplier = block->multiplier[block->row + r];
  const uint32_t state = block->state[block->row + r];
  const int32_t *const sums = block_sums(block, r, 0);
  if (block->p.kernel_width * block->p.in_channels % 4 == 0)
    step_lines(block, multiplier, sums, state, w);
  else
    step_odd_lines(block, multiplier, sums, state, w);
}

static int32_t update_rows(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                           const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                           const float *row_scale, const float *rate, void *scratch,
                           uint32_t *generator, int32_t *bias, int8_t *w) {
  const float factor = insitu_step_factor(rate[0], dy_q->scale, x_q->scale, 4294967296.0f);
  const int32_t row = row_size(p);
  int32_t *gradient = scratch;
  int32_t saturated = 0;
  uint32_t state = *generator;
  for (int32_t o = 0; o < p->out_channels; o++, w += row) {
    int32_t errors;
    if (!insitu_conv_row_gradient(p, x_q->zero_point, dy, x, o, gradient, &errors))
      continue;
    const int32_t multiplier =
        insitu_round_clamp(insitu_divide(factor, row_scale[o]), 0, INT32_MAX);
    saturated += multiplier == INT32_MAX;
    for (int32_t k = 0; k < row; k += 4) {
      state = insitu_draw(state);
      insitu_step_part(insitu_min(row - k, 4), multiplier, gradient + k, state, w + k);
    }
    bias[o] = insitu_update_bias(bias[o], errors, rate[0], dy_q->scale);
  }
  *generator = state;
  return saturated;
}

int32_t insitu_conv_update_s8(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                              const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                              const float *row_scale, const float *rate, void *scratch,
                              uint32_t *generator, int32_t *bias, int8_t *w) {
  const int32_t row = row_size(p);
  if (p->tile_width == 0)
    return update_rows(p, dy_q, x_q, dy, x, row_scale, rate, scratch, generator, bias, w);
  insitu_conv_gradient_t block = insitu_begin_gradient(p, x_q->zero_point, dy, x, scratch);
  if (block.sparse)
    return update_rows(p, dy_q, x_q, dy, x, row_scale, rate, scratch, generator, bias, w);
  const float factor = insitu_step_factor(rate[0], dy_q->scale, x_q->scale, 4294967296.0f);
  const int32_t saturated = begin_rows(&block, factor, row_scale, generator);
  while (insitu_next_block(&block)) {
    for (int32_t r = 0; r < block.rows; r++) {
      const int32_t o = block.list[block.row + r];
      step_block_row(&block, r, w + o * row);
      if (block.element == 0)
        bias[o] = insitu_update_bias(bias[o], block.total[r], rate[0], dy_q->scale);
    }
  }
  return saturated;
}
