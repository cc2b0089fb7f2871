/* Every kernel in float: what precision float32, and the float layers of mixed, are made of.
 *
 * Layouts as in insitu_kernels.h. Each multiplication and each addition rounds once; a sum starts
 * with what is said and takes its products one by one in the order said, so that every core, with
 * an FPU or without, gives the same bits. Blocks of rows and positions are summed side by side,
 * never a sum in parts. Errors that are 0 are passed over, which changes no sum.
 */
#ifndef INSITU_KERNELS_F32_H
#define INSITU_KERNELS_F32_H

#include "insitu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sums_f32.c: what the layers share; not called by generated code ----------------------- */

#define INSITU_BLOCK 4 /* rows that are worked on side by side */

/* y[o] = b[o] + w[o, 0] x[0] + w[o, 1] x[1] + ..., clamped to [min, max]. */
void insitu_rows_times_f32(int32_t rows, int32_t size, const float *w, const float *b,
                           const float *x, float min, float max, float *y);

/* The same of two vectors x0, x1, to y and y + rows. */
void insitu_rows_times_two_f32(int32_t rows, int32_t size, const float *w, const float *b,
                               const float *x0, const float *x1, float min, float max, float *y);

/* sum[i] = ((sum[i] + e[0] x[0][i]) + e[1] x[1][i]) + ..., count <= INSITU_BLOCK. */
void insitu_add_products_f32(int32_t size, int32_t count, const float *e, const float *const *x,
                             float *sum);

/* Updates leave a layer as it is where one of its weights might move by so much. Beside a weight of
 * 2^65 and more, smaller steps round to nothing, so that weights stay finite. */
#define INSITU_STEP_LIMIT 1099511627776.0f /* 2^40 */

/* Whether factor positions max|dy| max(max|x|, 1) < INSITU_STEP_LIMIT, which no sum of a row's
 * products can exceed; not where an operand is no number. */
int32_t insitu_step_is_small_f32(float factor, int32_t positions, int32_t rows, const float *dy,
                                 int32_t size, const float *x);

/* x[i] *= factor */
void insitu_scale_f32(int32_t size, float factor, float *x);

/* ---- conv_f32.c ----------------------------------------------------------------------------- */

typedef struct {
  insitu_conv_params_t shape;
  float min, max; /* of the activation function */
} insitu_conv_f32_params_t;

/* y[oy, ox, o] = b[o] + sum over ky, kx, i of w[o, ky, kx, i] x[iy, ix, i], clamped to [min, max];
 * places outside the map are 0. scratch: float[2][weights in a row]. */
void insitu_conv_f32(const insitu_conv_f32_params_t *p, const float *x, const float *w,
                     const float *b, void *scratch, float *y);

/* dx[iy, ix, i] = 0 + sum over oy, ox, o of w[o, ky, kx, i] dy[oy, ox, o]. */
void insitu_conv_grad_input_f32(const insitu_conv_params_t *p, const float *dy, const float *w,
                                float *dx);

typedef struct {
  insitu_conv_params_t shape;
  float weight_decay;
} insitu_conv_update_f32_params_t;

/* w[o] = w[o] (1 - rate weight_decay) - rate (0 + sum over oy, ox of dy[oy, ox, o] x);
 * b[o] -= rate (0 + sum of dy[oy, ox, o]). Returns 0; or all rows, left as they were, where
 * insitu_step_is_small_f32 is not. scratch: float[weights in a row]; where
 * kernel_width in_channels < INSITU_SHORT_LINE, whose lines would be too short to be worked on one
 * by one, float[out_channels + INSITU_BLOCK][weights in a row]. */
#define INSITU_SHORT_LINE 8

int32_t insitu_conv_update_f32(const insitu_conv_update_f32_params_t *p, const float *dy,
                               const float *x, const float *rate, void *scratch, float *b,
                               float *w);

/* gradient[ky, kx, i] = sum over positions of dy[.., 0] x, *errors = the sum of dy[.., 0]; dy
 * points to the row's channel. Returns whether any error is not zero; where none is, gradient is
 * left alone. */
int32_t insitu_conv_row_gradient_f32(const insitu_conv_params_t *p, const float *dy, const float *x,
                                     float *gradient, float *errors);

/* ---- linear_f32.c --------------------------------------------------------------------------- */

typedef struct {
  insitu_linear_params_t shape;
  float min, max; /* of the activation function */
} insitu_linear_f32_params_t;

/* y[o] = b[o] + sum over i of w[o, i] x[i], clamped to [min, max]. */
void insitu_linear_f32(const insitu_linear_f32_params_t *p, const float *x, const float *w,
                       const float *b, float *y);

