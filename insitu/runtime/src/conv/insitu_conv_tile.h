/* A tile of a convolution: some positions of a map and four channels. Its input is packed in lines
 * for insitu_multiply_block. */
#ifndef INSITU_CONV_TILE_H
#define INSITU_CONV_TILE_H

#include "insitu_kernels.h"
#include "insitu_conv_microkernels.h"

/* Of one packed line, in elements. The windows of two positions in turn, 2 n and 2 n + 1, are
 * at n pitch; where they would overlap more than `shared` says each stands alone. */
typedef struct {
  int32_t pitch;  /* from one pair of positions to the next, even */
  int32_t size;   /* of a line, even */
  int32_t shared; /* neighbouring windows have elements in common, and share them */
} insitu_conv_line_t;

/* Lines for `columns` positions, windows of `width` elements, `step` elements apart. */
static inline insitu_conv_line_t layout_line(int32_t columns, int32_t width, int32_t step) {
  const int32_t even = width + (width & 1);
  insitu_conv_line_t line;
  line.shared = even > 2 * step;
  line.pitch = line.shared ? 2 * step : even;
  line.size = (columns - 1) / 2 * line.pitch + even;
  return line;
}

/* y = output(bias + sum of a b) of all positions of a tile. */
void insitu_conv_tile(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b, int8_t *y);

/* A layer as insitu_conv_s8 is given it. */
typedef struct {
  int32_t zero;
  const insitu_qparams_t *y_q;
  const int8_t *x, *w;
  const int32_t *bias, *multiplier, *shift;
} insitu_conv_layer_t;

/* The whole layer; returns 0 where it did not observe the extremes exactly. */
int32_t insitu_conv_tiles(const insitu_conv_params_t *p, const insitu_conv_layer_t *layer,
                          void *scratch, int8_t *y, int32_t *observed);

/* insitu_conv_grad_input_s8; returns 0, and leaves dx alone, where so many errors are zero that it
 * pays to take the others one by one. */
int32_t insitu_conv_grad_input_tiles(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                                     const int8_t *w, const uint16_t *rel, void *scratch,
                                     int8_t *dx);

/* The same from the errors that are not zero, one by one. */
void insitu_conv_grad_input_sparse(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                                   const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx);

/* list[nonzero] = the channels of dy that are not zero; returns how many of their errors are not,
 * in units of 1 / INSITU_ALL, and 0 where these are so few that INSITU_SPARSE says to take them one
 * by one. flags: int8[channels] of scratch. */
enum { INSITU_ALL = 256 };
int32_t insitu_find_nonzero(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags,
                            int16_t *list, int32_t *nonzero);

/* A 1x1 kernel sees no neighbours: its map may as well be one row. */
static inline insitu_conv_params_t flatten_1x1(const insitu_conv_params_t *p) {
  insitu_conv_params_t flat = *p;
  const int32_t positions = p->in_height * p->in_width;
  if (p->kernel_height == 1 && p->kernel_width == 1 && p->stride_height == 1 &&
      p->stride_width == 1 && p->out_height * p->out_width == positions) {
    flat.in_height = flat.out_height = 1;
    flat.in_width = flat.out_width = positions;
  }
  return flat;
}

#endif
