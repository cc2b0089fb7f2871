/* Convolutions on cores that multiply one pair of numbers at a time and have few registers
 * (ARMv6-M). conv_microkernel_1x4_portable.c is the definition of the microkernels,
 * conv_microkernel_1x4_armv6m.c has those of the core.
 *
 * A run adds to fours of sums: an operand of a meets four of b. Those of a lie as narrow as they
 * are, with an offset where they would be signed, which the sums are freed of by `offset` of
 * insitu_scalar_output_t. Sums wrap around, and are exact in the end since their true values stay
 * below 2^31 (OpDef.bounds).
 *
 * Operands of 8 bits are packed: three words hold four of them, b0 + b3 2^24, b1 + b3 2^16,
 * b2 + b3 2^8, so that three products do for four. Of the words' sums the low 24 bits are those of
 * the sums 0 to 2, as long as these lie within +-2^23, and what is above them tells the bytes of
 * sum 3, the lowest first. */
#ifndef INSITU_CONV_ARMV6M_H
#define INSITU_CONV_ARMV6M_H

#include "insitu_conv_tile.h"

/* The words of a packed four, and how many terms a packed run may have: 255 127 each. */
enum { INSITU_PACKED = 3, INSITU_MOST_PACKED = 256 };

/* Fours of sums over lines of terms. Steps are bytes. */
typedef struct {
  int32_t count;    /* fours of sums */
  int32_t terms;    /* of a line: a multiple of 4 but for insitu_run_strided */
  int32_t lines;    /* 1 for insitu_run_strided */
  int32_t skip;     /* of a, from the end of a line to the next */
  int32_t step;     /* of a, from the first term of one four to that of the next */
  int32_t sum_step; /* 16 but for insitu_run_strided */
  int32_t stride;   /* of insitu_run_strided's a, from one term to the next */
  int32_t fresh;    /* the sums begin with 0 */
} insitu_scalar_run_t;

/* sum[n sum_step][j] (+)= sum over lines and terms k of a[n step][line][k] b[line][k][j], j < 4;
 * b packed, but for insitu_run_halves. */
void insitu_run_bytes(const insitu_scalar_run_t *run, const uint8_t *a, const int32_t *b,
                      int32_t *sum);
void insitu_run_halves(const insitu_scalar_run_t *run, const uint16_t *a, const int32_t *b,
                       int32_t *sum);
void insitu_run_strided(const insitu_scalar_run_t *run, const int8_t *a, const int32_t *b,
                        int32_t *sum);

/* Where the operands of a packed four are: x[lane], lane[0] = 0, and what is added to its words. */
typedef struct {
  int32_t count, step; /* fours, elements from one to the next */
  int32_t lane[INSITU_CHANNELS - 1];
  uint32_t offset[INSITU_PACKED];
} insitu_scalar_fours_t;

/* Packs them; returns where the next word goes. */
int32_t *insitu_pack_fours(const insitu_scalar_fours_t *fours, const int8_t *x, int32_t *to);

/* total[j] += sum over packed fours, at most INSITU_MOST_PACKED. */
void insitu_sum_fours(int32_t count, const int32_t *b, int32_t *total);

/* to[k][j] = w[begin[k] + j], j < 4, k < size; total[j] += the same. */
void insitu_widen_fours(const int32_t *begin, int32_t size, const int8_t *w, int32_t *to,
                        int32_t *total);

/* to[k] = (e[k] factor[k] + offset) >> shift, not negative, k < size */
void insitu_offset_errors(int32_t size, const int8_t *e, const int32_t *factor, int32_t shift,
                          int32_t offset, uint16_t *to);

/* What becomes of the sums of a channel: y = zero + clamp(rescale(sum + offset)). */
typedef struct {
  int32_t multiplier, offset, shift;
  int32_t zero, low, high; /* the bounds relative to the zero point */
  int32_t lowest, highest; /* values before the clamp, grown by each run */
  int32_t step;            /* of y */
} insitu_scalar_output_t;

/* y[n step] of sum[n][0], n < count */
void insitu_finish_run(insitu_scalar_output_t *output, int32_t count, const int32_t *sum,
                       int8_t *y);

/* to[k] = x[k] + 128 */
void insitu_offset_bytes(int32_t size, const int8_t *x, uint8_t *to);

/* Positions of a map and four channels, on lines of operands of `element` bytes. Of b only a part
 * is held at a time, see insitu_next_part. Steps of a are bytes. */
typedef struct {
  int32_t element, lines, width; /* a window has so many lines of so many terms */
  int32_t pitch, row_a, column_a;
  int32_t rows, columns, channels;
  int32_t row_y;
  int32_t most;  /* terms of b that are held: a multiple of 4 */
  int32_t batch; /* positions whose sums are held where all of b is; else of all positions */
  int32_t *b, *sum;
  uint8_t *a;
  int32_t offset[INSITU_CHANNELS], multiplier[INSITU_CHANNELS];
  insitu_scalar_output_t output;
} insitu_scalar_tile_t;

/* Lines of the window and terms of each. */
typedef struct {
  int32_t line, lines, term, terms, last;
} insitu_scalar_part_t;

/* The largest tile of `height` x `width` positions for so many bytes, into rows, columns, pitch and
 * the pointers; `down` lines from a row to the next. lines, width, element, column_a are given.
 * Returns 0 where there is none. */
int32_t insitu_fit_tile(insitu_scalar_tile_t *tile, int32_t height, int32_t width, int32_t down,
                        void *memory, int32_t bytes);

/* Begin with a part of zeros; returns 0 behind the last. */
int32_t insitu_next_part(const insitu_scalar_tile_t *tile, insitu_scalar_part_t *part);

/* All positions with a part of the window, whose b is in place; y after the last part. */
void insitu_multiply_part(insitu_scalar_tile_t *tile, const insitu_scalar_part_t *part,
                          const uint8_t *a, int8_t *y);

static inline int32_t by_fours(int32_t n) { return (n + 3) & ~3; }

#endif
