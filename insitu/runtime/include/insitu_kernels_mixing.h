/* Concatenate, multiply, pad and slice, resize; int8 and float.
 *
 * Layouts and ranges as in insitu_kernels.h; floats as in insitu_kernels_f32.h.
 */
#ifndef INSITU_KERNELS_MIXING_H
#define INSITU_KERNELS_MIXING_H

#include "insitu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- concat.c, concat_f32.c ----------------------------------------------------------------- */

typedef struct {
  int32_t repeats, parts;
} insitu_concat_params_t;

/* y = sizes[0] elements of x[0], sizes[1] of x[1], ... and so on, repeats times, each element
 * brought to the scale of y as in insitu_add_s8. observed as for conv. */
void insitu_concat_s8(const insitu_concat_params_t *p, const insitu_qparams_t *const x_q[],
                      const insitu_qparams_t *y_q, const int8_t *const x[], const int32_t sizes[],
                      int8_t *y, int32_t *observed);

typedef struct {
  int32_t repeats, parts;
  float min, max;
} insitu_concat_f32_params_t;

/* y = sizes[0] elements of x[0], sizes[1] of x[1], ... and so on, repeats times, clamped to
 * [min, max]. */
void insitu_concat_f32(const insitu_concat_f32_params_t *p, const float *const x[],
                       const int32_t sizes[], float *y);

/* ---- multiply.c, multiply_f32.c ------------------------------------------------------------- */

typedef struct {
  int32_t repeats, size; /* a[repeats, size], b[size] */
} insitu_multiply_params_t;

/* y[r, i] = clamp(zero_y + rescale((a[r, i] - zero_a) (b[i] - zero_b))), by scale_a / scale_y
 * scale_b. observed as for conv. y may be a, or b if it is as large. */
void insitu_multiply_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *a_q,
                        const insitu_qparams_t *b_q, const insitu_qparams_t *y_q, const int8_t *a,
                        const int8_t *b, int8_t *y, int32_t *observed);

/* da[r, i] = sat127(rescale(dy[r, i] (b[i] - zero_b))), by scale_b; da may be dy. */
void insitu_multiply_grad_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *b_q,
                             const int8_t *dy, const int8_t *b, int8_t *da);

/* db[i] = sat127(rescale(sum over r of dy[r, i] (a[r, i] - zero_a))), by scale_a; db may be dy if
 * it is as large. |sum| < 2^31 while repeats <= 66,311. */
void insitu_multiply_grad_factor_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *a_q,
                                    const int8_t *dy, const int8_t *a, int8_t *db);

typedef struct {
  insitu_multiply_params_t sizes;
  float min, max; /* of the activation function */
} insitu_multiply_f32_params_t;

/* y[r, i] = a[r, i] b[i], clamped to [min, max]; y may be a, or b if it is as large. */
void insitu_multiply_f32(const insitu_multiply_f32_params_t *p, const float *a, const float *b,
                         float *y);

/* da[r, i] = dy[r, i] b[i]; da may be dy. */
void insitu_multiply_grad_f32(const insitu_multiply_params_t *p, const float *dy, const float *b,
                              float *da);

/* db[i] = 0 + sum over r of dy[r, i] a[r, i]; db may be dy if it is as large. */
void insitu_multiply_grad_factor_f32(const insitu_multiply_params_t *p, const float *dy,
                                     const float *a, float *db);

/* ---- pad.c -------------------------------------------------------------------------------- */

typedef struct {
  int32_t height, width, channels;
} insitu_pad_shape_t;

typedef struct {
  insitu_pad_shape_t small, large;
  insitu_pad_shape_t low, step; /* element i of the small map is at low + i step of the large */
} insitu_pad_params_t;

/* large y = the elements of small x at their places, the zero point elsewhere. */
void insitu_pad_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                   int8_t *y);

/* small y = the elements of large x at its places, the zero point where they lie outside. */
void insitu_slice_s8(const insitu_pad_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                     int8_t *y);

/* As insitu_pad_s8 and insitu_slice_s8, with 0. */
void insitu_pad_f32(const insitu_pad_params_t *p, const float *x, float *y);
void insitu_slice_f32(const insitu_pad_params_t *p, const float *x, float *y);

/* ---- resize.c ----------------------------------------------------------------------------- */

typedef struct {
  int32_t height, width, channels; /* of the smaller map */
  int32_t factor_height, factor_width;
} insitu_resize_params_t;

/* y[oy, ox, c] = x[oy / factor_height, ox / factor_width, c] */
void insitu_resize_s8(const insitu_resize_params_t *p, const int8_t *x, int8_t *y);
void insitu_resize_f32(const insitu_resize_params_t *p, const float *x, float *y);

/* dx = sat127(sum of dy over the block) */
void insitu_resize_grad_s8(const insitu_resize_params_t *p, const int8_t *dy, int8_t *dx);

/* dx = 0 + sum of dy over the block, in row order */
void insitu_resize_grad_f32(const insitu_resize_params_t *p, const float *dy, float *dx);

#ifdef __cplusplus
}
#endif

#endif
