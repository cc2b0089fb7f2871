/* Input gradient of a convolution with the 1x4 microkernels of ARMv6-M. Counterpart of
 * conv_grad_input_tiled.c. */
#include <string.h>

#include "insitu_conv_phase.h"
#include "insitu_conv_armv6m.h"
#include "insitu_conv_span.h"

#if defined(INSITU_SCALAR)

/* Instructions of an error taken by itself, and of its product with a weight there and in a tile.
 */
enum { SPARSE_ERROR = 60, SPARSE_MAC = 5, DENSE_MAC = 3 };

enum { ERROR_OFFSET = 1 << 14 }; /* |e'| < 2^14, see insitu_expand_error */

typedef struct {
  const insitu_conv_params_t *p;
  const int8_t *dy, *w;
  int32_t drop, nonzero;
  const int16_t *list;   /* [nonzero] channels of dy that are not zero */
  const int32_t *begin;  /* [nonzero] of their weights */
  const int32_t *factor; /* [nonzero] */
  insitu_conv_reach_t down, across;
} insitu_scalar_grad_t;

/* e' + ERROR_OFFSET of one position. */
static void offset_position(const insitu_scalar_grad_t *grad, const int8_t *dy, uint16_t *to) {
  const int32_t shift = 8 + grad->drop;
  const int32_t offset = (ERROR_OFFSET << shift) + (1 << (shift - 1));
  if (grad->nonzero == grad->p->out_channels) {
    insitu_offset_errors(grad->nonzero, dy, grad->factor, shift, offset, to);
    return;
  }
  for (int32_t k = 0; k < grad->nonzero; k++)
    to[k] = (uint16_t)((dy[grad->list[k]] * grad->factor[k] + offset) >> shift);
}

/* One line of errors from column ox on; outside the map they are 0. */
static void offset_error_line(const insitu_scalar_grad_t *grad, int32_t columns, int32_t oy,
                              int32_t ox, uint16_t *to) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t on = oy >= 0 && oy < p->out_height;
  for (int32_t n = 0; n < columns; n++, ox++, to += grad->nonzero) {
    if (on && ox >= 0 && ox < p->out_width) {
      offset_position(grad, grad->dy + (oy * p->out_width + ox) * p->out_channels, to);
      continue;
    }
    for (int32_t k = 0; k < grad->nonzero; k++)
      to[k] = ERROR_OFFSET;
  }
}

/* insitu_widen_fours of `count` channels; the others are 0. */
static void widen_some(int32_t count, const int32_t *begin, int32_t size, const int8_t *w,
                       int32_t *to, int32_t *total) {
  for (int32_t k = 0; k < size; k++) {
    for (int32_t i = 0; i < INSITU_CHANNELS; i++)
      total[i] += *to++ = i < count ? w[begin[k] + i] : 0;
  }
}

/* b of a part of a phase: the window's places, the last first; w begins at the first channel. */
static void widen_phase(const insitu_scalar_grad_t *grad, insitu_scalar_tile_t *tile,
                        const insitu_scalar_part_t *part, const insitu_conv_phase_t *down,
                        const insitu_conv_phase_t *across, const int8_t *w) {
  const insitu_conv_params_t *p = grad->p;
  int32_t *to = tile->b, total[INSITU_CHANNELS] = {0};
  for (int32_t line = part->line; line < part->line + part->lines; line++) {
    const int32_t ky = down->first + (down->places - 1 - line) * p->stride_height;
    int32_t left = part->terms, tx = across->places - 1 - part->term / grad->nonzero;
    int32_t k = part->term % grad->nonzero;
    for (; left > 0; tx--, k = 0) {
      const int32_t kx = across->first + tx * p->stride_width;
      const int32_t size = insitu_min(grad->nonzero - k, left), *const begin = grad->begin + k;
      const int8_t *const place = w + (ky * p->kernel_width + kx) * p->in_channels;
      if (tile->channels == INSITU_CHANNELS) {
        insitu_widen_fours(begin, size, place, to, total);
      } else {
        widen_some(tile->channels, begin, size, place, to, total);
      }
      to += INSITU_CHANNELS * size;
      left -= size;
    }
    for (int32_t n = part->terms; n % 4 != 0; n++, to += INSITU_CHANNELS)
      memset(to, 0, INSITU_CHANNELS * sizeof *to);
  }
  for (int32_t i = 0; i < INSITU_CHANNELS; i++) {
    const uint32_t offset = (uint32_t)total[i] * (uint32_t)ERROR_OFFSET; /* modulo 2^32 */
    tile->offset[i] = (int32_t)((uint32_t)tile->offset[i] - offset);
  }
}

/* Four channels of dx of up to rows x columns positions of a phase. */
static void scalar_phase(const insitu_scalar_grad_t *grad, insitu_scalar_tile_t *tile,
                         const insitu_conv_phase_t *down, const insitu_conv_phase_t *across,
                         int32_t i, int8_t *dx) {
  const uint8_t *const a = tile->a + (down->low - grad->down.low) * tile->pitch +
                           (across->low - grad->across.low) * tile->column_a;
  insitu_scalar_part_t part = {0, 0, 0, 0, 0};
  tile->lines = down->places;
  tile->width = across->places * grad->nonzero;
  tile->channels = insitu_min(grad->p->in_channels - i, INSITU_CHANNELS);
  memset(tile->offset, 0, sizeof tile->offset);
  while (insitu_next_part(tile, &part)) {
    widen_phase(grad, tile, &part, down, across, grad->w + i);
    insitu_multiply_part(tile, &part, a, dx + i);
  }
}

