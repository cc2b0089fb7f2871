/* The inner loops of convolutions on blocks of 2x4: forward and for the input gradient 2 positions
 * by 4 channels, for the weight gradient 2 channels by 4 elements of the window.
 * conv_microkernel_2x4_portable.c is the definition, conv_microkernel_2x4_dsp.c the same for cores
 * with the DSP extension, conv_microkernel_2x4_mve.c for those with Helium too.
 *
 * a and b are packed int16, two to a word: a[pairs][2][2] holds pairs of products for two
 * positions, alternating, b[pairs][4][2] for four channels. Both begin at a word. Sums are exact in
 * any order: the sum of the absolute values of all products stays below 2^31 (OpDef.bounds).
 */
#ifndef INSITU_CONV_MICROKERNELS_H
#define INSITU_CONV_MICROKERNELS_H

#include "insitu_fixed_point.h"

enum { INSITU_POSITIONS = 2, INSITU_CHANNELS = 4 }; /* of a block */

/* Cores with 1x4 microkernels instead: insitu_conv_armv6m.h. */
#if defined(__ARM_ARCH_6M__)
#define INSITU_SCALAR
#endif

/* From the sums of four elements of a weight gradient to those of the next. */
#if defined(INSITU_SCALAR)
enum { INSITU_NEXT_GROUP = 4 };
#else
enum { INSITU_NEXT_GROUP = 8 };
#endif

/* How insitu_multiply_block goes through a and b. Made by insitu_block. */
typedef struct {
  int32_t jump;  /* into the unrolled loop */
  int32_t bytes; /* of a in one line: 8 pairs */
  int32_t lines;
  int32_t skip_a, skip_b; /* bytes from the end of a line to the beginning of the next */
  const int32_t *start;   /* [8] what the sums begin with */
} insitu_conv_block_t;

/* pairs > 0, lines > 0; skips in int16. */
insitu_conv_block_t insitu_block(int32_t pairs, int32_t lines, int32_t skip_a, int32_t skip_b,
                                 const int32_t *start);

/* acc[n][j] = start[n][j] + sum over lines, pairs k and h < 2 of a[k][n][h] b[k][j][h], positions n
 * and channels j; start may be acc. */
void insitu_multiply_block(const insitu_conv_block_t *block, const int16_t *a, const int16_t *b,
                           int32_t *acc);

/* The epilogue of a block, y = clamp(zero + rescale(acc)), and the smallest and largest
 * value before the clamp, 0 among them. Fields but the multipliers and the shift are as the core
 * wants them. */
typedef struct {
  int32_t multiplier[INSITU_CHANNELS];
  int32_t zero, low, high;
  int32_t lowest, highest;
  int32_t shift;
} insitu_conv_output_t;

/* The multipliers are left open. */
insitu_conv_output_t insitu_output(int32_t shift, int32_t zero, int32_t low, int32_t high);

/* Writes observed[2]; returns whether these are the extremes, or only what int16 left of them. */
int32_t insitu_observe(const insitu_conv_output_t *output, int32_t *observed);

/* y[n step + j] of a block; acc is used up. */
void insitu_epilogue_block(insitu_conv_output_t *output, int32_t *acc, int8_t *y, int32_t step);

/* Some positions of a map and four channels. */
typedef struct {
  insitu_conv_block_t block;
  int32_t start[INSITU_POSITIONS * INSITU_CHANNELS]; /* the biases, twice */
  insitu_conv_output_t output;
  int32_t errors;                  /* y is errors: one multiplier, and extremes do not matter */
  int32_t rows, columns, channels; /* channels: 1 to 4 */
  int32_t row_a, pair_a;           /* int16 from a row, and a pair of positions, to the next */
  int32_t row_y, column_y;         /* elements of y from a row, and a position, to the next */
} insitu_conv_tile_t;

/* Lines of a window, `blocks` of each, `pairs` long: where b begins, in int16. Those of one phase,
 * their residue modulo the stride, lie one behind the other. */
typedef struct {
  int32_t pairs, blocks, count, stride;
  int32_t next, line, phase; /* from a block, a line and a phase to the next */
} insitu_conv_lines_t;

/* Many blocks at once, where a core has a way of its own (Helium has another). */
#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
int32_t insitu_conv_blocks(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b, int8_t *y);

void insitu_multiply_lines(const insitu_conv_lines_t *lines, int32_t add, const int16_t *a,
                           const int16_t *b, int32_t *sums);

/* y = output(start + sum of a b) of the first positions of all rows; returns of how many. */
static inline int32_t conv_blocks(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b,
                                  int8_t *y) {
  return insitu_conv_blocks(tile, a, b, y);
}

