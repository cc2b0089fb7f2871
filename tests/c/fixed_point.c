/* The scalar functions of the runtime over arrays, for test_fixed_point.py. Each element of `out`
 * is the function of the same element of the inputs. */
#include "functions.c"
#include "loss.c"
#include "rows.c"

#define EXPORT __attribute__((visibility("default")))

EXPORT void array_round_clamp(int32_t n, const float *v, const int32_t *low, const int32_t *high,
                        int32_t *out);
EXPORT void array_round_clamp_bits(int32_t n, const float *v, const int32_t *low, const int32_t *high,
                             int32_t *out);
EXPORT void array_round_high_halves(int32_t n, const int32_t *a, const int32_t *m, int32_t *out);
EXPORT void array_rescale(int32_t n, const int32_t *acc, const int32_t *multiplier, const int32_t *shift,
                    int32_t *out);
EXPORT void array_expand_error(int32_t n, const int32_t *e, const uint16_t *rel, const int32_t *drop,
                         int32_t *out);
EXPORT void array_draw(int32_t n, uint32_t state, uint8_t *out);
EXPORT void array_seed_generator(int32_t n, const uint32_t *seed, uint32_t *out);
EXPORT void array_range_qparams(int32_t n, const float *ranges, const float *clips,
                          insitu_qparams_t *out);
EXPORT void array_update_bias(int32_t n, const int32_t *bias, const int32_t *errors, const float *rate,
                        const float *scale, int32_t *out);
EXPORT void array_exp_negative(int32_t n, const float *x, float *out);
EXPORT void array_expm1_negative(int32_t n, const float *x, float *out);
EXPORT void array_erfc_positive(int32_t n, const float *x, float *out);
EXPORT void array_function(int32_t n, int32_t which, float alpha, float beta, const float *x, float *out);
EXPORT void array_log_positive(int32_t n, const float *x, float *out);
EXPORT void array_cosine_rates(int32_t n, float rate, float *out);
EXPORT void array_follow_range(int32_t n, const insitu_follow_range_params_t *p,
                         const insitu_qparams_t *q, const int32_t *observed, float *ranges);
EXPORT void array_row_parameters(int32_t rows, float largest, float x_scale, float y_scale,
                           const float *row_scale, const int32_t *bias, int32_t *multiplier,
                           int32_t *bias_acc, int32_t *shift);

/* insitu_FUNCTION_soft over arrays */
#define SOFT_OF_ONE(FUNCTION, FROM, TO)                                                            \
  EXPORT void array_##FUNCTION##_soft(int32_t n, const FROM *v, TO *out);                          \
  void array_##FUNCTION##_soft(int32_t n, const FROM *v, TO *out) {                                \
    for (int32_t i = 0; i < n; i++)                                                                \
      out[i] = insitu_##FUNCTION##_soft(v[i]);                                                     \
  }
#define SOFT_OF_TWO(FUNCTION, TO)                                                                  \
  EXPORT void array_##FUNCTION##_soft(int32_t n, const float *a, const float *b, TO *out);         \
  void array_##FUNCTION##_soft(int32_t n, const float *a, const float *b, TO *out) {               \
    for (int32_t i = 0; i < n; i++)                                                                \
      out[i] = insitu_##FUNCTION##_soft(a[i], b[i]);                                               \
  }

SOFT_OF_TWO(add, float)
SOFT_OF_TWO(subtract, float)
SOFT_OF_TWO(multiply, float)
SOFT_OF_TWO(divide, float)
SOFT_OF_TWO(less, int32_t)
SOFT_OF_TWO(at_most, int32_t)
SOFT_OF_TWO(greater, int32_t)
SOFT_OF_TWO(at_least, int32_t)
SOFT_OF_TWO(equal, int32_t)
SOFT_OF_TWO(unordered, int32_t)
SOFT_OF_ONE(float_of_int, int32_t, float)
SOFT_OF_ONE(float_of_unsigned, uint32_t, float)
SOFT_OF_ONE(float_of_long, int64_t, float)
SOFT_OF_ONE(int_of_float, float, int32_t)
SOFT_OF_ONE(unsigned_of_float, float, uint32_t)

