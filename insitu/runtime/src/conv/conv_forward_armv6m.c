/* Convolution by tiles with the 1x4 microkernels of ARMv6-M. Counterpart of conv_forward_tiled.c.
 */
#include <string.h>

#include "insitu_conv_armv6m.h"
#include "insitu_conv_span.h"

#if defined(INSITU_SCALAR)

enum { FOUR = INSITU_CHANNELS * (int)sizeof(int32_t), BATCH = 32, LEAST_TERMS = 64 };

/* `size` in parts of up to `most`, as even as they can be. */
static int32_t even_part(int32_t size, int32_t most) {
  return most >= size ? size : ceil_div(size, ceil_div(size, most));
}

int32_t insitu_fit_tile(insitu_scalar_tile_t *tile, int32_t height, int32_t width, int32_t down,
                        void *memory, int32_t bytes) {
  const int32_t window = by_fours(tile->width), all = tile->lines * window;
  const int32_t packed = tile->element == 1, words = packed ? INSITU_PACKED : INSITU_CHANNELS;
  const int32_t capacity = insitu_max(bytes / (3 * FOUR) & ~3, LEAST_TERMS);
  tile->most = insitu_min(all, packed ? insitu_min(capacity, INSITU_MOST_PACKED) : capacity);
  const int32_t alone = tile->most == all, line = window * tile->element + 3;
  const int32_t batch = alone ? insitu_min(width, BATCH) : 0;
  const int32_t room = bytes - FOUR * batch - 4 * words * tile->most;
  const int32_t each = tile->lines * tile->column_a + (alone ? 0 : FOUR);
  const int32_t columns = (room - tile->lines * (line - tile->column_a)) / each;
  if (columns < 1)
    return 0;
  tile->columns = even_part(width, columns);
  tile->pitch = by_fours((tile->columns - 1) * tile->column_a + window * tile->element);
  const int32_t rows = (room - (tile->lines - down) * tile->pitch) /
                       (down * tile->pitch + (alone ? 0 : FOUR * tile->columns));
  if (rows < 1)
    return 0;
  tile->rows = even_part(height, rows);
  tile->row_a = down * tile->pitch;
  tile->batch = batch;
  tile->b = memory;
  tile->sum = tile->b + words * tile->most;
  tile->a = (uint8_t *)(tile->sum + INSITU_CHANNELS * (batch ? batch : tile->rows * tile->columns));
  return 1;
}

int32_t insitu_next_part(const insitu_scalar_tile_t *tile, insitu_scalar_part_t *part) {
  const int32_t window = by_fours(tile->width);
  if (part->last)
    return 0;
  part->term += part->terms;
  if (part->term >= tile->width) {
    part->term = 0;
    part->line += part->lines;
  }
  if (window <= tile->most) {
    part->lines = insitu_min(tile->lines - part->line, tile->most / window);
    part->terms = tile->width;
  } else {
    part->lines = 1;
    part->terms = insitu_min(tile->width - part->term, tile->most);
  }
  part->last = part->line + part->lines == tile->lines && part->term + part->terms == tile->width;
  return 1;
}

/* y of positions beside each other, all channels. */
static void epilogue_positions(insitu_scalar_tile_t *tile, int32_t count, const int32_t *sum,
                               int8_t *y) {
  for (int32_t j = 0; j < tile->channels; j++) {
    tile->output.multiplier = tile->multiplier[j];
    tile->output.offset = tile->offset[j];
    insitu_epilogue_channel(&tile->output, count, sum + j, y + j);
  }
}

void insitu_multiply_part(insitu_scalar_tile_t *tile, const insitu_scalar_part_t *part,
                          const uint8_t *a, int8_t *y) {
  const int32_t terms = by_fours(part->terms);
  const int32_t batch = tile->batch ? tile->batch : tile->columns;
  insitu_microkernel_1x4_t micro = {.terms = terms,
                                    .lines = part->lines,
                                    .skip = tile->pitch - terms * tile->element,
                                    .step = tile->column_a,
                                    .sum_step = FOUR,
                                    .fresh = part->line == 0 && part->term == 0};
  int32_t *sum = tile->sum;
  a += part->line * tile->pitch + part->term * tile->element;
  for (int32_t row = 0; row < tile->rows; row++, a += tile->row_a, y += tile->row_y) {
    for (int32_t n = 0; n < tile->columns; n += batch) {
      const uint8_t *const from = a + n * tile->column_a;
      micro.count = insitu_min(tile->columns - n, batch);
      if (tile->element == 1) {
        insitu_microkernel_1x4_u8(&micro, from, tile->b, sum);
      } else {
        insitu_microkernel_1x4_u16(&micro, (const uint16_t *)(const void *)from, tile->b, sum);
      }
      if (part->last)
        epilogue_positions(tile, micro.count, sum, y + n * tile->output.step);
      if (!tile->batch)
        sum += INSITU_CHANNELS * micro.count;
    }
  }
}