/* sums[line][n][8] = sums[line][n] if `add`, + sum over pairs of a b. */
static inline void multiply_lines(const insitu_conv_lines_t *lines, int32_t add, const int16_t *a,
                                  const int16_t *b, int32_t *sums) {
  insitu_multiply_lines(lines, add, a, b, sums);
}
#else
static inline int32_t conv_blocks(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b,
                                  int8_t *y) {
  (void)tile, (void)a, (void)b, (void)y;
  return 0;
}

static inline void multiply_lines(const insitu_conv_lines_t *lines, int32_t add, const int16_t *a,
                                  const int16_t *b, int32_t *sums) {
  const int32_t zeros[INSITU_POSITIONS * INSITU_CHANNELS] = {0};
  insitu_conv_block_t block = insitu_block(lines->pairs, 1, 0, 0, zeros);
  for (int32_t k = 0, phase = 0; k < lines->count; k++) {
    const int16_t *from = b + phase * lines->phase;
    if (++phase == lines->stride) {
      phase = 0;
      b += lines->line;
    }
    for (int32_t n = 0; n < lines->blocks; n++, sums += 8, from += lines->next) {
      if (add)
        block.start = sums;
      insitu_multiply_block(&block, a, from, sums);
    }
  }
}
#endif

/* to[k / 2][0][k % 2] = x[k] - zero, k < size: one of the two positions of a. */
void insitu_centre_pairs(int32_t size, int32_t zero, const int8_t *x, int16_t *to);

/* to[k / 2][j][k % 2] = w[j][k], j < 4, k < size; w[j] begins at w + j step. An odd size leaves the
 * last of a pair alone. */
void insitu_pack_rows(int32_t size, int32_t step, const int8_t *w, int16_t *to);

/* flags[o] = 0 where all errors of channel o are. */
void insitu_flag_channels(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags);

/* How many elements of dy are not zero. */
int32_t insitu_count_errors(int32_t size, const int8_t *dy);

/* What insitu_expand_errors is to be given of a channel. */
int32_t insitu_error_factor(uint16_t rel, int32_t drop);

/* to[k / 2][0][k % 2] = e' of e[k], k < size, and the same to `other`. */
void insitu_expand_errors(int32_t size, int32_t drop, const int8_t *e, const int32_t *factor,
                          int16_t *to, int16_t *other);

/* to[k / 2][i][k % 2] = w[begin[k] + i], k < size, i < 4; 0 where i >= count, and beside the last
 * of an odd size. */
void insitu_pack_pairs(int32_t size, int32_t count, const int32_t *begin, const int8_t *w,
                       int16_t *to);

/* to[n][j] = (x[2 n step + j], x[(2 n + 1) step + j]) - zero, j < 4, n < pairs */
void insitu_pack_window_pairs(int32_t pairs, int32_t zero, int32_t step, const int8_t *x,
                              int16_t *to);

/* to[n][j] = (dy[2 n][j], dy[2 n + 1][j]), next[n][j] of j + 2, j < 2, n < pairs, of positions
 * `step` apart. */
void insitu_pack_error_pairs(int32_t pairs, int32_t step, const int8_t *dy, int16_t *to,
                             int16_t *next);

/* total[j] += sum over pairs of a[pair][j][0] + a[pair][j][1] */
void insitu_sum_pairs(int32_t pairs, const int16_t *a, int32_t total[2]);

/* w[j] = sat127(w[j] - ((gradient[j] multiplier + u) >> 32)), u = r 2^24 + 2^23, r the bytes of
 * `bits` from the high one down; j < count <= 4. */
void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w);

/* Groups of four, their gradients INSITU_NEXT_GROUP apart, each with the next draw. Returns the
 * last. */
uint32_t insitu_step_groups(int32_t groups, int32_t multiplier, const int32_t *gradient,
                            uint32_t state, int8_t *w);

/* Where fewer than one error in so many is not zero, it pays to take them one by one.
 * Tiles of fewer than INSITU_FEW positions use weights too seldom to lay them out. */
#if defined(__ARM_FEATURE_MVE)
enum { INSITU_SPARSE = 24, INSITU_FEW = 2 };
#elif defined(__ARM_FEATURE_DSP)
enum { INSITU_SPARSE = 8, INSITU_FEW = 2 };
#elif defined(__ARM_ARCH_6M__)
enum { INSITU_SPARSE = 5, INSITU_FEW = 4 };
#else
enum { INSITU_SPARSE = 3, INSITU_FEW = 4 };
#endif

#endif
