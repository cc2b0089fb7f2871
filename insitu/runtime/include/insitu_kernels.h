/* Kernels of int8 layers: shapes, index formulas, ranges.
 *
 * Feature maps are x[height, width, channels], weights w[out, kernel_h, kernel_w, in] and
 * w[out, in], int8 in [-127, 127]; errors int8 in [-127, 127]. Sizes count elements. Outputs may
 * share memory with inputs only where a declaration says so. The ranges are checked for the
 * network at hand by the compiler (OpDef.bounds), never hoped for.
 */
#ifndef INSITU_KERNELS_H
#define INSITU_KERNELS_H

#include "insitu_fixed_point.h"
#include "insitu_losses.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows.c: scales of layers whose quantization moves ------------------------------------ */

typedef struct {
  int32_t rows;
  float largest; /* largest row scale */
} insitu_row_parameters_params_t;

/* multiplier[rows] = round(2^(32 - shift) x_scale row_scale / y_scale), bias_acc[rows] =
 * bias 2^-20 / (x_scale row_scale) clamped to +-2^30; shift[1] keeps every multiplier below 2^31.
 */
void insitu_row_parameters(const insitu_row_parameters_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const float *row_scale, const int32_t *bias,
                           int32_t *multiplier, int32_t *bias_acc, int32_t *shift);

typedef struct {
  float clip_min, clip_max; /* bounds of the activation function */
  float smallest;           /* the range never becomes narrower */
} insitu_follow_range_params_t;

/* range[2] += (0.1 where it grows, else 0.01) (observed[2] scale - range), from the next step. */
void insitu_follow_range(const insitu_follow_range_params_t *p, const insitu_qparams_t *y_q,
                         const int32_t *observed, float *range);

/* ---- conv.c -------------------------------------------------------------------------------- */

typedef struct {
  int32_t in_height, in_width, in_channels;
  int32_t out_height, out_width, out_channels;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t tile_height, tile_width; /* positions taken at once; 0: one after the other */
  int32_t tile_out, tile_in;       /* rows and elements of a block of the weight gradient */
  int32_t tile_bytes;              /* of scratch, for whichever tiles the core takes */
} insitu_conv_params_t;

/* y[oy, ox, o] = clamp(zero + rescale(bias[o] + sum of w[o, ky, kx, i] (x[iy, ix, i] - zero)));
 * iy = oy stride - pad + ky; places outside the map count as the zero point.
 * scratch: int16[kernel_height kernel_width in_channels], or for tiles forward_tile(...).bytes of
 * insitu/ops/kernels/tiles.py. observed (or 0): smallest and largest value before the clamp,
 * relative to the zero point. |sum| < 2^31 while the kernel has fewer than 33,000 weights a row. */
void insitu_conv_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                    const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                    const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                    void *scratch, int8_t *y, int32_t *observed);

typedef struct {
  insitu_conv_params_t shape; /* of the forward pass */
  int32_t drop;               /* bits dropped from the error so that sums fit int32 */
  int32_t multiplier, shift;
  int32_t entries; /* of a list of errors, a multiple of 4 */
} insitu_conv_grad_input_params_t;

/* dx[iy, ix, i] = sat(rescale(sum over o, ky, kx of w[o, ky, kx, i] e'[oy, ox, o])).
 * scratch: int32[in_channels + 2 entries], or for tiles grad_input_tile(...).bytes if more. */
void insitu_conv_grad_input_s8(const insitu_conv_grad_input_params_t *p, const int8_t *dy,
                               const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx);

/* w[o] = sat127(w[o] - d), d = (G M + u) >> 32, G = sum over positions of dy (x - zero),
 * M = round(2^32 rate dy_scale x_scale / row_scale[o]), u = r 2^24 + 2^23, r 8 random bits.
 * Rows without an error draw nothing and stay. scratch: int32[weights in a row], or for tiles
 * update_tile(...).bytes if that is more. Returns how many rows had M clamped at 2^31 - 1. */
int32_t insitu_conv_update_s8(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                              const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                              const float *row_scale, const float *rate, void *scratch,
                              uint32_t *generator, int32_t *bias, int8_t *w);

/* gradient[k] = sum over positions of dy[.., o] (x - zero), *errors = the sum of dy[.., o].
 * Returns whether any error is not zero; where none is, gradient is left alone. */
int32_t insitu_conv_row_gradient(const insitu_conv_params_t *p, int32_t zero, const int8_t *dy,
                                 const int8_t *x, int32_t o, int32_t *gradient, int32_t *errors);

/* ---- linear.c ------------------------------------------------------------------------------ */

