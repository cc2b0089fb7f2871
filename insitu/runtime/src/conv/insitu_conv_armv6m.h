/* Convolutions on ARMv6-M, which has no SIMD and few registers: 1x4 microkernels, one position by
 * four channels. conv_microkernel_1x4_portable.c is their definition, conv_microkernel_1x4_armv6m.c
 * has those of the core.
 *
 * Per term the microkernel loads one a and multiplies it by four packed b. a stays as narrow as it
 * is, without a sign: an offset is added to it, and the epilogue takes the offset times the sum of
 * b from the sums (`offset` of insitu_scalar_output_t), as a zero point. Sums wrap around, and are
 * exact in the end since their true values stay below 2^31 (OpDef.bounds).
 *
 * Where b has 8 bits, three products do for four (docs/decisions/0020): four b share three
 * words, whose sums of products hold s0 = sum of a b0 to s3 = sum of a b3:
 *
 *     bits    31 .. 24 | 23 ..  0          sum of its products with a, modulo 2^32
 *     word 0     b3    |   b0              s0 + s3 2^24
 *     word 1         b3 2^16 + b1          s1 + s3 2^16
 *     word 2         b3 2^8  + b2          s2 + s3 2^8
 *
 * While s0 to s3 lie within +-2^23 they can be told apart: s0 is word 0's low 24 bits, what is left
 * above them is byte 0 of s3; word 1 less that byte 2^16 gives s1 and byte 1 of s3, word 2 less
 * both gives s2 and byte 2. 256 terms of at most 255 127 stay within. */
#ifndef INSITU_CONV_ARMV6M_H
#define INSITU_CONV_ARMV6M_H

#include "insitu_conv_tile.h"

/* The words of a packed four, and the most terms before sums are unpacked. */
enum { INSITU_PACKED = 3, INSITU_MOST_PACKED = 256 };

/* Fours of sums over lines of terms. Steps are bytes. */
typedef struct {
  int32_t count;    /* fours of sums */
  int32_t terms;    /* of a line: a multiple of 4 but for insitu_microkernel_1x4_strided */
  int32_t lines;    /* 1 for insitu_microkernel_1x4_strided */
  int32_t skip;     /* of a, from the end of a line to the next */
  int32_t step;     /* of a, from the first term of one four to that of the next */
  int32_t sum_step; /* 16 but for insitu_microkernel_1x4_strided */
  int32_t stride;   /* of insitu_microkernel_1x4_strided's a, from one term to the next */
  int32_t fresh;    /* the sums begin with 0 */
} insitu_microkernel_1x4_t;

/* sum[n sum_step][j] (+)= sum over lines and terms k of a[n step][line][k] b[line][k][j], j < 4;
 * b packed, but for insitu_microkernel_1x4_u16. */
void insitu_microkernel_1x4_u8(const insitu_microkernel_1x4_t *micro, const uint8_t *a,
                               const int32_t *b, int32_t *sum);
void insitu_microkernel_1x4_u16(const insitu_microkernel_1x4_t *micro, const uint16_t *a,
                                const int32_t *b, int32_t *sum);
void insitu_microkernel_1x4_strided(const insitu_microkernel_1x4_t *micro, const int8_t *a,
                                    const int32_t *b, int32_t *sum);

/* Where the values of a packed four are: x[lane], lane[0] = 0, and what is added to its words. */
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

/* The epilogue of a channel's sums: y = zero + clamp(rescale(sum + offset)). */
typedef struct {
  int32_t multiplier, offset, shift;
  int32_t zero, low, high; /* the bounds relative to the zero point */
  int32_t lowest, highest; /* values before the clamp, grown by each call */
  int32_t step;            /* of y */
} insitu_scalar_output_t;

/* y[n step] of sum[n][0], n < count */
void insitu_epilogue_channel(insitu_scalar_output_t *output, int32_t count, const int32_t *sum,
                             int8_t *y);

/* to[k] = x[k] + 128 */
void insitu_offset_bytes(int32_t size, const int8_t *x, uint8_t *to);

/* Positions of a map and four channels; a is packed in lines of elements of `element` bytes. Of b
 * only a part is in memory at a time, see insitu_next_part. Steps of a are bytes. */
typedef struct {
  int32_t element, lines, width; /* a window has so many lines of so many terms */
  int32_t pitch, row_a, column_a;
  int32_t rows, columns, channels;
  int32_t row_y;
  int32_t most;  /* terms of b in memory: a multiple of 4 */
  int32_t batch; /* positions whose sums are in memory where all of b is; else those of all */
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
