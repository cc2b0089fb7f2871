/* Activation functions of int8, element by element and as tables.
 * Twin: insitu/ops/activations/activation.py, tables.py. */
#include "insitu_activation.h"

#define INSITU_SLOPE_BITS 14
#define INSITU_ENTRIES 256

/* f of a stored value, in steps of the output, whose scale is 1 / per_unit. */
static int32_t output_steps(const insitu_activation_params_t *p, insitu_function_t *f,
                            const insitu_qparams_t *x_q, float per_unit, int32_t q) {
  const float value = f(p, (float)(q - x_q->zero_point) * x_q->scale);
  return insitu_round_clamp(value * per_unit, -32767, 32767);
}

static int8_t table_entry(const insitu_activation_params_t *p, insitu_function_t *f,
                          const insitu_qparams_t *x_q, const insitu_qparams_t *y_q, float per_unit,
                          int32_t q) {
  const int32_t v = output_steps(p, f, x_q, per_unit, q) + y_q->zero_point;
  return (int8_t)insitu_clamp(v, y_q->clamp_min, y_q->clamp_max);
}

/* Least and largest of f over the range of x: at its ends, or where f is lowest. */
static void observe_range(const insitu_activation_params_t *p, insitu_function_t *f,
                          const insitu_qparams_t *x_q, float per_unit, int32_t *observed) {
  const int32_t zero = x_q->zero_point;
  const int32_t place = zero + insitu_round_clamp(p->lowest / x_q->scale, -128 - zero, 127 - zero);
  const int32_t places[3] = {-128, place, 127};
  int32_t low = 0, high = 0;
  for (int32_t i = 0; i < 3; i++) {
    const int32_t q = insitu_clamp(places[i], x_q->clamp_min, x_q->clamp_max);
    const int32_t v = output_steps(p, f, x_q, per_unit, q);
    low = insitu_min(low, v);
    high = insitu_max(high, v);
  }
  observed[0] = low;
  observed[1] = high;
}

static int16_t slope_at(const insitu_activation_params_t *p, insitu_function_t *slope,
                        const insitu_qparams_t *x_q, int32_t q) {
  const float value = slope(p, (float)(q - x_q->zero_point) * x_q->scale);
  return (int16_t)insitu_round_clamp(value * (float)(1 << INSITU_SLOPE_BITS), -32768, 32767);
}

static int8_t times_slope(int32_t dy, int32_t slope) {
  const int32_t v = (dy * slope + (1 << (INSITU_SLOPE_BITS - 1))) >> INSITU_SLOPE_BITS;
  return (int8_t)insitu_clamp(v, -127, 127);
}

void insitu_activation_s8(const insitu_activation_params_t *p, insitu_function_t *f,
                          const insitu_qparams_t *x_q, const insitu_qparams_t *y_q, const int8_t *x,
                          int8_t *y, int32_t *observed) {
  const float per_unit = 1.0f / y_q->scale;
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    y[i] = table_entry(p, f, x_q, y_q, per_unit, x[i]);
  if (observed)
    observe_range(p, f, x_q, per_unit, observed);
}

void insitu_activation_grad_s8(const insitu_activation_params_t *p, insitu_function_t *slope,
                               const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                               int8_t *dx) {
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    dx[i] = dy[i] ? times_slope(dy[i], slope_at(p, slope, x_q, x[i])) : 0;
}

void insitu_activation_table(const insitu_activation_params_t *p, insitu_function_t *f,
                             const insitu_qparams_t *x_q, const insitu_qparams_t *y_q,
                             int8_t *table, int32_t *observed) {
  const float per_unit = 1.0f / y_q->scale;
  for (int32_t i = 0; i < INSITU_ENTRIES; i++)
    table[i] = table_entry(p, f, x_q, y_q, per_unit, i - 128);
  if (observed)
    observe_range(p, f, x_q, per_unit, observed);
}

void insitu_activation_slopes(const insitu_activation_params_t *p, insitu_function_t *slope,
                              const insitu_qparams_t *x_q, int16_t *slopes) {
  for (int32_t i = 0; i < INSITU_ENTRIES; i++)
    slopes[i] = slope_at(p, slope, x_q, i - 128);
}

void insitu_lookup_s8(const insitu_size_params_t *p, const int8_t *x, const int8_t *table,
                      int8_t *y) {
  const int8_t *const middle = table + 128;
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    y[i] = middle[x[i]];
}

void insitu_lookup_grad_s8(const insitu_size_params_t *p, const int8_t *dy, const int8_t *x,
                           const int16_t *slopes, int8_t *dx) {
  const int16_t *const middle = slopes + 128;
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    dx[i] = times_slope(dy[i], middle[x[i]]);
}
