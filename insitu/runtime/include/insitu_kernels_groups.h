/* Every kernel of convolutions with groups or dilation, and the layers of the preset paper.
 *
 * Layouts and ranges as in insitu_kernels.h; iy = oy stride - pad + ky dilation, and i runs over
 * the channels of o's group: weights w[out, kernel_h, kernel_w, in / groups].
 */
#ifndef INSITU_KERNELS_GROUPS_H
#define INSITU_KERNELS_GROUPS_H

#include "insitu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- conv_grouped.c, conv_grouped_grad_weight.c: convolution with groups or dilation -------- */

typedef struct {
  insitu_conv_params_t conv; /* channels of all groups together */
  int32_t groups;            /* in_channels and out_channels are multiples of it */
  int32_t dilation_height, dilation_width;
  int32_t band; /* depthwise by planes, see insitu_depthwise.h: lines at once; 0: by positions */
  int32_t compact_bytes; /* of scratch before a band, see insitu_depthwise_compact.h, or 0 */
} insitu_conv_groups_params_t;

#define INSITU_DEPTHWISE_BLOCK 16 /* most channels of a depthwise layer worked on side by side */

/* As insitu_conv_s8. scratch: int16[weights in a row]; where every
 * channel is a group with one row, int16[INSITU_DEPTHWISE_BLOCK][weights in a row], and where
 * there is a band at least its planes. */
void insitu_conv_groups_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                           const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                           void *scratch, int8_t *y, int32_t *observed);

typedef struct {
  insitu_conv_groups_params_t shape; /* of the forward pass */
  int32_t drop;
  int32_t multiplier, shift;
} insitu_conv_groups_grad_input_params_t;

/* As insitu_conv_grad_input_s8, o over the rows of i's group. scratch: int32[in_channels]; where
 * every channel is a group with one row, int16[INSITU_DEPTHWISE_BLOCK][weights in a row], and
 * where there is a band at least its planes. */
void insitu_conv_groups_grad_input_s8(const insitu_conv_groups_grad_input_params_t *p,
                                      const int8_t *dy, const int8_t *w, const uint16_t *rel,
                                      void *scratch, int8_t *dx);

/* As insitu_conv_update_s8. scratch: int32[weights in a row]; where every channel is a group with
 * one row, INSITU_DEPTHWISE_BLOCK times as much; where there is a band, at least those of
 * insitu_rows_at_once and its planes. */
int32_t insitu_conv_groups_update_s8(const insitu_conv_groups_params_t *p,
                                     const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                     const int8_t *dy, const int8_t *x, const float *row_scale,
                                     const float *rate, void *scratch, uint32_t *generator,
                                     int32_t *bias, int8_t *w);

/* How many rows insitu_conv_groups_gradient takes at once, at most INSITU_DEPTHWISE_BLOCK. */
int32_t insitu_rows_at_once(const insitu_conv_groups_params_t *p);

/* The gradients of rows o, o + 1, ..., o being a multiple of insitu_rows_at_once:
 * gradient[k][row], errors[row] as insitu_conv_row_gradient makes them. Returns in bit r whether
 * row o + r has an error that is not zero; only gradients of such rows count. planes: where there
 * is a band, the same ones from row 0 to the last. */
uint32_t insitu_conv_groups_gradient(const insitu_conv_groups_params_t *p, int32_t zero,
                                     const int8_t *dy, const int8_t *x, int32_t o, void *planes,
                                     int32_t *gradient, int32_t *errors);

/* ---- buffer_grouped.c ----------------------------------------------------------------------- */

typedef struct {
  insitu_conv_groups_params_t shape;
  float gain;
  int32_t wide;
} insitu_conv_groups_accumulate_params_t;

/* As insitu_conv_accumulate_s8. scratch: int32[2][weights in a row]; where every channel is a group
 * with one row, int32[INSITU_DEPTHWISE_BLOCK + 1][weights in a row]; with a band as in the
 * update. */
int32_t insitu_conv_groups_accumulate_s8(const insitu_conv_groups_accumulate_params_t *p,
                                         const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                         const int8_t *dy, const int8_t *x, const float *row_scale,
                                         const float *rate, void *scratch, uint32_t *generator,
                                         int32_t *bias_buffer, void *buffer);

/* ---- conv_grouped_f32.c: convolution with groups or dilation -------------------------------- */

typedef struct {
  insitu_conv_groups_params_t shape;
  float min, max; /* of the activation function */
} insitu_conv_groups_f32_params_t;

/* As insitu_conv_f32. */
void insitu_conv_groups_f32(const insitu_conv_groups_f32_params_t *p, const float *x,
                            const float *w, const float *b, float *y);

/* As insitu_conv_grad_input_f32, o over the rows of i's group. */
void insitu_conv_groups_grad_input_f32(const insitu_conv_groups_params_t *p, const float *dy,
                                       const float *w, float *dx);

typedef struct {
  insitu_conv_groups_params_t shape;
  float weight_decay;
} insitu_conv_groups_update_f32_params_t;

/* As insitu_conv_update_f32. scratch: float[weights in a row]. */
int32_t insitu_conv_groups_update_f32(const insitu_conv_groups_update_f32_params_t *p,
                                      const float *dy, const float *x, const float *rate,
                                      void *scratch, float *b, float *w);

typedef struct {
  insitu_conv_groups_params_t shape;
  float share; /* 1 / batch */
} insitu_conv_groups_accumulate_f32_params_t;

/* As insitu_conv_accumulate_f32. */
int32_t insitu_conv_groups_accumulate_f32(const insitu_conv_groups_accumulate_f32_params_t *p,
                                          const float *dy, const float *x, void *scratch,
                                          float *bias_buffer, float *buffer);

/* ---- affine.c: the preset paper, affine weights in [-128, 127] ------------------------------ */

/* y = clamp(zero + round((sum of (w - w_zero)(x - zero) + b) x_scale w_scale / y_scale)), b the
 * bias in the accumulator's unit; a linear layer is a convolution of one position, of one group.
 * scratch: int16[weights in a row]. |sum| < 2^31 while a row has fewer than 16,500 weights. */
void insitu_affine_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *w_q, const insitu_qparams_t *y_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, void *scratch, int8_t *y);

/* y = (sum of (w - w_zero)(x - zero)) x_scale w_scale + bias 2^-20, float. */
void insitu_affine_logits_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                             const insitu_qparams_t *w_q, const int8_t *x, const int8_t *w,
                             const int32_t *bias, void *scratch, float *y);

/* dx = sat127(round((sum of (w - w_zero) dy) dy_scale w_scale / dx_scale)); largest (or 0): the
 * largest real |dx| before it saturates. */
void insitu_affine_grad_input_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *dy_q,
                                 const insitu_qparams_t *w_q, const insitu_qparams_t *dx_q,
                                 const int8_t *dy, const int8_t *w, int8_t *dx, float *largest);

/* buffer += sum over positions of dy (x - zero), bias_buffer += sum of dy, exactly. scratch:
 * int16[weights in a row]. */
void insitu_affine_accumulate_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                                 const int8_t *dy, const int8_t *x, void *scratch,
                                 int32_t *bias_buffer, int32_t *buffer);

#ifdef __cplusplus
}
#endif

#endif
