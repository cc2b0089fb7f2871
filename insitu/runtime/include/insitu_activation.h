/* Activation functions of one argument: the kernels, in int8 and float, and the functions.
 *
 * Conventions as in insitu_kernels.h. Twin: insitu/ops/activations/functions.py, tables.py,
 * activation.py, prelu.py.
 */
#ifndef INSITU_ACTIVATION_H
#define INSITU_ACTIVATION_H

#include "insitu_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- functions.c: f and f', one rounding an operation; not called by generated code --------- */

typedef struct {
  int32_t size;
  float alpha, beta; /* of hard_sigmoid and elu */
  float lowest;      /* x where f is smallest, if that may lie inside a range */
} insitu_activation_params_t;

typedef float insitu_function_t(const insitu_activation_params_t *p, float x);

insitu_function_t insitu_sigmoid, insitu_sigmoid_slope;
insitu_function_t insitu_tanh, insitu_tanh_slope;
insitu_function_t insitu_hard_sigmoid, insitu_hard_sigmoid_slope;
insitu_function_t insitu_hard_swish, insitu_hard_swish_slope;
insitu_function_t insitu_silu, insitu_silu_slope;
insitu_function_t insitu_elu, insitu_elu_slope;
insitu_function_t insitu_gelu, insitu_gelu_slope;
insitu_function_t insitu_gelu_tanh, insitu_gelu_tanh_slope;
insitu_function_t insitu_softplus, insitu_softplus_slope;

/* ---- activation.c -------------------------------------------------------------------------- */

/* y = clamp(zero + round(f((x - zero_x) scale_x) (1 / scale))); y may be x. observed (or 0): least
 * and largest of f over the input's range, in steps of the output, clamped to +-32767. */
void insitu_activation_s8(const insitu_activation_params_t *p, insitu_function_t *f,
                          const insitu_qparams_t *x_q, const insitu_qparams_t *y_q, const int8_t *x,
                          int8_t *y, int32_t *observed);

/* dx = sat((dy slope + 2^13) >> 14), slope = round(2^14 f'(x)) as int16; dx may be dy.
 * |dy slope| < 2^22. */
void insitu_activation_grad_s8(const insitu_activation_params_t *p, insitu_function_t *slope,
                               const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                               int8_t *dx);

/* table[x + 128] = what insitu_activation_s8 makes of x; observed as there. */
void insitu_activation_table(const insitu_activation_params_t *p, insitu_function_t *f,
                             const insitu_qparams_t *x_q, const insitu_qparams_t *y_q,
                             int8_t *table, int32_t *observed);

/* slopes[x + 128] = round(2^14 f'(x)) */
void insitu_activation_slopes(const insitu_activation_params_t *p, insitu_function_t *slope,
                              const insitu_qparams_t *x_q, int16_t *slopes);

/* y = table[x + 128]; y may be x. */
void insitu_lookup_s8(const insitu_size_params_t *p, const int8_t *x, const int8_t *table,
                      int8_t *y);

/* dx = sat((dy slopes[x + 128] + 2^13) >> 14); dx may be dy. |dy slope| < 2^22. */
void insitu_lookup_grad_s8(const insitu_size_params_t *p, const int8_t *dy, const int8_t *x,
                           const int16_t *slopes, int8_t *dx);

/* ---- prelu.c ------------------------------------------------------------------------------- */

typedef struct {
  int32_t positions, channels; /* of x[positions, channels] */
} insitu_prelu_params_t;

/* y = clamp(zero + ((x - zero_x) m + 2^13) >> 14); m = round(scale_x / scale slope[c]) clamped to
 * +-2^22, slope 2^14 where x > zero_x; y may be x. observed (or 0): smallest and largest value
 * before the clamp. |(x - zero_x) m| < 2^30. */
void insitu_prelu_s8(const insitu_prelu_params_t *p, const insitu_qparams_t *x_q,
                     const insitu_qparams_t *y_q, const int8_t *x, const int16_t *slope, int8_t *y,
                     int32_t *observed);

/* dx = dy where x > zero, else sat((dy slope[c] + 2^13) >> 14); dx may be dy. */
void insitu_prelu_grad_s8(const insitu_prelu_params_t *p, const insitu_qparams_t *x_q,
                          const int8_t *dy, const int8_t *x, const int16_t *slope, int8_t *dx);

/* ---- activation_f32.c ----------------------------------------------------------------------- */

/* y = f(x); y may be x. */
void insitu_activation_f32(const insitu_activation_params_t *p, insitu_function_t *f,
                           const float *x, float *y);

/* dx = dy f'(x); dx may be dy. */
void insitu_activation_grad_f32(const insitu_activation_params_t *p, insitu_function_t *slope,
                                const float *dy, const float *x, float *dx);

/* y = x where x > 0, else slope[c] x; y may be x. */
void insitu_prelu_f32(const insitu_prelu_params_t *p, const float *x, const float *slope, float *y);

/* dx = dy where x > 0, else slope[c] dy; dx may be dy. */
void insitu_prelu_grad_f32(const insitu_prelu_params_t *p, const float *dy, const float *x,
                           const float *slope, float *dx);

#ifdef __cplusplus
}
#endif

#endif
