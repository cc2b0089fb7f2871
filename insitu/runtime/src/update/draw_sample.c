/* Which samples the layers before the last one learn from. Twin:
 * insitu/ops/updates/drawn_samples.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_soft_float.h"

enum { STEPS = 32 }; /* of the generator before a draw, whose number then shares no bit */

/* 1 and drawn = rate / p with probability p = least + spread share, else 0 and drawn = 0. */
static int32_t draw_with(const insitu_draw_sample_params_t *p, float share, uint32_t *generator,
                         const float *rate, float *drawn) {
  const float probability = insitu_multiply(share, p->spread) + p->least;
  *generator = insitu_draw_ahead(*generator, STEPS);
  const float place = insitu_multiply((float)(*generator >> 8), 5.9604644775390625e-8f); /* 2^-24 */
  const int32_t kept = insitu_less(place, probability);
  *drawn = kept ? insitu_divide(*rate, probability) : 0.0f;
  return kept;
}

int32_t insitu_draw_sample_s8(const insitu_draw_sample_params_t *p, const int8_t *dy,
                              int32_t *largest, uint32_t *generator, const float *rate,
                              float *drawn) {
  int32_t total = 0;
  for (int32_t i = 0; i < p->size; i++)
    total += dy[i] < 0 ? -dy[i] : dy[i];
  const int32_t before = *largest;
  *drawn = *rate;
  *largest = insitu_max(before, total);
  if (before == 0)
    return 1;
  return draw_with(p, insitu_divide((float)total, (float)*largest), generator, rate, drawn);
}

int32_t insitu_draw_sample_f32(const insitu_draw_sample_params_t *p, const float *dy,
                               float *largest, uint32_t *generator, const float *rate,
                               float *drawn) {
  float total = 0.0f;
  for (int32_t i = 0; i < p->size; i++)
    total = total + (dy[i] < 0.0f ? -dy[i] : dy[i]);
  const float before = *largest;
  *drawn = *rate;
  if (!(total <= INSITU_NO_BOUND))
    return 1;
  *largest = total > before ? total : before;
  if (before == 0.0f)
    return 1;
  return draw_with(p, total / *largest, generator, rate, drawn);
}
