/* Weight gradient of a convolution by blocks with the 1x4 microkernels of ARMv6-M. Counterpart of
 * conv_grad_weight_tiled.c.
 *
 * Four neighbouring elements of the windows' lines are packed for all positions of some rows, then
 * multiplied by the errors of each channel, which stay as they are. Lines of the map of one phase
 * (their residue modulo the stride) lie one behind the other, so that all positions of a tile are
 * one call of the microkernel. */
#include <string.h>

#include "insitu_conv_gradient.h"
#include "insitu_conv_armv6m.h"
#include "insitu_conv_span.h"

#if defined(INSITU_SCALAR)

enum { ROWS = 16 }; /* a block has at least as many, so that it pays to widen its inputs */

/* Rows of positions in work, and the lines of the map for each phase. */
typedef struct {
  int32_t oy, rows, lines;
} insitu_scalar_rows_t;

/* Lines of each phase for so many rows of positions. */
static int32_t lines_of_rows(const insitu_conv_params_t *p, int32_t rows) {
  return rows + (p->kernel_height - 1) / p->stride_height;
}

/* Four elements of a window at the edge of the map; 0 outside. */
static void pack_edge(int32_t zero, const int8_t *x, int32_t limit, int32_t first, int32_t *to) {
  uint32_t v[INSITU_CHANNELS];
  if (first <= -INSITU_CHANNELS || first >= limit) {
    for (int32_t j = 0; j < INSITU_PACKED; j++)
      to[j] = 0;
    return;
  }
  for (int32_t j = 0; j < INSITU_CHANNELS; j++)
    v[j] = first + j >= 0 && first + j < limit ? (uint32_t)(x[first + j] - zero) : 0;
  for (int32_t j = 0; j < INSITU_PACKED; j++)
    to[j] = (int32_t)(v[j] + (v[INSITU_PACKED] << (24 - 8 * j)));
}

/* Packed elements of the windows that begin in line x of the map, the first at x[first]. */
static void pack_windows(const insitu_conv_gradient_t *block, insitu_scalar_fours_t *fours,
                         const int8_t *x, int32_t first, int32_t *to) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t limit = p->in_width * p->in_channels, step = fours->step;
  for (int32_t n = 0; n < p->out_width;) {
    const int32_t room = limit - INSITU_CHANNELS - first; /* behind this four */
    if (first >= 0 && room >= 0) {
      fours->count = insitu_min(p->out_width - n, room / step + 1);
      to = insitu_pack_fours(fours, x + first, to);
      n += fours->count;
      first += fours->count * step;
    } else {
      pack_edge(block->zero, x, limit, first, to);
      n++;
      first += step;
      to += INSITU_PACKED;
    }
  }
}

/* b: [phase][line][position], elements e to e + 3 of the windows. */
static void pack_inputs(const insitu_conv_gradient_t *block, const insitu_scalar_rows_t *part,
                        int32_t e, int32_t *to) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t size = p->out_width * INSITU_PACKED;
  const uint32_t zero = (uint32_t)block->zero;
  insitu_scalar_fours_t fours = {0, p->stride_width * p->in_channels, {1, 2, 3}, {0, 0, 0}};
  for (int32_t j = 0; j < INSITU_PACKED; j++)
    fours.offset[j] = 0u - zero - (zero << (24 - 8 * j));
  for (int32_t phase = 0; phase < count_phases(p); phase++) {
    for (int32_t k = 0; k < part->lines; k++, to += size) {
      const int32_t iy = (part->oy + k) * p->stride_height + phase - p->pad_top;
      if (iy < 0 || iy >= p->in_height) {
        memset(to, 0, (size_t)size * sizeof *to);
      } else {
        pack_windows(block, &fours, block->x + iy * p->in_width * p->in_channels,
                     e - p->pad_left * p->in_channels, to);
      }
    }
  }
}

/* The sums of all rows of the block, line ky, one group (+)= errors b; neighbouring
 * rows in one call, INSITU_MOST_PACKED positions in each. */
static void multiply_rows(const insitu_conv_gradient_t *block, const insitu_scalar_rows_t *part,
                          int32_t first, const int32_t *b, int32_t *sum) {
  const insitu_conv_params_t *p = &block->p;
  const int16_t *const list = block->list + block->row;
  const int8_t *const dy = block->dy + (part->oy * p->out_width + first) * p->out_channels;
  const int32_t step = p->kernel_height * block->groups * INSITU_CHANNELS;
  insitu_microkernel_1x4_t micro = {
      .terms = insitu_min(part->rows * p->out_width - first, INSITU_MOST_PACKED),
      .lines = 1,
      .step = 1,
      .sum_step = step * (int32_t)sizeof *sum,
      .stride = p->out_channels,
      .fresh = part->oy == 0 && first == 0};
  for (int32_t r = 0; r < block->rows; r += micro.count) {
    micro.count = 1;
    while (r + micro.count < block->rows && list[r + micro.count] == list[r] + micro.count)
      micro.count++;
    insitu_microkernel_1x4_strided(&micro, dy + list[r], b + first * INSITU_PACKED, sum + r * step);
  }
}

