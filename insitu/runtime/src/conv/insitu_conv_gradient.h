/* The weight gradient of a convolution, tile by tile: an iterator.
 *
 *     insitu_conv_gradient_t block = insitu_begin_gradient(...);
 *     while (insitu_next_block(&block))
 *       for each row r of the block: use block_sums(&block, r, ky)
 */
#ifndef INSITU_CONV_GRADIENT_H
#define INSITU_CONV_GRADIENT_H

#include "insitu_conv_tile.h"

/* A block is a tile of dw: some rows (channels of dy that are not zero) and, of every line of the
 * window, some elements. */
typedef struct {
  insitu_conv_params_t p;
  int32_t zero;
  const int8_t *dy, *x;
  int32_t nonzero, sparse; /* rows with an error; it pays to take the errors one by one */
  int32_t row, rows;       /* of the block, in list */
  int32_t element, groups; /* of the block; a group is four elements */
  int16_t *list;           /* [nonzero] the rows, ascending */
  int32_t *multiplier;     /* [out_channels] free for the caller, as is state */
  uint32_t *state;
  int32_t *total; /* [rows] sum of a row's errors; in the blocks of element 0 */
  int32_t *sums;
  int16_t *inputs, *errors;
} insitu_conv_gradient_t;

insitu_conv_gradient_t insitu_begin_gradient(const insitu_conv_params_t *shape, int32_t zero,
                                             const int8_t *dy, const int8_t *x, void *scratch);

/* Goes to the next block; returns 0 behind the last. Rows go round first, then elements. */
int32_t insitu_next_block(insitu_conv_gradient_t *block);

/* Phases of the map's lines, see insitu_conv_phase.h, that a window looks at. */
static inline int32_t count_phases(const insitu_conv_params_t *p) {
  return insitu_min(p->stride_height, p->kernel_height);
}

/* The sums of row r of the block, line ky: four of each group, INSITU_NEXT_GROUP apart. */
static inline const int32_t *block_sums(const insitu_conv_gradient_t *block, int32_t r,
                                        int32_t ky) {
#if defined(INSITU_SCALAR)
  return block->sums + (r * block->p.kernel_height + ky) * block->groups * INSITU_CHANNELS;
#else
  const int32_t group = (r / 2 * block->p.kernel_height + ky) * block->groups;
  return block->sums + group * 8 + r % 2 * INSITU_CHANNELS;
#endif
}

#endif