/* dx of `rows` x `columns` positions of each phase, from the m-th and n-th on. */
static void scalar_phases(const insitu_scalar_grad_t *grad, const insitu_scalar_tile_t *all,
                          int32_t m, int32_t n, int8_t *dx) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t height = p->stride_height, width = p->stride_width;
  insitu_scalar_tile_t tile = *all;
  for (int32_t y = 0; y < height; y++) {
    const insitu_conv_phase_t down = phase_of(y, p->pad_top, p->kernel_height, height);
    tile.rows = insitu_min(ceil_div(p->in_height - y, height) - m, all->rows);
    for (int32_t x = 0; x < width; x++) {
      const insitu_conv_phase_t across = phase_of(x, p->pad_left, p->kernel_width, width);
      int8_t *const to = dx + ((y + height * m) * p->in_width + x + width * n) * p->in_channels;
      tile.columns = insitu_min(ceil_div(p->in_width - x, width) - n, all->columns);
      if (tile.rows <= 0 || tile.columns <= 0 || down.places == 0 || across.places == 0)
        continue;
      for (int32_t i = 0; i < p->in_channels; i += INSITU_CHANNELS)
        scalar_phase(grad, &tile, &down, &across, i, to);
    }
  }
}

static void scalar_tiles(const insitu_scalar_grad_t *grad, const insitu_scalar_tile_t *tile,
                         int8_t *dx) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t rows = ceil_div(p->in_height, p->stride_height);
  const int32_t columns = ceil_div(p->in_width, p->stride_width);
  for (int32_t m = 0; m < rows; m += tile->rows) {
    const int32_t lines = insitu_min(rows - m, tile->rows) - 1 + grad->down.span;
    for (int32_t n = 0; n < columns; n += tile->columns) {
      const int32_t errors = insitu_min(columns - n, tile->columns) - 1 + grad->across.span;
      uint8_t *to = tile->a;
      for (int32_t k = 0; k < lines; k++, to += tile->pitch)
        offset_error_line(grad, errors, m + grad->down.low + k, n + grad->across.low,
                          (uint16_t *)(void *)to);
      scalar_phases(grad, tile, m, n, dx);
    }
  }
}

/* The rows of weights that count, and the largest tile in what is left of the scratch. */
static int32_t begin_tiles(const insitu_conv_grad_input_params_t *g, insitu_scalar_grad_t *grad,
                           insitu_scalar_tile_t *tile, const uint16_t *rel, int32_t *factor) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t most = p->out_channels, list_words = (most + 1) / 2;
  int32_t *const begin = factor + most;
  for (int32_t k = 0; k < grad->nonzero; k++) {
    factor[k] = rel[grad->list[k]];
    begin[k] = grad->list[k] * row_size(p);
  }
  grad->factor = factor;
  grad->begin = begin;
  grad->down = reach_of(p->pad_top, p->kernel_height, p->stride_height);
  grad->across = reach_of(p->pad_left, p->kernel_width, p->stride_width);
  const insitu_scalar_output_t output = {g->multiplier, 0, g->shift, 0, -127, 127, 0, 0, 0};
  tile->output = output;
  tile->output.step = p->stride_width * p->in_channels;
  for (int32_t j = 0; j < INSITU_CHANNELS; j++)
    tile->multiplier[j] = g->multiplier;
  tile->element = 2;
  tile->lines = grad->down.span;
  tile->width = grad->across.span * grad->nonzero;
  tile->column_a = 2 * grad->nonzero;
  tile->row_y = p->stride_height * p->in_width * p->in_channels;
  return insitu_fit_tile(tile, ceil_div(p->in_height, p->stride_height),
                         ceil_div(p->in_width, p->stride_width), 1, begin + most + list_words,
                         p->tile_bytes - 4 * (2 * most + list_words));
}

int32_t insitu_conv_grad_input_tiles(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                                     const int8_t *w, const uint16_t *rel, void *scratch,
                                     int8_t *dx) {
  const insitu_conv_params_t flat = flatten_1x1(&g->shape), *const p = &flat;
  const int32_t positions = p->out_height * p->out_width, most = p->out_channels;
  int16_t *const list = (int16_t *)((int32_t *)scratch + 2 * most);
  insitu_scalar_grad_t grad = {.p = p, .dy = dy, .w = w, .drop = g->drop, .list = list};
  insitu_scalar_tile_t tile;
  /* the flags are used up before the factors are written, and stand in their place */
  const int32_t share = insitu_find_nonzero(positions, most, dy, scratch, list, &grad.nonzero);
  if (share * (SPARSE_ERROR + SPARSE_MAC * p->in_channels) <
      INSITU_ALL * DENSE_MAC * p->in_channels)
    return 0;
  if (grad.nonzero == 0 || p->kernel_height < p->stride_height || p->kernel_width < p->stride_width)
    memset(dx, 0, (size_t)(p->in_height * p->in_width * p->in_channels));
  if (grad.nonzero == 0)
    return 1;
  if (!begin_tiles(g, &grad, &tile, rel, scratch))
    return 0;
  scalar_tiles(&grad, &tile, dx);
  return 1;
}

#endif
