/* Input gradient of a convolution by tiles. Twin of the shapes: insitu/ops/kernels/tiles.py.
 *
 * A transposed convolution is a convolution of stride 1 for each phase of the stride
 * (insitu_conv_phase.h). Channels of dy that are zero everywhere are left out. */
#include <string.h>

#include "insitu_conv_phase.h"
#include "insitu_conv_span.h"

#if !defined(INSITU_SCALAR)

/* Instructions of an error taken by itself, and of its product with a weight there and in a tile.
 */
enum { SPARSE_ERROR = 44, SPARSE_MAC = 3, DENSE_MAC = 2 };

typedef struct {
  const insitu_conv_params_t *p;
  const int8_t *dy, *w;
  int32_t drop;
  int32_t nonzero, channels; /* channels of dy that are not zero, and the same made even */
  const int16_t *list;       /* [nonzero] */
  const int32_t *begin;      /* [nonzero], of their weights */
  const uint16_t *rel;
  insitu_conv_reach_t down, across;
  insitu_conv_line_t line;
  int16_t *weights, *lines;
  int32_t *factor; /* [nonzero] */
  int8_t *errors;  /* [nonzero] of a position; both stand where the weights are, before these */
} insitu_conv_grad_t;

/* e' of one position to where it belongs in one or both streams. */
static void expand_position(const insitu_conv_grad_t *grad, const int8_t *dy, int16_t *to,
                            int16_t *other) {
  if (grad->nonzero < grad->p->out_channels) {
    for (int32_t k = 0; k < grad->nonzero; k++)
      grad->errors[k] = dy[grad->list[k]];
    dy = grad->errors;
  }
  insitu_expand_errors(grad->nonzero, grad->drop, dy, grad->factor, to, other);
  if (grad->nonzero < grad->channels) {
    const int32_t k = grad->nonzero;
    to[(k / 2) * 4 + 1] = other[(k / 2) * 4 + 1] = 0;
  }
}

/* One line of expanded errors from column ox on; outside the map they are 0. */
static void expand_error_line(const insitu_conv_grad_t *grad, int32_t oy, int32_t ox,
                              int16_t *line) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t channels = grad->channels;
  const int32_t alone = grad->across.span == 1; /* a position belongs to one stream only */
  const int32_t columns = grad->line.size / channels * (alone ? 2 : 1);
  if (oy < 0 || oy >= p->out_height) {
    memset(line, 0, (size_t)(2 * grad->line.size) * sizeof *line);
    return;
  }
  for (int32_t k = 0; k < columns + (alone ? 0 : 1); k++, ox++) {
    int16_t *to, *other;
    if (alone) {
      to = other = line + (k / 2) * channels * 2 + k % 2 * 2;
    } else {
      other = line + (k - 1) * channels * 2 + 2;
      to = k < columns ? line + k * channels * 2 : other;
      other = k > 0 ? other : to;
    }
    if (ox >= 0 && ox < p->out_width) {
      expand_position(grad, grad->dy + (oy * p->out_width + ox) * p->out_channels, to, other);
      continue;
    }
    for (int32_t c = 0; c < 2 * channels; c += 4)
      to[c] = to[c + 1] = other[c] = other[c + 1] = 0;
  }
}

/* to[ty, tx, k, i] = w[begin[k] + (ky, kx, i)] for the places of a phase, i < 4 of which those from
 * `count` on are 0; w begins at the first of these i. */
static void pack_phase(const insitu_conv_grad_t *grad, const insitu_conv_phase_t *down,
                       const insitu_conv_phase_t *across, const int8_t *w, int32_t count,
                       int16_t *to) {
  const insitu_conv_params_t *p = grad->p;
  for (int32_t ty = down->places - 1; ty >= 0; ty--) {
    const int32_t ky = down->first + ty * p->stride_height;
    for (int32_t tx = across->places - 1; tx >= 0; tx--) {
      const int32_t kx = across->first + tx * p->stride_width;
      const int8_t *const place = w + (ky * p->kernel_width + kx) * p->in_channels;
      insitu_pack_pairs(grad->nonzero, count, grad->begin, place, to);
      to += grad->channels * INSITU_CHANNELS;
    }
  }
}