/* What the tile's positions from [oy, ox] on look at, plus 128. */
static void offset_lines(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                         const insitu_scalar_tile_t *tile, int32_t oy, int32_t ox) {
  const int32_t limit = p->in_width * p->in_channels;
  const int32_t down = insitu_min(p->stride_height, p->kernel_height);
  const int32_t start = (ox * p->stride_width - p->pad_left) * p->in_channels;
  const int32_t size = (tile->columns - 1) * tile->column_a + tile->width;
  const int32_t first = insitu_clamp(-start, 0, size);
  const int32_t end = insitu_clamp(limit - start, first, size);
  uint8_t *to = tile->a;
  for (int32_t row = 0; row < tile->rows; row++) {
    const int32_t lines = row == tile->rows - 1 ? p->kernel_height : down;
    for (int32_t k = 0; k < lines; k++, to += tile->pitch) {
      const int32_t iy = (oy + row) * p->stride_height - p->pad_top + k;
      const int32_t on = iy >= 0 && iy < p->in_height;
      memset(to, layer->zero + 128, (size_t)(on ? first : size));
      if (!on)
        continue;
      insitu_offset_bytes(end - first, layer->x + iy * limit + start + first, to + first);
      memset(to + end, layer->zero + 128, (size_t)(size - end));
    }
  }
}

/* b of a part of four channels from o on, and what it puts into their offsets. Channels that are
 * not there are as the first, and nobody reads their sums. */
static void pack_channels(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                          insitu_scalar_tile_t *tile, const insitu_scalar_part_t *part, int32_t o) {
  const int32_t row = row_size(p), pad = INSITU_PACKED * (-part->terms & 3);
  insitu_scalar_fours_t fours = {part->terms, 1, {0, 0, 0}, {0, 0, 0}};
  const int8_t *w = layer->w + o * row + part->line * tile->width + part->term;
  int32_t *to = tile->b, total[INSITU_CHANNELS] = {0};
  for (int32_t j = 1; j < tile->channels; j++)
    fours.lane[j - 1] = j * row;
  for (int32_t line = 0; line < part->lines; line++, w += tile->width) {
    to = insitu_pack_fours(&fours, w, to);
    for (int32_t k = 0; k < pad; k++)
      *to++ = 0;
  }
  if (layer->zero == -128)
    return;
  insitu_sum_fours((int32_t)(to - tile->b) / INSITU_PACKED, tile->b, total);
  for (int32_t j = 0; j < tile->channels; j++)
    tile->offset[j] -= (layer->zero + 128) * total[j];
}

static void conv_scalar_tile(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                             insitu_scalar_tile_t *tile, int8_t *y) {
  for (int32_t o = 0; o < p->out_channels; o += INSITU_CHANNELS) {
    insitu_scalar_part_t part = {0, 0, 0, 0, 0};
    tile->channels = insitu_min(p->out_channels - o, INSITU_CHANNELS);
    for (int32_t j = 0; j < tile->channels; j++) {
      tile->offset[j] = layer->bias[o + j];
      tile->multiplier[j] = layer->multiplier[o + j];
    }
    while (insitu_next_part(tile, &part)) {
      pack_channels(p, layer, tile, &part, o);
      insitu_multiply_part(tile, &part, tile->a, y + o);
    }
  }
}

int32_t insitu_conv_tiles(const insitu_conv_params_t *shape, const insitu_conv_layer_t *layer,
                          void *scratch, int8_t *y, int32_t *observed) {
  const insitu_conv_params_t flat = flatten_1x1(shape), *const p = &flat;
  const int32_t down = insitu_min(p->stride_height, p->kernel_height);
  const insitu_qparams_t *const q = layer->y_q;
  insitu_scalar_tile_t tile = {.element = 1,
                               .lines = p->kernel_height,
                               .width = p->kernel_width * p->in_channels,
                               .column_a = p->stride_width * p->in_channels,
                               .row_y = p->out_width * p->out_channels};
  if (!insitu_fit_tile(&tile, p->out_height, p->out_width, down, scratch, p->tile_bytes))
    return 0;
  tile.output = (insitu_scalar_output_t){0, 0, layer->shift[0], q->zero_point, 0, 0, 0, 0, 0};
  tile.output.low = q->clamp_min - q->zero_point;
  tile.output.high = q->clamp_max - q->zero_point;
  tile.output.step = p->out_channels;
  const int32_t rows = tile.rows, columns = tile.columns;
  for (int32_t oy = 0; oy < p->out_height; oy += rows) {
    tile.rows = insitu_min(p->out_height - oy, rows);
    for (int32_t ox = 0; ox < p->out_width; ox += columns) {
      tile.columns = insitu_min(p->out_width - ox, columns);
      offset_lines(p, layer, &tile, oy, ox);
      conv_scalar_tile(p, layer, &tile, y + (oy * p->out_width + ox) * p->out_channels);
    }
  }
  if (observed) {
    observed[0] = tile.output.lowest;
    observed[1] = tile.output.highest;
  }
  return 1;
}

#endif