typedef struct {
  int32_t out_features, in_features;
} insitu_linear_params_t;

/* y[o] = clamp(zero + rescale(bias[o] + sum of w[o, i] (x[i] - zero))). observed as for conv.
 * scratch, here and below: int16[in_features rounded up to 4]. */
void insitu_linear_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                      const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                      void *scratch, int8_t *y, int32_t *observed);

/* y[o] = (sum of w[o, i] (x[i] - zero)) (x_scale row_scale[o]) + bias[o] 2^-20, float. */
void insitu_logits_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, const float *row_scale, void *scratch,
                      float *y);

typedef struct {
  insitu_linear_params_t shape;    /* of the forward pass */
  int32_t drop, multiplier, shift; /* as for conv */
} insitu_linear_grad_input_params_t;

/* dx[i] = sat(rescale(sum over o of w[o, i] e'[o])). scratch: 8 bytes a row, in fours of rows. */
void insitu_linear_grad_input_s8(const insitu_linear_grad_input_params_t *p, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx);

/* w[o, i] = sat127(w[o, i] - ((kappa (x[i] - zero) + r 2^8 + 2^7) >> 16)),
 * kappa = round(2^16 dy[o] rate dy_scale x_scale / row_scale[o]), int16; r 8 random bits.
 * Rows without an error draw nothing and stay. Returns how many rows had kappa clamped. */
int32_t insitu_linear_update_s8(const insitu_linear_params_t *p, const insitu_qparams_t *dy_q,
                                const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                                const float *row_scale, const float *rate, void *scratch,
                                uint32_t *generator, int32_t *bias, int8_t *w);

/* ---- buffer.c: mini-batches and momentum ----------------------------------------------------- */

typedef struct {
  int32_t batch;
} insitu_batch_params_t;

/* count[1] = (count + 1) mod batch; returns whether the batch is complete. */
int32_t insitu_count_sample(const insitu_batch_params_t *p, int32_t *count);

typedef struct {
  insitu_conv_params_t shape; /* of the forward pass */
  float gain;                 /* 2^32 / batch */
  int32_t wide;               /* buffer: 1: int32, units of row_scale / 2^16; 0: int16, 2^8 */
} insitu_conv_accumulate_params_t;

/* buffer[o] += G M, G as for insitu_conv_update_s8, M = round(gain rate dy_scale x_scale /
 * row_scale[o]): int32 rounded to nearest, int16 stochastically with 8 bits; both saturate.
 * bias_buffer in units of 2^-26, clamped to +-2^30. Rows without an error draw nothing and stay.
 * scratch: int32[weights in a row]. Returns how many rows had M clamped. */
int32_t insitu_conv_accumulate_s8(const insitu_conv_accumulate_params_t *p,
                                  const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                  const int8_t *dy, const int8_t *x, const float *row_scale,
                                  const float *rate, void *scratch, uint32_t *generator,
                                  int32_t *bias_buffer, void *buffer);

typedef struct {
  insitu_linear_params_t shape;
  float gain;
  int32_t wide;
} insitu_linear_accumulate_params_t;

/* The same for a linear layer: G = x - zero, M = round(dy[o] gain rate ...). */
int32_t insitu_linear_accumulate_s8(const insitu_linear_accumulate_params_t *p,
                                    const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                    const int8_t *dy, const int8_t *x, const float *row_scale,
                                    const float *rate, uint32_t *generator, int32_t *bias_buffer,
                                    void *buffer);

typedef struct {
  int32_t rows, weights; /* weights of all rows together */
  int32_t momentum;      /* times 2^16 */
  float weight_decay;
  int32_t wide;
} insitu_apply_params_t;

/* buffer += rate weight_decay w; w -= round(buffer). Without momentum what was rounded away stays
 * in the buffer; with it rounding is stochastic and buffer *= momentum. Biases likewise, without
 * decay and rounded to nearest. */
void insitu_apply_s8(const insitu_apply_params_t *p, const float *rate, uint32_t *generator,
                     int32_t *bias_buffer, void *buffer, int32_t *bias, int8_t *w);

typedef struct {
  int32_t rows, weights; /* weights of one row */
  float weight_decay;    /* times rows */
} insitu_decay_params_t;

/* w[row] -= rate weight_decay w[row], rounded stochastically with 32 bits; row[1] goes on. */
void insitu_decay_s8(const insitu_decay_params_t *p, const float *rate, uint32_t *generator,
                     int32_t *row, int8_t *w);

/* buffer[first + k] += gradient[k] multiplier, k < size, as above; returns the new state. */
uint32_t insitu_add_row(int32_t wide, int32_t size, int32_t multiplier, const int32_t *gradient,
                        uint32_t state, void *buffer, int32_t first);