void array_round_clamp(int32_t n, const float *v, const int32_t *low, const int32_t *high, int32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_round_clamp(v[i], low[i], high[i]);
}

void array_round_clamp_bits(int32_t n, const float *v, const int32_t *low, const int32_t *high,
                      int32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_round_clamp_soft(v[i], low[i], high[i]);
}

void array_round_high_halves(int32_t n, const int32_t *a, const int32_t *m, int32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_round_high_halves(a[i], m[i]);
}

void array_rescale(int32_t n, const int32_t *acc, const int32_t *multiplier, const int32_t *shift,
             int32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_rescale(acc[i], multiplier[i], shift[i]);
}

void array_expand_error(int32_t n, const int32_t *e, const uint16_t *rel, const int32_t *drop,
                  int32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_expand_error(e[i], rel[i], drop[i]);
}

void array_draw(int32_t n, uint32_t state, uint8_t *out) {
  for (int32_t i = 0; i < n; i += 4) {
    state = insitu_draw(state);
    for (int32_t k = i; k < n && k < i + 4; k++)
      out[k] = (uint8_t)(state >> (24 - 8 * (k - i)));
  }
}

void array_seed_generator(int32_t n, const uint32_t *seed, uint32_t *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_seed_generator(seed[i]);
}

void array_range_qparams(int32_t n, const float *ranges, const float *clips, insitu_qparams_t *out) {
  for (int32_t i = 0; i < n; i++) {
    out[i] = insitu_range_qparams(ranges + 2 * i, clips[2 * i], clips[2 * i + 1]);
  }
}

void array_update_bias(int32_t n, const int32_t *bias, const int32_t *errors, const float *rate,
                 const float *scale, int32_t *out) {
  for (int32_t i = 0; i < n; i++) {
    out[i] = insitu_update_bias(bias[i], errors[i], rate[i], scale[i]);
  }
}

void array_exp_negative(int32_t n, const float *x, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = exp_negative(x[i]);
}

void array_expm1_negative(int32_t n, const float *x, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = expm1_negative(x[i]);
}

void array_erfc_positive(int32_t n, const float *x, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = erfc_positive(x[i]);
}

/* which: twice the place in FUNCTIONS of insitu/ops/activations/functions.py, 1 more for the slope.
 */
void array_function(int32_t n, int32_t which, float alpha, float beta, const float *x, float *out) {
  insitu_function_t *const functions[] = {
      insitu_sigmoid,      insitu_sigmoid_slope,      insitu_tanh,       insitu_tanh_slope,
      insitu_hard_sigmoid, insitu_hard_sigmoid_slope, insitu_hard_swish, insitu_hard_swish_slope,
      insitu_silu,         insitu_silu_slope,         insitu_elu,        insitu_elu_slope,
      insitu_gelu,         insitu_gelu_slope,         insitu_gelu_tanh,  insitu_gelu_tanh_slope,
      insitu_softplus,     insitu_softplus_slope};
  const insitu_activation_params_t p = {n, alpha, beta, 0.0f};
  for (int32_t i = 0; i < n; i++)
    out[i] = functions[which](&p, x[i]);
}

void array_log_positive(int32_t n, const float *x, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = log_positive(x[i]);
}

void array_cosine_rates(int32_t n, float rate, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = insitu_cosine_rate(rate, (uint32_t)i, (uint32_t)n);
}

void array_follow_range(int32_t n, const insitu_follow_range_params_t *p, const insitu_qparams_t *q,
                  const int32_t *observed, float *ranges) {
  for (int32_t i = 0; i < n; i++) {
    insitu_follow_range(p + i, q + i, observed + 2 * i, ranges + 2 * i);
  }
}

void array_row_parameters(int32_t rows, float largest, float x_scale, float y_scale,
                    const float *row_scale, const int32_t *bias, int32_t *multiplier,
                    int32_t *bias_acc, int32_t *shift) {
  const insitu_row_parameters_params_t p = {rows, largest};
  const insitu_qparams_t x_q = {x_scale, 0, 0, 0, 0, 0};
  const insitu_qparams_t y_q = {y_scale, 0, 0, 0, 0, 0};
  insitu_row_parameters(&p, &x_q, &y_q, row_scale, bias, multiplier, bias_acc, shift);
}