/* total[r] = sum of the errors of row r */
static void sum_errors(const insitu_conv_gradient_t *block) {
  const insitu_conv_params_t *p = &block->p;
  for (int32_t r = 0; r < block->rows; r++) {
    const int8_t *e = block->dy + block->list[block->row + r];
    int32_t total = 0;
    for (int32_t left = p->out_height * p->out_width; left > 0; left--, e += p->out_channels)
      total += *e;
    block->total[r] = total;
  }
}

static void gradient_of_block(const insitu_conv_gradient_t *block) {
  const insitu_conv_params_t *p = &block->p;
  int32_t *const b = (int32_t *)(void *)block->inputs;
  insitu_scalar_rows_t part;
  for (part.oy = 0; part.oy < p->out_height; part.oy += p->tile_height) {
    part.rows = insitu_min(p->out_height - part.oy, p->tile_height);
    part.lines = lines_of_rows(p, part.rows);
    for (int32_t j = 0; j < block->groups; j++) {
      pack_inputs(block, &part, block->element + j * INSITU_CHANNELS, b);
      for (int32_t ky = 0; ky < p->kernel_height; ky++) {
        const int32_t line = ky % p->stride_height * part.lines + ky / p->stride_height;
        for (int32_t n = 0; n < part.rows * p->out_width; n += INSITU_MOST_PACKED)
          multiply_rows(block, &part, n, b + line * p->out_width * INSITU_PACKED,
                        block->sums + (ky * block->groups + j) * INSITU_CHANNELS);
      }
    }
  }
  if (block->element == 0)
    sum_errors(block);
}

int32_t insitu_next_block(insitu_conv_gradient_t *block) {
  const int32_t line = block->p.kernel_width * block->p.in_channels;
  block->row += block->p.tile_out;
  if (block->row >= block->nonzero) {
    block->row = 0;
    block->element += block->p.tile_in;
  }
  if (block->element >= line)
    return 0;
  block->rows = insitu_min(block->nonzero - block->row, block->p.tile_out);
  block->groups = (insitu_min(line - block->element, block->p.tile_in) + 3) / INSITU_CHANNELS;
  gradient_of_block(block);
  return 1;
}

/* Rows of positions, and rows and elements of a block, for so many bytes: of a block's inputs four
 * elements are in memory, of its sums all. Returns the bytes of the inputs, 0 where nothing fits.
 */
static int32_t fit_block(insitu_conv_params_t *p, int32_t nonzero, int32_t bytes) {
  const int32_t groups = (p->kernel_width * p->in_channels + 3) / INSITU_CHANNELS;
  const int32_t four = INSITU_CHANNELS * (int32_t)sizeof(int32_t);
  const int32_t least = insitu_min(nonzero, ROWS), wanted = p->kernel_height * four + 4;
  const int32_t line = p->out_width * count_phases(p) * INSITU_PACKED * (int32_t)sizeof(int32_t);
  int32_t rows = p->out_height, input_bytes;
  while ((input_bytes = line * lines_of_rows(p, rows)) + least * wanted > bytes) {
    if (rows == 1)
      return 0;
    rows = (rows + 1) / 2;
  }
  const int32_t cells = (bytes - input_bytes) / wanted, out = insitu_max(cells / groups, least);
  const int32_t blocks = (nonzero + out - 1) / out;
  p->tile_height = rows;
  p->tile_out = (nonzero + blocks - 1) / blocks;
  const int32_t beside = insitu_min(cells / p->tile_out, groups);
  const int32_t parts = (groups + beside - 1) / beside;
  p->tile_in = (groups + parts - 1) / parts * INSITU_CHANNELS;
  return input_bytes;
}

insitu_conv_gradient_t insitu_begin_gradient(const insitu_conv_params_t *shape, int32_t zero,
                                             const int8_t *dy, const int8_t *x, void *scratch) {
  insitu_conv_gradient_t block = {.p = *shape, .zero = zero, .dy = dy, .x = x};
  insitu_conv_params_t *const p = &block.p;
  const int32_t channels = p->out_channels, list_words = (channels + 1) / 2;
  block.multiplier = scratch;
  block.state = (uint32_t *)(block.multiplier + channels);
  block.list = (int16_t *)(block.state + channels);
  /* the flags are used up before the multipliers are written, and stand in their place */
  block.sparse = !insitu_find_nonzero(p->out_height * p->out_width, channels, dy, scratch,
                                      block.list, &block.nonzero);
  if (block.nonzero == 0)
    block.element = p->kernel_width * p->in_channels;
  if (block.sparse || block.nonzero == 0)
    return block;
  const int32_t input_bytes =
      fit_block(p, block.nonzero, p->tile_bytes - 4 * (2 * channels + list_words));
  block.inputs = block.list + 2 * list_words;
  block.total = (int32_t *)(void *)block.inputs + input_bytes / (int32_t)sizeof(int32_t);
  block.sums = block.total + p->tile_out;
  block.sparse = input_bytes == 0;
  block.row = -p->tile_out;
  return block;
}

#endif