/* buffer of a bias plus the rounded step errors factor. */
int32_t insitu_add_bias(int32_t buffer, int32_t errors, float factor);

/* ---- affine_update.c --------------------------------------------------------------------------
 */

/* w = round((real - rate (g - mean of the row) / sd of the row) / scale') + zero', real = (w -
 * zero) scale; scale' and zero' are those of range[2], the new weights' smallest and largest. The
 * biases likewise, all rows' as one structure, in units of 2^-20. Clears the buffers. scratch:
 * 8 bytes a row. */
void insitu_affine_apply_s8(const insitu_linear_params_t *p, const insitu_qparams_t *w_q,
                            const float *rate, void *scratch, int32_t *bias_buffer, int32_t *buffer,
                            int32_t *bias, float *range, int8_t *w);

/* average[1] += 0.01 (largest - average) */
void insitu_average_error(const float *largest, float *average);

/* range[2] of errors whose largest is average[1]: zero point 0, scale average / 127. */
void insitu_adopt_error(const float *average, float *range);

/* ---- pool.c -------------------------------------------------------------------------------- */

typedef struct {
  int32_t in_height, in_width, channels;
  int32_t out_height, out_width;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t count_padding; /* average only: padding counts as zeros */
} insitu_pool_params_t;

void insitu_max_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                        int8_t *y);

/* Each error goes to the first largest element of its window; sums saturate one by one. */
void insitu_max_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, const int8_t *x,
                             int8_t *dx);

/* y = round(sum / count) - 128 with elements q + 128, halves up. */
void insitu_average_pool_s8(const insitu_pool_params_t *p, const insitu_qparams_t *x_q,
                            const int8_t *x, int8_t *y);

/* dx = sat(sum over windows of round(dy window / count)); its scale is that of dy / window. */
void insitu_average_pool_grad_s8(const insitu_pool_params_t *p, const int8_t *dy, int8_t *dx);

/* ---- clip.c -------------------------------------------------------------------------------- */

typedef struct {
  int32_t size;
} insitu_size_params_t;

typedef struct {
  int32_t size;
  float min, max; /* real, possibly infinite */
} insitu_clip_params_t;

/* y = min(max(x, min), max); y may be x. */
void insitu_clip_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                    int8_t *y);

/* dx = dy where x is strictly between min and max, else 0; dx may be dy. */
void insitu_clip_grad_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q,
                         const int8_t *dy, const int8_t *x, int8_t *dx);

/* dx = dy where y passes by its own quantization (pass_min, pass_max), else 0; dx may be dy. */
void insitu_layer_clip_grad_s8(const insitu_size_params_t *p, const insitu_qparams_t *y_q,
                               const int8_t *dy, const int8_t *y, int8_t *dx);

/* ---- add.c: where two branches meet ---------------------------------------------------------- */

typedef struct {
  int32_t size;
  int32_t sign; /* of b: 1 or -1 */
} insitu_add_params_t;

/* y = clamp(zero_y + ((a - zero_a) M_a + sign (b - zero_b) M_b + 2^13) >> 14),
 * M = round(2^14 scale / scale_y), clamped to 2^22. observed as for conv. y may be a or b. */
void insitu_add_s8(const insitu_add_params_t *p, const insitu_qparams_t *a_q,
                   const insitu_qparams_t *b_q, const insitu_qparams_t *y_q, const int8_t *a,
                   const int8_t *b, int8_t *y, int32_t *observed);

typedef struct {
  int32_t size;
  int32_t first, second; /* multipliers, at most 2^14 */
} insitu_add_errors_params_t;

/* e = sat127((a first + b second + 2^13) >> 14). e may be a or b. */
void insitu_add_errors_s8(const insitu_add_errors_params_t *p, const int8_t *a, const int8_t *b,
                          int8_t *e);

/* e = -a; e may be a. */
void insitu_negate_s8(const insitu_size_params_t *p, const int8_t *a, int8_t *e);

/* ---- select_rows.c: which rows learn from a sample ------------------------------------------- */

typedef struct {
  int32_t positions, rows; /* of dy[positions, rows] */
  int32_t least, most;     /* fractions of the rows, times 2^16 */
} insitu_select_rows_params_t;

/* selected = dy in the k rows with the largest sum of |dy| (of equal ones the first), else 0;
 * k = max(floor((least + total / largest (most - least)) rows), 1), total the sum over all rows,
 * largest[1] the largest total so far, this one included. scratch: 4 bytes a row. selected may
 * be dy. Sums < 2^31 while dy has fewer than 2^24 elements; rows < 2^16. */
