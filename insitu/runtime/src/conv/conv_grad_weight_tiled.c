/* Weight gradient of a convolution by blocks. Twin of the shapes: insitu/ops/kernels/tiles.py.
 *
 * gradient[o, k] is a sum over positions, taken in pairs: a holds the errors of two channels, b
 * four neighbouring elements k of the windows. A line of the window is kernel_width in_channels
 * elements long. Lines of the map of one phase (their residue modulo the stride) lie one behind the
 * other, so that all positions of a tile are one call of the microkernel. */
#include <string.h>

#include "insitu_conv_gradient.h"
#include "insitu_conv_span.h"

#if !defined(INSITU_SCALAR)

static int32_t window_line(const insitu_conv_params_t *p) {
  return p->kernel_width * p->in_channels;
}

/* Of the tile in work: rows and pairs of positions, lines of the map for each phase. */
typedef struct {
  int32_t oy, ox, rows, columns, pairs, lines;
} insitu_conv_part_t;

/* Four elements of a window of one position at the edge of the map; 0 outside. */
static void pack_edge_of(int32_t zero, const int8_t *x, int32_t limit, int32_t first, int16_t *to) {
  for (int32_t j = 0; j < INSITU_CHANNELS; j++, first++)
    to[2 * j] = (int16_t)((uint32_t)first < (uint32_t)limit ? x[first] - zero : 0);
}

/* The same of two positions. */
static void pack_edge(int32_t zero, const int8_t *x, int32_t limit, int32_t first, int32_t second,
                      int16_t *to) {
  pack_edge_of(zero, x, limit, first, to);
  pack_edge_of(zero, x, limit, second, to + 1);
}

/* A group's windows in a line of the map: of the first, where it begins, and how many pairs lie
 * before the map, and then inside. */
typedef struct {
  int32_t first, before, inside;
} insitu_conv_group_t;

static insitu_conv_group_t group_windows(const insitu_conv_params_t *p,
                                         const insitu_conv_part_t *part, int32_t element) {
  const int32_t limit = p->in_width * p->in_channels, step = p->stride_width * p->in_channels;
  insitu_conv_group_t group = {0, 0, 0};
  group.first = (part->ox * p->stride_width - p->pad_left) * p->in_channels + element;
  while (group.before < part->pairs && group.first + group.before * 2 * step < 0)
    group.before++;
  const int32_t room = limit - INSITU_CHANNELS - step - group.first - group.before * 2 * step;
  if (room >= 0)
    group.inside = insitu_min(part->pairs - group.before, room / (2 * step) + 1);
  return group;
}

/* to[pair][j] = elements j of the windows that begin in line x of the map. */
static void pack_windows(const insitu_conv_gradient_t *block, int32_t pairs,
                         const insitu_conv_group_t *group, const int8_t *x, int16_t *to) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t limit = p->in_width * p->in_channels, step = p->stride_width * p->in_channels;
  int32_t first = group->first, n = 0;
  for (; n < group->before; n++, first += 2 * step, to += 2 * INSITU_CHANNELS)
    pack_edge(block->zero, x, limit, first, first + step, to);
  if (group->inside > 0) {
    insitu_pack_window_pairs(group->inside, block->zero, step, x + first, to);
    n += group->inside;
    first += group->inside * 2 * step;
    to += group->inside * 2 * INSITU_CHANNELS;
  }
  for (; n < pairs; n++, first += 2 * step, to += 2 * INSITU_CHANNELS)
    pack_edge(block->zero, x, limit, first, first + step, to);
}

/* b: [group][phase][line][pair][4][2] */
static void pack_inputs(const insitu_conv_gradient_t *block, const insitu_conv_part_t *part) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t phases = count_phases(p);
  int16_t *to = block->inputs;
  for (int32_t j = 0; j < block->groups; j++) {
    const insitu_conv_group_t group = group_windows(p, part, block->element + j * INSITU_CHANNELS);
    for (int32_t phase = 0; phase < phases; phase++) {
      for (int32_t k = 0; k < part->lines; k++, to += part->pairs * 8) {
        const int32_t iy = (part->oy + k) * p->stride_height + phase - p->pad_top;
        if (iy < 0 || iy >= p->in_height) {
          memset(to, 0, (size_t)(part->pairs * 8) * sizeof *to);
        } else {
          pack_windows(block, part->pairs, &group, block->x + iy * p->in_width * p->in_channels,
                       to);
        }
      }
    }
  }
}

/* a of up to two channels, [pair][2][2]: any two. */
static void pack_two_errors(const insitu_conv_gradient_t *block, const insitu_conv_part_t *part,
                            const int16_t *channel, int32_t count, int16_t *to) {
  const insitu_conv_params_t *p = &block->p;
  for (int32_t row = 0; row < part->rows; row++) {
    const int8_t *dy = block->dy + ((part->oy + row) * p->out_width + part->ox) * p->out_channels;
    for (int32_t n = 0; n < part->columns; n += 2, dy += 2 * p->out_channels, to += 4) {
      const int32_t both = n + 1 < part->columns;
      for (int32_t j = 0; j < 2; j++) {
        to[2 * j] = j < count ? dy[channel[j]] : 0;
        to[2 * j + 1] = j < count && both ? dy[p->out_channels + channel[j]] : 0;
      }
    }
  }
}