/* dx of up to `rows` x `columns` positions of each phase, from the m-th and n-th on. */
static void grad_phases(const insitu_conv_grad_t *grad, insitu_conv_tile_t *tile, int32_t m,
                        int32_t n, int32_t i, int8_t *dx) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t height = p->stride_height, width = p->stride_width;
  tile->channels = insitu_min(p->in_channels - i, INSITU_CHANNELS);
  for (int32_t y = 0; y < height; y++) {
    const insitu_conv_phase_t down = phase_of(y, p->pad_top, p->kernel_height, height);
    tile->rows = insitu_min(ceil_div(p->in_height - y, height) - m, p->tile_height);
    for (int32_t x = 0; x < width; x++) {
      const insitu_conv_phase_t across = phase_of(x, p->pad_left, p->kernel_width, width);
      const int32_t pairs = across.places * grad->channels / 2;
      tile->columns = insitu_min(ceil_div(p->in_width - x, width) - n, p->tile_width);
      if (tile->rows <= 0 || tile->columns <= 0 || down.places == 0 || across.places == 0)
        continue;
      pack_phase(grad, &down, &across, grad->w + i, tile->channels, grad->weights);
      tile->block =
          insitu_block(pairs, down.places, 2 * grad->line.size - 4 * pairs, 0, tile->start);
      insitu_conv_tile(tile,
                       grad->lines + (down.low - grad->down.low) * 2 * grad->line.size +
                           (across.low - grad->across.low) * 2 * grad->channels,
                       grad->weights,
                       dx + ((y + height * m) * p->in_width + x + width * n) * p->in_channels + i);
    }
  }
}

/* All of dx, by tiles of positions of a phase. */
static void grad_tiles(const insitu_conv_grad_t *grad, insitu_conv_tile_t *tile, int8_t *dx) {
  const insitu_conv_params_t *p = grad->p;
  const int32_t rows = ceil_div(p->in_height, p->stride_height);
  const int32_t columns = ceil_div(p->in_width, p->stride_width);
  for (int32_t m = 0; m < rows; m += p->tile_height) {
    const int32_t lines = insitu_min(rows - m, p->tile_height) - 1 + grad->down.span;
    for (int32_t n = 0; n < columns; n += p->tile_width) {
      for (int32_t k = 0; k < grad->nonzero; k++)
        grad->factor[k] = insitu_error_factor(grad->rel[grad->list[k]], grad->drop);
      for (int32_t k = 0; k < lines; k++) {
        expand_error_line(grad, m + grad->down.low + k, n + grad->across.low,
                          grad->lines + k * 2 * grad->line.size);
      }
      for (int32_t i = 0; i < p->in_channels; i += INSITU_CHANNELS)
        grad_phases(grad, tile, m, n, i, dx);
    }
  }
}

int32_t insitu_conv_grad_input_tiles(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                                     const int8_t *w, const uint16_t *rel, void *scratch,
                                     int8_t *dx) {
  const insitu_conv_params_t flat = flatten_1x1(&g->shape), *const p = &flat;
  const int32_t positions = p->out_height * p->out_width, most = p->out_channels;
  const int32_t places =
      ceil_div(p->kernel_height, p->stride_height) * ceil_div(p->kernel_width, p->stride_width);
  int32_t *const begin = scratch;
  int16_t *const weights = (int16_t *)(begin + most);
  int16_t *const list = weights + places * (most + most % 2) * INSITU_CHANNELS;
  int16_t *const lines = list + most + most % 2;
  insitu_conv_grad_t grad = {.p = p,
                             .dy = dy,
                             .w = w,
                             .rel = rel,
                             .drop = g->drop,
                             .list = list,
                             .begin = begin,
                             .weights = weights,
                             .lines = lines,
                             .factor = (int32_t *)(void *)weights};
  if (p->tile_height * p->tile_width < INSITU_FEW)
    return 0;
  /* the flags are used up before the weights are written, and stand in their place */
  const int32_t share =
      insitu_find_nonzero(positions, most, dy, (int8_t *)weights, list, &grad.nonzero);
  if (share * (SPARSE_ERROR + SPARSE_MAC * p->in_channels) <
      INSITU_ALL * DENSE_MAC * p->in_channels)
    return 0;
  if (grad.nonzero == 0 || p->kernel_height < p->stride_height || p->kernel_width < p->stride_width)
    memset(dx, 0, (size_t)(p->in_height * p->in_width * p->in_channels));
  if (grad.nonzero == 0)
    return 1;
  for (int32_t k = 0; k < grad.nonzero; k++)
    begin[k] = list[k] * row_size(p);
  grad.errors = (int8_t *)(grad.factor + grad.nonzero);
  grad.channels = grad.nonzero + grad.nonzero % 2;
  grad.down = reach_of(p->pad_top, p->kernel_height, p->stride_height);
  grad.across = reach_of(p->pad_left, p->kernel_width, p->stride_width);
  grad.line = layout_line(p->tile_width, grad.across.span * grad.channels, grad.channels);
  insitu_conv_tile_t tile = {
      .errors = 1,
      .row_a = 2 * grad.line.size,
      .pair_a = 2 * grad.line.pitch,
      .row_y = p->stride_height * p->in_width * p->in_channels,
      .column_y = p->stride_width * p->in_channels,
  };
  tile.output = insitu_output(g->shift, 0, -127, 127);
  for (int32_t j = 0; j < INSITU_CHANNELS; j++)
    tile.output.multiplier[j] = g->multiplier;
  grad_tiles(&grad, &tile, dx);
  return 1;
}

#endif
