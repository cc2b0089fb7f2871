/* Depthwise convolutions by planes: maps of INSITU_LANES channels as lines of int16, zero point
 * removed, with zeros around them.
 *
 * A band is as many lines as the scratch has room for; twin of all sizes: insitu/ops/planes.py.
 */
#ifndef INSITU_PLANES_H
#define INSITU_PLANES_H

#include "insitu_kernels_groups.h"
#include "insitu_lanes.h"
#include "insitu_pairs.h"

/* Most weights in a line and in a column of a kernel. */
#define INSITU_PLANES_KERNEL 7

/* e' is made by planes while no more bits are dropped. */
#define INSITU_PLANES_DROP 9

static inline int32_t insitu_even(int32_t v) { return v + (v & 1); }

static inline int32_t insitu_div_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* Weights of a line as they are taken: 3, 5 or 7, those that are missing 0. */
static inline int32_t insitu_taps_of(int32_t width) { return insitu_max(width | 1, 3); }

/* Columns of a line of the forward pass; stride_width 1 or 2. */
static inline int32_t insitu_forward_columns(const insitu_conv_params_t *c) {
  const int32_t out = insitu_even(c->out_width), taps = insitu_taps_of(c->kernel_width);
  return c->stride_width * out + taps - 1;
}

/* Columns of a line of errors in the input gradient. */
static inline int32_t insitu_error_columns(const insitu_conv_params_t *c) {
  const int32_t stride = c->stride_width;
  const int32_t out = (c->in_width - 1 + c->pad_left) / stride - c->pad_left / stride + 1;
  if (stride == 1)
    return insitu_even(out) + insitu_taps_of(c->kernel_width) - 1;
  return insitu_even(out + insitu_div_up(c->kernel_width, stride) + 4);
}

/* Halfwords of a line of errors and of x in the weight gradient, where one line follows the other
 * without a gap: the zeros behind a line are those before the next. */
static inline int32_t insitu_gradient_columns(const insitu_conv_params_t *c) {
  const int32_t wanted = c->out_width + c->kernel_width - 1, left = c->pad_left;
  const int32_t end = left + insitu_max(insitu_min(wanted - left, c->in_width), 0);
  return insitu_max(c->out_width, insitu_max(wanted - left, end));
}

/* A map, from the first of the channels on, and where it lies in planes. */
typedef struct {
  const int8_t *map;
  int32_t height, width, channels, lanes;
  int32_t zero;
  int32_t left;       /* zeros before it in a line */
  int32_t columns;    /* of a line, those zeros included */
  int32_t line, lane; /* halfwords between lines, between channels */
} insitu_source_t;

/* Sums of errors by lane, and the bits that any of them has set, lane 0 in the low byte. */
typedef struct {
  int32_t sum[INSITU_LANES];
  uint32_t bits;
} insitu_error_sums_t;

/* Lines y, y + 1, ... of the map, those outside of it 0; what is left and right of it stays. */
void insitu_fill_planes(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes);

/* The same of e' = round(e factor[lane] / 2^17). */
void insitu_fill_expanded(const insitu_source_t *from, const int32_t *factor, int32_t y,
                          int32_t lines, int16_t *planes);

/* The same of errors, added up. */
void insitu_fill_errors(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes,
                        insitu_error_sums_t *sums);

/* Depthwise without a shift, by bands of p->band lines of y; lowest and highest value before the
 * clamp, held to int16: y is right in any case, they are where insitu_is_exact. */
void insitu_forward_planes(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                           const int32_t *bias, const int32_t *multiplier, int16_t *planes,
                           int8_t *y, int32_t observed[2]);

static inline int32_t insitu_is_exact(const int32_t observed[2]) {
  return observed[0] > INT16_MIN && observed[1] < INT16_MAX;
}

/* Without a shift, by bands of band lines of errors. */
void insitu_grad_input_planes(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                              const int8_t *w, const uint16_t *rel, int16_t *planes, int8_t *dx);

/* As insitu_conv_groups_gradient where strides are 1, by bands of band lines of errors. */
uint32_t insitu_gradient_planes(const insitu_conv_groups_params_t *p, int32_t zero,
                                const int8_t *dy, const int8_t *x, int32_t o, int16_t *planes,
                                int32_t *gradient, int32_t *errors);

#endif
