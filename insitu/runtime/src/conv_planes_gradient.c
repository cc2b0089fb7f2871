/* Weight gradient of depthwise convolution by planes. See insitu_planes.h.
 * Bit for bit what src/conv_groups_gradient.c computes, which is the definition. */
#include "insitu_planes.h"
#include "insitu_taps.h"

/* The sums of one pair of errors d with x[k], x[k + 1] for every tap k: 1, 3, 5 or 7. */
static inline void insitu_add_pair(int32_t taps, uint32_t d, const int16_t *x, int32_t *s) {
  s[0] = insitu_pair_dot(d, insitu_load_pair(x), s[0]);
  if (taps > 1) {
    s[1] = insitu_pair_dot(d, insitu_load_pair(x + 1), s[1]);
    s[2] = insitu_pair_dot(d, insitu_load_pair(x + 2), s[2]);
  }
  if (taps > 3) {
    s[3] = insitu_pair_dot(d, insitu_load_pair(x + 3), s[3]);
    s[4] = insitu_pair_dot(d, insitu_load_pair(x + 4), s[4]);
  }
  if (taps > 5) {
    s[5] = insitu_pair_dot(d, insitu_load_pair(x + 5), s[5]);
    s[6] = insitu_pair_dot(d, insitu_load_pair(x + 6), s[6]);
  }
}

/* gradient[k] += sum over pairs of e[position] x[position + k], k < taps; of one line of the
 * kernel or of two, a line of x apart. */
static inline void insitu_correlate(int32_t pairs, int32_t lines, int32_t taps, const int16_t *e,
                                    const int16_t *x, int32_t line, int32_t *gradient) {
  int32_t s[INSITU_PLANES_KERNEL] = {0}, under[INSITU_PLANES_KERNEL] = {0};
  const int16_t *const end = e + 2 * (pairs & ~1), *below = x + line;
  for (; e != end; e += 4, x += 4, below += 4) {
    const uint32_t first = insitu_load_pair(e), second = insitu_load_pair(e + 2);
    insitu_add_pair(taps, first, x, s);
    insitu_add_pair(taps, second, x + 2, s);
    if (lines > 1) {
      insitu_add_pair(taps, first, below, under);
      insitu_add_pair(taps, second, below + 2, under);
    }
  }
  if (pairs & 1) {
    insitu_add_pair(taps, insitu_load_pair(e), x, s);
    if (lines > 1)
      insitu_add_pair(taps, insitu_load_pair(e), below, under);
  }
  for (int32_t k = 0; k < taps; k++) {
    gradient[k * INSITU_LANES] += s[k];
    if (lines > 1)
      gradient[(taps + k) * INSITU_LANES] += under[k];
  }
}

/* Of one channel in a band: so many positions, those between the lines included. */
static void insitu_gradient_lane(const insitu_conv_params_t *c, int32_t positions, int32_t line,
                                 const int16_t *x, int16_t *e, int32_t *gradient) {
  const int32_t pairs = (positions + 1) / 2, taps = c->kernel_width;
  if (positions & 1)
    e[positions] = 0; /* what else could be left there by a band before */
  int32_t rows = c->kernel_height;
  for (; taps == 3 && rows > 1; rows -= 2, x += 2 * line, gradient += 2 * taps * INSITU_LANES)
    insitu_correlate(pairs, 2, 3, e, x, line, gradient);
  for (; rows > 0; rows--, x += line, gradient += taps * INSITU_LANES) {
    if (taps == 3)
      insitu_correlate(pairs, 1, 3, e, x, line, gradient);
    else if (taps == 5)
      insitu_correlate(pairs, 1, 5, e, x, line, gradient);
    else if (taps == 7)
      insitu_correlate(pairs, 1, 7, e, x, line, gradient);
    else
      for (int32_t kx = 0; kx < taps; kx++)
        insitu_correlate(pairs, 1, 1, e, x + kx, line, gradient + kx * INSITU_LANES);
  }
}

uint32_t insitu_gradient_planes(const insitu_conv_groups_params_t *p, int32_t zero,
                                const int8_t *dy, const int8_t *x, int32_t o, int16_t *planes,
                                int32_t *gradient, int32_t *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t lanes = insitu_min(c->in_channels - o, INSITU_LANES), down = c->kernel_height - 1;
  const int32_t line = insitu_gradient_columns(c), e_lane = insitu_even(p->band * line);
  const int32_t x_lane = insitu_even((p->band + down) * line + c->kernel_width + 1);
  const insitu_source_t maps = {
      x + o, c->in_height, c->in_width, c->in_channels,
      lanes, zero,         c->pad_left, c->out_width + c->kernel_width - 1,
      line,  x_lane};
  const insitu_source_t beside = {dy + o, c->out_height, c->out_width, c->out_channels, lanes, 0,
                                  0,      c->out_width,  line,         e_lane};
  int16_t *const e = planes + INSITU_LANES * x_lane;
  insitu_error_sums_t sums = {0};
  uint32_t alive = 0;
  if (o == 0)
    memset(planes, 0, (size_t)(INSITU_LANES * (x_lane + e_lane)) * sizeof *planes);
  memset(gradient, 0, (size_t)(insitu_group_row(p) * INSITU_LANES) * sizeof *gradient);
  for (int32_t first = 0; first < c->out_height; first += p->band) {
    const int32_t lines = insitu_min(p->band, c->out_height - first);
    sums.bits = 0;
    insitu_fill_errors(&beside, first, lines, e, &sums);
    if (sums.bits == 0)
      continue;
    insitu_fill_planes(&maps, first - c->pad_top, lines + down, planes);
    for (int32_t lane = 0; lane < lanes; lane++) {
      if ((sums.bits >> (8 * lane) & 0xFFu) == 0)
        continue;
      alive |= 1u << lane;
      insitu_gradient_lane(c, lines * line, line, planes + lane * x_lane, e + lane * e_lane,
                           gradient + lane);
    }
  }
  memcpy(errors, sums.sum, (size_t)lanes * sizeof *errors);
  return alive;
}
