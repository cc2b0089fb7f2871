/* Sums of two branches, and of their errors, in their own scales. Twin: insitu/ops/merge/add.py. */
#include "insitu_bytes.h"
#include "insitu_kernels.h"

void insitu_add_s8(const insitu_add_params_t *p, const insitu_qparams_t *a_q,
                   const insitu_qparams_t *b_q, const insitu_qparams_t *y_q, const int8_t *a,
                   const int8_t *b, int8_t *y, int32_t *observed) {
  const insitu_weighted_add_t by = {insitu_meeting_multiplier(a_q, y_q),
                                    p->sign * insitu_meeting_multiplier(b_q, y_q)};
  const int32_t offset = (1 << 13) - a_q->zero_point * by.first - b_q->zero_point * by.second;
  int32_t extremes[2];
  weighted_add_values(p->size, by, offset, y_q, a, b, y, observed ? observed : extremes);
}

void insitu_add_errors_s8(const insitu_add_errors_params_t *p, const int8_t *a, const int8_t *b,
                          int8_t *e) {
  const insitu_weighted_add_t by = {p->first, p->second};
  weighted_add_errors(p->size, by, a, b, e);
}

void insitu_negate_s8(const insitu_size_params_t *p, const int8_t *a, int8_t *e) {
  for (int32_t i = 0; i < p->size; i++)
    e[i] = (int8_t)-a[i];
}