/* The same of four channels beside each other. */
static void pack_four_errors(const insitu_conv_gradient_t *block, const insitu_conv_part_t *part,
                             int32_t channel, int16_t *to) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t channels = p->out_channels;
  const int32_t joined = part->columns == p->out_width && part->columns % 2 == 0;
  const int32_t rows = joined ? 1 : part->rows; /* no pair ends a row: all rows are as one */
  const int32_t pairs = (joined ? part->rows : 1) * (part->columns / 2);
  int16_t *next = to + part->rows * part->pairs * 4;
  for (int32_t row = 0; row < rows; row++) {
    const int8_t *dy =
        block->dy + ((part->oy + row) * p->out_width + part->ox) * channels + channel;
    insitu_pack_error_pairs(pairs, channels, dy, to, next);
    to += pairs * 4;
    next += pairs * 4;
    if (part->columns % 2 == 1) { /* nothing beside the last */
      insitu_pack_error_pairs(1, 0, dy + pairs * 2 * channels, to, next);
      to[1] = to[3] = next[1] = next[3] = 0;
      to += 4;
      next += 4;
    }
  }
}

/* a: [pair of channels][pair of positions][2][2] */
static void pack_errors(const insitu_conv_gradient_t *block, const insitu_conv_part_t *part) {
  const int16_t *const list = block->list + block->row;
  const int32_t size = part->rows * part->pairs * 4;
  for (int32_t r = 0; r < block->rows;) {
    const int32_t left = block->rows - r;
    const int32_t four = left >= 4 && list[r + 3] == list[r] + 3; /* one beside the other */
    int16_t *const to = block->errors + r / 2 * size;
    if (four) {
      pack_four_errors(block, part, list[r], to);
    } else {
      pack_two_errors(block, part, list + r, insitu_min(left, 2), to);
    }
    r += four ? 4 : 2;
  }
}

/* sums[pair of channels][ky][group][2][4] (+)= a b */
static void multiply_tile(const insitu_conv_gradient_t *block, const insitu_conv_part_t *part,
                          int32_t add) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t phases = count_phases(p);
  const int32_t pairs = part->rows * part->pairs, line = part->pairs * 8;
  const insitu_conv_lines_t lines = {
      .pairs = pairs,
      .blocks = block->groups,
      .count = p->kernel_height,
      .stride = p->stride_height,
      .next = phases * part->lines * line,
      .line = line,
      .phase = part->lines * line,
  };
  int32_t *sums = block->sums;
  for (int32_t r = 0; r < block->rows; r += 2, sums += p->kernel_height * block->groups * 8) {
    const int16_t *const a = block->errors + r / 2 * pairs * 4;
    multiply_lines(&lines, add, a, block->inputs, sums);
    if (block->element == 0)
      insitu_sum_pairs(pairs, a, block->total + r);
  }
}

/* All sums of the block. */
static void gradient_of_block(insitu_conv_gradient_t *block) {
  const insitu_conv_params_t *p = &block->p;
  const int32_t alone = p->tile_height >= p->out_height && p->tile_width >= p->out_width;
  memset(block->total, 0, (size_t)p->tile_out * sizeof *block->total);
  for (int32_t oy = 0; oy < p->out_height; oy += p->tile_height) {
    for (int32_t ox = 0; ox < p->out_width; ox += p->tile_width) {
      insitu_conv_part_t part = {oy,
                                 ox,
                                 insitu_min(p->out_height - oy, p->tile_height),
                                 insitu_min(p->out_width - ox, p->tile_width),
                                 0,
                                 0};
      part.pairs = (part.columns + 1) / 2;
      part.lines = part.rows + (p->kernel_height - 1) / p->stride_height;
      if (!alone || block->row == 0)
        pack_inputs(block, &part);
      pack_errors(block, &part);
      multiply_tile(block, &part, oy + ox > 0);
    }
  }
}

int32_t insitu_next_block(insitu_conv_gradient_t *block) {
  const int32_t line = window_line(&block->p);
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

insitu_conv_gradient_t insitu_begin_gradient(const insitu_conv_params_t *shape, int32_t zero,
                                             const int8_t *dy, const int8_t *x, void *scratch) {
  insitu_conv_gradient_t block = {.p = flatten_1x1(shape), .zero = zero, .dy = dy, .x = x};
  const insitu_conv_params_t *p = &block.p;
  const int32_t channels = p->out_channels, positions = p->out_height * p->out_width;
  const int32_t lines = p->tile_height + (p->kernel_height - 1) / p->stride_height;
  const int32_t phases = count_phases(p);
  block.multiplier = scratch;
  block.state = (uint32_t *)(block.multiplier + channels);
  block.total = (int32_t *)(block.state + channels);
  block.sums = block.total + p->tile_out;
  block.inputs = (int16_t *)(block.sums + p->tile_out * p->kernel_height * p->tile_in);
  block.errors = block.inputs + p->tile_in * phases * lines * p->tile_width;
  block.list = block.errors + p->tile_out * p->tile_height * p->tile_width;
  /* the flags are used up before the multipliers are written, and stand in their place */
  block.sparse = !insitu_find_nonzero(positions, channels, dy, scratch, block.list, &block.nonzero);
  block.row = -p->tile_out;
  block.element = block.nonzero > 0 ? 0 : window_line(p);
  return block;
}

#endif