/* dx[i] = 0 + sum over o of w[o, i] dy[o]. */
void insitu_linear_grad_input_f32(const insitu_linear_params_t *p, const float *dy, const float *w,
                                  float *dx);

typedef struct {
  insitu_linear_params_t shape;
  float weight_decay;
} insitu_linear_update_f32_params_t;

/* w[o, i] = w[o, i] (1 - rate weight_decay) - (rate dy[o]) x[i]; b[o] -= rate dy[o]. Returns as
 * insitu_conv_update_f32 does. */
int32_t insitu_linear_update_f32(const insitu_linear_update_f32_params_t *p, const float *dy,
                                 const float *x, const float *rate, float *b, float *w);

/* ---- buffer_f32.c: mini-batches and momentum ------------------------------------------------- */

typedef struct {
  insitu_conv_params_t shape;
  float share; /* 1 / batch */
} insitu_conv_accumulate_f32_params_t;

/* buffer[o] += share (0 + sum over oy, ox of dy[oy, ox, o] x); bias_buffer likewise. Rows without
 * an error stay. Returns as insitu_conv_update_f32 does, share in place of the rate.
 * scratch: float[weights in a row]. */
int32_t insitu_conv_accumulate_f32(const insitu_conv_accumulate_f32_params_t *p, const float *dy,
                                   const float *x, void *scratch, float *bias_buffer,
                                   float *buffer);

typedef struct {
  insitu_linear_params_t shape;
  float share;
} insitu_linear_accumulate_f32_params_t;

/* buffer[o, i] += (share dy[o]) x[i]; bias_buffer[o] += share dy[o]. Returns likewise. */
int32_t insitu_linear_accumulate_f32(const insitu_linear_accumulate_f32_params_t *p,
                                     const float *dy, const float *x, float *bias_buffer,
                                     float *buffer);

typedef struct {
  int32_t rows, weights; /* weights of all rows together */
  float momentum, weight_decay;
} insitu_apply_f32_params_t;

/* v = buffer + weight_decay w; w -= rate v; buffer = momentum v. Biases without decay. */
void insitu_apply_f32(const insitu_apply_f32_params_t *p, const float *rate, float *bias_buffer,
                      float *buffer, float *b, float *w);

/* ---- pool_f32.c ----------------------------------------------------------------------------- */

void insitu_max_pool_f32(const insitu_pool_params_t *p, const float *x, float *y);

/* Each error goes to the first largest element of its window; sums in order of the windows. */
void insitu_max_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, const float *x,
                              float *dx);

/* y = (0 + sum over the window) / count */
void insitu_average_pool_f32(const insitu_pool_params_t *p, const float *x, float *y);

/* dx = 0 + sum over windows of dy / count */
void insitu_average_pool_grad_f32(const insitu_pool_params_t *p, const float *dy, float *dx);

/* ---- elements_f32.c -------------------------------------------------------------------------- */

/* y = min(max(x, min), max); y may be x. */
void insitu_clip_f32(const insitu_clip_params_t *p, const float *x, float *y);

/* y = a + b, y = a - b, clamped to [min, max]; y may be a or b. */
void insitu_add_f32(const insitu_clip_params_t *p, const float *a, const float *b, float *y);
void insitu_subtract_f32(const insitu_clip_params_t *p, const float *a, const float *b, float *y);

/* y = -x; y may be x. */
void insitu_negate_f32(const insitu_size_params_t *p, const float *x, float *y);

/* dx = dy where x is strictly between min and max, else 0; dx may be dy. */
void insitu_clip_grad_f32(const insitu_clip_params_t *p, const float *dy, const float *x,
                          float *dx);

/* y[c, h, w] = x[h, w, c] */
void insitu_flatten_f32(const insitu_layout_params_t *p, const float *x, float *y);

/* y[h, w, c] = x[c, h, w] */
void insitu_unflatten_f32(const insitu_layout_params_t *p, const float *x, float *y);

/* y[i, j, k]: the axes of x in another order. */
void insitu_permute_f32(const insitu_permute_params_t *p, const float *x, float *y);

/* y = x; y may be x. */
void insitu_reshape_f32(const insitu_size_params_t *p, const float *x, float *y);

/* y[h, w, c] = x[c, h, w] of a sample as sensors give it. Returns how many are NaN or infinite. */
int32_t insitu_take_input_f32(const insitu_layout_params_t *p, const float *x, float *y);

typedef struct {
  int32_t size;
  float factor; /* 127 / what the loss's gradient is where its error is 1 */
} insitu_quantize_error_params_t;

/* q = round(factor x) clamped to [-127, 127], 0 where x is no number: an error on its way from
 * float layers to integer ones. */
void insitu_quantize_error_f32(const insitu_quantize_error_params_t *p, const float *x, int8_t *q);

#ifdef __cplusplus
}
#endif

#endif