void insitu_select_rows_s8(const insitu_select_rows_params_t *p, const int8_t *dy, void *scratch,
                           int32_t *largest, int8_t *selected);
void insitu_select_rows_f32(const insitu_select_rows_params_t *p, const float *dy, void *scratch,
                            float *largest, float *selected);

typedef struct {
  int32_t positions, rows; /* of dy[positions, rows] */
  int32_t first, end;
} insitu_keep_rows_params_t;

/* kept = dy in rows [first, end), else 0; kept may be dy. */
void insitu_keep_rows_s8(const insitu_keep_rows_params_t *p, const int8_t *dy, int8_t *kept);
void insitu_keep_rows_f32(const insitu_keep_rows_params_t *p, const float *dy, float *kept);

/* ---- draw_sample.c: which samples the layers before the last one learn from ---------------------
 */

typedef struct {
  int32_t size;        /* of dy */
  float least, spread; /* p = least + spread total / largest */
} insitu_draw_sample_params_t;

/* Whether the backward pass goes on: with probability p, then drawn[1] = rate / p, else drawn = 0.
 * total: the sum of |dy|; largest[1]: the largest total so far, this one included. The first
 * error and one that is not finite let it go on at the rate itself, without a draw. An error of 0
 * goes on with probability least: beside the layer another one may have an error. Sums < 2^31 while
 * dy has fewer than 2^24 elements. */
int32_t insitu_draw_sample_s8(const insitu_draw_sample_params_t *p, const int8_t *dy,
                              int32_t *largest, uint32_t *generator, const float *rate,
                              float *drawn);
int32_t insitu_draw_sample_f32(const insitu_draw_sample_params_t *p, const float *dy,
                               float *largest, uint32_t *generator, const float *rate,
                               float *drawn);

/* ---- bias.c: update of biases alone --------------------------------------------------------- */

typedef struct {
  int32_t positions, rows; /* of dy[positions, rows] */
} insitu_bias_update_params_t;

/* bias[row] -= round(rate dy_scale 2^20 (sum over positions of dy)). */
void insitu_bias_update_s8(const insitu_bias_update_params_t *p, const insitu_qparams_t *dy_q,
                           const int8_t *dy, const float *rate, int32_t *bias);

/* bias[row] -= rate (sum over positions of dy), in order. Returns 0; or p->rows, left as they were,
 * where insitu_step_is_small_f32 is not. */
int32_t insitu_bias_update_f32(const insitu_bias_update_params_t *p, const float *dy,
                               const float *rate, float *bias);

/* ---- saturation.c ---------------------------------------------------------------------------- */

/* How many of w[size] are at +-127 that were not in start[size] (0: all started at 0). */
int32_t insitu_saturated_weights(int32_t size, const int8_t *start, const int8_t *w);

/* ---- layout.c ------------------------------------------------------------------------------ */

typedef struct {
  int32_t height, width, channels;
} insitu_layout_params_t;

/* y[c, h, w] = x[h, w, c] */
void insitu_flatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y);

/* y[h, w, c] = x[c, h, w] */
void insitu_unflatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y);

/* Sizes of y, and how far apart its neighbours along each axis lie in x. */
typedef struct {
  int32_t height, width, channels, height_step, width_step, channels_step;
} insitu_permute_params_t;

/* y[i, j, k]: the axes of x in another order. */
void insitu_permute_s8(const insitu_permute_params_t *p, const int8_t *x, int8_t *y);

/* y = x; y may be x. */
void insitu_reshape_s8(const insitu_size_params_t *p, const int8_t *x, int8_t *y);

/* q[h, w, c] = clamp(zero + round(x[c, h, w] / scale)): a sample as sensors give it; NaN gives
 * -128. Returns how many were no numbers, or moved by the clamp by more than one step. */
int32_t insitu_quantize_input_f32(const insitu_layout_params_t *p, const insitu_qparams_t *q_q,
                                  const float *x, int8_t *q);

/* Where channels have units of their own:
 * q[h, w, c] = clamp(zero + round((x[c, h, w] - offset[c]) / scale[c])). */
int32_t insitu_quantize_input_units_f32(const insitu_layout_params_t *p,
                                        const insitu_qparams_t *q_q, const float *scale,
                                        const float *offset, const float *x, int8_t *q);

/* ---- loss.c; the losses themselves are in insitu_losses.h ----------------------------------- */

/* y = (x - zero) scale */
void insitu_dequantize_s8(const insitu_size_params_t *p, const insitu_qparams_t *x_q,
                          const int8_t *x, float *y);

#ifdef __cplusplus
}
#endif

#endif
