/* Convolution by tiles: the input packed in lines, then four output channels after four.
 * Twin of the shapes: insitu/ops/kernels/tiles.py. */
#include <string.h>

#include "insitu_conv_tile.h"
#include "insitu_conv_span.h"

#if !defined(INSITU_SCALAR)

/* One element of a line's streams; see insitu_conv_microkernels.h. */
static inline int16_t *at(int16_t *to, int32_t k) { return to + (k / 2) * 4 + k % 2; }

/* to[k] = x[start + k] - zero, k < size, and 0 outside of x[0 .. limit]. */
static void expand_span(int32_t zero, const int8_t *x, int32_t limit, int32_t start, int32_t size,
                        int16_t *to) {
  const int32_t end = insitu_clamp(limit - start, 0, size);
  int32_t k = 0;
  for (; k < size && k < -start; k++)
    *at(to, k) = 0;
  if (k % 2 == 1 && k < end) {
    *at(to, k) = (int16_t)(x[start + k] - zero);
    k++;
  }
  if (k < end) {
    insitu_centre_pairs(end - k, zero, x + start + k, at(to, k));
    k = end;
  }
  for (; k < size; k++)
    *at(to, k) = 0;
}

/* The part of a layer's input that `rows` x `columns` positions from [oy, ox] on look at. */
static void expand_lines(const insitu_conv_params_t *p, int32_t zero, const int8_t *x,
                         const insitu_conv_line_t *line, int32_t oy, int32_t ox, int32_t rows,
                         int32_t columns, int16_t *to) {
  const int32_t limit = p->in_width * p->in_channels;
  const int32_t step = p->stride_width * p->in_channels;
  const int32_t start = (ox * p->stride_width - p->pad_left) * p->in_channels;
  const int32_t down = insitu_min(p->stride_height, p->kernel_height);
  const int32_t size = line->shared ? line->size : line->pitch;
  for (int32_t k = 0; k < (rows - 1) * down + p->kernel_height; k++, to += 2 * line->size) {
    const int32_t row = insitu_min(k / down, rows - 1);
    const int32_t iy = (oy + row) * p->stride_height - p->pad_top + k - row * down;
    if (iy < 0 || iy >= p->in_height) {
      memset(to, 0, (size_t)(2 * line->size) * sizeof *to);
      continue;
    }
    for (int32_t n = 0; n < (line->shared ? 1 : columns); n += 2) {
      int16_t *const pair = to + n * line->pitch;
      const int32_t from = start + n * step;
      expand_span(zero, x + iy * limit, limit, from, size, pair);
      expand_span(zero, x + iy * limit, limit, from + step, size, pair + 2);
    }
  }
}

/* to[ky, k, j] = w[j, ky, k], channels j < 4 of which those from `channels` on are 0. */
static void pack_channels(const insitu_conv_params_t *p, const int8_t *w, int32_t channels,
                          int16_t *to) {
  const int32_t width = p->kernel_width * p->in_channels, row = p->kernel_height * width;
  const int32_t size = (width + width % 2) * INSITU_CHANNELS;
  if (channels < INSITU_CHANNELS || width % 2 == 1)
    memset(to, 0, (size_t)(p->kernel_height * size) * sizeof *to);
  for (int32_t ky = 0; ky < p->kernel_height; ky++, w += width, to += size) {
    if (channels == INSITU_CHANNELS) {
      insitu_pack_rows(width, row, w, to);
      continue;
    }
    for (int32_t j = 0; j < channels; j++) {
      for (int32_t k = 0; k < width; k++)
        to[(k / 2) * 8 + j * 2 + k % 2] = w[j * row + k];
    }
  }
}

/* All channels of y at the positions of a tile; `lines` holds what they look at. */
static void conv_channels(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                          insitu_conv_tile_t *tile, const int16_t *lines, int16_t *weights,
                          int8_t *y) {
  const int32_t row = row_size(p);
  for (int32_t o = 0; o < p->out_channels; o += INSITU_CHANNELS) {
    tile->channels = insitu_min(p->out_channels - o, INSITU_CHANNELS);
    for (int32_t j = 0; j < INSITU_CHANNELS; j++) {
      tile->start[j] = tile->start[INSITU_CHANNELS + j] =
          j < tile->channels ? layer->bias[o + j] : 0;
      tile->output.multiplier[j] = j < tile->channels ? layer->multiplier[o + j] : 0;
    }
    pack_channels(p, layer->w + o * row, tile->channels, weights);
    insitu_conv_tile(tile, lines, weights, y + o);
  }
}

int32_t insitu_conv_tiles(const insitu_conv_params_t *shape, const insitu_conv_layer_t *layer,
                          void *scratch, int8_t *y, int32_t *observed) {
  const insitu_conv_params_t flat = flatten_1x1(shape), *const p = &flat;
  const int32_t width = p->kernel_width * p->in_channels, pairs = (width + 1) / 2;
  const int32_t down = insitu_min(p->stride_height, p->kernel_height);
  const insitu_conv_line_t line =
      layout_line(p->tile_width, width, p->stride_width * p->in_channels);
  int16_t *const weights = scratch;
  int16_t *const lines = weights + p->kernel_height * pairs * 2 * INSITU_CHANNELS;
  insitu_conv_tile_t tile = {
      .block = insitu_block(pairs, p->kernel_height, 2 * line.size - 4 * pairs, 0, 0),
      .row_a = down * 2 * line.size,
      .pair_a = 2 * line.pitch,
      .row_y = p->out_width * p->out_channels,
      .column_y = p->out_channels,
  };
  tile.block.start = tile.start;
  const insitu_qparams_t *const q = layer->y_q;
  tile.output = insitu_output(layer->shift[0], q->zero_point, q->clamp_min, q->clamp_max);
  for (int32_t oy = 0; oy < p->out_height; oy += p->tile_height) {
    tile.rows = insitu_min(p->out_height - oy, p->tile_height);
    for (int32_t ox = 0; ox < p->out_width; ox += p->tile_width) {
      tile.columns = insitu_min(p->out_width - ox, p->tile_width);
      expand_lines(p, layer->zero, layer->x, &line, oy, ox, tile.rows, tile.columns, lines);
      conv_channels(p, layer, &tile, lines, weights,
                    y + (oy * p->out_width + ox) * p->out_channels);
    }
  }
  return !observed || insitu_observe(&tile.output, observed);
}

#endif
