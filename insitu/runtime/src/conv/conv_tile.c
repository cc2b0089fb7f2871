/* The blocks of a tile of a convolution, one after the other. */
#include "insitu_conv_tile.h"

enum { ACC = INSITU_POSITIONS * INSITU_CHANNELS };
enum { ASKED = 6 }; /* positions, or a few more, that say how dense the errors are */

/* A block of which not all positions or channels are there. */
static void store_part(insitu_conv_tile_t *tile, int32_t positions, int32_t *acc, int8_t *y) {
  int8_t part[ACC];
  for (int32_t j = 0; j < INSITU_CHANNELS && positions < INSITU_POSITIONS; j++)
    acc[INSITU_CHANNELS + j] = acc[j]; /* nothing else may be observed */
  insitu_epilogue_block(&tile->output, acc, part, INSITU_CHANNELS);
  for (int32_t n = 0; n < positions; n++) {
    for (int32_t j = 0; j < tile->channels; j++)
      y[n * tile->column_y + j] = part[n * INSITU_CHANNELS + j];
  }
}

void insitu_conv_tile(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b, int8_t *y) {
  const int32_t made = conv_blocks(tile, a, b, y);
  const int32_t whole = tile->channels == INSITU_CHANNELS ? tile->columns & ~1 : made;
  a += made / 2 * tile->pair_a;
  y += made * tile->column_y;
  if (made == tile->columns)
    return;
  for (int32_t row = 0; row < tile->rows; row++, a += tile->row_a, y += tile->row_y) {
    const int16_t *from = a;
    int8_t *to = y;
    int32_t acc[ACC];
    for (int32_t n = made; n < whole; n += INSITU_POSITIONS, from += tile->pair_a) {
      insitu_multiply_block(&tile->block, from, b, acc);
      insitu_epilogue_block(&tile->output, acc, to, tile->column_y);
      to += INSITU_POSITIONS * tile->column_y;
    }
    for (int32_t n = whole; n < tile->columns; n += INSITU_POSITIONS, from += tile->pair_a) {
      insitu_multiply_block(&tile->block, from, b, acc);
      store_part(tile, insitu_min(tile->columns - n, INSITU_POSITIONS), acc, to);
      to += INSITU_POSITIONS * tile->column_y;
    }
  }
}

int32_t insitu_find_nonzero(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags,
                            int16_t *list, int32_t *nonzero) {
  const int32_t step = insitu_max(positions / ASKED, 1) | 1; /* odd: not one column of a map */
  int32_t count = 0, errors = 0, asked = 0;
  insitu_flag_channels(positions, channels, dy, flags);
  for (int32_t o = 0; o < channels; o++) {
    if (flags[o] != 0)
      list[count++] = (int16_t)o;
  }
  for (int32_t n = 0; n < positions; n += step, asked++)
    errors += insitu_count_errors(channels, dy + n * channels);
  *nonzero = count;
  if (count == 0)
    return INSITU_ALL;
  return errors * INSITU_SPARSE >= count * asked
             ? insitu_max(errors * INSITU_ALL / (count * asked), 1)
             : 0;
}
