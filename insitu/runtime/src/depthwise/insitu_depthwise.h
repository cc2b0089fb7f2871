/* Depthwise convolutions on packed planes: INSITU_LANES channels of a map as int16 without their
 * zero point, with zeros as padding, so that no loop looks at the border.
 *
 * A word holds a pair of a channel's places that follow each other. Forward and input gradient
 * interleave the channels, the lanes, word by word: planes[line][pair][lane][2]; the weight
 * gradient keeps them planar: planes[lane][line][pair][2]. A band is as many lines as the scratch
 * has room for; twin of all sizes: insitu/ops/kernels/bands.py.
 */
#ifndef INSITU_DEPTHWISE_H
#define INSITU_DEPTHWISE_H

#include "insitu_kernels_groups.h"
#include "insitu_depthwise_lanes.h"
#include "insitu_dsp.h"

/* Whether packed planes pay. */
#ifndef INSITU_PLANES
#if defined(__thumb__)
#define INSITU_PLANES 1
#else
#define INSITU_PLANES 0
#endif
#endif

/* Most weights in a line and in a column of a kernel. */
#define INSITU_PLANES_KERNEL 7

#define INSITU_BEHIND 8 /* pairs behind the last line of x that are read in the weight gradient */

/* Halfwords from a pair of a channel to the next. */
#define INSITU_PAIR_STEP (2 * INSITU_LANES)

static inline int32_t round_up_even(int32_t v) { return v + (v & 1); }

static inline int32_t div_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* The taps of a line that a microkernel is compiled for, at stride 1 or 2: those missing are 0. */
static inline int32_t padded_taps(int32_t width, int32_t stride) {
  if (stride == 1 && (width <= 2 || width == 4))
    return insitu_max(round_up_even(width), 2);
  return insitu_max(width | 1, 3);
}

/* Four channels of a map, and where their places lie in a line of planes. */
typedef struct {
  const int8_t *map;
  int32_t height, width; /* places */
  int32_t down, right;   /* elements between lines, between places */
  int32_t lanes, zero;
  int32_t left, pairs; /* zeros before it in a line of so many pairs */
} insitu_depthwise_map_t;

/* Packs lines y, y + 1, ... of the map, those outside of it as 0. */
void insitu_depthwise_pack(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                           int16_t *planes);

/* The same of e' = round(e factor[lane] / 2^17). */
void insitu_depthwise_pack_expanded(const insitu_depthwise_map_t *from, const int32_t *factor,
                                    int32_t y, int32_t lines, int16_t *planes);

/* The same, planar, channels `lane` halfwords apart; behind the last line as many zeros as there
 * are before a line. */
void insitu_depthwise_pack_planar(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                                  int16_t *planes, int32_t lane);

/* The same of lines of errors, all on the map, with none before them; what is behind each of them
 * stays. Adds them to sum[lane]. */
void insitu_depthwise_pack_errors(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                                  int16_t *planes, int32_t lane, int32_t *sum);

/* Bits that errors of these lines have set, lane 0 in the low byte; not all of them where no byte
 * is 0. */
uint32_t insitu_depthwise_error_bits(const insitu_depthwise_map_t *from, int32_t y, int32_t lines);

/* Depthwise without a shift, by bands of p->band lines of y; lowest and highest value before the
 * clamp, clamped to int16: y is right in any case, they are where is_exact. */
void insitu_depthwise_forward(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                              const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                              const int32_t *bias, const int32_t *multiplier, int16_t *planes,
                              int8_t *y, int32_t observed[2]);

static inline int32_t is_exact(const int32_t observed[2]) {
  return observed[0] > INT16_MIN && observed[1] < INT16_MAX;
}

/* Without a shift and a drop, by bands of band lines of errors. */
void insitu_depthwise_grad_input(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, int16_t *planes, int8_t *dx);

/* As insitu_conv_groups_gradient, by bands of band lines of errors. */
uint32_t insitu_depthwise_grad_weight(const insitu_conv_groups_params_t *p, int32_t zero,
                                      const int8_t *dy, const int8_t *x, int32_t o, int16_t *planes,
                                      int32_t *gradient, int32_t *errors);

/* Pairs in a line of the forward pass; stride_width 1 or 2. */
static inline int32_t forward_pairs(const insitu_conv_params_t *c) {
  const int32_t taps = padded_taps(c->kernel_width, c->stride_width);
  return round_up_even(c->stride_width * round_up_even(c->out_width) + taps - 1) / 2;
}

/* How many windows start so that places of the map lie in their first stride. */
static inline int32_t windows_along(int32_t size, int32_t pad, int32_t stride) {
  return (size - 1 + pad) / stride - pad / stride + 1;
}

/* Pairs in a line of errors in the input gradient. */
static inline int32_t error_pairs(const insitu_conv_params_t *c) {
  const int32_t stride = c->stride_width;
  const int32_t out = round_up_even(windows_along(c->in_width, c->pad_left, stride));
  if (stride == 1)
    return round_up_even(out + padded_taps(c->kernel_width, 1) - 1) / 2;
  return round_up_even(out + div_up(c->kernel_width, stride) + 4) / 2;
}

/* Pairs in a line of the weight gradient, of errors as of x: one line follows the other without a
 * gap, products of the zeros behind a line of errors are nothing, and where the stride is 1 the
 * zeros before a line of x are those behind the line before it. */
static inline int32_t gradient_pairs(const insitu_conv_params_t *c) {
  const int32_t stride = c->stride_width, left = c->pad_left;
  const int32_t wanted = c->out_width + div_up(c->kernel_width, stride) - 1;
  if (stride > 1)
    return round_up_even(wanted) / 2;
  const int32_t end = left + insitu_max(insitu_min(wanted - left, c->in_width), 0);
  return round_up_even(insitu_max(c->out_width, insitu_max(wanted - left, end))) / 2;
}

#endif
